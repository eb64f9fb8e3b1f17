//! The promise of a store of bookkeeping.

use std::fmt;
use std::time::Duration;

use factum_model::Timestamp;
use tokio::sync::watch;

use super::batch::{Applied, Batch};
use super::error::StateError;
use super::lease::{Acquire, Acquired, Fence, Lease, LeasePage, LeaseScan};
use super::limits::StateLimits;
use super::name::{OwnerName, RecordKind};
use super::queue::{Claim, Claimed, QueueStatus};
use super::record::{GroupPage, GroupScan, Record, RecordId, RecordPage, RecordScan};
use crate::health::{StoreMetrics, WriteState};
use crate::store::{BoxFuture, Capability};

/// A count that changes when a batch was applied, claims were abandoned or a lease was released:
/// when there may be work sooner than was known. Claims, renewals and reads do not change it, so a
/// worker is not woken by its own looking. A hint: what other processes write may not show, so
/// whoever waits for it waits with a time limit.
pub type StateWatch = watch::Receiver<u64>;

/// How a store of bookkeeping is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateHealth {
    /// Whether it takes changes.
    pub writes: WriteState,
}

/// Records, queues and leases beside a log.
///
/// Every change is made at one instant: whoever asks later sees it, and it is durable when its
/// future resolves to `Ok`. A future that is dropped before may or may not have changed
/// something. Every instant is read from the store's own clock; no caller's clock is ever compared
/// with anything. The clock of a store that is not shared does not go back while it is open.
///
/// ```text
///            put (Due)             due_at comes              claim
///  absent ────────────► waiting ───────────────► due ◄───────────────► claimed
///     ▲                    ▲                      ▲   the time is up      │
///     │  delete            └──────────────────────┴──── put: try later ───┤
///     └────────────────────────────────────── delete: completed ──────────┘
/// ```
pub trait StateStore: Send + Sync + fmt::Debug + 'static {
    /// Says what the store can do.
    fn capability(&self) -> Capability;

    /// Returns the bounds on requests.
    fn limits(&self) -> StateLimits;

    /// Reads the store's clock.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StateError>>;

    /// Returns a record, or `None`.
    ///
    /// # Errors
    /// See [`StateError`].
    fn record(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Record>, StateError>>;

    /// Lists records of a kind. A page is of one instant; two pages are of two.
    ///
    /// # Errors
    /// See [`StateError`].
    fn scan(&self, scan: RecordScan) -> BoxFuture<'_, Result<RecordPage, StateError>>;

    /// Lists the groups of a kind with the number of their records. Records without a group are
    /// in none. Takes time in proportion to the records of the page's groups.
    ///
    /// # Errors
    /// See [`StateError`].
    fn groups(&self, scan: GroupScan) -> BoxFuture<'_, Result<GroupPage, StateError>>;

    /// Makes all changes of a batch, or none. First its fences are checked, in their order, then
    /// the preconditions, in the order of the changes; each against the state before the batch.
    /// An empty batch only checks its fences.
    ///
    /// # Errors
    /// `lease_lost` for the first lease that is not held, `state_conflict` for the first
    /// precondition that is not met; see [`StateError`]. After every error but `outcome_unknown`
    /// nothing was changed.
    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, StateError>>;

    /// Claims records of a kind that are due and that nobody has claimed, those first that are due
    /// first, and by key among those that are due at once. No record is ever claimed by two at
    /// a time. May return fewer than there are: at the limit, when their bodies reach
    /// `page_bytes_max`, or when others were claiming at the same moment.
    ///
    /// A claim ends when its record is written or deleted, or when somebody else claims the record
    /// once the time is up. Until then the worker may complete it, even late; it may extend the
    /// claim only in time.
    ///
    /// Takes time in proportion to the records that are due, also those whose group makes them
    /// wait, up to the last one that is claimed.
    ///
    /// # Errors
    /// See [`StateError`].
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StateError>>;

    /// Ends all claims of an owner on records of a kind that are still held, for instance of the
    /// process that it was before a restart: whoever held them is refused. Returns how many.
    ///
    /// # Errors
    /// See [`StateError`].
    fn abandon(&self, kind: RecordKind, owner: OwnerName)
    -> BoxFuture<'_, Result<u64, StateError>>;

    /// Says how a queue is. Takes time in proportion to the records of the kind.
    ///
    /// # Errors
    /// See [`StateError`].
    fn queue(&self, kind: RecordKind) -> BoxFuture<'_, Result<QueueStatus, StateError>>;

    /// Grants a lease, under a new epoch, if nobody else holds it. To whom holds it already it is
    /// granted anew: the earlier grant is lost then.
    ///
    /// # Errors
    /// See [`StateError`].
    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Acquired, StateError>>;

    /// Lets a lease that is held run out this long from now.
    ///
    /// # Errors
    /// `lease_lost` when it is not held under this epoch, also when it has run out and nobody
    /// else has taken it; see [`StateError`].
    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<Lease, StateError>>;

    /// Gives a lease back. Idempotent: a lease that is not held under this epoch stays as it is.
    ///
    /// # Errors
    /// See [`StateError`].
    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<(), StateError>>;

    /// Lists the leases that are held.
    ///
    /// # Errors
    /// See [`StateError`].
    fn leases(&self, scan: LeaseScan) -> BoxFuture<'_, Result<LeasePage, StateError>>;

    /// Returns the count that [`StateWatch`] describes.
    fn watch(&self) -> StateWatch;

    /// Says how the store is.
    fn health(&self) -> StateHealth;

    /// Returns counters and sizes for the metrics page.
    fn metrics(&self) -> StoreMetrics;

    /// Stops taking changes, finishes those that it has taken, and closes the store; it may refuse
    /// reads from then on. Idempotent.
    fn close(&self) -> BoxFuture<'_, ()>;
}
