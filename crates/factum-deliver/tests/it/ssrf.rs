//! Connections go nowhere but to public addresses and to what is allowed.

use std::sync::Arc;

use factum_engine::{ErrorClass, Targets as _};
use serde_json::json;

use crate::receiver::{Answer, Receiver};
use crate::support::{Names, deliver, targets_with};
use crate::webhook::SECRET;

fn definition(url: &str) -> String {
    json!({"type": "webhook", "url": url, "secrets": [SECRET]}).to_string()
}

#[tokio::test]
async fn names_of_inner_addresses_are_refused_without_a_connection() {
    let receiver = Receiver::start(vec![Answer::status("200 OK")]).await;
    let port = receiver.port();
    for address in [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "10.0.0.1",
        "10.255.255.254",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "fe80::1",
        "fd00:ec2::254",
        "8.8.8.8 127.0.0.1",
    ] {
        let names = Names::of(&[("crm.example", &[address])]);
        let targets = targets_with(&[], names);
        let stored = targets
            .accept(&definition(&format!("http://crm.example:{port}/")), None)
            .unwrap();
        let target = targets.open(&stored).unwrap();
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Policy, "{address}: {error}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn addresses_in_every_spelling_are_refused_when_a_target_is_made() {
    let targets = targets_with(&[], Names::of(&[]));
    for host in [
        "127.0.0.1",
        "[::1]",
        "169.254.169.254",
        "10.0.0.1",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "a@127.0.0.1",
        "%31%32%37.0.0.1",
        "127。0。0。1",
    ] {
        let accepted = targets.accept(&definition(&format!("http://{host}/")), None);
        assert_eq!(accepted.unwrap_err().pointer, "/url", "{host}");
    }
}

/// The name is of an allowed address when it is asked for the first time, and of another one from
/// then on. The receiver of the first address must get what was sent to it, and nothing may
/// go to the other one.
#[tokio::test]
async fn a_name_that_changes_between_check_and_connection_gains_nothing() {
    let public = Receiver::start_at("127.0.0.2", vec![Answer::status("200 OK")], None).await;
    let names = Names::of(&[("crm.example", &["127.0.0.2", "127.0.0.1"])]);
    let asked = Arc::clone(&names);
    let targets = targets_with(&["127.0.0.2"], names);
    let url = format!("http://crm.example:{}/", public.port());
    let stored = targets.accept(&definition(&url), None).unwrap();
    let target = targets.open(&stored).unwrap();
    deliver(&*target, 1).await.unwrap();
    assert_eq!(public.requests().len(), 1);
    // One question for one connection: between check and connection there is no second answer.
    assert_eq!(asked.asked(), 1);
    // A connection that is made anew asks again, and is refused.
    let other = targets.open(&stored).unwrap();
    let error = deliver(&*other, 2).await.unwrap_err();
    assert_eq!((error.class, asked.asked()), (ErrorClass::Policy, 2));
    assert_eq!(public.requests().len(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_apart() {
    let targets = targets_with(&[], Names::of(&[]));
    let stored = targets
        .accept(&definition("http://crm.example/"), None)
        .unwrap();
    let error = deliver(&*targets.open(&stored).unwrap(), 1)
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Resolve, true)
    );
}
