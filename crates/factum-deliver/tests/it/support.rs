//! What the tests share: events, targets, names that resolve as a test wants, certificates.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum_deliver::{BuiltInTargets, DeliverLimits, Guard, Resolver, SystemResolver};
use factum_engine::{
    Deliver, DeliverError, Delivered, Delivery, InvalidTarget, Targets as _, Vault, VaultError,
};
use factum_model::{
    EventId, EventOrigin, Position, RecordedEvent, RecordedFields, SchemaVersion, SequenceNumber,
    SystemClock, Timestamp,
};
use factum_store::BoxFuture;
use serde_json::Value;

/// Returns the first attempt at the event with a number.
pub(crate) fn delivery(number: u64) -> Delivery {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let event = RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes(id),
        position: Position::new(number + 1).unwrap(),
        sequence_number: SequenceNumber::new(number + 1).unwrap(),
        recorded_at: Timestamp::from_micros(20).unwrap(),
        timestamp: Timestamp::from_micros(10).unwrap(),
        schema_version: SchemaVersion::FIRST,
        origin: EventOrigin::default(),
        causation_id: None,
        event_type: "form.opened",
        aggregate_type: "form",
        aggregate_id: "f-1",
        correlation_id: None,
        metadata: r#"{"userId":"ann"}"#,
        payload: r#"{"name": "Ann Ä", "to": "ann@example.com"}"#,
    });
    Delivery::first(event, "rule", "target")
}

/// Keeps secrets as they are, in hexadecimal.
#[derive(Debug)]
struct Clear;

impl Vault for Clear {
    fn seal(&self, secret: &[u8], _: &str) -> Result<String, VaultError> {
        Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn open(&self, sealed: &str, _: &str) -> Result<Vec<u8>, VaultError> {
        let byte = |at: usize| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap();
        Ok((0..sealed.len()).step_by(2).map(byte).collect())
    }

    fn is_current(&self, _: &str) -> bool {
        true
    }
}

pub(crate) fn targets_with(allowed: &[&str], resolver: Arc<dyn Resolver>) -> BuiltInTargets {
    let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
    BuiltInTargets::new(
        Guard::new(allowed, resolver),
        Arc::new(Clear),
        Arc::new(SystemClock),
        DeliverLimits::default(),
    )
}

/// Makes a target that may reach this machine.
pub(crate) fn open(definition: &Value) -> Arc<dyn Deliver> {
    try_open(definition).unwrap()
}

/// Makes targets of one node, so that they share their endpoints.
pub(crate) fn open_beside(definitions: &[Value]) -> Vec<Arc<dyn Deliver>> {
    let targets = targets_with(&["127.0.0.0/8", "localhost"], Arc::new(SystemResolver));
    let open = |definition: &Value| {
        let stored = targets.accept(&definition.to_string(), None).unwrap();
        targets.open(&stored).unwrap()
    };
    definitions.iter().map(open).collect()
}

pub(crate) fn try_open(definition: &Value) -> Result<Arc<dyn Deliver>, InvalidTarget> {
    let targets = targets_with(&["127.0.0.0/8", "localhost"], Arc::new(SystemResolver));
    targets.open(&targets.accept(&definition.to_string(), None)?)
}

/// Tries to deliver the event with a number.
pub(crate) async fn deliver(target: &dyn Deliver, number: u64) -> Result<Delivered, DeliverError> {
    target.deliver(&delivery(number)).await
}

/// Answers with the next of several lists of addresses for a name, the last one from then on, and
/// counts how often it was asked.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<usize>,
}

impl Names {
    /// Each answer is a list of addresses with spaces between them.
    pub(crate) fn of(names: &[(&str, &[&str])]) -> Arc<Self> {
        let list = |answer: &&str| {
            let addresses = answer.split(' ').map(|text| text.parse().unwrap());
            addresses.collect()
        };
        let answers = names.iter().map(|(name, answers)| {
            let answers = answers.iter().map(list).collect();
            ((*name).to_owned(), answers)
        });
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: Mutex::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        *self.asked.lock().unwrap() += 1;
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.get_mut(name).map(|answers| {
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            }
        });
        Box::pin(async move { answer.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

/// Tries to deliver until it works, as a runner does, for at most a minute.
pub(crate) async fn deliver_at_last(target: &dyn Deliver, number: u64) {
    let tries = async {
        while deliver(target, number).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), tries).await;
    assert!(done.is_ok(), "event {number} is not taken");
}

/// Returns a certificate for this machine that signs itself, and its key, as PEM.
pub(crate) fn certificate() -> (String, String) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}
