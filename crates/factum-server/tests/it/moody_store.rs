//! A store in memory that does not always do what it should.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use factum_model::{
    AggregateId, AggregateType, EventId, Position, RecordedEvent, SequenceNumber, StreamId,
    Timestamp,
};
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Capability, CountRead, Counts,
    EventReceipt, EventStore, HeadWatch, Lineage, LogPage, LogRead, MemoryStore, ReadError,
    StoreHealth, StoreMetrics, StreamInfo, StreamPage, StreamRead,
};

/// How a store is disposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It does what it promises.
    Honest,
    /// Reading an event by its id panics.
    Panics,
    /// Its queue is always full.
    Overloaded,
    /// It says that it appended, and counts only.
    Pretends,
    /// It counts for ever.
    Ponders,
}

#[derive(Debug)]
pub(crate) struct MoodyStore {
    inner: MemoryStore,
    mood: Mutex<Mood>,
    n_pretended: AtomicU64,
}

impl MoodyStore {
    /// Makes a store that is honest until it is told otherwise.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            mood: Mutex::new(Mood::Honest),
            n_pretended: AtomicU64::new(0),
        })
    }

    pub(crate) fn feel(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn pretend(&self, request: &AppendRequest) -> AppendReceipt {
        let receipt = |_| EventReceipt {
            id: EventId::from_bytes([7; 16]),
            position: Position::new(self.n_pretended.fetch_add(1, Ordering::SeqCst) + 1).unwrap(),
            sequence_number: SequenceNumber::new(1).unwrap(),
            recorded_at: Timestamp::MIN,
            deduplicated: false,
        };
        AppendReceipt {
            events: request.events.iter().map(receipt).collect(),
        }
    }
}

impl EventStore for MoodyStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        match self.mood() {
            Mood::Honest | Mood::Panics | Mood::Ponders => self.inner.append(request),
            Mood::Pretends => Box::pin(std::future::ready(Ok(self.pretend(&request)))),
            Mood::Overloaded => Box::pin(std::future::ready(Err(AppendError::Overloaded {
                limit: "of nothing",
                retry_after_ms: 1500,
            }))),
        }
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        assert_ne!(self.mood(), Mood::Panics, "the store has had enough");
        self.inner.event(id)
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    fn lineage(&self) -> Lineage {
        self.inner.lineage()
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        self.inner.read_log(request)
    }

    fn count(&self, request: CountRead) -> BoxFuture<'_, Result<Counts, ReadError>> {
        match self.mood() {
            Mood::Ponders => Box::pin(std::future::pending()),
            Mood::Honest | Mood::Panics | Mood::Overloaded | Mood::Pretends => {
                self.inner.count(request)
            }
        }
    }

    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        self.inner.read_stream(request)
    }

    fn stream_info(
        &self,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        self.inner.stream_info(stream)
    }

    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        self.inner.aggregate_types_of(aggregate_id)
    }

    fn head(&self) -> Option<Position> {
        self.inner.head()
    }

    fn watch_head(&self) -> HeadWatch {
        self.inner.watch_head()
    }

    fn health(&self) -> StoreHealth {
        self.inner.health()
    }

    fn metrics(&self) -> StoreMetrics {
        self.inner.metrics()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
