//! Why a live request was refused before anything was sent.

use std::time::Duration;

use factum_api::InputError;
use factum_engine::EngineError;
use factum_model::ErrorCode;
use thiserror::Error;

use super::registry::Full;

/// Why a live request was refused before anything was sent.
#[derive(Debug, Error)]
pub enum LiveError {
    /// The request is no WebSocket handshake.
    #[error("not a WebSocket handshake: {rule}")]
    Handshake {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A page of another site asks.
    #[error("the origin is not one of those that may connect")]
    Origin,
    /// There are as many connections as there may be.
    #[error("there are as many {what} as there may be: {limit}")]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// There are too many unused tickets.
    #[error("too many tickets are waiting to be used")]
    Tickets {
        /// When some will have expired.
        retry_after: Duration,
    },
    /// The ticket is not one, was used, or has expired.
    #[error("the ticket is not valid; it works once, for a short time")]
    Ticket,
    /// The key that the ticket was given for no longer works, or never allowed reading.
    #[error("the key does not allow reading")]
    Scope,
    /// A parameter breaks a rule.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Two parameters contradict each other.
    #[error("{rule}")]
    Contradiction {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such connection.
    #[error("there is no live connection {id:?}")]
    NotFound {
        /// The id as it came, cut.
        id: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes to make a name of")]
    Random,
}

impl LiveError {
    /// Returns the stable code of this failure.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Handshake { .. } | Self::Contradiction { .. } => ErrorCode::InvalidRequest,
            Self::Origin | Self::Scope => ErrorCode::Forbidden,
            Self::Full { .. } => ErrorCode::Overloaded,
            Self::Tickets { .. } => ErrorCode::RateLimited,
            Self::Ticket => ErrorCode::Unauthenticated,
            Self::Input(error) => error.code,
            Self::Engine(error) => error.code(),
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Random => ErrorCode::Internal,
        }
    }

    /// Returns when it is worth while to come back.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { .. } => Some(Duration::from_secs(5)),
            Self::Tickets { retry_after } => Some(*retry_after),
            Self::Handshake { .. }
            | Self::Contradiction { .. }
            | Self::Origin
            | Self::Scope
            | Self::Ticket
            | Self::Input(_)
            | Self::Engine(_)
            | Self::NotFound { .. }
            | Self::Random => None,
        }
    }
}

impl From<Full> for LiveError {
    fn from(full: Full) -> Self {
        Self::Full {
            what: full.what,
            limit: full.limit,
        }
    }
}
