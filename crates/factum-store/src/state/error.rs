//! Why the bookkeeping refused or failed.

use factum_model::{ErrorCode, LimitExceeded};
use thiserror::Error;

use super::lease::Fence;
use super::record::{RecordId, RecordVersion};

/// Why nothing was changed — or, for [`StateError::OutcomeUnknown`], why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    /// The request is larger than a bound of the store.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// The request contradicts itself.
    #[error("{rule}")]
    Invalid {
        /// What is wrong, in words.
        rule: &'static str,
    },
    /// A record is not as its precondition demands.
    #[error("record {id} is {}, which change {index} does not expect", shown(*.actual))]
    Conflict {
        /// The index of the first such change in the batch.
        index: usize,
        /// The record.
        id: RecordId,
        /// Its version; `None` when there is no such record.
        actual: Option<RecordVersion>,
    },
    /// A lease is no longer held under this epoch: it ran out, was released, or was granted to
    /// somebody else.
    #[error("lease {} is no longer held under epoch {}", .fence.name, .fence.epoch)]
    LeaseLost {
        /// What was presented.
        fence: Fence,
    },
    /// The change may be durable or not. Reading tells.
    #[error("it is not known whether the change is durable; read it again")]
    OutcomeUnknown,
    /// The queue is full. Nothing was changed.
    #[error("no more changes can be taken now; retry in {retry_after_ms} ms")]
    Overloaded {
        /// When to come back.
        retry_after_ms: u64,
    },
    /// The disk is full. Nothing was changed.
    #[error("the disk is full; changes are taken again when there is space")]
    StorageFull,
    /// The store cannot read or write. Nothing was changed now.
    #[error("the store of the bookkeeping has failed: {cause}")]
    Failed {
        /// What failed, in words, for the log.
        cause: String,
    },
    /// What is stored is damaged.
    #[error("the stored bookkeeping is damaged: {detail}")]
    Corrupt {
        /// What is wrong, in words, for the log.
        detail: String,
    },
    /// The store is being closed. Nothing was changed.
    #[error("the store of the bookkeeping is being closed")]
    ShuttingDown,
}

fn shown(version: Option<RecordVersion>) -> String {
    version.map_or_else(
        || "absent".to_owned(),
        |version| format!("at version {version}"),
    )
}

impl StateError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Limit(_) => ErrorCode::LimitExceeded,
            Self::Invalid { .. } => ErrorCode::InvalidRequest,
            Self::Conflict { .. } => ErrorCode::StateConflict,
            Self::LeaseLost { .. } => ErrorCode::LeaseLost,
            Self::OutcomeUnknown => ErrorCode::OutcomeUnknown,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::StorageFull => ErrorCode::StorageFull,
            Self::Failed { .. } => ErrorCode::StoreFailed,
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
        }
    }

    /// Tells whether the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}
