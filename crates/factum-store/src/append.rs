//! The append: what a writer asks for and what it is told.

use factum_model::{
    ErrorCode, EventId, ExpectedVersion, LimitExceeded, NewEvent, Position, SequenceNumber,
    StreamId, Timestamp,
};
use factum_query::Filter;
use thiserror::Error;

use crate::read::ReadError;

/// One atomic unit of events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppendRequest {
    /// The events, in order; of one stream or of several. Not empty.
    pub events: Vec<NewEvent>,
    /// What must hold of streams before the events are appended; at most one per stream.
    pub expected: Vec<StreamExpectation>,
    /// What must not have happened.
    pub condition: Option<AppendCondition>,
    /// What to do when some of the events are there already, and some are not.
    pub partial_repeat: PartialRepeat,
}

/// What a writer demands of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamExpectation {
    /// The stream.
    pub stream: StreamId,
    /// The demand.
    pub version: ExpectedVersion,
}

/// Refuses the append if an event that matches `filter` stands after position `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendCondition {
    /// The events that must not be there.
    pub filter: Filter,
    /// The last position that the writer has seen; `None` looks at the whole log.
    pub after: Option<Position>,
}

/// What to do with a request of which some events are in the store already, by id and content,
/// and some are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartialRepeat {
    /// Refuse with [`AppendError::DuplicateEvent`]: an atomic unit cannot be half there.
    #[default]
    Refuse,
    /// Append those that are not, and report the others as deduplicated. For imports that go on
    /// after a break with other chunk boundaries.
    ///
    /// What the request expects of a stream of which some of its events are there already is not
    /// checked: it was when they were appended, and they have changed the version since.
    Skip,
}

/// Where the events of a request are now, in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendReceipt {
    /// One receipt per event.
    pub events: Vec<EventReceipt>,
}

/// Where one event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventReceipt {
    /// The identity, given or assigned.
    pub id: EventId,
    /// The place in the log.
    pub position: Position,
    /// The place in the stream.
    pub sequence_number: SequenceNumber,
    /// When the store accepted it.
    pub recorded_at: Timestamp,
    /// The event was there already; this is its original receipt.
    pub deduplicated: bool,
}

/// Why nothing was appended — or, for [`AppendError::OutcomeUnknown`], why that is not known.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The request has no events.
    #[error("request has no events")]
    Empty,
    /// The request is larger than a store can take in one unit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A stream is not at the expected version.
    #[error("stream {stream} is at version {}, expected {expected}", shown(*.actual))]
    VersionConflict {
        /// The stream.
        stream: StreamId,
        /// What the writer expected.
        expected: ExpectedVersion,
        /// The sequence number of its last event; `None` when there is no such stream.
        actual: Option<SequenceNumber>,
    },
    /// An event that must not be there is there.
    #[error("event {id} at position {position} matches the append condition")]
    ConditionFailed {
        /// The first such event after the position that the writer named.
        position: Position,
        /// Its id.
        id: EventId,
    },
    /// The id of an event is taken by an event with other content, stands twice in the request,
    /// or only part of the request is there already.
    #[error("event id {id} is taken: {rule}")]
    DuplicateEvent {
        /// The index of the event in the request.
        index: usize,
        /// The id.
        id: EventId,
        /// Where the event with that id stands; `None` when it is in the same request.
        position: Option<Position>,
        /// What is wrong, in words.
        rule: &'static str,
    },
    /// The events may be durable or not. Repeating the request with these ids tells.
    #[error("it is not known whether the events are durable; repeat the request with the same ids")]
    OutcomeUnknown {
        /// The ids of the events, given or assigned.
        ids: Vec<EventId>,
    },
    /// The queue is full, or the process has no files left for the log to grow. Nothing was
    /// written.
    #[error("no more appends can be taken now ({limit}); retry in {retry_after_ms} ms")]
    Overloaded {
        /// Which bound was hit, in words.
        limit: &'static str,
        /// When to come back.
        retry_after_ms: u64,
    },
    /// The disk is full. Nothing was written.
    #[error("the disk is full; appends resume when there is space")]
    StorageFull,
    /// A write or a sync failed earlier. Nothing was written now.
    #[error("the store has stopped writing: {cause}")]
    StoreFailed {
        /// What failed, in words.
        cause: String,
    },
    /// The store is opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store is being closed. Nothing was written.
    #[error("the store is being closed")]
    ShuttingDown,
    /// Something that the decision depends on could not be read. Nothing was written.
    #[error("a check before the append failed")]
    Read(#[from] ReadError),
}

fn shown(version: Option<SequenceNumber>) -> u64 {
    version.map_or(0, SequenceNumber::get)
}

impl AppendError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Empty => ErrorCode::InvalidRequest,
            Self::Limit(_) => ErrorCode::LimitExceeded,
            Self::VersionConflict { .. } => ErrorCode::VersionConflict,
            Self::ConditionFailed { .. } => ErrorCode::ConditionFailed,
            Self::DuplicateEvent { .. } => ErrorCode::DuplicateEvent,
            Self::OutcomeUnknown { .. } => ErrorCode::OutcomeUnknown,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::StorageFull => ErrorCode::StorageFull,
            Self::StoreFailed { .. } => ErrorCode::StoreFailed,
            Self::ReadOnly => ErrorCode::ReadOnly,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::Read(error) => error.code(),
        }
    }
}
