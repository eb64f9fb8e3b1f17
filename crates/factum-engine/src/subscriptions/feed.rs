//! One subscription on one node: what its dispatcher and its consumers share.
//!
//! The events that are read and not done with are records of a queue in the bookkeeping. Whoever
//! holds the lease of the subscription puts them there, together with the checkpoint; every node
//! hands them out by claiming them, and settles them by a change that names the claim. So a node
//! needs nothing from another, and what two of them do at once is decided in one place.
//!
//! It must never keep in memory what is not in the bookkeeping: events that are held here are
//! copies of the log that spare a read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use factum_model::{Position, RecordedEvent, Timestamp};
use factum_query::Filter;
use factum_store::{
    Claim, EventStore, LogRead, OwnerName, Precondition, ReadError, Record, RecordKind, RecordScan,
    StateStore, Visibility,
};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::counters::FeedCounters;
use super::error::SubscriptionError;
use super::handout::{Handout, HandoutToken, Lent, Outcome, Settled, Verdict};
use super::options::SubscriptionOptions;
use super::record::{Entry, position_of};
use super::settle::Item;
use super::spec::FeedSpec;
use crate::engine::Engine;

/// One subscription on this node. Cloning is cheap and gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Feed {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) spec: FeedSpec,
    pub(super) options: SubscriptionOptions,
    pub(super) queue: RecordKind,
    pub(super) parked: RecordKind,
    pub(super) counters: Arc<FeedCounters>,
    window: Mutex<Window>,
    /// Changes when there may be something to hand out.
    ready: watch::Sender<u64>,
    /// Changes when there may be room for more.
    settled: watch::Sender<u64>,
    /// One claim of this node at a time: two would only look at the same records.
    claims: Semaphore,
    /// How far this node has read, while it holds the lease.
    pub(super) reading: Mutex<Reading>,
    /// Nothing is handed out any more.
    retired: AtomicBool,
}

/// Where a subscription is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not on this node, or nowhere.
    Elsewhere,
    /// Here; everything up to the position was read.
    Here(Option<Position>),
}

/// Events of the queue, as many as there is room for.
#[derive(Debug, Default)]
struct Window {
    events: BTreeMap<Position, RecordedEvent>,
    bytes: usize,
}

impl Window {
    fn insert(&mut self, event: RecordedEvent, bytes_max: usize) {
        self.bytes += event.text_bytes();
        if let Some(old) = self.events.insert(event.position, event) {
            self.bytes -= old.text_bytes();
        }
        // What is oldest is with a consumer of another node, most likely.
        while self.bytes > bytes_max
            && let Some((_, old)) = self.events.pop_first()
        {
            self.bytes -= old.text_bytes();
        }
    }

    fn remove(&mut self, position: Position) {
        if let Some(old) = self.events.remove(&position) {
            self.bytes -= old.text_bytes();
        }
    }
}

/// What a consumer asks for.
#[derive(Debug, Clone)]
pub struct Take {
    /// Who asks.
    pub consumer: OwnerName,
    /// The most events to hand out.
    pub limit: usize,
    /// About how many bytes of events to hand out at most; the first few may be more.
    pub bytes_max: usize,
    /// How long to wait for the first one.
    pub wait: Duration,
}

/// How many events are claimed before it is known how large they are.
const FIRST_LOOK: usize = 16;

/// What one look at the queue gave.
pub(super) struct Look {
    pub(super) handouts: Vec<Handout>,
    /// When time alone makes another one ready.
    pub(super) next: Option<Duration>,
}

impl Feed {
    /// Makes the node's part of a subscription. Nothing is read before [`Feed::dispatch`] runs.
    ///
    /// # Errors
    /// [`SubscriptionError::NoBookkeeping`], or a setting or filter that breaks a rule.
    pub fn new(
        engine: &Engine,
        spec: FeedSpec,
        options: &SubscriptionOptions,
    ) -> Result<Self, SubscriptionError> {
        Self::counting(engine, spec, options, Arc::default())
    }

    /// As [`Feed::new`], with counters that go on.
    pub(super) fn counting(
        engine: &Engine,
        spec: FeedSpec,
        options: &SubscriptionOptions,
        counters: Arc<FeedCounters>,
    ) -> Result<Self, SubscriptionError> {
        let state = engine.state().ok_or(SubscriptionError::NoBookkeeping)?;
        spec.settings.check()?;
        engine.check_filter(&spec.filter)?;
        let inner = Inner {
            queue: spec.id.queue()?,
            parked: spec.id.parked()?,
            engine: engine.clone(),
            state: Arc::clone(state),
            spec,
            options: options.clone(),
            counters,
            window: Mutex::default(),
            ready: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            claims: Semaphore::new(1),
            reading: Mutex::new(Reading::Elsewhere),
            retired: AtomicBool::new(false),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Returns what it was made from.
    #[must_use]
    pub fn spec(&self) -> &FeedSpec {
        &self.inner.spec
    }

    /// Returns its counters on this node.
    #[must_use]
    pub fn counters(&self) -> &FeedCounters {
        &self.inner.counters
    }

    /// Hands out events that are ready, or waits for the first one. None at all when the time is
    /// up. Dropping the future while it waits loses nothing; dropped at the moment in which events
    /// are claimed, they are handed out again when their time is up.
    ///
    /// # Errors
    /// See [`SubscriptionError`].
    pub async fn take(&self, take: &Take) -> Result<Vec<Handout>, SubscriptionError> {
        let deadline = Instant::now() + take.wait;
        let mut ready = self.inner.ready.subscribe();
        loop {
            ready.mark_unchanged();
            if self.is_retired() {
                return Ok(Vec::new());
            }
            let look = self.look_within(take).await?;
            if !look.handouts.is_empty() || Instant::now() >= deadline {
                return Ok(look.handouts);
            }
            let pause = look.next.unwrap_or(Duration::MAX).min(self.poll());
            let until = deadline.min(Instant::now() + pause);
            tokio::select! {
                changed = ready.changed() => changed.map_err(|_| SubscriptionError::Stopping)?,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Settles events that were handed out, each by its token. Durable when this returns. The
    /// answers stand in the order of the outcomes.
    ///
    /// # Errors
    /// See [`SubscriptionError`]; after `outcome_unknown` some may count and some may not.
    pub async fn settle(
        &self,
        outcomes: Vec<(HandoutToken, Outcome)>,
    ) -> Result<Vec<Settled>, SubscriptionError> {
        let items = outcomes.into_iter().map(|(token, outcome)| Item {
            token,
            lent: None,
            verdict: Verdict::from(outcome),
        });
        self.commit(items.collect()).await
    }

    /// Lets go of everything that a consumer has, so that others get it at once. Attempts that it
    /// has begun count as failed.
    ///
    /// # Errors
    /// See [`SubscriptionError`].
    pub async fn abandon(&self, consumer: OwnerName) -> Result<u64, SubscriptionError> {
        let inner = &*self.inner;
        let abandon = inner.state.abandon(inner.queue.clone(), consumer);
        let n_abandoned = abandon.await?;
        if n_abandoned > 0 {
            self.wake_consumers();
        }
        Ok(n_abandoned)
    }

    /// Hands out nothing from now on, and tells those who wait: the subscription is paused, was
    /// changed, or is gone.
    pub(super) fn retire(&self) {
        self.inner.retired.store(true, Ordering::Release);
        self.wake_consumers();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.inner.retired.load(Ordering::Acquire)
    }

    /// Tells whether two handles are of the same part.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// How long to wait at most when nothing is heard: of what other nodes do nothing is.
    pub(super) fn poll(&self) -> Duration {
        if self.inner.state.capability().shared {
            self.inner.options.poll_interval
        } else {
            self.inner.options.idle_max
        }
    }

    pub(super) fn watch_ready(&self) -> watch::Receiver<u64> {
        self.inner.ready.subscribe()
    }

    pub(super) fn watch_settled(&self) -> watch::Receiver<u64> {
        self.inner.settled.subscribe()
    }

    pub(super) fn wake_consumers(&self) {
        self.inner.ready.send_modify(|count| *count += 1);
    }

    pub(super) fn wake_dispatcher(&self) {
        self.inner.settled.send_modify(|count| *count += 1);
    }

    pub(super) fn reading(&self) -> Reading {
        let reading = self.inner.reading.lock();
        *reading.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_reading(&self, now: Reading) {
        let reading = self.inner.reading.lock();
        *reading.unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Keeps events for those who will get them.
    pub(super) fn keep(&self, events: Vec<RecordedEvent>) {
        let bytes_max = self.inner.options.window_bytes_max;
        let mut window = self.window();
        for event in events {
            window.insert(event, bytes_max);
        }
    }

    pub(super) fn forget(&self, positions: impl Iterator<Item = Position>) {
        let mut window = self.window();
        for position in positions {
            window.remove(position);
        }
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        // A window that was left half changed only costs a read.
        let window = self.inner.window.lock();
        window.unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what is ready, a few first: what they weigh says how many more there is room for.
    async fn look_within(&self, take: &Take) -> Result<Look, SubscriptionError> {
        let mut look = self
            .look(&take.consumer, take.limit.min(FIRST_LOOK))
            .await?;
        let mut asked = FIRST_LOOK;
        loop {
            let n_handouts = look.handouts.len();
            let bytes: usize = look.handouts.iter().map(|one| one.event.text_bytes()).sum();
            let average = (bytes / n_handouts.max(1)).max(1);
            let room = take.bytes_max.saturating_sub(bytes) / average;
            let more = room.min(take.limit.saturating_sub(n_handouts));
            if n_handouts < asked || more == 0 {
                return Ok(look);
            }
            asked = n_handouts + more;
            match self.look(&take.consumer, more).await {
                Ok(next) => {
                    look.handouts.extend(next.handouts);
                    look.next = next.next;
                }
                // What was claimed before it failed is handed out all the same.
                Err(_) => return Ok(look),
            }
        }
    }

    /// Claims what is ready.
    pub(super) async fn look(
        &self,
        consumer: &OwnerName,
        limit: usize,
    ) -> Result<Look, SubscriptionError> {
        let inner = &*self.inner;
        let room = inner.claims.acquire().await;
        let room = room.map_err(|_| SubscriptionError::Stopping)?;
        let settings = &inner.spec.settings;
        let claim = Claim {
            kind: inner.queue.clone(),
            owner: consumer.clone(),
            limit: limit.clamp(1, inner.state.limits().page_records_max),
            visibility: settings.ack_deadline,
            order: settings.order.claims(),
        };
        let claimed = inner.state.claim(claim).await?;
        drop(room);
        let until = claimed
            .now
            .saturating_add_micros(micros(settings.ack_deadline));
        let mut handouts = self.open(claimed.records, until).await?;
        self.park_exhausted(&mut handouts).await?;
        inner.counters.handed_out.add(handouts.len());
        let wait = claimed.next_at.map(|at| since(claimed.now, at));
        let next = wait.map(|wait| wait + Duration::from_millis(1));
        Ok(Look { handouts, next })
    }

    /// Reads the events of claimed records.
    async fn open(
        &self,
        records: Vec<Record>,
        until: Timestamp,
    ) -> Result<Vec<Handout>, SubscriptionError> {
        let mut handouts = Vec::with_capacity(records.len());
        let mut lost = Vec::new();
        for record in records {
            let position = position_of(&record.id.key);
            let entry = Entry::decode(&record.body);
            let (Some(position), Some(entry)) = (position, entry) else {
                lost.push((record, "a record of the queue cannot be read"));
                continue;
            };
            let Some(event) = self.event(position).await? else {
                lost.push((record, "the log has no such event any more"));
                continue;
            };
            if event.id != entry.event_id {
                lost.push((record, "the log has another event there now"));
                continue;
            }
            let token = HandoutToken {
                generation: self.inner.spec.id.generation(),
                position,
                version: record.version,
            };
            handouts.push(Handout {
                event,
                attempt: entry.failed.saturating_add(record.n_claims.max(1)),
                token,
                until,
                lent: Lent {
                    entry,
                    group: record.group,
                },
            });
        }
        self.drop_lost(lost).await?;
        Ok(handouts)
    }

    /// Drops what stands for no event: a repair or a restore has cut off the history that it was of.
    async fn drop_lost(&self, lost: Vec<(Record, &'static str)>) -> Result<(), SubscriptionError> {
        for (record, why) in lost {
            let name = &self.inner.spec.name;
            let key = &record.id.key;
            tracing::warn!(subscription = %name, %key, why, "an event is not handed out");
            self.inner.counters.lost.add(1);
            let version = Precondition::Version(record.version);
            let delete = factum_store::Change::delete(record.id, version);
            let dropped = factum_store::Batch::of(vec![delete]);
            self.inner.state.apply(dropped).await?;
        }
        Ok(())
    }

    /// Parks what was handed out too often without a word: its consumers died of it, or were too
    /// slow each time.
    async fn park_exhausted(&self, handouts: &mut Vec<Handout>) -> Result<(), SubscriptionError> {
        let attempts_max = self.inner.spec.settings.attempts_max;
        let is_exhausted = |handout: &Handout| attempts_max != 0 && handout.attempt > attempts_max;
        if !handouts.iter().any(is_exhausted) {
            return Ok(());
        }
        let (exhausted, good) = std::mem::take(handouts).into_iter().partition(is_exhausted);
        *handouts = good;
        let items = Vec::into_iter(exhausted).map(|handout: Handout| {
            let cause = match handout.lent.entry.cause.as_str() {
                "" => "no outcome within the ack deadline".to_owned(),
                cause => format!("no outcome within the ack deadline; before that: {cause}"),
            };
            Item {
                token: handout.token,
                lent: Some((handout.lent, handout.attempt.saturating_sub(1))),
                verdict: Verdict::from(Outcome::Park { cause }),
            }
        });
        self.commit(items.collect()).await?;
        Ok(())
    }

    /// Returns an event, from the window or from the log.
    async fn event(&self, position: Position) -> Result<Option<RecordedEvent>, ReadError> {
        if let Some(event) = self.window().events.get(&position) {
            return Ok(Some(event.clone()));
        }
        event_at(&**self.inner.engine.store(), position).await
    }
}

/// Reads one event of the log.
async fn event_at(
    store: &dyn EventStore,
    position: Position,
) -> Result<Option<RecordedEvent>, ReadError> {
    let page = store.read_log(LogRead {
        filter: Filter::default(),
        visibility: Visibility::Everything,
        after: position.previous(),
        until: Some(position),
        limit: 1,
        ..LogRead::forwards()
    });
    let event = page.await?.events.pop();
    Ok(event.filter(|event| event.position == position))
}

/// Deletes all records of a kind.
pub(super) async fn purge_kind(
    state: &dyn StateStore,
    kind: &RecordKind,
) -> Result<(), SubscriptionError> {
    loop {
        let page = state.scan(RecordScan {
            limit: 500,
            ..RecordScan::all(kind.clone())
        });
        let records = page.await?.records;
        if records.is_empty() {
            return Ok(());
        }
        let delete = |record: Record| factum_store::Change::delete(record.id, Precondition::Any);
        let changes = records.into_iter().map(delete).collect();
        state.apply(factum_store::Batch::of(changes)).await?;
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// How long it is from one instant to a later one.
pub(super) fn since(from: Timestamp, to: Timestamp) -> Duration {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
