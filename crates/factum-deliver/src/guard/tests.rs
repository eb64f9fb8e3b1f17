use std::collections::HashMap;
use std::sync::Mutex;

use super::*;

/// Answers with the next of several lists of addresses for a name, and the last one from then on.
#[derive(Debug, Default)]
struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().unwrap();
        let answer = names.get_mut(name).map(|answers| {
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            }
        });
        Box::pin(async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

fn guard(allowed: &[&str], names: &[(&str, &[&str])]) -> Guard {
    let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
    let resolver = Names::default();
    for (name, answers) in names {
        let answers = answers
            .iter()
            .map(|answer| {
                answer
                    .split(' ')
                    .map(|text| text.parse().unwrap())
                    .collect()
            })
            .collect();
        resolver
            .0
            .lock()
            .unwrap()
            .insert((*name).to_owned(), answers);
    }
    Guard::new(allowed, Arc::new(resolver))
}

async fn is_reached(guard: &Guard, host: &str) -> bool {
    guard.addresses(&Host::parse(host).unwrap()).await.is_ok()
}

/// Every kind of address that is not public, in every block that has it.
const INSIDE: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.9.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
    "4000::1",
];

#[tokio::test]
async fn names_of_inner_addresses_are_refused() {
    for inside in INSIDE {
        let guard = guard(&[], &[("evil.example", &[inside])]);
        assert!(!is_reached(&guard, "evil.example").await, "{inside}");
        assert!(
            guard.check_address(inside.parse().unwrap()).is_err(),
            "{inside}"
        );
    }
}

#[tokio::test]
async fn public_addresses_are_reached() {
    for public in [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "2a00::1",
    ] {
        let guard = guard(&[], &[("good.example", &[public])]);
        assert!(is_reached(&guard, "good.example").await, "{public}");
        assert!(
            guard.check_address(public.parse().unwrap()).is_ok(),
            "{public}"
        );
    }
}

#[tokio::test]
async fn one_inner_address_among_public_ones_is_enough_to_refuse() {
    let guard = guard(&[], &[("both.example", &["8.8.8.8 10.0.0.1"])]);
    assert!(!is_reached(&guard, "both.example").await);
}

#[tokio::test]
async fn a_name_is_checked_each_time_it_resolves() {
    let guard = guard(&[], &[("turns.example", &["8.8.8.8", "127.0.0.1"])]);
    assert!(is_reached(&guard, "turns.example").await);
    assert!(!is_reached(&guard, "turns.example").await);
}

#[tokio::test]
async fn what_is_allowed_is_reached_and_no_more() {
    let names: &[(&str, &[&str])] = &[
        ("crm.internal", &["10.1.2.3"]),
        ("other.internal", &["10.1.2.3"]),
        ("far.internal", &["10.2.0.1"]),
        ("mapped.internal", &["::ffff:10.1.2.3"]),
    ];
    let guard = guard(&["CRM.internal", "10.1.0.0/16", "::1"], names);
    assert!(is_reached(&guard, "crm.internal").await);
    assert!(is_reached(&guard, "other.internal").await);
    assert!(is_reached(&guard, "[::1]").await);
    assert!(!is_reached(&guard, "far.internal").await);
    assert!(!is_reached(&guard, "mapped.internal").await);
    assert!(!is_reached(&guard, "10.2.0.1").await);
    assert!(!is_reached(&guard, "nowhere.internal").await);
}

#[test]
fn blocks_are_read_and_nothing_else() {
    for text in [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "10.1.1.1",
        "crm.internal",
    ] {
        assert!(text.parse::<Allowed>().is_ok(), "{text}");
    }
    for text in [
        "",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0/8",
        "127.1",
        "a b",
        "0x7f000001",
    ] {
        assert!(text.parse::<Allowed>().is_err(), "{text}");
    }
}

#[test]
fn urls_that_hide_an_address_or_a_secret_are_refused() {
    for url in [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://[::127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://user@a.example/",
        "http://user:secret@a.example/",
        "http://@a.example/",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "//a.example/",
        "/x",
        "http:a.example",
        "http://",
        "https:///x",
        "http://a.example\\@127.0.0.1/",
        "http://a.example/ b",
        "http://a\t.example/",
        "http://a.example/#x",
        "http://a.example:0/",
        "http://a.example:99999/",
        "http:\\\\127.0.0.1/",
        "javascript:alert(1)",
        "http://[fe80::1%25eth0]/",
        "unix:/run/x",
    ] {
        assert!(check_url(url).is_err(), "{url}");
    }
    for (url, host) in [
        ("https://a.example/x?y=z", "a.example"),
        ("http://A.Example:8080", "a.example"),
        ("https://192.0.2.1:1/", "192.0.2.1"),
        ("https://[2001:db8::1]:8443/x", "[2001:db8::1]"),
        ("https://[2001:DB8:0::1]/", "[2001:db8::1]"),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example"),
        ("https://a.example/x@y:z", "a.example"),
    ] {
        assert_eq!(check_url(url).unwrap().1.to_string(), host, "{url}");
    }
}
