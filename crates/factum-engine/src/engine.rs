//! The engine: the functions that every door calls.

use std::sync::Arc;
use std::time::Duration;

use factum_model::{
    AggregateId, AggregateType, Clock, EventId, Limits, Position, RecordedEvent, StreamId,
    SystemClock,
};
use factum_query::{Filter, FilterLimits};
use factum_store::{
    AppendReceipt, AppendRequest, CountRead, Counts, Cursor, EventStore, LogPage, LogRead,
    Maintenance, StateStore, StreamInfo, StreamPage, StreamRead, Visibility,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::check;
use crate::error::EngineError;
use crate::live::{LiveRead, LiveReader};

/// What an engine is made with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The bounds on what one append may bring.
    pub limits: Limits,
    /// The bounds on a filter.
    pub filter_limits: FilterLimits,
    /// How long one read may look for matches before it answers with what it has.
    pub read_time_max: Duration,
    /// How many reads with a filter may be at work at once; others wait as long as a count may take.
    pub queries_max: usize,
    /// How long one count may take before it answers with what it has.
    pub count_time_max: Duration,
    /// How many counts may be at work at once; others wait as long as one may take.
    pub counts_max: usize,
    /// How many events one count may look at that the index alone does not answer for.
    pub count_examined_max: u64,
    /// Whether events of types that are not in the catalogue are refused.
    pub strict_catalogue: bool,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            filter_limits: FilterLimits::default(),
            read_time_max: Duration::from_secs(2),
            queries_max: 32,
            count_time_max: Duration::from_secs(5),
            counts_max: 4,
            count_examined_max: 5_000_000,
            strict_catalogue: false,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The engine over one store. Cloning is cheap and gives another handle to the same engine.
///
/// Who may call what is decided by the doors; what a caller may see is said by the
/// [`Visibility`] that they pass.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Arc<dyn EventStore>,
    state: Option<Arc<dyn StateStore>>,
    options: Arc<EngineOptions>,
    queries: Arc<Semaphore>,
    counts: Arc<Semaphore>,
}

impl Engine {
    /// Makes an engine over a store, without bookkeeping: what needs some is refused.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, options: EngineOptions) -> Self {
        Self {
            store,
            state: None,
            queries: Arc::new(Semaphore::new(
                options.queries_max.min(Semaphore::MAX_PERMITS),
            )),
            counts: Arc::new(Semaphore::new(
                options.counts_max.min(Semaphore::MAX_PERMITS),
            )),
            options: Arc::new(options),
        }
    }

    /// Gives the engine the bookkeeping that stands beside its log. They have to belong together: the
    /// bookkeeping has positions of this log.
    #[must_use]
    pub fn with_state(self, state: Arc<dyn StateStore>) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// Returns the bookkeeping, if the engine was given any.
    #[must_use]
    pub const fn state(&self) -> Option<&Arc<dyn StateStore>> {
        self.state.as_ref()
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Returns what the engine was made with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.options.clock
    }

    /// Appends the events of an application: all, or none. Durable when this returns; see
    /// [`EventStore::append`] for the order of the checks and for a dropped future. The streams of
    /// the engine itself and those of agent instances are not an application's to write.
    ///
    /// # Errors
    /// See [`EngineError`]; after every error but `OutcomeUnknown` nothing was appended.
    pub async fn append(&self, request: AppendRequest) -> Result<AppendReceipt, EngineError> {
        check::instances(&request)?;
        self.append_to_instances(request).await
    }

    /// Appends as [`Engine::append`] does, also to the streams of agent instances. It is for the
    /// layer that keeps them, which checks what is said of them and takes the secrets out, and for
    /// operators who bring back what that layer recorded elsewhere.
    ///
    /// # Errors
    /// As [`Engine::append`], but for [`EngineError::InstanceStream`].
    pub async fn append_to_instances(
        &self,
        request: AppendRequest,
    ) -> Result<AppendReceipt, EngineError> {
        check::request(&request, &self.options)?;
        check::names(&request)?;
        if self.options.strict_catalogue {
            check::types(&request)?;
        }
        Ok(self.store.append(request).await?)
    }

    /// Appends events of the engine itself, whose names no application may use. Doors must not
    /// pass on to this what a client sent.
    ///
    /// # Errors
    /// As [`Engine::append`].
    pub async fn append_own(&self, request: AppendRequest) -> Result<AppendReceipt, EngineError> {
        check::request(&request, &self.options)?;
        Ok(self.store.append(request).await?)
    }

    /// Reads the log until the limit or the page size is reached, nothing more is there, or the
    /// time for a read is over. In the last case the page says that there may be more.
    ///
    /// # Errors
    /// [`EngineError::Filter`] and [`EngineError::Read`].
    pub async fn read_log(&self, request: LogRead) -> Result<LogPage, EngineError> {
        request.filter.check(self.options.filter_limits)?;
        // A filter may have a read look at many events; what is read otherwise is what is asked for.
        let room = (!request.filter.is_empty()).then_some(&*self.queries);
        let _room = match room {
            Some(room) => Some(
                self.room(room, ("queries", self.options.queries_max))
                    .await?,
            ),
            None => None,
        };
        let deadline = tokio::time::Instant::now() + self.options.read_time_max;
        let request = LogRead {
            time_max: request.time_max.min(self.options.read_time_max),
            ..request
        };
        let mut page = self.store.read_log(request.clone()).await?;
        let mut bytes: usize = text_bytes(&page.events);
        while page.has_more
            && page.events.len() < request.limit
            && bytes < request.page_bytes_max
            && tokio::time::Instant::now() < deadline
        {
            let next = self.store.read_log(LogRead {
                after: page.scanned_to,
                limit: request.limit - page.events.len(),
                page_bytes_max: request.page_bytes_max - bytes,
                ..request.clone()
            });
            let next = next.await?;
            // A store that makes no progress must not hold the reader until the deadline.
            if next.scanned_to == page.scanned_to && next.events.is_empty() {
                page.has_more = next.has_more;
                page.examined += next.examined;
                break;
            }
            bytes += text_bytes(&next.events);
            page.events.extend(next.events);
            page.scanned_to = next.scanned_to;
            page.has_more = next.has_more;
            page.examined += next.examined;
        }
        Ok(page)
    }

    /// Reads a page of the log as [`Engine::read_log`] does, and counts all that matches, up to the
    /// head of the moment in which it begins. `count` says within which bounds.
    ///
    /// # Errors
    /// [`EngineError::Filter`] and [`EngineError::Read`].
    pub async fn query(
        &self,
        read: LogRead,
        count: bool,
    ) -> Result<(LogPage, Option<Counts>), EngineError> {
        let request = CountRead {
            visibility: read.visibility,
            until: self.head(),
            ..CountRead::all(read.filter.clone())
        };
        let page = self.read_log(read).await?;
        let counts = if count {
            Some(self.count(request).await?)
        } else {
            None
        };
        Ok((page, counts))
    }

    /// Counts the events that match, within the bounds on a count.
    ///
    /// # Errors
    /// [`EngineError::Filter`] and [`EngineError::Read`].
    pub async fn count(&self, request: CountRead) -> Result<Counts, EngineError> {
        self.check_filter(&request.filter)?;
        // A count may keep a core busy for as long as it is given; many at once would leave none
        // for appends.
        let _room = self
            .room(&self.counts, ("counts", self.options.counts_max))
            .await?;
        let request = CountRead {
            time_max: request.time_max.min(self.options.count_time_max),
            examine_max: request.examine_max.min(self.options.count_examined_max),
            ..request
        };
        Ok(self.store.count(request).await?)
    }

    /// Waits for room among what is at work, as long as one of it may take.
    async fn room<'a>(
        &self,
        room: &'a Semaphore,
        (what, limit): (&'static str, usize),
    ) -> Result<SemaphorePermit<'a>, EngineError> {
        let patience = self.options.read_time_max.max(self.options.count_time_max);
        match tokio::time::timeout(patience, room.acquire()).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) | Err(_) => Err(EngineError::Busy { what, limit }),
        }
    }

    /// Reads a page of one stream; empty where the reader may not see the stream.
    ///
    /// # Errors
    /// [`EngineError::Read`].
    pub async fn read_stream(
        &self,
        request: StreamRead,
        visibility: Visibility,
    ) -> Result<StreamPage, EngineError> {
        if !sees(visibility, &request.stream) {
            return Ok(StreamPage {
                events: Vec::new(),
                has_more: false,
                version: None,
            });
        }
        Ok(self.store.read_stream(request).await?)
    }

    /// Returns the event with an id, or `None` where there is none that the reader may see.
    ///
    /// # Errors
    /// [`EngineError::Read`].
    pub async fn event(
        &self,
        id: EventId,
        visibility: Visibility,
    ) -> Result<Option<RecordedEvent>, EngineError> {
        let event = self.store.event(id).await?;
        Ok(event.filter(|event| visibility.includes(event)))
    }

    /// Returns what is known of a stream, or `None` where there is none that the reader may see.
    ///
    /// # Errors
    /// [`EngineError::Read`].
    pub async fn stream_info(
        &self,
        stream: StreamId,
        visibility: Visibility,
    ) -> Result<Option<StreamInfo>, EngineError> {
        if !sees(visibility, &stream) {
            return Ok(None);
        }
        Ok(self.store.stream_info(stream).await?)
    }

    /// Returns the stream that an aggregate id alone names, or `None` where there is none that
    /// the reader may see.
    ///
    /// # Errors
    /// [`EngineError::AmbiguousAggregate`] when the id exists under several types.
    pub async fn resolve(
        &self,
        aggregate_id: AggregateId,
        visibility: Visibility,
    ) -> Result<Option<StreamId>, EngineError> {
        let types = self.store.aggregate_types_of(aggregate_id.clone()).await?;
        let stream = |aggregate_type: &AggregateType| {
            StreamId::new(aggregate_type.clone(), aggregate_id.clone())
        };
        let mut seen: Vec<AggregateType> = types
            .into_iter()
            .filter(|aggregate_type| sees(visibility, &stream(aggregate_type)))
            .collect();
        if seen.len() > 1 {
            return Err(EngineError::AmbiguousAggregate {
                aggregate_id,
                types: seen,
            });
        }
        Ok(seen.pop().map(|aggregate_type| stream(&aggregate_type)))
    }

    /// Opens a reader that catches up and then follows the log.
    ///
    /// # Errors
    /// [`EngineError::Filter`] when the filter breaks a rule.
    pub fn live(&self, request: LiveRead) -> Result<LiveReader, EngineError> {
        self.check_filter(&request.filter)?;
        Ok(LiveReader::open(Arc::clone(&self.store), request))
    }

    /// Checks a filter against the limits.
    ///
    /// # Errors
    /// [`EngineError::Filter`].
    pub fn check_filter(&self, filter: &Filter) -> Result<(), EngineError> {
        Ok(filter.check(self.options.filter_limits)?)
    }

    /// Makes the cursor that clients get for a position.
    #[must_use]
    pub fn cursor(&self, position: Option<Position>) -> Cursor {
        self.store.lineage().cursor(position)
    }

    /// Returns the position that a client's text stands for: a cursor, or the plain number of a
    /// position, where 0 stands before the first event.
    ///
    /// # Errors
    /// [`EngineError::Cursor`].
    pub fn resolve_after(&self, text: &str) -> Result<Option<Position>, EngineError> {
        // No cursor is that short, so what is all digits is a number.
        if let Ok(number) = text.parse::<u64>()
            && text.len() <= 20
            && !text.starts_with('+')
        {
            return Ok(Position::new(number));
        }
        Ok(self.store.lineage().resolve(text.parse()?)?)
    }

    /// Returns the position of the last event that readers can see.
    #[must_use]
    pub fn head(&self) -> Option<Position> {
        self.store.head()
    }

    /// Returns the maintenance operations.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when the store has none.
    pub fn maintenance(&self) -> Result<&dyn Maintenance, EngineError> {
        self.store
            .maintenance()
            .ok_or_else(|| EngineError::Unsupported {
                store: self.store.capability().name,
                operation: "maintenance",
            })
    }

    /// Stops taking appends and changes of the bookkeeping, finishes those that are queued, and
    /// closes both. Idempotent.
    pub async fn close(&self) {
        if let Some(state) = &self.state {
            state.close().await;
        }
        self.store.close().await;
    }
}

fn text_bytes(events: &[RecordedEvent]) -> usize {
    events.iter().map(RecordedEvent::text_bytes).sum()
}

fn sees(visibility: Visibility, stream: &StreamId) -> bool {
    match visibility {
        Visibility::Application => !stream.is_system(),
        Visibility::Everything => true,
    }
}
