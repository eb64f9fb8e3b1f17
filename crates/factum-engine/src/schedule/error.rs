//! Why something cannot be scheduled, or is not found.

use std::error::Error;

use factum_model::{ErrorCode, InvalidName, JsonFault};
use factum_store::{InvalidStateName, StateError};
use thiserror::Error as ThisError;

use super::entry::ScheduleId;
use crate::error::EngineError;

/// A text does not name a scheduled event.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{text:?} is not 1 to 100 characters of [A-Za-z0-9_.:-]")]
pub struct InvalidScheduleId {
    /// What was given.
    pub text: String,
}

/// Why the schedule refused or could not do something.
#[derive(Debug, ThisError)]
pub enum ScheduleError {
    /// The engine has no bookkeeping.
    #[error("this server keeps no bookkeeping, and so no schedule")]
    NoBookkeeping,
    /// There is no scheduled event of this name, or not any more.
    #[error("no event is scheduled as {id}")]
    NotFound {
        /// The name.
        id: ScheduleId,
    },
    /// The name stands for something else.
    #[error("another event is scheduled as {id}")]
    Exists {
        /// The name.
        id: ScheduleId,
    },
    /// So many are scheduled.
    #[error("{limit} events are scheduled, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The pattern cannot be read.
    #[error("the cron pattern {pattern:?} cannot be read: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such time zone.
    #[error("{zone:?} is no time zone; it must be an IANA name such as Europe/Vienna")]
    Zone {
        /// What was given.
        zone: String,
    },
    /// The pattern has no instant to come.
    #[error("the cron pattern never comes")]
    Never,
    /// The event has what the firing gives it.
    #[error("a scheduled event has no id and no timestamp of its own: both follow from its firing")]
    Assigned,
    /// The metadata have a key that the firing gives.
    #[error("the metadata of a scheduled event cannot have {key:?}, which its firing sets")]
    Metadata {
        /// The key.
        key: &'static str,
    },
    /// A name is none.
    #[error(transparent)]
    Id(#[from] InvalidScheduleId),
    /// The event cannot be appended.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The bookkeeping failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record is not what the engine writes.
    #[error("what is scheduled as {id} cannot be read")]
    Record {
        /// The name.
        id: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something of our own making is wrong.
    #[error("the schedule failed")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl From<InvalidStateName> for ScheduleError {
    fn from(error: InvalidStateName) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<InvalidName> for ScheduleError {
    fn from(error: InvalidName) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<JsonFault> for ScheduleError {
    fn from(error: JsonFault) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<serde_json::Error> for ScheduleError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl ScheduleError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::AlreadyExists,
            Self::TooMany { .. } => ErrorCode::LimitExceeded,
            Self::NoBookkeeping
            | Self::Pattern { .. }
            | Self::Zone { .. }
            | Self::Never
            | Self::Assigned
            | Self::Metadata { .. }
            | Self::Id(_) => ErrorCode::InvalidRequest,
            Self::Engine(error) => error.code(),
            Self::State(error) => error.code(),
            Self::Record { .. } | Self::Internal(_) => ErrorCode::Internal,
        }
    }
}
