//! The bytes of the records of a subscription. docs/format/subscriptions.md describes them.

use factum_model::{EventId, Position, RecordedEvent, Timestamp};
use factum_store::{RecordGroup, RecordKey, StateError};

const VERSION: u8 = 1;
/// Version, failed attempts, instant, event id.
const HEAD_BYTES: usize = 1 + 4 + 8 + 16;
/// The longest cause that is kept, in bytes.
const CAUSE_BYTES_MAX: usize = 1000;

/// An event that was read from the log and is not done with: ready, out, waiting or parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// How many attempts have failed so far.
    pub(super) failed: u32,
    /// When the event was recorded.
    pub(super) recorded_at: Timestamp,
    /// The event, so that a history that was cut off is noticed.
    pub(super) event_id: EventId,
    /// Why the last attempt failed.
    pub(super) cause: String,
}

impl Entry {
    pub(super) const fn of(event: &RecordedEvent) -> Self {
        Self {
            failed: 0,
            recorded_at: event.recorded_at,
            event_id: event.id,
            cause: String::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let cause = shortened(&self.cause);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + cause.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.failed.to_be_bytes());
        bytes.extend_from_slice(&self.recorded_at.as_micros().to_be_bytes());
        bytes.extend_from_slice(self.event_id.as_bytes());
        bytes.extend_from_slice(cause.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (failed, bytes) = bytes.split_first_chunk::<4>()?;
        let (micros, bytes) = bytes.split_first_chunk::<8>()?;
        let (event_id, cause) = bytes.split_first_chunk::<16>()?;
        Some(Self {
            failed: u32::from_be_bytes(*failed),
            recorded_at: Timestamp::from_micros(i64::from_be_bytes(*micros))?,
            event_id: EventId::from_bytes(*event_id),
            cause: std::str::from_utf8(cause).ok()?.to_owned(),
        })
    }
}

/// Cuts a cause to what is kept of it, between two characters.
fn shortened(cause: &str) -> &str {
    let mut end = cause.len().min(CAUSE_BYTES_MAX);
    while !cause.is_char_boundary(end) {
        end -= 1;
    }
    cause.get(..end).unwrap_or_default()
}

/// Returns the key of a position: keys are ordered as positions are.
pub(super) fn key_of(position: Position) -> Result<RecordKey, StateError> {
    let key = format!("{:020}", position.get()).parse();
    key.map_err(|_| StateError::Invalid {
        rule: "a position is no key",
    })
}

/// Returns the position of a key.
pub(super) fn position_of(key: &RecordKey) -> Option<Position> {
    key.as_str().parse().ok().and_then(Position::new)
}

/// Returns the group of an event: its stream.
pub(super) fn group_of(event: &RecordedEvent) -> Option<RecordGroup> {
    [event.aggregate_type(), "/", event.aggregate_id()]
        .concat()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let entry = Entry {
            failed: 7,
            recorded_at: Timestamp::from_micros(1_700_000_000_000_000).unwrap(),
            event_id: EventId::from_bytes([9; 16]),
            cause: "status 503 ä".to_owned(),
        };
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes), Some(entry.clone()));
        for end in 0..HEAD_BYTES {
            assert_eq!(Entry::decode(&bytes[..end]), None, "{end}");
        }
        assert_eq!(Entry::decode(&[&[2], &bytes[1..]].concat()), None);
        let long = Entry {
            cause: "ä".repeat(CAUSE_BYTES_MAX),
            ..entry
        };
        let read = Entry::decode(&long.encode()).unwrap();
        assert_eq!(read.cause.len(), CAUSE_BYTES_MAX);
    }

    #[test]
    fn keys_are_ordered_as_positions_are() {
        let keys: Vec<_> = [1, 9, 10, 1 << 40, u64::MAX]
            .iter()
            .map(|number| Position::new(*number).unwrap())
            .map(|position| (key_of(position).unwrap(), position))
            .collect();
        assert!(keys.is_sorted());
        assert!(
            keys.iter()
                .all(|(key, position)| position_of(key) == Some(*position))
        );
    }
}
