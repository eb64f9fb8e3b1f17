//! One number for a whole log. What goes into it is in `docs/format/digest.md`.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use factum_model::{EventId, RecordedEvent};

const TITLE: &[u8] = b"factum log digest 1\n";

const TIMESTAMP_ASSIGNED: u8 = 1;
const CORRELATION_INHERITED: u8 = 2;
const CAUSATION: u8 = 4;
const CORRELATION: u8 = 8;

/// The digest of the first events of a log: SHA-256 over every field and byte of each, in order.
#[derive(Clone)]
pub struct LogDigest {
    hash: Context,
    n_events: u64,
}

/// A finished digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    /// Writes it in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl LogDigest {
    /// Begins with no event.
    #[must_use]
    pub fn new() -> Self {
        let mut hash = Context::new(&SHA256);
        hash.update(TITLE);
        Self { hash, n_events: 0 }
    }

    /// Adds the next event.
    pub fn add(&mut self, event: &RecordedEvent) {
        let origin = event.origin;
        let correlation_id = event.correlation_id();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(origin.timestamp_assigned, TIMESTAMP_ASSIGNED)
            | flag(origin.correlation_inherited, CORRELATION_INHERITED)
            | flag(event.causation_id.is_some(), CAUSATION)
            | flag(correlation_id.is_some(), CORRELATION);
        let no_id = EventId::from_bytes([0; 16]);
        self.hash.update(&event.position.get().to_le_bytes());
        self.hash.update(&event.sequence_number.get().to_le_bytes());
        self.hash
            .update(&event.recorded_at.as_micros().to_le_bytes());
        self.hash.update(&event.timestamp.as_micros().to_le_bytes());
        self.hash.update(&event.schema_version.get().to_le_bytes());
        self.hash.update(&[flags]);
        self.hash.update(event.id.as_bytes());
        self.hash
            .update(event.causation_id.unwrap_or(no_id).as_bytes());
        for text in [
            event.event_type(),
            event.aggregate_type(),
            event.aggregate_id(),
            correlation_id.unwrap_or_default(),
            event.metadata(),
            event.payload(),
        ] {
            self.hash.update(&(text.len() as u64).to_le_bytes());
            self.hash.update(text.as_bytes());
        }
        self.n_events += 1;
    }

    /// Returns how many events were added.
    #[must_use]
    pub const fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Returns the digest of what was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        let digest = self.hash.finish();
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Digest(bytes)
    }
}

impl Default for LogDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LogDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDigest")
            .field("n_events", &self.n_events)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use factum_model::{
        EventOrigin, Position, RecordedFields, SchemaVersion, SequenceNumber, Timestamp,
    };

    use super::*;

    fn fields() -> RecordedFields<'static> {
        RecordedFields {
            id: EventId::from_bytes([1; 16]),
            position: Position::FIRST,
            sequence_number: SequenceNumber::FIRST,
            recorded_at: Timestamp::from_micros(2).unwrap(),
            timestamp: Timestamp::from_micros(1).unwrap(),
            schema_version: SchemaVersion::FIRST,
            origin: EventOrigin::default(),
            causation_id: None,
            event_type: "a.b",
            aggregate_type: "a",
            aggregate_id: "1",
            correlation_id: None,
            metadata: "{}",
            payload: r#"{"n":1.0}"#,
        }
    }

    fn digest(fields: RecordedFields<'_>) -> String {
        let mut digest = LogDigest::new();
        digest.add(&RecordedEvent::new(fields));
        digest.finish().to_string()
    }

    #[test]
    fn the_digest_is_that_of_the_page_in_docs() {
        // Worked out by the program in the page, apart from this code.
        let empty = "f3239ab811aee51c7de4b571077e5ad4cc242ea5403a4811ade926f1ab9e0aeb";
        assert_eq!(LogDigest::new().finish().to_string(), empty);
        let one = "bc61f875a08202af2471ce7afb1b6f7f2716865f557a65fb16bfc5f3c70e0eed";
        assert_eq!(digest(fields()), one);
    }

    #[test]
    fn every_field_and_byte_counts() {
        let second = Timestamp::from_micros(9).unwrap();
        let origin = |timestamp_assigned, correlation_inherited| EventOrigin {
            timestamp_assigned,
            correlation_inherited,
        };
        let id = EventId::from_bytes([2; 16]);
        let plain = fields;
        let others = [
            RecordedFields { id, ..plain() },
            RecordedFields {
                position: Position::FIRST.next(),
                ..plain()
            },
            RecordedFields {
                sequence_number: SequenceNumber::FIRST.next(),
                ..plain()
            },
            RecordedFields {
                recorded_at: second,
                ..plain()
            },
            RecordedFields {
                timestamp: second,
                ..plain()
            },
            RecordedFields {
                schema_version: SchemaVersion::new(2).unwrap(),
                ..plain()
            },
            RecordedFields {
                origin: origin(true, false),
                ..plain()
            },
            RecordedFields {
                origin: origin(false, true),
                ..plain()
            },
            RecordedFields {
                causation_id: Some(EventId::from_bytes([0; 16])),
                ..plain()
            },
            RecordedFields {
                event_type: "a.ba",
                aggregate_type: "",
                ..plain()
            },
            RecordedFields {
                aggregate_type: "a1",
                aggregate_id: "",
                ..plain()
            },
            RecordedFields {
                correlation_id: Some(""),
                ..plain()
            },
            RecordedFields {
                metadata: "{ }",
                ..plain()
            },
            RecordedFields {
                payload: r#"{"n":1}"#,
                ..plain()
            },
        ];
        let mut digests: Vec<_> = others.into_iter().map(digest).collect();
        digests.push(digest(plain()));
        let n_digests = digests.len();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), n_digests);
    }
}
