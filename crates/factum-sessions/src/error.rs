//! Why an operation on sessions was refused or failed.

use factum_engine::EngineError;
use factum_model::ErrorCode;
use factum_store::{AppendError, ReadError};
use thiserror::Error;

/// Why an operation on sessions was refused or failed. No message repeats a value of an event.
#[derive(Debug, Error)]
pub enum SessionError {
    /// An event of this type cannot be emitted.
    #[error("there is no event type {event_type:?} that an agent can emit")]
    UnknownEventType {
        /// The type as it came, cut.
        event_type: String,
    },
    /// A field of an event, or of the input of an operation, breaks a rule.
    #[error("{field} {rule}")]
    InvalidEvent {
        /// The field; dots lead into it.
        field: String,
        /// The rule.
        rule: String,
    },
    /// A share of the context is not one of 0 to 100 per cent.
    #[error("{field} must be from 0 to 100")]
    ContextOutOfRange {
        /// The field.
        field: String,
    },
    /// The text is no id of an instance.
    #[error("{given:?} is no instance id; one is like shop-PS-0a1b2c")]
    MalformedInstanceId {
        /// The text as it came, cut.
        given: String,
    },
    /// No instance has this id, or none is meant by this hint.
    #[error("there is no instance {given:?}")]
    InstanceNotFound {
        /// The id or the hint, cut.
        given: String,
    },
    /// The instance is closed, and takes no events.
    #[error("instance {instance_id} is closed since {closed_at}")]
    InstanceClosed {
        /// The instance.
        instance_id: String,
        /// Since when.
        closed_at: String,
    },
    /// The instance is at work, so nobody else takes over from it.
    #[error("instance {instance_id} is active; its last heartbeat was {age_seconds} s ago")]
    InstanceActive {
        /// The instance.
        instance_id: String,
        /// How long ago its last heartbeat was.
        age_seconds: u64,
    },
    /// The choice is none of those that were offered.
    #[error("there is no choice {given:?} among {n_matches} matches")]
    NoSuchChoice {
        /// The choice as it came, cut.
        given: String,
        /// How many there are.
        n_matches: usize,
    },
    /// There is no such checkpoint, or it was deleted.
    #[error("there is no checkpoint {given:?}")]
    CheckpointNotFound {
        /// The id as it came, cut.
        given: String,
    },
    /// There is no such event.
    #[error("there is no event {given:?}")]
    EventNotFound {
        /// The id as it came, cut.
        given: String,
    },
    /// There are as many open instances as there may be.
    #[error("{actual} instances are open, the limit is {limit}")]
    TooManyInstances {
        /// The limit.
        limit: usize,
        /// How many there are.
        actual: usize,
    },
    /// So many others changed the instance meanwhile that the operation was given up.
    #[error("the instance is being changed by too many at once")]
    Contended,
    /// The operation took longer than it may.
    #[error("the operation took longer than {limit_ms} ms")]
    TimedOut {
        /// How long it may take.
        limit_ms: u128,
    },
    /// The store refused or failed.
    #[error("the event store refused or failed")]
    EventStore(#[from] EngineError),
}

impl SessionError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownEventType { .. } => ErrorCode::UnknownEventType,
            Self::InvalidEvent { .. } => ErrorCode::InvalidEvent,
            Self::ContextOutOfRange { .. } => ErrorCode::ContextOutOfRange,
            Self::MalformedInstanceId { .. } => ErrorCode::InvalidInstanceId,
            Self::InstanceNotFound { .. } => ErrorCode::InstanceNotFound,
            Self::InstanceClosed { .. } => ErrorCode::InstanceClosed,
            Self::InstanceActive { .. } => ErrorCode::InstanceActive,
            Self::NoSuchChoice { .. } => ErrorCode::InvalidRequest,
            Self::CheckpointNotFound { .. } | Self::EventNotFound { .. } => ErrorCode::NotFound,
            Self::TooManyInstances { .. } => ErrorCode::LimitExceeded,
            Self::Contended => ErrorCode::Overloaded,
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::EventStore(error) => error.code(),
        }
    }

    /// Returns the name of the failure in the contract of the tools.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownEventType { .. }
            | Self::InvalidEvent { .. }
            | Self::ContextOutOfRange { .. } => "InvalidEvent",
            Self::MalformedInstanceId { .. } => "InvalidInstanceId",
            Self::InstanceNotFound { .. } => "InstanceNotFound",
            Self::InstanceClosed { .. } => "InstanceClosed",
            Self::InstanceActive { .. } => "InstanceActive",
            Self::NoSuchChoice { .. } => "NoSuchChoice",
            Self::CheckpointNotFound { .. } => "CheckpointNotFound",
            Self::EventNotFound { .. } => "EventNotFound",
            Self::TooManyInstances { .. } => "TooManyInstances",
            Self::Contended | Self::TimedOut { .. } | Self::EventStore(_) => "EventStoreError",
        }
    }

    /// Returns the field that is wrong, where one is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidEvent { field, .. } | Self::ContextOutOfRange { field } => Some(field),
            Self::UnknownEventType { .. } => Some("event_type"),
            Self::MalformedInstanceId { .. } => Some("instance_id"),
            Self::NoSuchChoice { .. } => Some("user_choice"),
            Self::InstanceNotFound { .. }
            | Self::InstanceClosed { .. }
            | Self::InstanceActive { .. }
            | Self::CheckpointNotFound { .. }
            | Self::EventNotFound { .. }
            | Self::TooManyInstances { .. }
            | Self::Contended
            | Self::TimedOut { .. }
            | Self::EventStore(_) => None,
        }
    }

    pub(crate) fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::InvalidEvent {
            field: field.into(),
            rule: rule.into(),
        }
    }

    /// Tells whether the append was refused because the stream went on meanwhile.
    pub(crate) const fn is_overtaken(&self) -> bool {
        matches!(
            self,
            Self::EventStore(EngineError::Append(AppendError::ConditionFailed { .. }))
        )
    }
}

impl From<ReadError> for SessionError {
    fn from(error: ReadError) -> Self {
        Self::EventStore(error.into())
    }
}
