//! Changes to records: several at once, all or none.

use std::time::Duration;

use factum_model::Timestamp;

use super::lease::Fence;
use super::name::RecordGroup;
use super::record::{RecordId, RecordVersion};

/// Changes that are made together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes; each to another record.
    pub changes: Vec<Change>,
    /// Leases that must be held when the changes are made. They are checked before anything else.
    pub fences: Vec<Fence>,
}

impl Batch {
    /// Makes a batch of changes that no lease protects.
    #[must_use]
    pub const fn of(changes: Vec<Change>) -> Self {
        let fences = Vec::new();
        Self { changes, fences }
    }
}

/// One change to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record.
    pub id: RecordId,
    /// What must hold of it before.
    pub precondition: Precondition,
    /// What happens to it.
    pub action: Action,
}

impl Change {
    /// Writes a record.
    #[must_use]
    pub const fn put(id: RecordId, precondition: Precondition, put: Put) -> Self {
        Self {
            id,
            precondition,
            action: Action::Put(put),
        }
    }

    /// Deletes a record.
    #[must_use]
    pub const fn delete(id: RecordId, precondition: Precondition) -> Self {
        Self {
            id,
            precondition,
            action: Action::Delete,
        }
    }
}

/// What must hold of a record before it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    Any,
    /// There is no such record.
    Absent,
    /// It is as it was seen at this version: neither written nor claimed since.
    Version(RecordVersion),
}

impl Precondition {
    /// Tells whether a record that is at a version, or absent, meets it.
    #[must_use]
    pub fn is_met(self, actual: Option<RecordVersion>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => actual.is_none(),
            Self::Version(version) => actual == Some(version),
        }
    }
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is written whole, and made if it is not there. A claim on it ends.
    Put(Put),
    /// It is deleted, if it is there.
    Delete,
    /// The claim on it ends this long from now, by the store's clock. The record keeps its
    /// version. Without a claim whose time is not up it is a conflict: others of the group may
    /// have been claimed since.
    Extend(Duration),
    /// Nothing: only the precondition counts.
    Check,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its body.
    pub body: Vec<u8>,
    /// When it may be claimed.
    pub due: Due,
    /// What it has in common with others.
    pub group: Option<RecordGroup>,
}

impl Put {
    /// Makes a record that waits for nothing and belongs to no group.
    #[must_use]
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            due: Due::Never,
            group: None,
        }
    }

    /// Sets when it may be claimed.
    #[must_use]
    pub fn due(self, due: Due) -> Self {
        Self { due, ..self }
    }

    /// Puts it into a group.
    #[must_use]
    pub fn in_group(self, group: RecordGroup) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }
}

/// When a record may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It waits for nothing: it is no work.
    Never,
    /// From an instant on.
    At(Timestamp),
    /// This long after it is written, by the store's clock.
    After(Duration),
}

impl Due {
    /// Returns the instant, for a write at `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::At(at) => Some(at),
            Self::After(delay) => Some(later(now, delay)),
        }
    }
}

/// Returns the instant a while later, at the latest [`Timestamp::MAX`].
pub(super) fn later(now: Timestamp, delay: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The version that all records have which were written.
    pub version: RecordVersion,
    /// When, by the store's clock.
    pub at: Timestamp,
}
