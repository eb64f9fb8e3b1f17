//! The promise of a store that takes over the log of another one, event by event, as it is.

use std::fmt;

use factum_model::{
    ErrorCode, EventId, JsonLimits, JsonObject, NewEvent, Position, RecordedEvent, SequenceNumber,
    StreamId, Timestamp,
};
use thiserror::Error;

use crate::append::AppendError;
use crate::read::{LogPage, LogRead, ReadError};
use crate::store::BoxFuture;

/// A store that is being filled with the log of another one.
///
/// What is imported keeps its position, its sequence number, its id and its time of recording, and
/// the store has the identity and the history of the one that it was begun for. Until
/// [`ImportTarget::finish`] it opens for nothing but going on with the import.
pub trait ImportTarget: Send + Sync + fmt::Debug {
    /// Returns the last position that was imported and is durable; `None` when there is none.
    fn head(&self) -> Option<Position>;

    /// Imports the events that follow the head: all, or none.
    ///
    /// When the future resolves to `Ok` they are durable. A future that is dropped before may or
    /// may not have imported them; the next begin tells.
    ///
    /// # Errors
    /// [`ImportError::Invalid`] when they do not follow what is there, and then nothing was
    /// imported. After any other error too, the import must be begun again before it goes on.
    fn import(&self, events: Vec<RecordedEvent>) -> BoxFuture<'_, Result<(), ImportError>>;

    /// Reads back what was imported.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>>;

    /// Makes an ordinary store of what was imported, durably. Nothing can be imported after that.
    ///
    /// # Errors
    /// See [`ImportError`]; it is not known then whether the store is an ordinary one.
    fn finish(&self) -> BoxFuture<'_, Result<(), ImportError>>;

    /// Gives the store back as it is, for a later begin to go on. Idempotent.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Why an import does not go on.
#[derive(Debug, Error)]
pub enum ImportError {
    /// An event cannot be part of the log.
    #[error("the event at position {position} cannot be taken over: {fault}")]
    Invalid {
        /// Where it stands, or where one should stand.
        position: Position,
        /// What is wrong with it.
        fault: ImportFault,
    },
    /// The store does not write.
    #[error("the target cannot write")]
    Write(#[from] AppendError),
    /// What was imported before cannot be read.
    #[error("the target cannot be read")]
    Read(#[from] ReadError),
    /// The import is finished, closed, or has failed before.
    #[error("the import has ended; begin it again")]
    Ended,
}

/// What is wrong with an event that is to be taken over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportFault {
    /// It stands elsewhere: positions have a gap, or go back.
    #[error("position {found} stands there")]
    Position {
        /// Where it says that it stands.
        found: Position,
    },
    /// It is not the next one of its stream.
    #[error("it is number {found} of stream {stream}, which is at version {version}")]
    Sequence {
        /// The stream.
        stream: StreamId,
        /// The version that the stream has before it.
        version: u64,
        /// The number that it says it has.
        found: SequenceNumber,
    },
    /// Its id is taken.
    #[error("its id {id} is that of an event before it")]
    Id {
        /// The id.
        id: EventId,
    },
    /// It was recorded before the event before it.
    #[error("it was recorded before the event before it")]
    RecordedAt,
    /// A part of it breaks the rules for all events.
    #[error("its {part} breaks the rules")]
    Content {
        /// Which part, in words.
        part: &'static str,
    },
}

impl ImportError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::Corrupt,
            Self::Write(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Ended => ErrorCode::ShuttingDown,
        }
    }
}

/// An event that may be taken over, in the words of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEvent {
    /// What its writer said, and its id.
    pub event: NewEvent,
    /// What it has from its cause.
    pub inherited_correlation: Option<String>,
    /// Its place in its stream.
    pub sequence_number: SequenceNumber,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// Checks what can be told of events without a store: that they follow each other, and keep to the
/// rules that all events keep to. Whether sequence numbers and ids are right, stores know.
#[derive(Debug, Clone, Copy)]
pub struct ImportCheck {
    head: Option<Position>,
    recorded_at: Timestamp,
}

/// Documents were checked under the limits of their time; these only keep the check itself safe.
const JSON_LIMITS: JsonLimits = JsonLimits { depth_max: 4096 };

impl ImportCheck {
    /// Begins behind the head, which was recorded then.
    #[must_use]
    pub const fn after(head: Option<Position>, recorded_at: Timestamp) -> Self {
        Self { head, recorded_at }
    }

    /// Checks the next event.
    ///
    /// # Errors
    /// [`ImportError::Invalid`] with the position and what is wrong.
    pub fn next(&mut self, event: &RecordedEvent) -> Result<ImportedEvent, ImportError> {
        let position = Position::after(self.head);
        let invalid = |fault| ImportError::Invalid { position, fault };
        if event.position != position {
            return Err(invalid(ImportFault::Position {
                found: event.position,
            }));
        }
        if event.recorded_at < self.recorded_at {
            return Err(invalid(ImportFault::RecordedAt));
        }
        let imported = proposed(event).map_err(|part| invalid(ImportFault::Content { part }))?;
        self.head = Some(position);
        self.recorded_at = event.recorded_at;
        Ok(imported)
    }
}

/// Returns an event in the words of its writer, or the part of it that breaks the rules.
fn proposed(event: &RecordedEvent) -> Result<ImportedEvent, &'static str> {
    let origin = event.origin;
    if origin.timestamp_assigned && event.timestamp != event.recorded_at {
        return Err("timestamp");
    }
    if origin.correlation_inherited
        && (event.causation_id.is_none() || event.correlation_id().is_none())
    {
        return Err("correlation id");
    }
    let correlation_id = match event.correlation_id() {
        Some(id) => Some(id.parse().map_err(|_| "correlation id")?),
        None => None,
    };
    let object =
        |text: &str, part| JsonObject::parse_within(text.to_owned(), JSON_LIMITS).map_err(|_| part);
    let stream = event.stream().map_err(|_| "aggregate")?;
    Ok(ImportedEvent {
        inherited_correlation: event
            .correlation_id()
            .filter(|_| origin.correlation_inherited)
            .map(str::to_owned),
        event: NewEvent {
            id: Some(event.id),
            event_type: event.event_type().parse().map_err(|_| "type")?,
            schema_version: event.schema_version,
            timestamp: (!origin.timestamp_assigned).then_some(event.timestamp),
            stream,
            causation_id: event.causation_id,
            correlation_id: correlation_id.filter(|_| !origin.correlation_inherited),
            metadata: object(event.metadata(), "metadata")?,
            payload: object(event.payload(), "payload")?,
        },
        sequence_number: event.sequence_number,
        recorded_at: event.recorded_at,
    })
}

#[cfg(test)]
mod tests {
    use factum_model::{EventOrigin, RecordedFields, SchemaVersion};

    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    fn fields() -> RecordedFields<'static> {
        RecordedFields {
            id: EventId::from_bytes([1; 16]),
            position: Position::FIRST,
            sequence_number: SequenceNumber::FIRST,
            recorded_at: at(7),
            timestamp: at(7),
            schema_version: SchemaVersion::FIRST,
            origin: EventOrigin {
                timestamp_assigned: true,
                correlation_inherited: true,
            },
            causation_id: Some(EventId::from_bytes([2; 16])),
            event_type: "a.b",
            aggregate_type: "a",
            aggregate_id: "1",
            correlation_id: Some("c"),
            metadata: "{}",
            payload: r#"{"n": 1.0}"#,
        }
    }

    fn check(fields: RecordedFields<'_>, expected: Option<ImportFault>) {
        let event = RecordedEvent::new(fields);
        let found = ImportCheck::after(None, at(7)).next(&event);
        match (found, expected) {
            (Ok(imported), None) => assert!(event.is_repeated_by(&imported.event)),
            (Err(ImportError::Invalid { position, fault }), Some(expected)) => {
                assert_eq!((position, fault), (Position::FIRST, expected));
            }
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn events_are_taken_as_they_are_or_refused_with_the_reason() {
        let content = |part| Some(ImportFault::Content { part });
        check(fields(), None);
        let second = Position::FIRST.next();
        check(
            RecordedFields {
                position: second,
                ..fields()
            },
            Some(ImportFault::Position { found: second }),
        );
        check(
            RecordedFields {
                recorded_at: at(6),
                timestamp: at(6),
                ..fields()
            },
            Some(ImportFault::RecordedAt),
        );
        check(
            RecordedFields {
                timestamp: at(6),
                ..fields()
            },
            content("timestamp"),
        );
        check(
            RecordedFields {
                causation_id: None,
                ..fields()
            },
            content("correlation id"),
        );
        check(
            RecordedFields {
                event_type: "a..b",
                ..fields()
            },
            content("type"),
        );
        check(
            RecordedFields {
                aggregate_id: "",
                ..fields()
            },
            content("aggregate"),
        );
        check(
            RecordedFields {
                payload: "[]",
                ..fields()
            },
            content("payload"),
        );
        check(
            RecordedFields {
                metadata: r#"{"a":1,"a":2}"#,
                ..fields()
            },
            content("metadata"),
        );
    }
}
