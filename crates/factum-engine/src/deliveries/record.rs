//! A delivery on record: what was sent, and what came of each attempt.

use std::fmt;
use std::str::FromStr;

use factum_model::{EventId, Position, RecordedEvent, Timestamp};
use factum_store::{InvalidStateName, RecordId, RecordKey, RecordKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::deliver::DeliveryId;

/// The kind of the records of deliveries.
pub(super) const DELIVERIES: &str = "delivery";
/// The kind of the records of dead letters.
pub(super) const DEAD_LETTERS: &str = "dead-letter";

/// Names a delivery and, if it has died, its dead letter. Keys are ordered as events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Where the event stands.
    pub position: Position,
    /// The identity of the delivery, as the receiver sees it.
    pub id: DeliveryId,
}

/// A text does not name a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not the id of a delivery: a position, a dot and a UUID")]
pub struct InvalidDeliveryKey;

impl DeliveryKey {
    pub(super) fn of(event: &RecordedEvent, rule: &str, target: &str) -> Self {
        Self {
            position: event.position,
            id: DeliveryId::of(event.id, rule, target),
        }
    }

    pub(super) fn key(self) -> Result<RecordKey, InvalidStateName> {
        format!("{:020}.{}", self.position.get(), self.id).parse()
    }

    pub(super) fn record(self, kind: &'static str) -> Result<RecordId, InvalidStateName> {
        let kind: RecordKind = kind.parse()?;
        Ok(RecordId::new(kind, self.key()?))
    }
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.position, self.id)
    }
}

impl FromStr for DeliveryKey {
    type Err = InvalidDeliveryKey;

    fn from_str(text: &str) -> Result<Self, InvalidDeliveryKey> {
        let (position, id) = text.split_once('.').ok_or(InvalidDeliveryKey)?;
        let is_number = position.len() <= 20 && position.bytes().all(|byte| byte.is_ascii_digit());
        let position = position.parse().ok().filter(|_| is_number);
        Ok(Self {
            position: position.and_then(Position::new).ok_or(InvalidDeliveryKey)?,
            id: id.parse().map_err(|_| InvalidDeliveryKey)?,
        })
    }
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// The target has it.
    Delivered,
    /// The last attempt failed, and another one is set.
    Retrying,
    /// It has become a dead letter.
    Dead,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retrying, Self::Dead];

    /// Returns the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Dead => "dead",
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Which one it was; the first is 1.
    pub number: u32,
    /// When it began, in microseconds since 1970.
    pub at_micros: i64,
    /// How long it took.
    pub duration_ms: u64,
    /// The status of the answer, where the protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The kind of failure; `None` when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// What happened, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl Attempt {
    /// Returns when it began.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at_micros).unwrap_or(Timestamp::MAX)
    }
}

/// A delivery on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    /// The identity of the delivery, as the receiver sees it.
    pub delivery_id: String,
    /// The event.
    pub event_id: String,
    /// Where it stands.
    pub position: u64,
    /// Its type.
    pub event_type: String,
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// Its aggregate.
    pub aggregate_id: String,
    /// The rule that sends it.
    pub rule: String,
    /// The target of the rule.
    pub target: String,
    /// How it stands.
    pub status: DeliveryStatus,
    /// How many attempts were made.
    pub attempts_made: u32,
    /// The attempts, as far as they are kept: the first and the last ones.
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_micros: Option<i64>,
}

impl DeliveryRecord {
    pub(super) fn new(event: &RecordedEvent, rule: &str, target: &str) -> Self {
        Self {
            delivery_id: DeliveryId::of(event.id, rule, target).to_string(),
            event_id: event.id.to_string(),
            position: event.position.get(),
            event_type: event.event_type().to_owned(),
            aggregate_type: event.aggregate_type().to_owned(),
            aggregate_id: event.aggregate_id().to_owned(),
            rule: rule.to_owned(),
            target: target.to_owned(),
            status: DeliveryStatus::Retrying,
            attempts_made: 0,
            attempts: Vec::new(),
            next_attempt_micros: None,
        }
    }

    /// Returns what names it.
    #[must_use]
    pub fn key(&self) -> Option<DeliveryKey> {
        Some(DeliveryKey {
            position: Position::new(self.position)?,
            id: self.delivery_id.parse().ok()?,
        })
    }

    /// Returns the id of the event.
    #[must_use]
    pub fn event(&self) -> Option<EventId> {
        self.event_id.parse().ok()
    }

    /// Adds an attempt; of more than may be kept those in the middle go.
    pub(super) fn push(&mut self, attempt: Attempt, kept_max: usize) {
        self.attempts_made = attempt.number;
        self.attempts.push(attempt);
        while self.attempts.len() > kept_max.max(2) {
            self.attempts.remove(1);
        }
    }
}

/// Cuts a text to a number of bytes, between two characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written_and_ordered_as_events_are() {
        let key = |number| DeliveryKey {
            position: Position::new(number).unwrap(),
            id: DeliveryId::of(EventId::from_bytes([1; 16]), "rule", "crm"),
        };
        for number in [1, 10, u64::MAX] {
            assert_eq!(key(number).to_string().parse(), Ok(key(number)));
        }
        assert!(key(9).key().unwrap() < key(10).key().unwrap());
        for wrong in [
            "",
            "1",
            "1.",
            "0.01234567-89ab-cdef-0123-456789abcdef",
            "+1.x",
            "a.b",
        ] {
            assert_eq!(
                wrong.parse::<DeliveryKey>(),
                Err(InvalidDeliveryKey),
                "{wrong}"
            );
        }
    }

    /// As docs/format/deliveries.md says. What was written so is read for ever.
    #[test]
    fn the_format_stays() {
        let text = concat!(
            r#"{"deliveryId":"01234567-89ab-5def-8123-456789abcdef","#,
            r#""eventId":"01234567-89ab-7def-8123-456789abcdef","position":7,"eventType":"a.b","#,
            r#""aggregateType":"form","aggregateId":"f-1","rule":"r","target":"t","#,
            r#""status":"retrying","attemptsMade":2,"attempts":[{"number":1,"atMicros":5,"#,
            r#""durationMs":3,"status":503,"errorClass":"rejected","error":"status 503","#,
            r#""excerpt":"down"},{"number":2,"atMicros":6,"durationMs":4}],"nextAttemptMicros":9}"#,
        );
        let record: DeliveryRecord = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let key = record.key().unwrap().key().unwrap();
        let expected = "00000000000000000007.01234567-89ab-5def-8123-456789abcdef";
        assert_eq!(key.as_str(), expected);
        assert_eq!(record.attempts[0].status, Some(503));
        // A later release may say more of it.
        let more = text.replace(r#""rule":"r""#, r#""rule":"r","more":[1]"#);
        assert_eq!(
            serde_json::from_str::<DeliveryRecord>(&more).unwrap(),
            record
        );
    }

    #[test]
    fn the_first_and_the_last_attempts_are_kept() {
        let mut record = DeliveryRecord {
            delivery_id: String::new(),
            event_id: String::new(),
            position: 1,
            event_type: String::new(),
            aggregate_type: String::new(),
            aggregate_id: String::new(),
            rule: String::new(),
            target: String::new(),
            status: DeliveryStatus::Retrying,
            attempts_made: 0,
            attempts: Vec::new(),
            next_attempt_micros: None,
        };
        for number in 1..=6 {
            let attempt = Attempt {
                number,
                at_micros: 0,
                duration_ms: 0,
                status: None,
                error_class: None,
                error: None,
                excerpt: None,
            };
            record.push(attempt, 3);
        }
        let kept: Vec<u32> = record
            .attempts
            .iter()
            .map(|attempt| attempt.number)
            .collect();
        assert_eq!((record.attempts_made, kept), (6, vec![1, 5, 6]));
    }
}
