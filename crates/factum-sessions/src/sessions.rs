//! The handle to all sessions of a store, what it keeps in memory, and how it writes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use factum_engine::{Catalogue, Engine, EngineError};
use factum_model::{
    EventId, IdSource as _, MonotonicIds, NewEvent, Position, SequenceNumber, StreamId, Timestamp,
};
use factum_query::Filter;
use factum_store::{
    AppendCondition, AppendRequest, EventReceipt, StreamExpectation, StreamRead, Visibility,
};
use tokio::sync::watch;

use crate::error::SessionError;
use crate::events;
use crate::id::{InstanceId, excerpt};
use crate::metrics::{SessionCounters, SessionMetrics};
use crate::options::SessionOptions;
use crate::registry::{Registry, Taken};
use crate::state::{InstanceStatus, SessionState, Step};

/// The agent sessions of a store. Cloning is cheap and gives another handle to the same sessions.
///
/// Every operation is one function on this type, with an input and an output of its own. What an
/// operation has recorded is durable and visible to every operation of this handle when it
/// returns; other nodes see it a moment later, and none of them acts on what it has not seen:
/// whatever depends on the state of an instance is appended on the condition that nothing came in
/// between.
#[derive(Clone)]
pub struct Sessions {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) options: SessionOptions,
    pub(crate) counters: SessionCounters,
    ids: MonotonicIds,
    registry: RwLock<Registry>,
    /// The instances of the log are all in memory, or were.
    pub(crate) ready: watch::Sender<bool>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// What must not have happened to an instance since it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unless<'a> {
    /// Events of these types.
    pub(crate) any_of: &'a [&'static str],
    /// After this position.
    pub(crate) after: Option<Position>,
}

impl Sessions {
    /// Makes a handle. [`Sessions::run`] has to run beside it: it follows the log, finds the
    /// instances that are silent, and deletes checkpoints that are too old.
    #[must_use]
    pub fn new(engine: Engine, options: SessionOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                options,
                counters: SessionCounters::default(),
                ids: MonotonicIds::new(fill_random),
                registry: RwLock::new(Registry::default()),
                ready: watch::Sender::new(false),
            }),
        }
    }

    /// Returns what it was made with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.inner.options
    }

    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Returns counters and sizes for the metrics page.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        let registry = self.registry();
        let count = |status| {
            let of_status = registry.states().filter(|state| state.status == status);
            u64::try_from(of_status.count()).unwrap_or(u64::MAX)
        };
        self.inner.counters.read(SessionMetrics {
            active: count(InstanceStatus::Active),
            stale: count(InstanceStatus::Stale),
            closed: count(InstanceStatus::Closed),
            evicted_total: registry.n_evicted,
            ..SessionMetrics::default()
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.engine.clock().now()
    }

    pub(crate) fn next_id(&self) -> EventId {
        self.inner.ids.next_id(self.now())
    }

    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        let registry = self.inner.registry.read();
        registry.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        let registry = self.inner.registry.write();
        registry.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the instances of the log are in memory, which takes a moment after a start.
    pub(crate) async fn ready(&self) -> Result<(), SessionError> {
        let limit = self.inner.options.replay_time_max;
        let mut ready = self.inner.ready.subscribe();
        // The sender lives as long as this handle, so only time can make this fail.
        match tokio::time::timeout(limit, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(SessionError::TimedOut {
                limit_ms: limit.as_millis(),
            }),
        }
    }

    /// Returns how an instance ends that counts from now: as its events say, but stale as soon as
    /// it has been silent for too long, whether or not that is recorded yet.
    pub(crate) fn status_at(&self, state: &SessionState, now: Timestamp) -> InstanceStatus {
        match state.status {
            InstanceStatus::Active if self.is_silent(state, now) => InstanceStatus::Stale,
            status => status,
        }
    }

    /// Tells whether nobody has had to do with an instance for so long that it is no longer offered.
    pub(crate) fn is_past(&self, state: &SessionState, now: Timestamp) -> bool {
        let unused = now.as_micros().saturating_sub(state.last_use().as_micros());
        let unused = u128::try_from(unused).unwrap_or(0);
        unused >= self.inner.options.retention.as_micros()
            && self.status_at(state, now) != InstanceStatus::Active
    }

    pub(crate) fn is_silent(&self, state: &SessionState, now: Timestamp) -> bool {
        let silent = now
            .as_micros()
            .saturating_sub(state.last_heartbeat.as_micros());
        let silent = u128::try_from(silent).unwrap_or(0);
        silent >= self.inner.options.stale_after.as_micros()
    }

    /// Looks at an instance, and says up to where its events were seen. One that is not in memory
    /// is read from the log.
    pub(crate) async fn look<T>(
        &self,
        id: &InstanceId,
        look: impl Fn(&SessionState, Option<Position>) -> T,
    ) -> Result<T, SessionError> {
        if let Some(seen) = self.look_in_memory(id, &look) {
            return Ok(seen);
        }
        let state = self.read_whole(id).await?;
        let seen = look(&state, state.position);
        let mut registry = self.registry_mut();
        registry.keep(state);
        registry.make_room(self.inner.options.instances_max);
        Ok(seen)
    }

    fn look_in_memory<T>(
        &self,
        id: &InstanceId,
        look: &impl Fn(&SessionState, Option<Position>) -> T,
    ) -> Option<T> {
        let registry = self.registry();
        let state = registry.get(id.as_str())?;
        Some(look(state, registry.seen_to(state)))
    }

    /// Reads all events of an instance and folds them.
    async fn read_whole(&self, id: &InstanceId) -> Result<SessionState, SessionError> {
        let mut state: Option<SessionState> = None;
        self.walk(id, 1..=u64::MAX, &mut |step| match &mut state {
            Some(state) => state.apply(step),
            None => {
                state = SessionState::begin(id, step);
                state.is_some()
            }
        })
        .await?;
        state.ok_or_else(|| SessionError::InstanceNotFound {
            given: excerpt(id.as_str()),
        })
    }

    /// Shows the events of an instance with some sequence numbers, until `each` says no.
    pub(crate) async fn walk(
        &self,
        id: &InstanceId,
        numbers: RangeInclusive<u64>,
        each: &mut (dyn FnMut(&Step<'_>) -> bool + Send),
    ) -> Result<(), SessionError> {
        let mut from = SequenceNumber::new(*numbers.start());
        let to = Some(*numbers.end()).filter(|last| *last < u64::MAX);
        loop {
            let read = StreamRead {
                from,
                to: to.and_then(SequenceNumber::new),
                ..StreamRead::forwards(stream_of(id)?)
            };
            let page = self.inner.engine.read_stream(read, Visibility::Application);
            let page = page.await?;
            for event in &page.events {
                if !each(&Step::of(event)) {
                    return Ok(());
                }
            }
            let Some(last) = page.events.last().filter(|_| page.has_more) else {
                return Ok(());
            };
            from = Some(last.sequence_number.next());
        }
    }

    /// Folds what others have recorded of an instance meanwhile.
    pub(crate) async fn refresh(&self, id: &InstanceId) -> Result<(), SessionError> {
        let known = self
            .registry()
            .get(id.as_str())
            .map(|state| state.sequence_num);
        let Some(known) = known else {
            return self.look(id, |_, _| ()).await;
        };
        self.walk(id, known + 1..=u64::MAX, &mut |step| {
            self.registry_mut().take(id, step) != Taken::Absent
        })
        .await
    }

    /// Appends events of one instance, all or none, and folds them. They are refused if something
    /// happened to it that the caller has not seen; [`SessionError::is_overtaken`] tells.
    pub(crate) async fn record(
        &self,
        id: &InstanceId,
        events: Vec<NewEvent>,
        unless: Unless<'_>,
    ) -> Result<Vec<EventReceipt>, SessionError> {
        let types = unless.any_of.iter().filter_map(|name| name.parse().ok());
        let filter = Filter {
            streams: vec![stream_of(id)?],
            event_types: types.collect(),
            ..Filter::default()
        };
        let condition = AppendCondition {
            filter,
            after: unless.after,
        };
        self.append(id, events, Vec::new(), Some(condition)).await
    }

    pub(crate) async fn append(
        &self,
        id: &InstanceId,
        events: Vec<NewEvent>,
        expected: Vec<StreamExpectation>,
        condition: Option<AppendCondition>,
    ) -> Result<Vec<EventReceipt>, SessionError> {
        let request = AppendRequest {
            events: events.clone(),
            expected,
            condition,
            ..AppendRequest::default()
        };
        let appended = self.inner.engine.append_to_instances(request).await;
        let receipt = appended.map_err(refused)?;
        let n_events = u64::try_from(events.len()).unwrap_or(0);
        let counter = &self.inner.counters.events_total;
        counter.fetch_add(n_events, Ordering::Relaxed);
        let mut whole = true;
        {
            let mut registry = self.registry_mut();
            for (event, receipt) in events.iter().zip(&receipt.events) {
                let step = Step {
                    id: receipt.id,
                    event_type: event.event_type.as_str(),
                    payload: event.payload.as_str(),
                    sequence_num: receipt.sequence_number.get(),
                    position: Some(receipt.position),
                    at: receipt.recorded_at,
                };
                whole &= registry.take(id, &step) == Taken::Folded;
            }
        }
        if !whole {
            // Others recorded in between; what they did has to be folded first.
            self.refresh(id).await?;
        }
        Ok(receipt.events)
    }

    /// Makes an event of an instance, with an id.
    pub(crate) fn event(
        &self,
        id: &InstanceId,
        event_type: &str,
        payload: factum_model::JsonObject,
    ) -> Result<NewEvent, SessionError> {
        let event_type = event_type
            .parse()
            .map_err(|error: factum_model::InvalidName| {
                SessionError::invalid("event_type", error.to_string())
            })?;
        Ok(NewEvent {
            id: Some(self.next_id()),
            // All that an instance does is one conversation, if nothing else is said.
            correlation_id: id.as_str().parse().ok(),
            ..NewEvent::new(event_type, stream_of(id)?, payload)
        })
    }

    pub(crate) fn count_redacted(&self, n_values: u64) {
        let counter: &AtomicU64 = &self.inner.counters.redacted_total;
        counter.fetch_add(n_values, Ordering::Relaxed);
    }

    pub(crate) fn catalogue() -> &'static Catalogue {
        Catalogue::shipped()
    }
}

/// A fault of the metadata is one of the event; whatever else is refused is for the store to say.
fn refused(error: EngineError) -> SessionError {
    match error {
        EngineError::Metadata { source, .. } => {
            SessionError::invalid("metadata", source.to_string())
        }
        other => SessionError::EventStore(other),
    }
}

/// Returns the stream of an instance.
pub(crate) fn stream_of(id: &InstanceId) -> Result<StreamId, SessionError> {
    let unusable =
        |error: factum_model::InvalidName| SessionError::invalid("instance_id", error.to_string());
    Ok(StreamId::new(
        events::AGGREGATE_TYPE.parse().map_err(unusable)?,
        id.as_str().parse().map_err(unusable)?,
    ))
}

/// Fills with what no other process has: for ids, not for secrets.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        let random = RandomState::new().build_hasher().finish().to_be_bytes();
        chunk.copy_from_slice(random.get(..chunk.len()).unwrap_or_default());
    }
}
