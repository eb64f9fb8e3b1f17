//! One event on its way to one target.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use factum_model::{EventId, InvalidEventId, RecordedEvent};

/// The identity of a delivery: the same at every attempt, so that a receiver can tell a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(EventId);

impl DeliveryId {
    /// Returns the id of the delivery of an event to a target of a rule.
    #[must_use]
    pub fn of(event: EventId, rule: &str, target: &str) -> Self {
        let event = event.to_string();
        Self(EventId::derived(&["delivery", &event, rule, target]))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        text.parse().map(Self)
    }
}

/// One attempt to deliver an event to a target.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The identity, which attempts share.
    pub id: DeliveryId,
    /// What is delivered.
    pub event: RecordedEvent,
    /// The name of the rule that sends it.
    pub rule: String,
    /// The name of the target within the rule.
    pub target: String,
    /// Which attempt this is; the first is 1.
    pub attempt: NonZeroU32,
}

impl Delivery {
    /// Makes the first attempt of a delivery.
    #[must_use]
    pub fn first(event: RecordedEvent, rule: &str, target: &str) -> Self {
        Self {
            id: DeliveryId::of(event.id, rule, target),
            event,
            rule: rule.to_owned(),
            target: target.to_owned(),
            attempt: NonZeroU32::MIN,
        }
    }

    /// Makes a later attempt of the same delivery.
    #[must_use]
    pub const fn with_attempt(mut self, attempt: NonZeroU32) -> Self {
        self.attempt = attempt;
        self
    }
}

/// What a target said when it took an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivered {
    /// The status of the answer, where the protocol has one.
    pub status: Option<u16>,
    /// The beginning of the answer, as text.
    pub excerpt: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_depends_on_event_rule_and_target_alone() {
        let event = EventId::from_bytes([7; 16]);
        let id = DeliveryId::of(event, "rule", "crm");
        assert_eq!(id, DeliveryId::of(event, "rule", "crm"));
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            DeliveryId::of(EventId::from_bytes([8; 16]), "rule", "crm"),
            DeliveryId::of(event, "rulec", "rm"),
            DeliveryId::of(event, "rule", "mail"),
        ] {
            assert_ne!(id, other);
        }
    }
}
