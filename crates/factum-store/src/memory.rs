//! The model store: a list of events behind a lock.
//!
//! It is what the other stores are compared with, so it must be obviously right. Every question
//! is answered by walking the whole list; nothing is remembered beside it that could disagree.

mod decide;
mod page;

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use factum_model::{
    AggregateId, AggregateType, Clock, EventId, IdSource, MonotonicIds, Position, RecordedEvent,
    StreamId, SystemClock,
};
use tokio::sync::watch;

use crate::append::{AppendError, AppendReceipt, AppendRequest};
use crate::cursor::{Lineage, LineageId, StoreId};
use crate::health::{StoreHealth, StoreMetrics, WriteState};
use crate::read::{LogPage, LogRead, ReadError, StreamInfo, StreamPage, StreamRead};
use crate::store::{BoxFuture, Capability, EventStore, HeadWatch};

/// A store that keeps its events in memory and forgets them when it is dropped.
///
/// It has no bound: it is for tests, for models and for trying things out. Each call walks the
/// whole log.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    lineage: Lineage,
    state: Mutex<State>,
    head: watch::Sender<Option<Position>>,
}

#[derive(Debug, Default)]
struct State {
    /// All events; the one at position `p` stands at index `p - 1`.
    events: Vec<RecordedEvent>,
    closed: bool,
}

impl MemoryStore {
    /// Makes an empty store with the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with(
            Arc::new(SystemClock),
            Arc::new(MonotonicIds::new(fill_random)),
        )
    }

    /// Makes an empty store that takes the time and new ids from elsewhere. Its own identity is
    /// the first of those ids.
    #[must_use]
    pub fn with(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let identity = ids.next_id(clock.now());
        Self {
            clock,
            ids,
            lineage: Lineage {
                store_id: StoreId(*identity.as_bytes()),
                current: LineageId(1),
                earlier: Vec::new(),
            },
            state: Mutex::default(),
            head: watch::Sender::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of the state, so it is whole even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, request: &AppendRequest) -> Result<AppendReceipt, AppendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(AppendError::ShuttingDown);
        }
        let decision = decide::decide(&state.events, request, &*self.clock, &*self.ids)?;
        state.events.extend(decision.events);
        // Under the lock, so that the head never goes back.
        self.head.send_replace(head_of(&state.events));
        Ok(decision.receipt)
    }

    fn info(&self, stream: StreamId) -> Option<StreamInfo> {
        let state = self.lock();
        let events: Vec<_> = state
            .events
            .iter()
            .filter(|event| event.is_of(&stream))
            .collect();
        let (first, last) = (events.first()?, events.last()?);
        Some(StreamInfo {
            stream,
            version: last.sequence_number,
            n_events: events.len() as u64,
            first_timestamp: first.timestamp,
            last_timestamp: last.timestamp,
            first_position: first.position,
            last_position: last.position,
        })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

fn head_of(events: &[RecordedEvent]) -> Option<Position> {
    events.last().map(|event| event.position)
}

/// Fills bytes with what the standard library seeds its hash maps with.
fn fill_random(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        let random = RandomState::new().hash_one(0_u8).to_le_bytes();
        for (byte, random) in chunk.iter_mut().zip(random) {
            *byte = random;
        }
    }
}

impl EventStore for MemoryStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "memory",
            durable: false,
            shared: false,
        }
    }

    fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move { self.append_now(&request) })
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        Box::pin(async move { Ok(page::of_log(&self.lock().events, &request)) })
    }

    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        Box::pin(async move { Ok(page::of_stream(&self.lock().events, &request)) })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        Box::pin(async move {
            let state = self.lock();
            Ok(state.events.iter().find(|event| event.id == id).cloned())
        })
    }

    fn stream_info(
        &self,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        Box::pin(async move { Ok(self.info(stream)) })
    }

    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        Box::pin(async move {
            let state = self.lock();
            let types: BTreeSet<_> = state
                .events
                .iter()
                .filter(|event| event.aggregate_id() == aggregate_id.as_str())
                .filter_map(|event| event.stream().ok())
                .map(|stream| stream.aggregate_type)
                .collect();
            Ok(types.into_iter().collect())
        })
    }

    fn head(&self) -> Option<Position> {
        head_of(&self.lock().events)
    }

    fn watch_head(&self) -> HeadWatch {
        self.head.subscribe()
    }

    fn health(&self) -> StoreHealth {
        let state = self.lock();
        StoreHealth {
            writes: if state.closed {
                WriteState::Closed
            } else {
                WriteState::Open
            },
            head: head_of(&state.events),
            damaged: Vec::new(),
        }
    }

    fn metrics(&self) -> StoreMetrics {
        StoreMetrics {
            values: vec![("store_events", self.lock().events.len() as u64)],
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.lock().closed = true })
    }
}
