//! The store itself: opens, hands requests to the writer, answers readers.

use std::sync::{Arc, Mutex, RwLock};

use factum_model::{
    AggregateId, AggregateType, EventId, LimitExceeded, Position, RecordedEvent, StreamId,
    encoded_bytes,
};
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Capability, CountRead, Counts,
    EventStore, HeadWatch, Lineage, LineageId, LogPage, LogRead, Maintenance, ReadError,
    StoreHealth, StoreId, StoreMetrics, StreamInfo, StreamPage, StreamRead, WriteState,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::counters::{Counters, add};
use crate::error::OpenError;
use crate::facts::head_of;
use crate::follow::{follow, keep_leaves, listen, tell};
use crate::leaves::Leaves;
use crate::options::Options;
use crate::pool::{Pool, Role, connect};
use crate::queue::{Pending, Queue};
use crate::schema;
use crate::shared::Shared;
use crate::standby::Standby;
use crate::statements::Statements;
use crate::values::{Uuid, position};
use crate::writer::Writer;

/// The connections that the writer and the background have besides those of reads: one appends,
/// one asks for the head, one tells others or makes leaves.
const OWN_CONNECTIONS: usize = 3;

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be read and appended to.
    Serve,
    /// To be read while it is being imported.
    Import,
}

/// A log on PostgreSQL. Any number of nodes may have one open at a time.
///
/// A store must be opened and used on a runtime of tokio. Dropping it ends its tasks; whoever
/// waits for an append keeps it alive meanwhile.
#[derive(Debug)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
    /// It changes only while no store is open.
    lineage: Lineage,
    /// Becomes true when the writer has ended.
    written: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl PostgresStore {
    /// Opens a log that [`crate::Setup`] has made.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        Self::open_as(options, Purpose::Serve).await
    }

    /// Opens a log for serving it, or for reading back what is being imported.
    pub(crate) async fn open_as(options: Options, purpose: Purpose) -> Result<Self, OpenError> {
        let statements = Statements::new(&options.schema, options.log)?;
        let connected = connect(&options.url, options.connect_timeout).await?;
        let look = async {
            schema::check(&connected.client, &options.schema).await?;
            look_up(&connected.client, &statements, purpose).await
        };
        let (lineage, head) = tokio::time::timeout(options.read_timeout, look)
            .await
            .map_err(|_| OpenError::Timeout)??;
        let looked_at = Instant::now();
        let shared = Arc::new(Shared {
            statements,
            pool: Pool::new(&options, options.connections_max)?,
            own: Pool::new(&options, OWN_CONNECTIONS)?,
            standby: standby(&options, &lineage)?,
            leaves: Leaves::default(),
            queue: Queue::new(&options),
            counters: Counters::default(),
            state: RwLock::new(WriteState::Open),
            head: watch::Sender::new(head),
            head_known_at: Mutex::new(looked_at),
            appended: Notify::new(),
            options,
        });
        let (ended, written) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let writer = Writer::new(Arc::clone(&shared));
        tasks.spawn(async move {
            writer.run().await;
            ended.send_replace(true);
        });
        let heard = Arc::new(Notify::new());
        tasks.spawn(follow(Arc::clone(&shared), Arc::clone(&heard)));
        // An import makes the leaves that it needs.
        if purpose == Purpose::Serve {
            tasks.spawn(keep_leaves(Arc::clone(&shared)));
        }
        if shared.options.notify {
            tasks.spawn(listen(Arc::clone(&shared), heard));
            tasks.spawn(tell(Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            lineage,
            written,
            _tasks: tasks,
        })
    }

    fn submit(&self, request: AppendRequest) -> Result<Submitted, AppendError> {
        if self.shared.queue.is_closed() {
            return Err(AppendError::ShuttingDown);
        }
        let bytes = self.check_size(&request)?;
        let options = &self.shared.options;
        let id = |event: &factum_model::NewEvent| {
            event
                .id
                .unwrap_or_else(|| options.ids.next_id(options.clock.now()))
        };
        let ids: Vec<_> = request.events.iter().map(id).collect();
        let (reply, answer) = oneshot::channel();
        let pushed = self.shared.queue.push(Pending {
            request,
            ids: ids.clone(),
            bytes,
            deadline: Instant::now() + options.append_timeout,
            reply,
        });
        if matches!(pushed, Err(AppendError::Overloaded { .. })) {
            add(&self.shared.counters.queue_full, 1);
        }
        pushed.map(|()| (ids, answer))
    }

    fn check_size(&self, request: &AppendRequest) -> Result<usize, AppendError> {
        let options = &self.shared.options;
        let n_events = request.events.len();
        if n_events == 0 {
            return Err(AppendError::Empty);
        }
        let bytes: usize = request.events.iter().map(encoded_bytes).sum();
        let checks = [
            (
                "number of events in a request",
                options.request_events_max,
                n_events,
            ),
            ("request size in bytes", options.request_bytes_max, bytes),
        ];
        for (what, limit, actual) in checks {
            if actual > limit {
                return Err(LimitExceeded {
                    what,
                    limit,
                    actual,
                }
                .into());
            }
        }
        Ok(bytes)
    }
}

/// The ids of a request that is in the queue, and where its answer arrives.
type Submitted = (
    Vec<EventId>,
    oneshot::Receiver<Result<AppendReceipt, AppendError>>,
);

/// Returns the standby that readers are sent to, if there is to be one.
fn standby(options: &Options, lineage: &Lineage) -> Result<Option<Standby>, OpenError> {
    let Some(url) = &options.standby_url else {
        return Ok(None);
    };
    let pool = Pool::to((url, Role::Any), options, options.connections_max)?;
    let current = lineage.current.0.cast_signed();
    Ok(Some(Standby::new(pool, Uuid(lineage.store_id.0), current)))
}

/// Looks up what a store keeps as long as it is open, and where the head is.
async fn look_up(
    client: &Client,
    statements: &Statements,
    purpose: Purpose,
) -> Result<(Lineage, Option<Position>), OpenError> {
    let (schema, log) = (&statements.schema, statements.log);
    let by_log = &[(&log as _, Type::INT4)];
    let ask = format!(
        "SELECT store_id, lineage, import_step IS NOT NULL FROM {schema}.logs WHERE log_id = $1"
    );
    let row = client.query_typed_opt(&ask, by_log).await?;
    let row = row.ok_or(OpenError::NoLog { log })?;
    if row.try_get(2)? && purpose == Purpose::Serve {
        return Err(OpenError::HalfImported { log });
    }
    let (Uuid(store_id), current): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
    let ask = format!(
        "SELECT lineage, last_position FROM {schema}.lineages WHERE log_id = $1 ORDER BY number"
    );
    let mut earlier = Vec::new();
    for row in client.query_typed(&ask, by_log).await? {
        let (lineage, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        earlier.push((LineageId(lineage.cast_unsigned()), position(last)));
    }
    let lineage = Lineage {
        store_id: StoreId(store_id),
        current: LineageId(current.cast_unsigned()),
        earlier,
    };
    let row = client.query_typed_one(&statements.head, by_log).await?;
    let head = head_of(&row).map_err(|error| OpenError::Row(error.into()))?;
    Ok((lineage, head.position))
}

impl EventStore for PostgresStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "postgres",
            durable: true,
            shared: true,
        }
    }

    fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move {
            let (ids, answer) = self.submit(request)?;
            // A writer that ended without an answer may have sent the events.
            let gone = |_| Err(AppendError::OutcomeUnknown { ids });
            answer.await.unwrap_or_else(gone)
        })
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        Box::pin(async move { Ok(self.shared.read_log(&request).await?) })
    }

    fn count(&self, request: CountRead) -> BoxFuture<'_, Result<Counts, ReadError>> {
        Box::pin(async move { Ok(self.shared.count(&request).await?) })
    }

    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        Box::pin(async move { Ok(self.shared.read_stream(&request).await?) })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        Box::pin(async move { Ok(self.shared.event(id).await?) })
    }

    fn stream_info(
        &self,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        Box::pin(async move { Ok(self.shared.stream_info(&stream).await?) })
    }

    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        Box::pin(async move { Ok(self.shared.aggregate_types_of(&aggregate_id).await?) })
    }

    fn head(&self) -> Option<Position> {
        *self.shared.head.borrow()
    }

    fn watch_head(&self) -> HeadWatch {
        self.shared.head.subscribe()
    }

    fn health(&self) -> StoreHealth {
        let writes = if self.shared.queue.is_closed() {
            WriteState::Closed
        } else {
            self.shared.state()
        };
        StoreHealth {
            writes,
            head: self.head(),
            damaged: Vec::new(),
        }
    }

    fn metrics(&self) -> StoreMetrics {
        let mut values = self.shared.counters.values();
        let (queued_events, queued_bytes) = self.shared.queue.depth();
        let (connections, idle) = self.shared.pool.sizes();
        values.push(("append_queue_events", queued_events as u64));
        values.push(("append_queue_bytes", queued_bytes as u64));
        values.push(("postgres_connections", connections as u64));
        values.push(("postgres_connections_idle", idle as u64));
        if let Some(standby) = &self.shared.standby {
            let (connections, idle) = standby.sizes();
            values.push(("postgres_standby_connections", connections as u64));
            values.push(("postgres_standby_connections_idle", idle as u64));
        }
        StoreMetrics { values }
    }

    fn maintenance(&self) -> Option<&dyn Maintenance> {
        Some(&*self.shared)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.queue.close();
            let mut written = self.written.clone();
            // An error says that the writer has ended otherwise.
            drop(written.wait_for(|written| *written).await);
        })
    }
}
