//! Mail, sent to a receiver on this machine.

use factum_engine::{ErrorClass, Targets as _};
use factum_testkit::servers::{Certificate, MailSink, Security};
use serde_json::{Value, json};

use crate::brokers::{checks_certificates, refuses_wrong_passwords, server, with};
use crate::support::{certificate, deliver, delivery, open, open_beside, try_open};

fn definition(port: u16, authority: Option<&str>, security: &str) -> Value {
    json!({
        "type": "mail",
        "server": server(port, authority),
        "security": security,
        "username": MailSink::USER,
        "password": MailSink::PASSWORD,
        "from": "Factum <factum@example.com>",
        "to": ["{{ payload.to }}"],
        "subject": "{{ type }} of {{ payload.name }}",
        "text": "Hello {{ payload.name }}",
        "html": "<p>{{ payload.name }} &amp; {{ '<b>' }}</p>",
        "limits": {"timeoutMs": 10_000},
    })
}

fn with_sink(security: Security, test: impl FnOnce(&MailSink, Value)) {
    let (certificate, key) = certificate();
    let tls = Certificate {
        certificate: &certificate,
        key: &key,
    };
    let sink = MailSink::start(security, tls);
    let (authority, name) = match security {
        Security::None => (None, "startTls"),
        Security::StartTls => (Some(certificate.as_str()), "startTls"),
        Security::Tls => (Some(certificate.as_str()), "tls"),
    };
    let definition = definition(sink.port(), authority, name);
    test(&sink, definition);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_mail_is_made_of_the_event() {
    with_sink(Security::StartTls, |sink, definition| {
        let delivered = block_on(deliver(&*open(&definition), 1));
        let delivered = delivered.unwrap_or_else(|error| panic!("{error}: {}", sink.logged()));
        assert_eq!(delivered.status, Some(250));
        let mail = sink.received().remove(0);
        assert_eq!(
            (mail.from.as_str(), mail.to.as_str()),
            ("factum@example.com", "ann@example.com")
        );
        let header = |name: &str| {
            let start = format!("{name}: ");
            let line = mail
                .content
                .lines()
                .find_map(|line| line.strip_prefix(&start));
            line.unwrap_or_default().to_owned()
        };
        assert_eq!(
            header("Message-ID"),
            format!("<{}@example.com>", delivery(1).id)
        );
        assert_eq!(header("Auto-Submitted"), "auto-generated");
        assert!(
            header("Subject").contains("form.opened of Ann"),
            "{}",
            mail.content
        );
        assert!(
            mail.content.contains("Hello Ann =C3=84"),
            "{}",
            mail.content
        );
        assert!(
            mail.content.contains("&amp; &lt;b&gt;</p>"),
            "{}",
            mail.content
        );
    });
}

#[test]
fn tls_from_the_first_byte_works_and_is_checked() {
    with_sink(Security::Tls, |sink, definition| {
        block_on(checks_certificates(&definition));
        assert_eq!(sink.received().len(), 1);
    });
}

#[test]
fn passwords_and_certificates_are_checked_with_starttls() {
    with_sink(Security::StartTls, |sink, definition| {
        block_on(checks_certificates(&definition));
        block_on(refuses_wrong_passwords(&definition));
        assert_eq!(sink.received().len(), 1);
    });
}

/// Nothing is sent in plain text to who cannot encrypt, where encryption is asked for.
#[test]
fn a_server_without_starttls_gets_nothing() {
    with_sink(Security::None, |sink, definition| {
        let mut strict = definition.clone();
        strict["server"]["tls"] = true.into();
        assert!(block_on(deliver(&*open(&strict), 1)).is_err());
        assert!(sink.received().is_empty());
        block_on(deliver(&*open(&definition), 1)).unwrap();
    });
}

#[test]
fn what_the_server_refuses_is_told_apart() {
    with_sink(Security::None, |_, definition| {
        for (to, status, retryable) in [
            ("refused@example.com", 550, false),
            ("later@example.com", 451, true),
        ] {
            let target = open(&with(&definition, "to", json!([to])));
            let error = block_on(deliver(&*target, 1)).unwrap_err();
            assert_eq!(
                (error.class, error.status, error.is_retryable()),
                (ErrorClass::Rejected, Some(status), retryable),
                "{error}"
            );
        }
    });
}

/// A reply such as 550 is above 500, but refuses one mail; the server is well.
#[test]
fn a_recipient_who_is_refused_closes_the_way_for_no_other() {
    with_sink(Security::None, |sink, mut definition| {
        definition["limits"] = json!({"breaker": {"failuresMax": 2}});
        for to in ["refused@example.com", "later@example.com"] {
            let refused = with(&definition, "to", json!([to]));
            let targets = open_beside(&[definition.clone(), refused]);
            for number in 0..4 {
                let error = block_on(deliver(&*targets[1], number)).unwrap_err();
                assert_eq!(error.class, ErrorClass::Rejected, "{error}");
            }
            block_on(deliver(&*targets[0], 1)).unwrap();
        }
        assert_eq!(sink.received().len(), 2);
    });
}

/// An event may hold whatever somebody typed into a form; it must not become a header or another
/// recipient.
#[test]
fn an_event_adds_no_headers_and_no_recipients() {
    with_sink(Security::None, |sink, definition| {
        for (field, value) in [
            ("subject", json!("a\r\nBcc: eve@example.com")),
            ("subject", json!("{{ 'a\\nBcc: eve@example.com' }}")),
            (
                "to",
                json!(["{{ 'ann@example.com\\r\\nBcc: eve@example.com' }}"]),
            ),
            ("to", json!(["{{ 'ann@example.com, eve@example.com' }}"])),
            ("to", json!(["{{ payload.name }}"])),
            ("to", json!(["{{ payload.missing }}"])),
        ] {
            let target = open(&with(&definition, field, value));
            let error = block_on(deliver(&*target, 1)).unwrap_err();
            assert_eq!(
                (error.class, error.is_retryable()),
                (ErrorClass::Payload, false),
                "{error}"
            );
        }
        assert!(sink.received().is_empty());
    });
}

#[test]
fn faults_name_their_field() {
    let good = definition(25, None, "tls");
    for (field, value, pointer) in [
        ("from", json!("nobody"), "/from"),
        ("to", json!([]), "/to"),
        ("to", json!(["ann@example.com", "nobody"]), "/to/1"),
        ("to", json!(["{{ x"]), "/to/0"),
        ("subject", json!("{{ x"), "/subject"),
        ("html", json!("{% set x = 1 %}"), "/html"),
        ("username", Value::Null, "/username"),
        ("password", Value::Null, "/password"),
    ] {
        let error = try_open(&with(&good, field, value)).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
    }
    let targets = crate::support::targets_with(
        &["localhost"],
        std::sync::Arc::new(factum_deliver::SystemResolver),
    );
    let stored = targets.accept(&good.to_string(), None).unwrap();
    assert!(!stored.contains(MailSink::PASSWORD));
}
