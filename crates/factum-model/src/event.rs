//! The event: as a writer proposes it, and as the store recorded it.

use std::fmt;
use std::num::NonZeroU32;

use bytestring::ByteString;

use crate::id::EventId;
use crate::json::JsonObject;
use crate::name::{AggregateId, AggregateType, CorrelationId, EventType, StreamId};
use crate::position::{Position, SequenceNumber};
use crate::time::Timestamp;

/// The version of the shape of a payload, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion(NonZeroU32);

impl SchemaVersion {
    /// The version of an event that names none.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Returns the version with this number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns the number, which is at least 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for SchemaVersion {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event as a writer proposes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The identity; the store assigns a UUID of version 7 where there is none. A writer that
    /// wants to repeat a request safely chooses the id itself.
    pub id: Option<EventId>,
    /// What happened.
    pub event_type: EventType,
    /// The shape of the payload.
    pub schema_version: SchemaVersion,
    /// When it happened; the time of recording where the writer does not say.
    pub timestamp: Option<Timestamp>,
    /// The aggregate it happened to.
    pub stream: StreamId,
    /// The event that caused this one.
    pub causation_id: Option<EventId>,
    /// The conversation it belongs to; inherited from the cause where the writer does not say.
    pub correlation_id: Option<CorrelationId>,
    /// Context, kept byte for byte.
    pub metadata: JsonObject,
    /// The fact itself, kept byte for byte.
    pub payload: JsonObject,
}

impl NewEvent {
    /// Proposes an event with everything optional left to the store.
    #[must_use]
    pub const fn new(event_type: EventType, stream: StreamId, payload: JsonObject) -> Self {
        Self {
            id: None,
            event_type,
            schema_version: SchemaVersion::FIRST,
            timestamp: None,
            stream,
            causation_id: None,
            correlation_id: None,
            metadata: JsonObject::empty(),
            payload,
        }
    }
}

/// What the store added to the writer's words, so that a repeated request can be told from
/// another one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventOrigin {
    /// The writer gave no timestamp.
    pub timestamp_assigned: bool,
    /// The writer gave no correlation id, and the cause had one.
    pub correlation_inherited: bool,
}

/// The fields of a recorded event, borrowed; what [`RecordedEvent::new`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct RecordedFields<'a> {
    /// The identity.
    pub id: EventId,
    /// The place in the log.
    pub position: Position,
    /// The place in the stream.
    pub sequence_number: SequenceNumber,
    /// When the store accepted it.
    pub recorded_at: Timestamp,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The shape of the payload.
    pub schema_version: SchemaVersion,
    /// What the store added.
    pub origin: EventOrigin,
    /// The event that caused this one.
    pub causation_id: Option<EventId>,
    /// What happened.
    pub event_type: &'a str,
    /// The kind of aggregate.
    pub aggregate_type: &'a str,
    /// The aggregate.
    pub aggregate_id: &'a str,
    /// The conversation it belongs to.
    pub correlation_id: Option<&'a str>,
    /// Context.
    pub metadata: &'a str,
    /// The fact itself.
    pub payload: &'a str,
}

/// An event as the store recorded it. Cloning is cheap: the texts are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The identity.
    pub id: EventId,
    /// The place in the log.
    pub position: Position,
    /// The place in the stream.
    pub sequence_number: SequenceNumber,
    /// When the store accepted it; never decreases as `position` grows.
    pub recorded_at: Timestamp,
    /// When it happened, by the writer's clock.
    pub timestamp: Timestamp,
    /// The shape of the payload.
    pub schema_version: SchemaVersion,
    /// What the store added to the writer's words.
    pub origin: EventOrigin,
    /// The event that caused this one.
    pub causation_id: Option<EventId>,
    /// Type, aggregate type, aggregate id, correlation id, metadata and payload, one after the
    /// other.
    text: ByteString,
    /// Where each of the first five texts ends.
    ends: [u32; 5],
    has_correlation: bool,
}

impl RecordedEvent {
    /// Makes an event out of its fields, copying the texts into one buffer.
    #[must_use]
    pub fn new(fields: RecordedFields<'_>) -> Self {
        let correlation_id = fields.correlation_id.unwrap_or_default();
        let texts = [
            fields.event_type,
            fields.aggregate_type,
            fields.aggregate_id,
            correlation_id,
            fields.metadata,
            fields.payload,
        ];
        let text = ByteString::from(texts.concat());
        let lengths = [
            texts[0].len(),
            texts[1].len(),
            texts[2].len(),
            texts[3].len(),
            texts[4].len(),
        ];
        Self::from_shared(fields, text, lengths)
    }

    /// Makes an event whose texts already stand in one shared buffer: type, aggregate type,
    /// aggregate id, correlation id (empty for none), metadata and payload, of which `lengths`
    /// gives the first five lengths. The texts in `fields` are not looked at, but for whether
    /// there is a correlation id.
    #[must_use]
    pub fn from_shared(fields: RecordedFields<'_>, text: ByteString, lengths: [usize; 5]) -> Self {
        let mut ends = [0; 5];
        let mut end = 0_usize;
        for (slot, length) in ends.iter_mut().zip(lengths) {
            end += length;
            *slot = u32::try_from(end).unwrap_or(u32::MAX);
        }
        Self {
            id: fields.id,
            position: fields.position,
            sequence_number: fields.sequence_number,
            recorded_at: fields.recorded_at,
            timestamp: fields.timestamp,
            schema_version: fields.schema_version,
            origin: fields.origin,
            causation_id: fields.causation_id,
            text,
            ends,
            has_correlation: fields.correlation_id.is_some(),
        }
    }

    fn part(&self, index: usize) -> &str {
        let bound = |index: usize| {
            self.ends
                .get(index)
                .map_or(self.text.len(), |&end| end as usize)
        };
        let start = if index == 0 { 0 } else { bound(index - 1) };
        self.text.get(start..bound(index)).unwrap_or_default()
    }

    /// Returns what happened.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.part(0)
    }

    /// Returns the kind of aggregate it happened to.
    #[must_use]
    pub fn aggregate_type(&self) -> &str {
        self.part(1)
    }

    /// Returns the aggregate it happened to.
    #[must_use]
    pub fn aggregate_id(&self) -> &str {
        self.part(2)
    }

    /// Returns the conversation it belongs to.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.has_correlation.then(|| self.part(3))
    }

    /// Returns the metadata, byte for byte as they came.
    #[must_use]
    pub fn metadata(&self) -> &str {
        self.part(4)
    }

    /// Returns the payload, byte for byte as it came.
    #[must_use]
    pub fn payload(&self) -> &str {
        self.part(5)
    }

    /// Returns how many bytes its texts take, a measure of its size in memory.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Returns the event with a buffer of its own, which holds no more than its texts.
    #[must_use]
    pub fn into_owned(mut self) -> Self {
        self.text = ByteString::from(&*self.text);
        self
    }

    /// Tells whether the event is of this stream.
    #[must_use]
    pub fn is_of(&self, stream: &StreamId) -> bool {
        self.aggregate_id() == stream.aggregate_id.as_str()
            && self.aggregate_type() == stream.aggregate_type.as_str()
    }

    /// Tells whether `proposed` says the same as the request that this event was recorded for:
    /// every field that it gives is the same, and what it leaves out was left out then too.
    ///
    /// An event that was read and is proposed as it came, with the timestamp that the store had
    /// assigned, is a repeat as well.
    #[must_use]
    pub fn is_repeated_by(&self, proposed: &NewEvent) -> bool {
        let same_timestamp = match proposed.timestamp {
            Some(timestamp) => timestamp == self.timestamp,
            None => self.origin.timestamp_assigned,
        };
        let same_correlation = match &proposed.correlation_id {
            Some(id) => self.correlation_id() == Some(id.as_str()),
            None => self.correlation_id().is_none() || self.origin.correlation_inherited,
        };
        self.is_of(&proposed.stream)
            && proposed.id.is_none_or(|id| id == self.id)
            && self.event_type() == proposed.event_type.as_str()
            && self.schema_version == proposed.schema_version
            && self.causation_id == proposed.causation_id
            && same_timestamp
            && same_correlation
            && self.metadata() == proposed.metadata.as_str()
            && self.payload() == proposed.payload.as_str()
    }

    /// Returns the stream the event is of.
    ///
    /// # Errors
    /// [`crate::InvalidName`] when the stored names break the rules, which no store writes.
    pub fn stream(&self) -> Result<StreamId, crate::InvalidName> {
        let aggregate_type: AggregateType = self.aggregate_type().parse()?;
        let aggregate_id: AggregateId = self.aggregate_id().parse()?;
        Ok(StreamId::new(aggregate_type, aggregate_id))
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("position", &self.position.get())
            .field(
                "stream",
                &format_args!("{}/{}", self.aggregate_type(), self.aggregate_id()),
            )
            .field("sequence_number", &self.sequence_number.get())
            .field("event_type", &self.event_type())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed() -> NewEvent {
        NewEvent {
            correlation_id: Some("case 7".parse().unwrap()),
            ..NewEvent::new(
                "a.b".parse().unwrap(),
                StreamId::new("form".parse().unwrap(), "f-1".parse().unwrap()),
                JsonObject::parse(r#"{"x":1}"#).unwrap(),
            )
        }
    }

    fn recorded(correlation_id: Option<&str>, origin: EventOrigin) -> RecordedEvent {
        let now = Timestamp::from_micros(5).unwrap();
        RecordedEvent::new(RecordedFields {
            id: EventId::from_bytes([7; 16]),
            position: Position::FIRST,
            sequence_number: SequenceNumber::FIRST,
            recorded_at: now,
            timestamp: now,
            schema_version: SchemaVersion::FIRST,
            origin,
            causation_id: None,
            event_type: "a.b",
            aggregate_type: "form",
            aggregate_id: "f-1",
            correlation_id,
            metadata: "{}",
            payload: r#"{"x":1}"#,
        })
    }

    #[test]
    fn texts_come_back_whole() {
        let event = recorded(Some("case 7"), EventOrigin::default());
        assert_eq!(
            (
                event.event_type(),
                event.aggregate_type(),
                event.aggregate_id()
            ),
            ("a.b", "form", "f-1")
        );
        assert_eq!(event.correlation_id(), Some("case 7"));
        assert_eq!((event.metadata(), event.payload()), ("{}", r#"{"x":1}"#));
        assert_eq!(
            recorded(None, EventOrigin::default()).correlation_id(),
            None
        );
    }

    #[test]
    fn a_repeat_leaves_out_what_the_first_request_left_out() {
        let assigned = EventOrigin {
            timestamp_assigned: true,
            correlation_inherited: false,
        };
        let event = recorded(Some("case 7"), assigned);
        assert!(event.is_repeated_by(&proposed()));
        let as_read = Some(event.timestamp);
        let other_time = Timestamp::from_micros(6);
        assert!(event.is_repeated_by(&NewEvent {
            timestamp: as_read,
            ..proposed()
        }));
        assert!(!event.is_repeated_by(&NewEvent {
            timestamp: other_time,
            ..proposed()
        }));
        assert!(!event.is_repeated_by(&NewEvent {
            correlation_id: None,
            ..proposed()
        }));
        let inherited = EventOrigin {
            correlation_inherited: true,
            ..assigned
        };
        let event = recorded(Some("case 7"), inherited);
        assert!(event.is_repeated_by(&NewEvent {
            correlation_id: None,
            ..proposed()
        }));
        assert!(event.is_repeated_by(&proposed()));
        let other = JsonObject::parse(r#"{"x": 1}"#).unwrap();
        assert!(!event.is_repeated_by(&NewEvent {
            payload: other,
            correlation_id: None,
            ..proposed()
        }));
    }
}
