//! Redis Streams.

use factum_engine::ErrorClass;
use factum_testkit::servers::{Certificate, RedisServer};
use serde_json::{Value, json};

use crate::brokers::{
    checks_certificates, refuses_wrong_passwords, server, survives_a_crash, with,
};
use crate::support::{certificate, deliver, delivery, open, try_open};

fn definition(port: u16, authority: Option<&str>) -> Value {
    json!({
        "type": "redis",
        "server": server(port, authority),
        "username": RedisServer::USER,
        "password": RedisServer::PASSWORD,
        "stream": "events",
        "limits": {"timeoutMs": 5000},
    })
}

#[tokio::test]
async fn events_are_entries_of_the_stream() {
    let server = RedisServer::start(None);
    let target = open(&definition(server.port(), None));
    for number in 1..=3 {
        deliver(&*target, number).await.unwrap();
    }
    // Redis knows no repeats; who reads does, by the delivery.
    deliver(&*target, 3).await.unwrap();
    assert_eq!(server.command(&["XLEN", "events"]).trim(), "4");
    let entries = server.command(&["XRANGE", "events", "-", "+"]);
    let lines: Vec<&str> = entries.lines().collect();
    let after = |name: &str| {
        let at = lines.iter().position(|line| *line == name).unwrap();
        lines[at + 1]
    };
    assert_eq!(after("delivery"), delivery(1).id.to_string());
    assert_eq!(after("type"), "form.opened");
    assert_eq!(after("contentType"), "application/json");
    let body: Value = serde_json::from_str(after("body")).unwrap();
    assert_eq!(body["payload"]["name"], "Ann Ä");
    assert_eq!(
        lines
            .iter()
            .filter(|line| **line == delivery(3).id.to_string())
            .count(),
        2
    );
}

#[tokio::test]
async fn a_stream_with_a_bound_stays_short() {
    let server = RedisServer::start(None);
    let definition = with(&definition(server.port(), None), "maxLength", json!(100));
    let target = open(&definition);
    for number in 0..600 {
        deliver(&*target, number).await.unwrap();
    }
    let length: u64 = server.command(&["XLEN", "events"]).trim().parse().unwrap();
    // The bound is met by whole nodes of the stream, of a hundred entries each.
    assert!((100..=200).contains(&length), "{length}");
}

#[tokio::test]
async fn a_server_that_crashes_is_connected_to_again() {
    let server = RedisServer::start(None);
    let definition = definition(server.port(), None);
    let server =
        survives_a_crash(&definition, server, RedisServer::kill, RedisServer::resume).await;
    assert!(
        server
            .command(&["XLEN", "events"])
            .trim()
            .parse::<u64>()
            .unwrap()
            >= 2
    );
}

#[tokio::test]
async fn a_key_of_another_kind_and_a_wrong_password_are_told() {
    let server = RedisServer::start(None);
    let definition = definition(server.port(), None);
    drop(server.command(&["SET", "events", "x"]));
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Rejected, true),
        "{error}"
    );
    refuses_wrong_passwords(&definition).await;
}

#[tokio::test]
async fn certificates_are_checked() {
    let (certificate, key) = certificate();
    let tls = Certificate {
        certificate: &certificate,
        key: &key,
    };
    let server = RedisServer::start(Some(tls));
    checks_certificates(&definition(server.port(), Some(&certificate))).await;
}

#[test]
fn faults_name_their_field() {
    let good = definition(6379, None);
    for (field, value, pointer) in [
        ("stream", json!(""), "/stream"),
        ("stream", json!("{{ x"), "/stream"),
        ("maxLength", json!(0), "/maxLength"),
        ("password", Value::Null, "/password"),
        ("database", json!(-1), "/database"),
    ] {
        let error = try_open(&with(&good, field, value)).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
    }
}
