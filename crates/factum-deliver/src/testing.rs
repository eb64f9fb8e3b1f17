//! What the tests of this crate share.

use std::sync::Arc;

use factum_engine::{Delivery, Vault, VaultError};
use factum_model::{
    EventId, EventOrigin, Position, RecordedEvent, RecordedFields, SchemaVersion, SequenceNumber,
    SystemClock, Timestamp,
};
use rustls::RootCertStore;

use crate::endpoint::Endpoints;
use crate::guard::{Guard, SystemResolver};
use crate::outside::{DeliverLimits, Outside};
use crate::targets::BuiltInTargets;

/// Returns the first attempt at an event of an aggregate.
pub(crate) fn delivery(aggregate_id: &str) -> Delivery {
    let event = RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes([1; 16]),
        position: Position::FIRST.next(),
        sequence_number: SequenceNumber::FIRST,
        recorded_at: Timestamp::from_micros(20).unwrap(),
        timestamp: Timestamp::from_micros(10).unwrap(),
        schema_version: SchemaVersion::FIRST,
        origin: EventOrigin::default(),
        causation_id: None,
        event_type: "form.opened",
        aggregate_type: "form",
        aggregate_id,
        correlation_id: Some("case"),
        metadata: r#"{"userId":"ann"}"#,
        payload: r#"{"x" : 1.0}"#,
    });
    Delivery::first(event, "rule", "target")
}

/// Returns targets that may reach what is allowed.
pub(crate) fn targets(allowed: &[&str]) -> BuiltInTargets {
    targets_with_key(allowed, 7)
}

pub(crate) fn targets_with_key(allowed: &[&str], key: u8) -> BuiltInTargets {
    let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
    BuiltInTargets::new(
        Guard::new(allowed, Arc::new(SystemResolver)),
        Arc::new(Mask(key)),
        Arc::new(SystemClock),
        DeliverLimits::default(),
    )
}

/// Returns what targets need of the world, with endpoints of its own.
pub(crate) fn outside() -> Outside {
    Outside {
        guard: Arc::new(Guard::new(Vec::new(), Arc::new(SystemResolver))),
        vault: Arc::new(Mask(7)),
        clock: Arc::new(SystemClock),
        limits: DeliverLimits::default(),
        endpoints: Endpoints::default(),
        roots: Arc::new(RootCertStore::empty()),
    }
}

/// A vault whose contents cannot be read at a glance, which is all that these tests need.
#[derive(Debug)]
struct Mask(u8);

impl Vault for Mask {
    fn seal(&self, secret: &[u8], context: &str) -> Result<String, VaultError> {
        let bytes = [context.as_bytes(), b"\0", secret].concat();
        Ok(bytes
            .iter()
            .map(|byte| format!("{:02x}", byte ^ self.0))
            .collect())
    }

    fn open(&self, sealed: &str, context: &str) -> Result<Vec<u8>, VaultError> {
        let byte = |at: usize| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap() ^ self.0;
        let bytes: Vec<u8> = (0..sealed.len()).step_by(2).map(byte).collect();
        let secret = bytes.strip_prefix([context.as_bytes(), b"\0"].concat().as_slice());
        secret.map(<[u8]>::to_vec).ok_or_else(|| VaultError {
            message: "was sealed for something else".to_owned(),
            source: None,
        })
    }

    fn is_current(&self, _: &str) -> bool {
        true
    }
}
