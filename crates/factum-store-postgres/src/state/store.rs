//! The store itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use factum_model::Timestamp;
use factum_store::{
    Acquire, Acquired, Applied, Batch, BoxFuture, Capability, Claim, Claimed, Fence, GroupPage,
    GroupScan, Lease, LeasePage, LeaseScan, OwnerName, QueueStatus, Record, RecordId, RecordKind,
    RecordPage, RecordScan, StateError, StateHealth, StateLimits, StateStore, StateWatch,
    StoreMetrics, WriteState,
};
use tokio::sync::watch;

use super::call::Place;
use super::options::StateOptions;
use super::{changes, claims, leases, reads};
use crate::error::OpenError;
use crate::pool::connect;
use crate::schema;

/// The bookkeeping beside a log on PostgreSQL. Any number of nodes may have it open at a time.
///
/// What was written by other nodes does not show in [`StateStore::watch`].
#[derive(Debug)]
pub struct PostgresStateStore {
    place: Place,
    closed: AtomicBool,
    written: watch::Sender<u64>,
    changes: AtomicU64,
    refused: AtomicU64,
}

impl PostgresStateStore {
    /// Opens the bookkeeping that [`crate::Setup`] has made with the log.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: StateOptions) -> Result<Self, OpenError> {
        let place = Place::new(options)?;
        let options = &place.options.connect;
        let connected = connect(&options.url, options.connect_timeout).await?;
        let check = schema::check(&connected.client, &options.schema);
        tokio::time::timeout(options.read_timeout, check)
            .await
            .map_err(|_| OpenError::Timeout)??;
        Ok(Self {
            place,
            closed: AtomicBool::new(false),
            written: watch::Sender::new(0),
            changes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    fn limits(&self) -> &StateLimits {
        &self.place.options.limits
    }

    /// Makes a change, unless the store is closed, and counts it.
    async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, StateError>> + Send,
    ) -> Result<T, StateError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StateError::ShuttingDown);
        }
        let done = change.await;
        let counter = match done {
            Ok(_) => &self.changes,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// Wakes those of this node that wait for work or for a lease.
    fn wake(&self) {
        self.written.send_modify(|count| *count += 1);
    }
}

impl StateStore for PostgresStateStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "postgres",
            durable: true,
            shared: true,
        }
    }

    fn limits(&self) -> StateLimits {
        *Self::limits(self)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StateError>> {
        Box::pin(reads::now(&self.place))
    }

    fn record(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Record>, StateError>> {
        Box::pin(async move { reads::one(&self.place, &id).await })
    }

    fn scan(&self, scan: RecordScan) -> BoxFuture<'_, Result<RecordPage, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_scan(&scan)?;
            reads::scan(&self.place, &scan).await
        })
    }

    fn groups(&self, scan: GroupScan) -> BoxFuture<'_, Result<GroupPage, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_groups(&scan)?;
            reads::groups(&self.place, &scan).await
        })
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_batch(&batch)?;
            let wakes = !batch.changes.is_empty();
            let applied = self.change(changes::apply(&self.place, batch)).await?;
            if wakes {
                self.wake();
            }
            Ok(applied)
        })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_claim(&claim)?;
            self.change(claims::claim(&self.place, &claim)).await
        })
    }

    fn abandon(
        &self,
        kind: RecordKind,
        owner: OwnerName,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            let abandon = claims::abandon(&self.place, &kind, &owner);
            let n_abandoned = self.change(abandon).await?;
            if n_abandoned > 0 {
                self.wake();
            }
            Ok(n_abandoned)
        })
    }

    fn queue(&self, kind: RecordKind) -> BoxFuture<'_, Result<QueueStatus, StateError>> {
        Box::pin(async move { reads::queue(&self.place, &kind).await })
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Acquired, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_acquire(&acquire)?;
            self.change(leases::acquire(&self.place, acquire)).await
        })
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<Lease, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_renew(ttl)?;
            self.change(leases::renew(&self.place, fence, ttl)).await
        })
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move {
            if self.change(leases::release(&self.place, &fence)).await? {
                self.wake();
            }
            Ok(())
        })
    }

    fn leases(&self, scan: LeaseScan) -> BoxFuture<'_, Result<LeasePage, StateError>> {
        Box::pin(async move {
            Self::limits(self).check_leases(&scan)?;
            leases::leases(&self.place, &scan).await
        })
    }

    fn watch(&self) -> StateWatch {
        self.written.subscribe()
    }

    fn health(&self) -> StateHealth {
        let writes = if self.closed.load(Ordering::Acquire) {
            WriteState::Closed
        } else {
            WriteState::Open
        };
        StateHealth { writes }
    }

    fn metrics(&self) -> StoreMetrics {
        let (connections, idle) = self.place.pool.sizes();
        let values = vec![
            ("state_changes_total", self.changes.load(Ordering::Relaxed)),
            (
                "state_changes_refused_total",
                self.refused.load(Ordering::Relaxed),
            ),
            ("state_connections", connections as u64),
            ("state_connections_idle", idle as u64),
        ];
        StoreMetrics { values }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.closed.store(true, Ordering::Release) })
    }
}
