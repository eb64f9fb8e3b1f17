//! Why a subscription refused or could not do something.

use factum_model::{ErrorCode, LimitExceeded};
use factum_query::InvalidFilter;
use factum_store::{InvalidStateName, ReadError, StateError};
use thiserror::Error;

use crate::error::EngineError;

/// Why a subscription refused or could not do something.
#[derive(Debug, Error)]
pub enum SubscriptionError {
    /// The bookkeeping refused or failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The filter breaks a rule.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// A bound was hit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A field breaks a rule.
    #[error("{field} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// A name that the bookkeeping does not take.
    #[error(transparent)]
    Name(#[from] InvalidStateName),
    /// There is no such subscription.
    #[error("there is no subscription {name:?}")]
    NotFound {
        /// The name as it came, cut to 100 characters.
        name: String,
    },
    /// The name is taken.
    #[error("there is a subscription {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Somebody else changed the subscription at the same moment.
    #[error("subscription {name:?} was changed at the same moment")]
    Changed {
        /// The name.
        name: String,
    },
    /// What the log says of a subscription cannot be understood here; a newer release wrote it, or
    /// a limit has become smaller since.
    #[error("subscription {name:?} cannot be used: {cause}")]
    Unusable {
        /// The name.
        name: String,
        /// Why, in words.
        cause: String,
    },
    /// An event of a subscription could not be made: a fault of the engine itself.
    #[error("the event of a subscription could not be made: {detail}")]
    Unwritable {
        /// What is wrong with it.
        detail: String,
    },
    /// The engine was made without bookkeeping.
    #[error("this engine keeps no books, so it has no durable subscriptions")]
    NoBookkeeping,
    /// Subscriptions are being stopped.
    #[error("subscriptions are being stopped")]
    Stopping,
}

impl SubscriptionError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::State(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Filter(_) => ErrorCode::InvalidFilter,
            Self::Limit(_) => ErrorCode::LimitExceeded,
            Self::Invalid { .. } => ErrorCode::InvalidRequest,
            Self::Name(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::AlreadyExists,
            Self::Changed { .. } => ErrorCode::VersionConflict,
            Self::Unusable { .. } | Self::Unwritable { .. } => ErrorCode::Internal,
            Self::NoBookkeeping => ErrorCode::InvalidRequest,
            Self::Stopping => ErrorCode::ShuttingDown,
        }
    }

    /// Tells whether the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}
