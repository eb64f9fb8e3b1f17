//! The dispatcher: reads the log from the checkpoint on and fills the queue.
//!
//! One node at a time does it for a subscription: it holds the lease, and every batch that it
//! writes names the lease's epoch. The events of a batch and the checkpoint behind them are one
//! change, so a crash neither skips nor queues an event twice.

use std::time::Duration;

use factum_model::Position;
use factum_store::{
    Acquire, Acquired, Batch, Change, CursorError, Due, Fence, LogRead, Precondition, Put,
    ReadError, RecordId, RecordScan, StateError, StateStore,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::SubscriptionError;
use super::feed::{Feed, Reading, purge_kind, since};
use super::record::{Entry, group_of, key_of};
use super::spec::{CHECKPOINTS, FeedId};
use crate::error::EngineError;

/// How long to wait before something that failed is tried again.
const FAILED_WAIT: Duration = Duration::from_millis(500);
/// How often a checkpoint is written behind events none of which is meant.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(1);
/// For how long outcomes are gathered before room is looked for again.
const ROOM_DELAY: Duration = Duration::from_millis(5);

/// What is true while the lease is held.
struct Tenure {
    fence: Fence,
    renew_at: Instant,
    /// Everything up to here was read.
    position: Option<Position>,
    /// The checkpoint that is stored says so much.
    stored: Option<Position>,
    stored_at: Instant,
    /// How many more events may be queued before it is looked how many there are: outcomes only
    /// ever make more room.
    room: usize,
}

/// How a tenure went on.
enum Step {
    /// There may be more at once.
    Again,
    /// Everything was read.
    AtHead,
    /// There is no room.
    Full,
}

impl Feed {
    /// Fills the queue of the subscription whenever this node holds its lease, until it is stopped.
    /// What fails is logged and tried again.
    pub async fn dispatch(&self, stop: &CancellationToken) {
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            let ended = self.tenure(stop).await;
            let pause = match ended {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(SubscriptionError::State(StateError::LeaseLost { .. })) => {
                    self.inner.counters.lease_lost.add(1);
                    let name = &self.inner.spec.name;
                    tracing::warn!(subscription = %name, "the lease was lost; reading stops here");
                    FAILED_WAIT
                }
                Err(error) => {
                    if error.code() != factum_model::ErrorCode::ShuttingDown {
                        self.complain(&error, failures);
                    }
                    failures = failures.saturating_add(1);
                    FAILED_WAIT * failures.min(10)
                }
            };
            self.set_reading(Reading::Elsewhere);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn complain(&self, error: &SubscriptionError, failures: u32) {
        let name = &self.inner.spec.name;
        if failures == 0 {
            tracing::warn!(subscription = %name, %error, "a subscription cannot go on; it is tried again");
        } else {
            tracing::debug!(subscription = %name, %error, failures, "a subscription still cannot go on");
        }
    }

    /// Holds the lease as long as it can. Returns how long to wait before asking for it again.
    async fn tenure(&self, stop: &CancellationToken) -> Result<Duration, SubscriptionError> {
        let inner = &*self.inner;
        let acquired = inner.state.acquire(Acquire {
            name: inner.spec.id.lease()?,
            owner: inner.options.node.clone(),
            ttl: inner.options.lease_ttl,
        });
        let fence = match acquired.await? {
            Acquired::Granted(lease) => lease.fence(),
            Acquired::Held(lease) => {
                let left = since(inner.state.now().await?, lease.expires_at);
                let pause = left.min(inner.options.lease_ttl / 3);
                return Ok(pause.max(Duration::from_millis(10)));
            }
        };
        self.drop_earlier_passes().await?;
        let position = self.checkpoint().await?;
        let mut tenure = Tenure {
            renew_at: Instant::now() + inner.options.lease_ttl / 3,
            position,
            stored: position,
            stored_at: Instant::now(),
            room: 0,
            fence,
        };
        let worked = self.work(&mut tenure, stop).await;
        // Whether it was stopped or has failed: others need not wait for the lease to run out.
        let stored = self.store_checkpoint(&mut tenure).await;
        inner.state.release(tenure.fence).await?;
        worked.and(stored).map(|()| Duration::ZERO)
    }

    async fn work(
        &self,
        tenure: &mut Tenure,
        stop: &CancellationToken,
    ) -> Result<(), SubscriptionError> {
        let inner = &*self.inner;
        let mut head = inner.engine.store().watch_head();
        let mut settled = self.watch_settled();
        while !stop.is_cancelled() {
            if Instant::now() >= tenure.renew_at {
                let renewed = inner
                    .state
                    .renew(tenure.fence.clone(), inner.options.lease_ttl);
                renewed.await?;
                tenure.renew_at = Instant::now() + inner.options.lease_ttl / 3;
            }
            head.mark_unchanged();
            settled.mark_unchanged();
            let step = self.step(tenure).await?;
            self.set_reading(Reading::Here(tenure.position));
            let until = tenure.renew_at;
            match step {
                Step::Again => {}
                Step::AtHead => {
                    let due = tenure.stored_at + IDLE_CHECKPOINT;
                    let lags = tenure.stored != tenure.position;
                    let until = if lags { until.min(due) } else { until };
                    tokio::select! {
                        () = stop.cancelled() => {}
                        changed = head.changed() => changed.map_err(|_| ReadError::Closed)?,
                        () = tokio::time::sleep_until(until) => {}
                    }
                    if lags && Instant::now() >= due {
                        self.store_checkpoint(tenure).await?;
                    }
                }
                Step::Full => {
                    let until = until.min(Instant::now() + self.poll());
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = settled.changed() => tokio::time::sleep(ROOM_DELAY).await,
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a page of the log into the queue, if there is room and anything to read.
    async fn step(&self, tenure: &mut Tenure) -> Result<Step, SubscriptionError> {
        let inner = &*self.inner;
        let store = inner.engine.store();
        if store.head() <= tenure.position {
            return Ok(Step::AtHead);
        }
        // One by one would be a commit for each.
        let room_min = (inner.spec.settings.window_max / 8).max(1);
        if tenure.room < room_min {
            tenure.room = self.room().await?;
            if tenure.room < room_min {
                inner.counters.window_full.add(1);
                return Ok(Step::Full);
            }
        }
        let changes_max = inner.state.limits().batch_changes_max.saturating_sub(1);
        let limit = tenure.room.min(inner.options.batch_events_max);
        let page = store.read_log(LogRead {
            filter: inner.spec.filter.clone(),
            visibility: inner.spec.visibility,
            after: tenure.position,
            limit: limit.min(changes_max.max(1)),
            page_bytes_max: inner.options.batch_bytes_max,
            scan_max: inner.options.scan_max,
            ..LogRead::forwards()
        });
        let page = page.await?;
        if page.scanned_to <= tenure.position {
            return Ok(Step::AtHead);
        }
        if page.events.is_empty() {
            tenure.position = page.scanned_to;
            if tenure.stored_at.elapsed() >= IDLE_CHECKPOINT {
                self.store_checkpoint(tenure).await?;
            }
            return Ok(Step::Again);
        }
        let mut changes = Vec::with_capacity(page.events.len() + 1);
        changes.push(self.checkpoint_at(page.scanned_to)?);
        for event in &page.events {
            let id = RecordId::new(inner.queue.clone(), key_of(event.position)?);
            let put = Put {
                body: Entry::of(event).encode(),
                // Since the clock does not go back, later events are not due before earlier ones.
                due: Due::After(Duration::ZERO),
                group: group_of(event),
            };
            changes.push(Change::put(id, Precondition::Any, put));
        }
        let fences = vec![tenure.fence.clone()];
        let n_events = page.events.len();
        self.keep(page.events);
        self.queue(Batch { changes, fences }).await?;
        tenure.position = page.scanned_to;
        tenure.stored = page.scanned_to;
        tenure.stored_at = Instant::now();
        tenure.room = tenure.room.saturating_sub(n_events);
        inner.counters.queued.add(n_events);
        Ok(Step::Again)
    }

    /// Queues events, and wakes those who wait for them.
    ///
    /// A store that is this node's alone takes changes in the order in which they are handed over:
    /// there consumers are woken as soon as it has the batch, so that their claims are committed
    /// together with it.
    async fn queue(&self, batch: Batch) -> Result<(), SubscriptionError> {
        let state = &self.inner.state;
        let handed_over = state.apply(batch);
        if state.capability().shared {
            handed_over.await?;
            self.wake_consumers();
        } else {
            let (applied, ()) = tokio::join!(handed_over, async { self.wake_consumers() });
            applied?;
        }
        Ok(())
    }

    /// Looks how many events may be queued now.
    async fn room(&self) -> Result<usize, SubscriptionError> {
        let inner = &*self.inner;
        let settings = &inner.spec.settings;
        let queue = inner.state.queue(inner.queue.clone()).await?;
        if queue.n_waiting >= settings.retries_max as u64 {
            inner.counters.retries_full.add(1);
            return Ok(0);
        }
        let n_open = usize::try_from(queue.n_due + queue.n_claimed).unwrap_or(usize::MAX);
        Ok(settings.window_max.saturating_sub(n_open))
    }

    /// Reads where the subscription is; where it begins, if it has not begun.
    pub(super) async fn checkpoint(&self) -> Result<Option<Position>, SubscriptionError> {
        let inner = &*self.inner;
        let Some(record) = inner.state.record(inner.spec.id.checkpoint()?).await? else {
            return Ok(inner.spec.after);
        };
        let text = String::from_utf8_lossy(&record.body);
        match inner.engine.resolve_after(&text) {
            Ok(position) => Ok(position),
            Err(EngineError::Cursor(CursorError::LostHistory { resume_at })) => {
                let name = &inner.spec.name;
                let resume_at = resume_at.min(inner.engine.head());
                let position = resume_at.map_or(0, Position::get);
                tracing::warn!(subscription = %name, position, "the history behind the checkpoint was cut off; it goes on where that was");
                Ok(resume_at)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn checkpoint_at(&self, position: Option<Position>) -> Result<Change, SubscriptionError> {
        let inner = &*self.inner;
        let text = inner.engine.cursor(position).to_string();
        let id = inner.spec.id.checkpoint()?;
        Ok(Change::put(id, Precondition::Any, Put::new(text)))
    }

    async fn store_checkpoint(&self, tenure: &mut Tenure) -> Result<(), SubscriptionError> {
        if tenure.stored == tenure.position {
            return Ok(());
        }
        let batch = Batch {
            changes: vec![self.checkpoint_at(tenure.position)?],
            fences: vec![tenure.fence.clone()],
        };
        self.inner.state.apply(batch).await?;
        tenure.stored = tenure.position;
        tenure.stored_at = Instant::now();
        Ok(())
    }

    /// Deletes what passes over the log before a reset have left.
    async fn drop_earlier_passes(&self) -> Result<(), SubscriptionError> {
        let inner = &*self.inner;
        let id = &inner.spec.id;
        let page = inner.state.scan(RecordScan {
            prefix: format!("{}.", id.base()),
            ..RecordScan::all(CHECKPOINTS.parse()?)
        });
        for record in page.await?.records {
            let found = FeedId::from_key(record.id.key.as_str());
            if let Some(found) = found
                && found.base() == id.base()
                && found.generation() < id.generation()
            {
                purge(&*inner.state, &found).await?;
            }
        }
        Ok(())
    }

    /// Deletes what a subscription that was deleted has left: its queue, its checkpoint and what is
    /// parked. Returns whether it is gone; not while another node still works on it.
    ///
    /// # Errors
    /// See [`SubscriptionError`].
    pub async fn clean(&self) -> Result<bool, SubscriptionError> {
        let inner = &*self.inner;
        let acquired = inner.state.acquire(Acquire {
            name: inner.spec.id.lease()?,
            owner: inner.options.node.clone(),
            ttl: inner.options.lease_ttl,
        });
        let Some(lease) = acquired.await?.granted() else {
            return Ok(false);
        };
        let purged = self.purge_all().await;
        inner.state.release(lease.fence()).await?;
        purged.map(|()| true)
    }

    async fn purge_all(&self) -> Result<(), SubscriptionError> {
        self.drop_earlier_passes().await?;
        // The checkpoint, by which all this is found, goes last.
        purge_kind(&*self.inner.state, &self.inner.parked).await?;
        purge(&*self.inner.state, &self.inner.spec.id).await
    }
}

/// Deletes all records of one pass over the log: its queue, then its checkpoint, by which it is
/// found.
async fn purge(state: &dyn StateStore, id: &FeedId) -> Result<(), SubscriptionError> {
    purge_kind(state, &id.queue()?).await?;
    let delete = Change::delete(id.checkpoint()?, Precondition::Any);
    state.apply(Batch::of(vec![delete])).await?;
    Ok(())
}
