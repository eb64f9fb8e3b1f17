//! Records as work: claimed when they are due, one worker at a time.

use std::time::Duration;

use factum_model::Timestamp;

use super::name::{OwnerName, RecordKind};
use super::record::Record;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Records of this kind: a kind is a queue.
    pub kind: RecordKind,
    /// Who asks.
    pub owner: OwnerName,
    /// The largest number of records to claim.
    pub limit: usize,
    /// How long nobody else may claim them, from now on.
    pub visibility: Duration,
    /// What records of the same group mean to each other.
    pub order: ClaimOrder,
}

/// What records of the same group mean to each other. Records without a group are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClaimOrder {
    /// Nothing.
    #[default]
    Free,
    /// While a record of a group is claimed, no other one of it is. Within a group the one that
    /// is due first comes first; one that waits for its retry holds up no other.
    OneAtATime,
    /// As `OneAtATime`, and a record is claimed only if its key is the first among those of its
    /// group that wait for anything, due or not: one that waits for its retry holds up the others.
    InOrder,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The records, by `due_at` and then by key. The claim has given each a new version: who
    /// completes, extends or gives back a record names that version as the precondition, and is
    /// refused when somebody else has claimed or written it meanwhile.
    pub records: Vec<Record>,
    /// When, by the store's clock.
    pub now: Timestamp,
    /// The next instant at which time alone makes a record claimable, or may: the earliest
    /// `due_at` or end of a claim after `now`, those just made included. A worker that got fewer
    /// records than it asked for sleeps until then or until something is written.
    pub next_at: Option<Timestamp>,
}

/// How a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// All records of the kind.
    pub n_records: u64,
    /// Those that wait for an instant that has not come, and are not claimed.
    pub n_waiting: u64,
    /// Those that are due and not claimed; some may have to wait for others of their group.
    pub n_due: u64,
    /// Those that are claimed.
    pub n_claimed: u64,
    /// The earliest `due_at` of those that are due and not claimed: what lags most.
    pub oldest_due_at: Option<Timestamp>,
    /// As [`Claimed::next_at`].
    pub next_at: Option<Timestamp>,
}
