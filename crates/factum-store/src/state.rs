//! The bookkeeping beside the log: what changes often, is small, and is not history.
//!
//! Checkpoints, deliveries and their retries, parked events, dead letters, schedules, heartbeats:
//! all are *records*. Work that one node does at a time is a *lease*. The log never depends on
//! what stands here, and nothing here can make it wrong: at worst something is done again.

mod batch;
mod error;
mod lease;
mod limits;
mod memory;
mod name;
mod queue;
mod record;
mod store;

pub use self::batch::{Action, Applied, Batch, Change, Due, Precondition, Put};
pub use self::error::StateError;
pub use self::lease::{Acquire, Acquired, Epoch, Fence, Lease, LeasePage, LeaseScan};
pub use self::limits::StateLimits;
pub use self::memory::MemoryStateStore;
pub use self::name::{InvalidStateName, LeaseName, OwnerName, RecordGroup, RecordKey, RecordKind};
pub use self::queue::{Claim, ClaimOrder, Claimed, QueueStatus};
pub use self::record::{
    GroupCount, GroupPage, GroupScan, HeldClaim, KeyBounds, Record, RecordId, RecordPage,
    RecordScan, RecordVersion,
};
pub use self::store::{StateHealth, StateStore, StateWatch};
