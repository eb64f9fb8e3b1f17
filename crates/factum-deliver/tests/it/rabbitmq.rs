//! RabbitMQ.

use factum_engine::ErrorClass;
use factum_testkit::servers::{Certificate, RabbitMqServer};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};

use crate::brokers::{refuses_wrong_passwords, server, survives_a_crash, with};
use crate::support::{certificate, deliver, delivery, open, try_open};

fn definition(port: u16, authority: Option<&str>) -> Value {
    json!({
        "type": "rabbitmq",
        "server": server(port, authority),
        "username": RabbitMqServer::USER,
        "password": RabbitMqServer::PASSWORD,
        "routingKey": "events",
        "limits": {"timeoutMs": 20_000},
    })
}

/// Declares the queue, durable as the messages are.
async fn queue(port: u16) -> (Connection, Channel) {
    let (user, password) = (RabbitMqServer::USER, RabbitMqServer::PASSWORD);
    let url = format!("amqp://{user}:{password}@127.0.0.1:{port}/%2f");
    let connection = Connection::connect(&url, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("events".into(), options, FieldTable::default());
    declared.await.unwrap();
    (connection, channel)
}

/// One server for what does not break it, since it takes seconds to start.
#[tokio::test]
async fn events_are_confirmed_messages() {
    let server = RabbitMqServer::start(None);
    let definition = definition(server.port(), None);
    // Without a queue, a message comes back.
    let target = open(&definition);
    let error = deliver(&*target, 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Rejected, true),
        "{error}"
    );
    assert!(error.message.contains("no queue"), "{error}");
    let (_connection, channel) = queue(server.port()).await;
    for number in 1..=3 {
        deliver(&*target, number).await.unwrap();
    }
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer =
        channel.basic_consume("events".into(), "".into(), options, FieldTable::default());
    let mut consumer = consumer.await.unwrap();
    for number in 1..=3 {
        let message = consumer.next().await.unwrap().unwrap();
        let properties = &message.properties;
        let id = properties.message_id().as_ref().unwrap();
        assert_eq!(id.as_str(), delivery(number).id.to_string());
        assert_eq!(properties.delivery_mode(), &Some(2));
        assert_eq!(properties.kind().as_ref().unwrap().as_str(), "form.opened");
        let event: Value = serde_json::from_slice(&message.data).unwrap();
        assert_eq!(event["id"], delivery(number).event.id.to_string());
    }
    refuses_wrong_passwords(&definition).await;
    // An exchange that is not there closes the channel; the next attempt has another.
    let nowhere = open(&with(&definition, "exchange", json!("nowhere")));
    for _ in 0..2 {
        let error = deliver(&*nowhere, 1).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Rejected, "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_crashes_is_connected_to_again() {
    let server = RabbitMqServer::start(None);
    drop(queue(server.port()).await);
    let definition = definition(server.port(), None);
    let (kill, resume) = (RabbitMqServer::kill, RabbitMqServer::resume);
    survives_a_crash(&definition, server, kill, resume).await;
}

#[tokio::test]
async fn certificates_are_checked() {
    let (certificate, key) = certificate();
    let tls = Certificate {
        certificate: &certificate,
        key: &key,
    };
    let server = RabbitMqServer::start(Some(tls));
    let definition = definition(server.port(), Some(&certificate));
    // There is no queue, but to be told so the target must be connected.
    let error = deliver(&*open(&definition), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Rejected, "{error}");
    let mut other = definition.clone();
    other["server"]["caCertificates"] = crate::support::certificate().0.into();
    let error = deliver(&*open(&other), 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls, "{error}");
}

#[test]
fn faults_name_their_field() {
    let good = definition(5672, None);
    let long = "x".repeat(256);
    for (field, value, pointer) in [
        ("exchange", json!(long), "/exchange"),
        ("routingKey", json!(long), "/routingKey"),
        ("routingKey", json!("{{ x"), "/routingKey"),
        ("password", json!(""), "/password"),
    ] {
        let error = try_open(&with(&good, field, value)).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
    }
}
