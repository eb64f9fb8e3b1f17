//! Why a rule was refused or could not be changed.

use factum_model::{ErrorCode, EventId, Position};
use factum_store::ReadError;
use thiserror::Error;

use crate::deliver::{InvalidTarget, Place};
use crate::error::EngineError;

/// A definition of a rule breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{rule}", shown(.pointer))]
pub struct InvalidRule {
    /// The JSON pointer of the field, within the definition.
    pub pointer: String,
    /// What it must be, or what is wrong with it.
    pub rule: String,
    /// What was found, cut; never a secret.
    pub value: Option<String>,
    /// Where in the value, for expressions and templates.
    pub place: Option<Place>,
}

fn shown(pointer: &str) -> String {
    if pointer.is_empty() {
        String::new()
    } else {
        format!("{pointer}: ")
    }
}

impl InvalidRule {
    pub(crate) fn at(pointer: &str, rule: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            rule: rule.into(),
            value: None,
            place: None,
        }
    }

    pub(crate) fn with_value(mut self, value: &str) -> Self {
        self.value = Some(value.chars().take(100).collect());
        self
    }
}

impl From<InvalidTarget> for InvalidRule {
    fn from(error: InvalidTarget) -> Self {
        Self {
            pointer: error.pointer,
            rule: error.rule,
            value: error.value,
            place: error.place,
        }
    }
}

/// Why a rule could not be made, changed or tested.
#[derive(Debug, Error)]
pub enum RuleError {
    /// The definition breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidRule),
    /// There is no such rule.
    #[error("there is no rule {id:?}")]
    NotFound {
        /// The id as it came, cut to 100 characters.
        id: String,
    },
    /// There is no such event.
    #[error("there is no event {id}")]
    NoEvent {
        /// The id.
        id: EventId,
    },
    /// There is a rule of this id already.
    #[error("there is a rule {id:?} already")]
    Exists {
        /// The id.
        id: String,
    },
    /// There are as many rules as there may be.
    #[error("there are {limit} rules already, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Somebody else changed the rule at the same moment.
    #[error("rule {id:?} was changed at the same moment")]
    Changed {
        /// The id.
        id: String,
    },
    /// An event of a rule is not what the engine writes.
    #[error("the event of a rule at position {position} cannot be read: {detail}")]
    Record {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        detail: String,
    },
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The event of a rule could not be made: a fault of the engine itself.
    #[error("the event of a rule could not be made: {detail}")]
    Internal {
        /// What is wrong.
        detail: String,
    },
}

impl RuleError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidRule,
            Self::NotFound { .. } | Self::NoEvent { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::AlreadyExists,
            Self::TooMany { .. } => ErrorCode::LimitExceeded,
            Self::Changed { .. } => ErrorCode::VersionConflict,
            Self::Engine(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Record { .. } | Self::Internal { .. } => ErrorCode::Internal,
        }
    }
}
