//! What a store of events must do: the traits, the in-memory model store and the conformance suite.
//!
//! [`EventStore`] is the promise. [`MemoryStore`] keeps it in the plainest way and is the model
//! that the others are compared with. [`StateStore`] and [`MemoryStateStore`] are the same for the
//! bookkeeping beside the log. With the feature `conformance`, the macro `conformance!`
//! expands one test per promise for a store.

mod append;
#[cfg(feature = "conformance")]
pub mod conformance;
mod count;
mod cursor;
mod health;
mod import;
mod maintenance;
mod memory;
mod read;
mod state;
mod store;

pub use crate::append::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, EventReceipt, PartialRepeat,
    StreamExpectation,
};
pub use crate::count::{CountBy, CountRead, Counts, Group, Tally};
pub use crate::cursor::{Cursor, CursorError, Lineage, LineageId, StoreId};
pub use crate::health::{StoreHealth, StoreMetrics, WriteState};
pub use crate::import::{ImportCheck, ImportError, ImportFault, ImportTarget, ImportedEvent};
pub use crate::maintenance::{
    BackupReport, Finding, FindingKind, Maintenance, MaintenanceError, VerifyReport,
};
pub use crate::memory::MemoryStore;
pub use crate::read::{
    Direction, LogPage, LogRead, ReadError, StreamInfo, StreamPage, StreamRead, Visibility,
};
pub use crate::state::{
    Acquire, Acquired, Action, Applied, Batch, Change, Claim, ClaimOrder, Claimed, Due, Epoch,
    Fence, GroupCount, GroupPage, GroupScan, HeldClaim, InvalidStateName, KeyBounds, Lease,
    LeaseName, LeasePage, LeaseScan, MemoryStateStore, OwnerName, Precondition, Put, QueueStatus,
    Record, RecordGroup, RecordId, RecordKey, RecordKind, RecordPage, RecordScan, RecordVersion,
    StateError, StateHealth, StateLimits, StateStore, StateWatch,
};
pub use crate::store::{BoxFuture, Capability, EventStore, HeadWatch};
