//! The Kafka protocol, against brokers in this process whose codec is not ours.

mod broker;
mod failures;
mod real;
mod sasl;

use std::sync::Arc;

use factum_engine::{ErrorClass, Targets as _};
use serde_json::{Value, json};

use self::broker::{Brokers, Setup, TOPIC};
use crate::brokers::with;
use crate::support::{
    Names, certificate, deliver, delivery, open, open_beside, targets_with, try_open,
};

/// The partition of three that Kafka's own producer chooses for `form/f-1`.
const PARTITION: i32 = 2;

fn definition(brokers: &Brokers) -> Value {
    json!({
        "type": "kafka",
        "servers": [format!("127.0.0.1:{}", brokers.port(0))],
        "tls": false,
        "topic": TOPIC,
        "limits": {"timeoutMs": 5000},
    })
}

fn with_password(brokers: &Brokers, mechanism: &str) -> Value {
    let mut definition = definition(brokers);
    definition["mechanism"] = mechanism.into();
    definition["username"] = sasl::USER.into();
    definition["password"] = sasl::PASSWORD.into();
    definition
}

#[tokio::test]
async fn events_of_a_stream_are_records_of_one_partition() {
    let brokers = Brokers::start(Setup::default()).await;
    let target = open(&definition(&brokers));
    for number in 1..=3_u64 {
        let delivered = deliver(&*target, number).await.unwrap();
        let said = format!("partition {PARTITION}, offset {}", number - 1);
        assert_eq!(delivered.excerpt, Some(said));
    }
    let written = brokers.written();
    for (number, written) in (1..=3).zip(&written) {
        let record = &written.record;
        assert_eq!(written.partition, PARTITION);
        assert_eq!(record.key.as_deref(), Some(&b"form/f-1"[..]));
        // The store's clock, not the writer's, which says 10 microseconds.
        assert_eq!((record.timestamp, record.producer_id), (0, -1));
        let header = |name| written.header(name).unwrap();
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("delivery"), delivery(number).id.to_string());
        assert_eq!(header("event-id"), delivery(number).event.id.to_string());
        assert_eq!(header("event-type"), "form.opened");
        let body: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        assert_eq!(body["payload"]["name"], "Ann Ä");
    }
    assert_eq!(written.len(), 3);
    assert_eq!((brokers.connections(), brokers.asked_for_leaders()), (1, 1));
}

#[tokio::test]
async fn cloud_events_in_binary_form_are_headers_in_plain_text() {
    let brokers = Brokers::start(Setup::default()).await;
    let shape = json!({"shape": "cloudEventsBinary"});
    let target = open(&with(&definition(&brokers), "payload", shape));
    deliver(&*target, 1).await.unwrap();
    let written = brokers.written().remove(0);
    let header = |name| written.header(name).unwrap();
    assert_eq!(header("ce_specversion"), "1.0");
    assert_eq!(header("ce_type"), "form.opened");
    // Neither percent-encoded nor in quotes, as the binding for Kafka says.
    assert_eq!(header("ce_metadata"), r#"{"userId":"ann"}"#);
    assert_eq!(
        written.record.value.as_deref(),
        Some(delivery(1).event.payload().as_bytes())
    );
}

#[tokio::test]
async fn topic_and_key_may_be_templates() {
    let brokers = Brokers::start(Setup::default()).await;
    let definition = with(
        &definition(&brokers),
        "topic",
        json!("{{ aggregateType|replace('form', 'events') }}"),
    );
    let target = open(&with(&definition, "key", json!("{{ payload.to }}")));
    deliver(&*target, 1).await.unwrap();
    let written = brokers.written().remove(0);
    assert_eq!(written.record.key.as_deref(), Some(&b"ann@example.com"[..]));
    let definition = with(&definition, "topic", json!("{{ payload.name }}"));
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Payload, false),
        "{error}"
    );
}

#[tokio::test]
async fn old_brokers_are_spoken_to_in_their_versions() {
    let setup = Setup {
        is_old: true,
        needs_password: true,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let target = open(&with_password(&brokers, "plain"));
    deliver(&*target, 1).await.unwrap();
    assert_eq!(brokers.written().len(), 1);
}

#[tokio::test]
async fn who_we_are_is_shown_in_three_ways() {
    let setup = Setup {
        needs_password: true,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    for (count, mechanism) in ["plain", "scramSha256", "scramSha512"].iter().enumerate() {
        let definition = with_password(&brokers, mechanism);
        deliver(&*open(&definition), 1).await.unwrap();
        assert_eq!(brokers.written().len(), count + 1);
        crate::brokers::refuses_wrong_passwords(&definition).await;
    }
    let error = deliver(&*open(&definition(&brokers)), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Authentication, "{error}");
    assert_eq!(brokers.written().len(), 3);
}

/// A broker that wants to know who is there says so by closing the connection, which must not
/// look as if it were gone.
#[tokio::test]
async fn who_does_not_say_who_they_are_closes_the_way_for_no_other() {
    let setup = Setup {
        needs_password: true,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let limits = json!({"timeoutMs": 5000, "breaker": {"failuresMax": 2}});
    let stranger = with(&definition(&brokers), "limits", limits.clone());
    let known = with(&with_password(&brokers, "plain"), "limits", limits);
    let [stranger, known] = open_beside(&[stranger, known]).try_into().unwrap();
    for number in 0..2 {
        let error = deliver(&*stranger, number).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Authentication, "{error}");
        assert!(error.message.contains("username"), "{error}");
    }
    let error = deliver(&*stranger, 2).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::BreakerOpen, "{error}");
    deliver(&*known, 1).await.unwrap();
    assert_eq!(known.state().endpoint.unwrap().n_targets, 2);
}

#[tokio::test]
async fn who_is_believed_for_a_while_says_again_who_it_is() {
    let setup = Setup {
        needs_password: true,
        lifetime_ms: 1,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let target = open(&with_password(&brokers, "scramSha256"));
    for number in 1..=3 {
        deliver(&*target, number).await.unwrap();
    }
    // One for the leaders, and one for each event.
    assert_eq!((brokers.written().len(), brokers.connections()), (3, 4));
}

#[tokio::test]
async fn certificates_are_checked() {
    let (pem, key) = certificate();
    let acceptor = crate::receiver::acceptor(&pem, &key);
    let brokers = Brokers::with_tls(Setup::default(), Some(acceptor)).await;
    let mut definition = definition(&brokers);
    definition["tls"] = true.into();
    definition["caCertificates"] = pem.into();
    deliver(&*open(&definition), 1).await.unwrap();
    definition["caCertificates"] = certificate().0.into();
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
    assert_eq!(brokers.written().len(), 1);
}

/// A broker says where the others are, and may say anything.
#[tokio::test]
async fn brokers_are_not_followed_to_where_connections_may_not_go() {
    for (host, class) in [
        ("169.254.169.254", ErrorClass::Policy),
        ("10.0.0.1", ErrorClass::Policy),
        ("::ffff:127.0.0.1", ErrorClass::Policy),
        ("inner.example", ErrorClass::Policy),
        ("0x7f000001", ErrorClass::Protocol),
        ("2130706433", ErrorClass::Protocol),
        ("nowhere.example", ErrorClass::Resolve),
        ("a/b", ErrorClass::Protocol),
        ("", ErrorClass::Protocol),
    ] {
        let setup = Setup {
            advertised: Some((host, 9092)),
            ..Setup::default()
        };
        let brokers = Brokers::start(setup).await;
        let names = Names::of(&[
            ("kafka.example", &["127.0.0.1"]),
            ("inner.example", &["10.1.2.3"]),
        ]);
        let targets = targets_with(&["kafka.example"], names);
        let server = format!("kafka.example:{}", brokers.port(0));
        let definition = with(&definition(&brokers), "servers", json!([server]));
        let stored = targets.accept(&definition.to_string(), None).unwrap();
        let target = targets.open(&stored).unwrap();
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(error.class, class, "{host}: {error}");
        assert!(error.is_retryable(), "{host}: {error}");
        assert!(brokers.written().is_empty());
    }
}

/// The name of a broker is looked up for each connection, and each time the answer is checked.
#[tokio::test]
async fn a_name_that_changes_is_checked_again() {
    let setup = Setup {
        advertised: Some(("kafka.example", 9092)),
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let names = Names::of(&[("kafka.example", &["127.0.0.1", "127.0.0.2"])]);
    let targets = targets_with(&["127.0.0.1"], Arc::clone(&names) as _);
    let server = format!("kafka.example:{}", brokers.port(0));
    let definition = with(&definition(&brokers), "servers", json!([server]));
    let stored = targets.accept(&definition.to_string(), None).unwrap();
    let target = targets.open(&stored).unwrap();
    let error = deliver(&*target, 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Policy, "{error}");
    assert_eq!(names.asked(), 2);
}

#[test]
fn faults_name_their_field() {
    let good = json!({
        "type": "kafka",
        "servers": ["kafka.example.com"],
        "username": "factum",
        "password": "x",
        "topic": "events",
    });
    try_open(&good).unwrap();
    let servers = |text: &str| json!(["[2001:4860::1]:9092", text]);
    for (field, value, pointer) in [
        ("servers", json!([]), "/servers"),
        ("servers", json!(vec!["a.example"; 17]), "/servers"),
        ("servers", servers("a.example:http"), "/servers/1"),
        ("servers", servers("a.example:0"), "/servers/1"),
        ("servers", servers("a.example:70000"), "/servers/1"),
        ("servers", servers("10.0.0.1:9092"), "/servers/1"),
        ("servers", servers("0x7f000001:9092"), "/servers/1"),
        ("servers", servers("kafka://a.example"), "/servers/1"),
        ("topic", json!(""), "/topic"),
        ("topic", json!(".."), "/topic"),
        ("topic", json!("a/b"), "/topic"),
        ("topic", json!("x".repeat(250)), "/topic"),
        ("topic", json!("{{ x"), "/topic"),
        ("key", json!("{{ x"), "/key"),
        ("key", json!("x".repeat(2049)), "/key"),
        ("username", Value::Null, "/username"),
        ("username", json!("a\0b"), "/username"),
        ("password", Value::Null, "/password"),
        ("mechanism", json!("gssapi"), "/mechanism"),
        ("caCertificates", json!("none"), "/caCertificates"),
        ("acks", json!(1), "/acks"),
    ] {
        let error = try_open(&with(&good, field, value.clone())).unwrap_err();
        assert_eq!(error.pointer, pointer, "{field} {value}: {error}");
    }
    let mut bare = good;
    bare["mechanism"] = "plain".into();
    let fields = bare.as_object_mut().unwrap();
    fields.remove("username");
    fields.remove("password");
    assert_eq!(try_open(&bare).unwrap_err().pointer, "/username");
}
