//! The store itself: hands changes to the writer, answers readers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use factum_model::Timestamp;
use factum_store::{
    Acquire, Acquired, Action, Applied, Batch, BoxFuture, Capability, Claim, Claimed, Fence,
    GroupPage, GroupScan, Lease, LeasePage, LeaseScan, OwnerName, QueueStatus, Record, RecordId,
    RecordKind, RecordPage, RecordScan, StateError, StateHealth, StateLimits, StateStore,
    StateWatch, StoreMetrics, WriteState,
};
use tokio::sync::{mpsc, watch};

use super::backup::STATE_DB;
use super::open::{StateOpenError, open_writer};
use super::options::StateOptions;
use super::reads::Readers;
use super::writer::{Halt, Job, Now, StateCounters, StateWriter, Work, WriterState, job};
use super::{changes, claims, leases, reads};

/// What a change without a body takes in the queue.
const CHANGE_BYTES: usize = 256;
/// When to come back to a queue that is full.
const RETRY_AFTER_MS: u64 = 100;

/// The bookkeeping of a data directory, in the file `state.db`.
///
/// Dropping the last handle closes it: what is in the queue is written first. Other processes may
/// open the same file, though the lock of the log lets only one server work in a directory.
#[derive(Debug)]
pub struct EmbeddedStateStore {
    limits: StateLimits,
    queue_bytes_max: usize,
    path: PathBuf,
    state: Arc<WriterState>,
    readers: Arc<Readers>,
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStateStore {
    /// Opens `state.db` in a directory that is there, and makes it where there is none.
    ///
    /// A file up to `open_check_bytes_max` is checked whole. What a crash left in the write-ahead
    /// log is taken in, as far as it was committed.
    ///
    /// # Errors
    /// See [`StateOpenError`].
    pub fn open(options: StateOptions) -> Result<Self, StateOpenError> {
        let connection = open_writer(&options)?;
        let counter = reads::counter(&connection)?;
        let path = options.directory.join(STATE_DB);
        let (sender, queue) = mpsc::channel(options.queue_changes_max);
        let state = Arc::new(WriterState {
            counters: StateCounters::default(),
            writes: Mutex::new(WriteState::Open),
            queued_bytes: AtomicUsize::new(0),
            written: watch::Sender::new(0),
            now: Now::new(options.clock),
        });
        let writer = StateWriter {
            connection,
            state: Arc::clone(&state),
            queue,
            group_changes_max: options.group_changes_max,
            counter,
        };
        let thread = std::thread::Builder::new().name("factum-state".to_owned());
        let writer = thread.spawn(move || writer.run())?;
        Ok(Self {
            limits: options.limits,
            queue_bytes_max: options.queue_bytes_max,
            readers: Arc::new(Readers::new(path.clone(), options.readers_max)),
            path,
            state,
            queue: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Hands a change to the writer and waits until it is durable or refused.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        change: impl FnOnce(&mut Work<'_>) -> Result<T, Halt> + Send + 'static,
    ) -> Result<T, StateError> {
        let (job, answer) = job(bytes, change);
        self.push(job, bytes)?;
        answer.await.unwrap_or(Err(StateError::OutcomeUnknown))
    }

    fn push(&self, job: Box<dyn Job>, bytes: usize) -> Result<(), StateError> {
        if let WriteState::Failed { cause } = self.state.writes() {
            return Err(StateError::Failed { cause });
        }
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else {
            return Err(StateError::ShuttingDown);
        };
        let queued = &self.state.queued_bytes;
        let before = queued.fetch_add(bytes, Ordering::Relaxed);
        let full = before > 0 && before.saturating_add(bytes) > self.queue_bytes_max;
        if !full && queue.try_send(job).is_ok() {
            return Ok(());
        }
        queued.fetch_sub(bytes, Ordering::Relaxed);
        if queue.is_closed() {
            let cause = "its writer has ended".to_owned();
            return Err(StateError::Failed { cause });
        }
        let counter = &self.state.counters.queue_full;
        counter.fetch_add(1, Ordering::Relaxed);
        Err(StateError::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })
    }

    fn close_blocking(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        drop(queue.take());
        drop(queue);
        self.state.set(WriteState::Closed);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // The last connection to be closed empties the write-ahead log.
        self.readers.close();
        if let Some(writer) = writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the bookkeeping has panicked");
        }
    }
}

impl Drop for EmbeddedStateStore {
    fn drop(&mut self) {
        self.close_blocking();
    }
}

/// Returns about how many bytes a batch holds while it waits.
fn batch_bytes(batch: &Batch) -> usize {
    let body = |action: &Action| match action {
        Action::Put(put) => put.body.len(),
        Action::Delete | Action::Extend(_) | Action::Check => 0,
    };
    let changes = batch.changes.iter();
    CHANGE_BYTES
        + changes
            .map(|change| CHANGE_BYTES + body(&change.action))
            .sum::<usize>()
}

impl StateStore for EmbeddedStateStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "embedded",
            durable: true,
            shared: false,
        }
    }

    fn limits(&self) -> StateLimits {
        self.limits
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StateError>> {
        Box::pin(async { Ok(self.state.now.read()) })
    }

    fn record(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Record>, StateError>> {
        let now = self.state.now.read();
        let read = self.readers.run(move |db| reads::one(db, now, &id));
        Box::pin(read)
    }

    fn scan(&self, scan: RecordScan) -> BoxFuture<'_, Result<RecordPage, StateError>> {
        Box::pin(async move {
            self.limits.check_scan(&scan)?;
            let (now, bytes_max) = (self.state.now.read(), self.limits.page_bytes_max);
            let read = move |db: &_| reads::scan(db, now, (&scan, bytes_max));
            self.readers.run(read).await
        })
    }

    fn groups(&self, scan: GroupScan) -> BoxFuture<'_, Result<GroupPage, StateError>> {
        Box::pin(async move {
            self.limits.check_groups(&scan)?;
            self.readers.run(move |db| reads::groups(db, &scan)).await
        })
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, StateError>> {
        Box::pin(async move {
            self.limits.check_batch(&batch)?;
            let bytes = batch_bytes(&batch);
            let change = move |work: &mut Work<'_>| changes::apply(work, &batch);
            self.write(bytes, change).await
        })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StateError>> {
        Box::pin(async move {
            self.limits.check_claim(&claim)?;
            let bytes_max = self.limits.page_bytes_max;
            let change = move |work: &mut Work<'_>| claims::claim(work, &claim, bytes_max);
            self.write(CHANGE_BYTES, change).await
        })
    }

    fn abandon(
        &self,
        kind: RecordKind,
        owner: OwnerName,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        let change = move |work: &mut Work<'_>| claims::abandon(work, &kind, &owner);
        Box::pin(self.write(CHANGE_BYTES, change))
    }

    fn queue(&self, kind: RecordKind) -> BoxFuture<'_, Result<QueueStatus, StateError>> {
        let now = self.state.now.read();
        let read = move |db: &_| reads::queue(db, now, kind.as_str());
        Box::pin(self.readers.run(read))
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Acquired, StateError>> {
        Box::pin(async move {
            self.limits.check_acquire(&acquire)?;
            let change = move |work: &mut Work<'_>| leases::acquire(work, acquire);
            self.write(CHANGE_BYTES, change).await
        })
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<Lease, StateError>> {
        Box::pin(async move {
            self.limits.check_renew(ttl)?;
            let change = move |work: &mut Work<'_>| leases::renew(work, fence, ttl);
            self.write(CHANGE_BYTES, change).await
        })
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<(), StateError>> {
        let change = move |work: &mut Work<'_>| leases::release(work, &fence);
        Box::pin(self.write(CHANGE_BYTES, change))
    }

    fn leases(&self, scan: LeaseScan) -> BoxFuture<'_, Result<LeasePage, StateError>> {
        Box::pin(async move {
            self.limits.check_leases(&scan)?;
            let now = self.state.now.read();
            let read = move |db: &_| leases::leases(db, now, &scan);
            self.readers.run(read).await
        })
    }

    fn watch(&self) -> StateWatch {
        self.state.written.subscribe()
    }

    fn health(&self) -> StateHealth {
        let writes = self.state.writes();
        StateHealth { writes }
    }

    fn metrics(&self) -> StoreMetrics {
        let counters = &self.state.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let wal = self.path.with_extension("db-wal");
        let queued = self.state.queued_bytes.load(Ordering::Relaxed);
        let values = vec![
            ("state_changes_total", read(&counters.changes)),
            ("state_changes_refused_total", read(&counters.refused)),
            ("state_commits_total", read(&counters.commits)),
            ("state_queue_full_total", read(&counters.queue_full)),
            ("state_queue_bytes", queued as u64),
            ("state_db_bytes", size(&self.path)),
            ("state_wal_bytes", size(&wal)),
        ];
        StoreMetrics { values }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Joining the writer blocks, though only until the queue is written.
            match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
                Ok(tokio::runtime::RuntimeFlavor::MultiThread) => {
                    tokio::task::block_in_place(|| self.close_blocking());
                }
                Ok(_) | Err(_) => self.close_blocking(),
            }
        })
    }
}

#[cfg(test)]
mod tests;
