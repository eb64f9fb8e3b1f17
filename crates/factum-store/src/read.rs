//! Reads of the log and of one stream.

use std::time::Duration;

use factum_model::{ErrorCode, Position, RecordedEvent, SequenceNumber, StreamId, Timestamp};
use factum_query::Filter;
use thiserror::Error;

/// Which way a read walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Direction {
    /// From the oldest to the newest.
    #[default]
    Forwards,
    /// From the newest to the oldest.
    Backwards,
}

/// Which events a reader may see at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Visibility {
    /// All but the engine's own events, those of the aggregate type `factum`.
    #[default]
    Application,
    /// All.
    Everything,
}

impl Visibility {
    /// Tells whether a reader may see an event.
    #[must_use]
    pub fn includes(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Application => event.aggregate_type() != factum_model::SYSTEM_AGGREGATE_TYPE,
            Self::Everything => true,
        }
    }
}

/// A read of the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRead {
    /// Which events.
    pub filter: Filter,
    /// Which events the reader may see.
    pub visibility: Visibility,
    /// Which way.
    pub direction: Direction,
    /// Where to start, exclusive, in reading direction: forwards the first event is the one after
    /// it, backwards the one before it. `None` starts at the first, or at the head.
    pub after: Option<Position>,
    /// The last position to look at, inclusive, in reading direction.
    pub until: Option<Position>,
    /// The largest number of events to return.
    pub limit: usize,
    /// The page ends after the event with which its texts reach this many bytes; it has one event
    /// at least, if there is one.
    pub page_bytes_max: usize,
    /// The largest number of events to look at that do not match.
    pub scan_max: usize,
    /// How long to look for matches, about: what one event takes comes on top.
    pub time_max: Duration,
}

impl LogRead {
    /// Reads everything that an application may see, oldest first, in pages of 1,000 events.
    #[must_use]
    pub fn forwards() -> Self {
        Self {
            filter: Filter::default(),
            visibility: Visibility::default(),
            direction: Direction::Forwards,
            after: None,
            until: None,
            limit: 1000,
            page_bytes_max: 4 << 20,
            scan_max: 100_000,
            time_max: Duration::from_secs(10),
        }
    }

    /// Reads everything that an application may see, newest first, in pages of 1,000 events.
    #[must_use]
    pub fn backwards() -> Self {
        Self {
            direction: Direction::Backwards,
            ..Self::forwards()
        }
    }
}

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The events that match, in reading direction.
    pub events: Vec<RecordedEvent>,
    /// The last position that was looked at, in reading direction; reading on `after` it neither
    /// repeats nor misses an event. Equal to the request's `after` when nothing was there.
    pub scanned_to: Option<Position>,
    /// There is, or may be, more in this direction. A page that ended early because of
    /// `scan_max` or `page_bytes_max` says so too, even if nothing more matches.
    pub has_more: bool,
    /// How many events were looked at, those that match included.
    pub examined: u64,
}

/// A read of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRead {
    /// The stream.
    pub stream: StreamId,
    /// Which way.
    pub direction: Direction,
    /// The smallest sequence number to return, inclusive.
    pub from: Option<SequenceNumber>,
    /// The largest sequence number to return, inclusive.
    pub to: Option<SequenceNumber>,
    /// The largest number of events to return.
    pub limit: usize,
    /// The page ends after the event with which its texts reach this many bytes; it has one event
    /// at least, if there is one.
    pub page_bytes_max: usize,
}

impl StreamRead {
    /// Reads a stream from its first event on, in pages of 1,000.
    #[must_use]
    pub const fn forwards(stream: StreamId) -> Self {
        Self {
            stream,
            direction: Direction::Forwards,
            from: None,
            to: None,
            limit: 1000,
            page_bytes_max: 4 << 20,
        }
    }
}

/// A page of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPage {
    /// The events, in reading direction. Empty when there is no such stream.
    pub events: Vec<RecordedEvent>,
    /// There are more events between `from` and `to` in this direction.
    pub has_more: bool,
    /// The sequence number of the last event of the stream; `None` when there is no such stream.
    pub version: Option<SequenceNumber>,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// The stream.
    pub stream: StreamId,
    /// The sequence number of its last event.
    pub version: SequenceNumber,
    /// How many events it has.
    pub n_events: u64,
    /// When its first event happened, by the writer's clock.
    pub first_timestamp: Timestamp,
    /// When its last event happened, by the writer's clock.
    pub last_timestamp: Timestamp,
    /// The place of its first event in the log.
    pub first_position: Position,
    /// The place of its last event in the log.
    pub last_position: Position,
}

/// Why a read failed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Stored bytes do not match their checksum. They are not served, and reads of what follows
    /// start after `last`.
    #[error("stored events from position {first} to {last} are damaged: {detail}")]
    Corrupt {
        /// The first position that cannot be served.
        first: Position,
        /// The last position that cannot be served.
        last: Position,
        /// Which file and what is wrong with it, for the log; not for clients.
        detail: String,
    },
    /// The operating system could not read.
    #[error("reading from storage failed")]
    Io(#[from] std::io::Error),
    /// The database of the store cannot be reached, or does not answer in time.
    #[error("the database of the store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl ReadError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::Io(_) => ErrorCode::StoreFailed,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Closed => ErrorCode::ShuttingDown,
        }
    }
}
