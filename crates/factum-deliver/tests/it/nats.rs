//! NATS JetStream.

use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions};
use factum_engine::{BreakerState, ErrorClass};
use factum_testkit::servers::{Certificate, NatsServer};
use serde_json::{Value, json};

use crate::brokers::{refuses_wrong_passwords, server, survives_a_crash, with};
use crate::support::{certificate, deliver, delivery, open, open_beside, try_open};

fn definition(port: u16, authority: Option<&str>) -> Value {
    json!({
        "type": "nats",
        "server": server(port, authority),
        "username": NatsServer::USER,
        "password": NatsServer::PASSWORD,
        "subject": "events.{{ aggregateType }}.{{ aggregateId }}",
        "limits": {"timeoutMs": 5000},
    })
}

async fn client(server: &NatsServer) -> Client {
    let (user, password) = (NatsServer::USER.into(), NatsServer::PASSWORD.into());
    let options = ConnectOptions::with_user_and_password(user, password);
    let url = format!("nats://127.0.0.1:{}", server.port());
    options.connect(url).await.unwrap()
}

async fn stream(client: &Client) -> stream::Stream {
    let streams = jetstream::new(client.clone());
    let config = stream::Config {
        name: "EVENTS".to_owned(),
        subjects: vec!["events.>".to_owned()],
        ..stream::Config::default()
    };
    streams.get_or_create_stream(config).await.unwrap()
}

#[tokio::test]
async fn events_stand_in_the_stream_once() {
    let server = NatsServer::start(None);
    let stream = stream(&client(&server).await).await;
    let target = open(&definition(server.port(), None));
    for number in [1, 2, 3, 2] {
        let delivered = deliver(&*target, number).await.unwrap();
        assert!(delivered.excerpt.unwrap().starts_with("stream EVENTS"));
    }
    let info = stream.get_info().await.unwrap();
    // The repeat of the second was seen as one.
    assert_eq!(info.state.messages, 3);
    let message = stream.get_raw_message(2).await.unwrap();
    assert_eq!(message.subject.as_str(), "events.form.f-1");
    let id = message.headers.get("Nats-Msg-Id").unwrap();
    assert_eq!(id.as_str(), delivery(2).id.to_string());
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(event["id"], delivery(2).event.id.to_string());
}

#[tokio::test]
async fn a_server_that_crashes_is_connected_to_again() {
    let server = NatsServer::start(None);
    stream(&client(&server).await).await;
    let definition = definition(server.port(), None);
    survives_a_crash(&definition, server, NatsServer::kill, NatsServer::resume).await;
}

#[tokio::test]
async fn a_subject_of_no_stream_and_a_wrong_password_are_told() {
    let server = NatsServer::start(None);
    let definition = definition(server.port(), None);
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Rejected, true),
        "{error}"
    );
    refuses_wrong_passwords(&definition).await;
}

/// Who may not publish is told nothing either; that must not close the way for who may.
#[tokio::test]
async fn a_subject_that_nobody_acknowledges_closes_the_way_for_no_other() {
    let server = NatsServer::start(None);
    let client = client(&server).await;
    stream(&client).await;
    let config = stream::Config {
        name: "SILENT".to_owned(),
        subjects: vec!["silent.>".to_owned()],
        no_ack: true,
        ..stream::Config::default()
    };
    let streams = jetstream::new(client);
    streams.create_stream(config).await.unwrap();
    let mut right = definition(server.port(), None);
    right["limits"] = json!({"timeoutMs": 500, "breaker": {"failuresMax": 2}});
    let silent = with(&right, "subject", json!("silent.form"));
    let [right, silent] = open_beside(&[right, silent]).try_into().unwrap();
    deliver(&*right, 1).await.unwrap();
    for number in 0..2 {
        let error = deliver(&*silent, number).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout, "{error}");
    }
    let error = deliver(&*silent, 3).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::BreakerOpen, "{error}");
    deliver(&*right, 2).await.unwrap();
    let endpoint = right.state().endpoint.unwrap();
    assert_eq!(
        (endpoint.breaker, endpoint.n_targets),
        (BreakerState::Closed, 2)
    );
}

#[tokio::test]
async fn certificates_are_checked() {
    let (certificate, key) = certificate();
    let tls = Certificate {
        certificate: &certificate,
        key: &key,
    };
    let server = NatsServer::start(Some(tls));
    let definition = definition(server.port(), Some(&certificate));
    // There is no stream, but to be told so the target must be connected.
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected, "{error}");
    let mut other = definition.clone();
    other["server"]["caCertificates"] = crate::support::certificate().0.into();
    let error = deliver(&*open(&other), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
}

#[test]
fn faults_name_their_field() {
    let good = definition(4222, None);
    for (field, value, pointer) in [
        ("subject", json!("a.>"), "/subject"),
        ("subject", json!("{{ x"), "/subject"),
        ("token", json!("t"), "/username"),
        ("server", json!({"host": "10.0.0.1"}), "/server/host"),
        ("server", json!({"host": "0x7f.1"}), "/server/host"),
        (
            "server",
            json!({"host": "localhost", "port": 0}),
            "/server/port",
        ),
    ] {
        let error = try_open(&with(&good, field, value)).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
    }
}
