//! Why something about deliveries could not be done.

use factum_model::ErrorCode;
use factum_store::{InvalidStateName, StateError};
use thiserror::Error;

use crate::error::EngineError;
use crate::rules::RuleError;
use crate::subscriptions::SubscriptionError;

/// Why something about deliveries could not be done.
#[derive(Debug, Error)]
pub enum DeliveriesError {
    /// The bookkeeping refused or failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A rule could not be changed.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A subscription refused or failed.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// A name that the bookkeeping does not take.
    #[error(transparent)]
    Name(#[from] InvalidStateName),
    /// There is no such delivery or dead letter.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// The id as it came, cut to 100 characters.
        id: String,
    },
    /// A field breaks a rule.
    #[error("{field} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// A record is not what the engine writes.
    #[error("a record of a delivery cannot be read or written")]
    Record(#[from] serde_json::Error),
    /// The engine was made without bookkeeping.
    #[error("this engine keeps no books, so it delivers nothing")]
    NoBookkeeping,
}

impl DeliveriesError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::State(error) => error.code(),
            Self::Engine(error) => error.code(),
            Self::Rule(error) => error.code(),
            Self::Subscription(error) => error.code(),
            Self::Name(_) | Self::Invalid { .. } | Self::NoBookkeeping => ErrorCode::InvalidRequest,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Record(_) => ErrorCode::Internal,
        }
    }
}
