//! Why the engine refused or could not do something.

use factum_model::{
    AGENT_SESSION_AGGREGATE_TYPE, AggregateId, AggregateType, ErrorCode, InvalidMetadata,
    LimitExceeded, StreamId,
};
use factum_query::InvalidFilter;
use factum_store::{AppendError, CursorError, ReadError};
use thiserror::Error;

/// Why the engine refused or could not do something.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The store refused or could not append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A cursor cannot be used.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A filter breaks a rule.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// The request brings more than a limit allows.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// An event of a request is larger than a limit allows.
    #[error("event {index}: {source}")]
    EventLimit {
        /// The index of the event in the request.
        index: usize,
        /// The limit.
        #[source]
        source: LimitExceeded,
    },
    /// A known metadata key of an event has a wrong value.
    #[error("event {index}: {source}")]
    Metadata {
        /// The index of the event in the request.
        index: usize,
        /// The key and what it must be.
        #[source]
        source: InvalidMetadata,
    },
    /// An event uses a name that belongs to the engine.
    #[error("event {index}: {field} {name:?} belongs to the engine")]
    ReservedName {
        /// The index of the event in the request.
        index: usize,
        /// `type` or `aggregateType`.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// An event is meant for the stream of an agent instance, to which applications do not append.
    #[error(
        "event {index}: the stream {AGENT_SESSION_AGGREGATE_TYPE}/{instance_id} is written by agent \
         sessions alone"
    )]
    InstanceStream {
        /// The index of the event in the request.
        index: usize,
        /// The instance.
        instance_id: AggregateId,
    },
    /// An event is of a type that is not in the catalogue, and the catalogue is strict.
    #[error("event {index}: type {event_type:?} is not in the catalogue, which is strict")]
    UnknownEventType {
        /// The index of the event in the request.
        index: usize,
        /// The type.
        event_type: String,
    },
    /// A request states two expectations about one stream.
    #[error("two expected versions for stream {stream}")]
    DuplicateExpectation {
        /// The stream.
        stream: StreamId,
    },
    /// A request states an expectation about a stream that none of its events is of.
    #[error("expected version for stream {stream}, of which the request has no event")]
    UnusedExpectation {
        /// The stream.
        stream: StreamId,
    },
    /// So many are at work that this one found no room within its time.
    #[error("{limit} {what} are at work already")]
    Busy {
        /// Of what: counts, queries.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// An aggregate id exists under several aggregate types.
    #[error("aggregate id {aggregate_id:?} exists under {} aggregate types", types.len())]
    AmbiguousAggregate {
        /// The id.
        aggregate_id: AggregateId,
        /// The types, sorted.
        types: Vec<AggregateType>,
    },
    /// The store cannot do this.
    #[error("the store {store} has no {operation}")]
    Unsupported {
        /// The kind of store.
        store: &'static str,
        /// What it cannot do.
        operation: &'static str,
    },
}

impl EngineError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Append(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Cursor(error) => error.code(),
            Self::Filter(_) => ErrorCode::InvalidFilter,
            Self::Limit(_) | Self::EventLimit { .. } => ErrorCode::LimitExceeded,
            Self::Metadata { .. } => ErrorCode::InvalidEvent,
            Self::ReservedName { .. } | Self::InstanceStream { .. } => ErrorCode::ReservedName,
            Self::UnknownEventType { .. } => ErrorCode::UnknownEventType,
            Self::DuplicateExpectation { .. }
            | Self::UnusedExpectation { .. }
            | Self::Unsupported { .. } => ErrorCode::InvalidRequest,
            Self::Busy { .. } => ErrorCode::Overloaded,
            Self::AmbiguousAggregate { .. } => ErrorCode::AmbiguousAggregate,
        }
    }

    /// Tells whether the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}
