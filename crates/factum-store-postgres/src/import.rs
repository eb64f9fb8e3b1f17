//! Takes over the log of another store, event by event, as the owner of the tables.
//!
//! A batch is one transaction under the lock of the head row, its events and ids go in by COPY. As
//! long as the import is not finished the row says so, and the log opens for nothing else.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use factum_model::{ErrorCode, EventId, Position, RecordedEvent, SequenceNumber, Timestamp};
use factum_store::{
    AppendError, BoxFuture, EventStore as _, ImportCheck, ImportError, ImportFault, ImportTarget,
    Lineage, LogPage, LogRead, ReadError,
};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::{Failure, Meaning, OpenError, meaning};
use crate::options::Options;
use crate::pool::{Connected, connect};
use crate::schema;
use crate::statements::Statements;
use crate::store::{PostgresStore, Purpose};
use crate::values::{
    Time, Uuid, bigint, is_searchable, origin_smallint, position, position_bigint,
};

/// How long one step may take, a batch or the look at all tables at the end.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// Why an import cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportOpenError {
    /// The log has events of its own.
    #[error("the log has events in it")]
    NotEmpty,
    /// The log has an unfinished import of another store, or of another history of it.
    #[error("the log has an unfinished import of another store")]
    OtherOrigin,
    /// The role may not import: the owner of the tables has to.
    #[error("only the owner of the tables can import")]
    NotOwner,
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<tokio_postgres::Error> for ImportOpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code) if *code == tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::NotOwner
            }
            Some(_) | None => Self::Open(error.into()),
        }
    }
}

impl ImportOpenError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotEmpty | Self::OtherOrigin => ErrorCode::InvalidRequest,
            Self::NotOwner => ErrorCode::Forbidden,
            Self::Open(error) => error.code(),
        }
    }
}

/// A log that another one is being imported into. No node may have it open meanwhile.
pub struct PostgresImport {
    store: PostgresStore,
    /// The connection; gone when the import has ended.
    connected: Mutex<Option<Connected>>,
}

impl fmt::Debug for PostgresImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresImport")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Where the log is, under the lock of its head.
struct Head {
    position: Option<Position>,
    recorded_at: Timestamp,
    leaf: Leaf,
}

/// The leaf that takes events, and what ends it.
struct Leaf {
    number: Option<i32>,
    until: Option<Timestamp>,
    last_position: Option<i64>,
}

impl Leaf {
    /// Reads three columns.
    fn of(row: &Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        let until: Option<Time> = row.try_get(first + 1)?;
        Ok(Self {
            number: row.try_get(first)?,
            until: until.map(|Time(until)| until),
            last_position: row.try_get(first + 2)?,
        })
    }

    /// Tells whether the event after a head goes to this leaf.
    fn takes(&self, head: i64, recorded_at: Timestamp) -> bool {
        self.number.is_some()
            && self.until.is_none_or(|until| recorded_at < until)
            && self.last_position.is_none_or(|last| head < last)
    }
}

/// What is known of a stream before an event of it.
#[derive(Clone, Copy)]
struct Stream {
    version: u64,
    first_position: i64,
}

/// What a batch makes of a stream.
struct Grown<'a> {
    event: &'a RecordedEvent,
    last: &'a RecordedEvent,
    first_position: i64,
}

/// Why a batch was not imported.
enum Refused {
    Statement(Failure),
    Import(ImportError),
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error.into())
    }
}

impl From<ImportError> for Refused {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl PostgresImport {
    /// Begins an import of the store with this identity and history into a log that
    /// [`crate::Setup`] has made, or goes on with it. The URL must be that of the owner.
    ///
    /// # Errors
    /// See [`ImportOpenError`]. A log with events of its own is left as it is.
    pub async fn begin(options: Options, origin: &Lineage) -> Result<Self, ImportOpenError> {
        let statements = Statements::new(&options.schema, options.log)?;
        let connected = connect(&options.url, options.connect_timeout).await?;
        let work = async {
            schema::check(&connected.client, &options.schema).await?;
            begin(&connected.client, &statements, origin).await
        };
        timeout(STEP_TIMEOUT, work)
            .await
            .map_err(|_| OpenError::Timeout)??;
        Ok(Self {
            store: PostgresStore::open_as(options, Purpose::Import).await?,
            connected: Mutex::new(Some(connected)),
        })
    }

    async fn import_batch(&self, events: &[RecordedEvent]) -> Result<(), ImportError> {
        let mut connected = self.connected.lock().await;
        // If anything goes wrong the connection is closed, and the transaction with it.
        let taken = connected.take().ok_or(ImportError::Ended)?;
        let work = self.import_on(&taken.client, events);
        match timeout(STEP_TIMEOUT, work).await {
            Ok(Ok(head)) => {
                self.store.shared.advance(head);
                *connected = Some(taken);
                Ok(())
            }
            Ok(Err(Refused::Import(error))) => Err(error),
            Ok(Err(Refused::Statement(failure))) => {
                let taken_id = match &failure {
                    Failure::Statement(error) => meaning(error) == Meaning::Taken,
                    Failure::NoConnection(_)
                    | Failure::Timeout
                    | Failure::Row(_)
                    | Failure::Closed => false,
                };
                if taken_id && let Some(error) = self.taken_id(events).await? {
                    return Err(error);
                }
                Err(not_written(&failure))
            }
            Err(_) => Err(not_written(&Failure::Timeout)),
        }
    }

    /// Imports a batch in one transaction, and returns the head after it.
    async fn import_on(
        &self,
        client: &Client,
        events: &[RecordedEvent],
    ) -> Result<Option<Position>, Refused> {
        let statements = &self.store.shared.statements;
        let (schema, log) = (&statements.schema, statements.log);
        client
            .batch_execute(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; \
                 SET LOCAL lock_timeout = '60s'",
            )
            .await?;
        let head = lock_head(client, statements).await?;
        if head.position != self.store.head() {
            return Err(ImportError::Ended.into());
        }
        let mut check = ImportCheck::after(head.position, head.recorded_at);
        for event in events {
            check.next(event)?;
        }
        let streams = known_streams(client, statements, events).await?;
        let starts = check_sequences(events, &streams)?;
        let leaves = open_leaves(client, statements, head, events).await?;
        copy_ids(client, statements, events, &leaves).await?;
        copy_events(client, statements, (events, &leaves, &starts)).await?;
        grow_streams(client, statements, grown(events, &starts)).await?;
        let Some(last) = events.last() else {
            return Ok(self.store.head());
        };
        let update = format!(
            "UPDATE {schema}.logs SET head = $2, recorded_at = $3, import_step = import_step + 1 \
             WHERE log_id = $1"
        );
        let new_head = position_bigint(Some(last.position));
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&log, Type::INT4),
            (&new_head, Type::INT8),
            (&Time(last.recorded_at), Type::TIMESTAMPTZ),
        ];
        client.execute_typed(&update, parameters).await?;
        client.batch_execute("COMMIT").await?;
        Ok(Some(last.position))
    }

    /// Returns what is wrong with the first event of a batch whose id is taken.
    async fn taken_id(&self, events: &[RecordedEvent]) -> Result<Option<ImportError>, ImportError> {
        let mut seen = HashSet::new();
        for event in events {
            let stored = self.store.event(event.id).await?;
            if !seen.insert(event.id) || stored.is_some() {
                let fault = ImportFault::Id { id: event.id };
                let position = event.position;
                return Ok(Some(ImportError::Invalid { position, fault }));
            }
        }
        Ok(None)
    }

    async fn finish_import(&self) -> Result<(), ImportError> {
        let mut connected = self.connected.lock().await;
        let taken = connected.take().ok_or(ImportError::Ended)?;
        let statements = &self.store.shared.statements;
        let (schema, log) = (&statements.schema, statements.log);
        let work = async {
            // Questions are planned by what the server knows of the tables.
            let look = format!("ANALYZE {schema}.events, {schema}.streams, {schema}.event_ids");
            taken.client.batch_execute(&look).await?;
            let done = format!(
                "UPDATE {schema}.logs SET import_step = NULL \
                 WHERE log_id = $1 AND import_step IS NOT NULL"
            );
            taken
                .client
                .execute_typed(&done, &[(&log, Type::INT4)])
                .await
        };
        match timeout(STEP_TIMEOUT, work).await {
            Ok(Ok(1)) => Ok(()),
            Ok(Ok(_)) => Err(ImportError::Ended),
            Ok(Err(error)) => Err(not_written(&error.into())),
            Err(_) => Err(not_written(&Failure::Timeout)),
        }
    }
}

impl ImportTarget for PostgresImport {
    fn head(&self) -> Option<Position> {
        self.store.head()
    }

    fn import(&self, events: Vec<RecordedEvent>) -> BoxFuture<'_, Result<(), ImportError>> {
        Box::pin(async move { self.import_batch(&events).await })
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        self.store.read_log(request)
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), ImportError>> {
        Box::pin(self.finish_import())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            drop(self.connected.lock().await.take());
            self.store.close().await;
        })
    }
}

/// Says why a batch, or the end, was not written.
fn not_written(failure: &Failure) -> ImportError {
    let kind = match failure {
        Failure::Statement(error) => meaning(error),
        Failure::NoConnection(_) | Failure::Timeout | Failure::Row(_) | Failure::Closed => {
            Meaning::Lost
        }
    };
    tracing::error!(error = ?failure, "PostgreSQL did not take a batch");
    match kind {
        Meaning::Full => AppendError::StorageFull,
        Meaning::ReadOnly | Meaning::Moved => AppendError::ReadOnly,
        Meaning::Lost | Meaning::Busy | Meaning::Taken | Meaning::Refused => {
            AppendError::StoreFailed {
                cause: in_words(failure),
            }
        }
    }
    .into()
}

/// Returns a failure with all its causes; whoever imports is the operator.
fn in_words(failure: &Failure) -> String {
    let mut words = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        words += ": ";
        words += &error.to_string();
        cause = error.source();
    }
    words
}

/// Makes a log the one of an import, or finds that it is already.
async fn begin(
    client: &Client,
    statements: &Statements,
    origin: &Lineage,
) -> Result<(), ImportOpenError> {
    let (schema, log) = (&statements.schema, statements.log);
    client
        .batch_execute("BEGIN; SET LOCAL lock_timeout = '60s'")
        .await?;
    let ask = format!(
        "SELECT l.head, l.store_id, l.lineage, l.import_step, \
         (SELECT array_agg(e.lineage ORDER BY e.number) FROM {schema}.lineages e WHERE e.log_id = l.log_id), \
         (SELECT array_agg(e.last_position ORDER BY e.number) FROM {schema}.lineages e WHERE e.log_id = l.log_id) \
         FROM {schema}.logs l WHERE l.log_id = $1 FOR UPDATE"
    );
    let row = client.query_typed_opt(&ask, &[(&log, Type::INT4)]).await?;
    let row = row.ok_or(OpenError::NoLog { log })?;
    let head: i64 = row.try_get(0)?;
    let (Uuid(store_id), current): (Uuid, i64) = (row.try_get(1)?, row.try_get(2)?);
    let step: Option<i64> = row.try_get(3)?;
    let lineages: Option<Vec<i64>> = row.try_get(4)?;
    let lasts: Option<Vec<i64>> = row.try_get(5)?;
    let wanted: (Vec<i64>, Vec<i64>) = origin
        .earlier
        .iter()
        .map(|(lineage, last)| (lineage.0.cast_signed(), position_bigint(*last)))
        .unzip();
    let lineage = origin.current.0.cast_signed();
    if step.is_some() {
        let earlier = (lineages.unwrap_or_default(), lasts.unwrap_or_default());
        if store_id != origin.store_id.0 || current != lineage || earlier != wanted {
            return Err(ImportOpenError::OtherOrigin);
        }
        client.batch_execute("COMMIT").await?;
        return Ok(());
    }
    if head > 0 || lineages.is_some() {
        return Err(ImportOpenError::NotEmpty);
    }
    let take = format!(
        "UPDATE {schema}.logs SET store_id = $2, lineage = $3, import_step = 0, moved_to = NULL \
         WHERE log_id = $1"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&Uuid(origin.store_id.0), Type::UUID),
        (&lineage, Type::INT8),
    ];
    client.execute_typed(&take, parameters).await?;
    let add = format!(
        "INSERT INTO {schema}.lineages (log_id, number, lineage, last_position) \
         SELECT $1, u.n, u.lineage, u.last FROM unnest($2, $3) WITH ORDINALITY AS u (lineage, last, n)"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&wanted.0, Type::INT8_ARRAY),
        (&wanted.1, Type::INT8_ARRAY),
    ];
    client.execute_typed(&add, parameters).await?;
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Locks the head of a log that is being imported. The lock lets a row of a leaf be made meanwhile,
/// which names the log: whoever makes one may have the lock that [`open_leaves`] needs.
async fn lock_head(client: &Client, statements: &Statements) -> Result<Head, Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!(
        "SELECT head, recorded_at, leaf, leaf_until, leaf_last_position FROM {schema}.logs \
         WHERE log_id = $1 AND import_step IS NOT NULL FOR NO KEY UPDATE"
    );
    let row = client.query_typed_opt(&ask, &[(&log, Type::INT4)]).await?;
    let row = row.ok_or(ImportError::Ended)?;
    let Time(recorded_at) = row.try_get(1)?;
    Ok(Head {
        position: position(row.try_get(0)?),
        recorded_at,
        leaf: Leaf::of(&row, 2)?,
    })
}

type Name<'a> = (&'a str, &'a str);

fn name(event: &RecordedEvent) -> Name<'_> {
    (event.aggregate_type(), event.aggregate_id())
}

/// Looks up the streams of a batch.
async fn known_streams<'a>(
    client: &Client,
    statements: &Statements,
    events: &'a [RecordedEvent],
) -> Result<HashMap<Name<'a>, Stream>, Refused> {
    let names: HashSet<Name<'_>> = events.iter().map(name).collect();
    let names: Vec<Name<'_>> = names.into_iter().collect();
    let (types, ids): (Vec<&str>, Vec<&str>) = names.iter().copied().unzip();
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!(
        "SELECT u.n, s.version, s.first_position FROM unnest($2, $3) WITH ORDINALITY AS u (type, id, n) \
         JOIN {schema}.streams s ON s.log_id = $1 AND s.aggregate_id = u.id AND s.aggregate_type = u.type"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&types, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
    ];
    let mut streams = HashMap::new();
    for row in client.query_typed(&ask, parameters).await? {
        let (number, version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let stream = Stream {
            version: u64::try_from(version).unwrap_or_default(),
            first_position: row.try_get(2)?,
        };
        let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
        streams.extend(names.get(at).map(|name| (*name, stream)));
    }
    Ok(streams)
}

/// Checks that events are the next ones of their streams, and returns where each stream begins.
fn check_sequences(
    events: &[RecordedEvent],
    known: &HashMap<Name<'_>, Stream>,
) -> Result<Vec<i64>, ImportError> {
    let mut streams = known.clone();
    let mut starts = Vec::with_capacity(events.len());
    for event in events {
        let stream = streams.entry(name(event)).or_insert_with(|| Stream {
            version: 0,
            first_position: position_bigint(Some(event.position)),
        });
        if SequenceNumber::new(stream.version + 1) != Some(event.sequence_number) {
            let position = event.position;
            let found = event.sequence_number;
            let fault = match event.stream() {
                Ok(name) => ImportFault::Sequence {
                    stream: name,
                    version: stream.version,
                    found,
                },
                Err(_) => ImportFault::Content { part: "aggregate" },
            };
            return Err(ImportError::Invalid { position, fault });
        }
        stream.version += 1;
        starts.push(stream.first_position);
    }
    Ok(starts)
}

/// Returns the leaf of each event, and opens those that are not open yet.
async fn open_leaves(
    client: &Client,
    statements: &Statements,
    head: Head,
    events: &[RecordedEvent],
) -> Result<Vec<i32>, Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let open = format!(
        "SELECT o_leaf, o_until, o_last_position FROM {schema}.import_leaf($1, $2, $3, $4)"
    );
    let mut leaf = head.leaf;
    let (mut before, mut before_at) = (position_bigint(head.position), head.recorded_at);
    let mut leaves = Vec::with_capacity(events.len());
    for event in events {
        if !leaf.takes(before, event.recorded_at) {
            let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
                (&log, Type::INT4),
                (&before, Type::INT8),
                (&Time(before_at), Type::TIMESTAMPTZ),
                (&Time(event.recorded_at), Type::TIMESTAMPTZ),
            ];
            let row = client.query_typed_one(&open, parameters).await?;
            leaf = Leaf::of(&row, 0)?;
        }
        leaves.push(leaf.number.unwrap_or_default());
        before = position_bigint(Some(event.position));
        before_at = event.recorded_at;
    }
    Ok(leaves)
}

async fn copy_ids(
    client: &Client,
    statements: &Statements,
    events: &[RecordedEvent],
    leaves: &[i32],
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let copy = format!(
        "COPY {schema}.event_ids (event_id, log_id, leaf, position) FROM STDIN (FORMAT binary)"
    );
    let sink = client.copy_in(&copy).await?;
    let types = [Type::UUID, Type::INT4, Type::INT4, Type::INT8];
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
    for (event, leaf) in events.iter().zip(leaves) {
        let (id, at) = (Uuid::from(event.id), position_bigint(Some(event.position)));
        rows.as_mut().write(&[&id, &log, leaf, &at]).await?;
    }
    rows.finish().await?;
    Ok(())
}

/// Events, their leaves, and where their streams begin.
type Placed<'a> = (&'a [RecordedEvent], &'a [i32], &'a [i64]);

async fn copy_events(
    client: &Client,
    statements: &Statements,
    (events, leaves, starts): Placed<'_>,
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let copy = format!(
        "COPY {schema}.events (position, stream, sequence, recorded_at, timestamp, schema_version, \
         event_id, causation_id, log_id, leaf, origin, searchable, event_type, aggregate_type, \
         aggregate_id, correlation_id, metadata, payload) FROM STDIN (FORMAT binary)"
    );
    let sink = client.copy_in(&copy).await?;
    let types = [
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::UUID,
        Type::UUID,
        Type::INT4,
        Type::INT4,
        Type::INT2,
        Type::BOOL,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
    ];
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
    for ((event, leaf), start) in events.iter().zip(leaves).zip(starts) {
        let row: &[&(dyn ToSql + Sync)] = &[
            &position_bigint(Some(event.position)),
            start,
            &bigint(event.sequence_number.get()),
            &Time(event.recorded_at),
            &Time(event.timestamp),
            &i64::from(event.schema_version.get()),
            &Uuid::from(event.id),
            &event.causation_id.map(|id: EventId| Uuid::from(id)),
            &log,
            leaf,
            &origin_smallint(event.origin),
            &(is_searchable(event.metadata()) && is_searchable(event.payload())),
            &event.event_type(),
            &event.aggregate_type(),
            &event.aggregate_id(),
            &event.correlation_id(),
            &event.metadata(),
            &event.payload(),
        ];
        rows.as_mut().write(row).await?;
    }
    rows.finish().await?;
    Ok(())
}

/// Returns what a batch makes of its streams.
fn grown<'a>(events: &'a [RecordedEvent], starts: &[i64]) -> Vec<Grown<'a>> {
    let mut grown: HashMap<Name<'_>, Grown<'_>> = HashMap::new();
    for (event, start) in events.iter().zip(starts) {
        grown
            .entry(name(event))
            .and_modify(|grown| grown.last = event)
            .or_insert(Grown {
                event,
                last: event,
                first_position: *start,
            });
    }
    grown.into_values().collect()
}

async fn grow_streams(
    client: &Client,
    statements: &Statements,
    grown: Vec<Grown<'_>>,
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let (types, ids): (Vec<_>, Vec<_>) = grown.iter().map(|grown| name(grown.event)).unzip();
    let last = |grown: &Grown<'_>| position_bigint(Some(grown.last.position));
    let versions: Vec<_> = grown
        .iter()
        .map(|grown| bigint(grown.last.sequence_number.get()))
        .collect();
    let firsts: Vec<_> = grown.iter().map(|grown| grown.first_position).collect();
    let lasts: Vec<_> = grown.iter().map(last).collect();
    let first_times: Vec<_> = grown
        .iter()
        .map(|grown| Time(grown.event.timestamp))
        .collect();
    let last_times: Vec<_> = grown
        .iter()
        .map(|grown| Time(grown.last.timestamp))
        .collect();
    let add = format!(
        "INSERT INTO {schema}.streams AS s (log_id, aggregate_id, aggregate_type, version, \
         first_position, last_position, first_timestamp, last_timestamp) \
         SELECT $1, u.id, u.type, u.version, u.first, u.last, u.first_time, u.last_time \
         FROM unnest($2, $3, $4, $5, $6, $7, $8) \
         AS u (type, id, version, first, last, first_time, last_time) \
         ON CONFLICT (log_id, aggregate_id, aggregate_type) DO UPDATE SET version = excluded.version, \
         last_position = excluded.last_position, last_timestamp = excluded.last_timestamp"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&types, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&versions, Type::INT8_ARRAY),
        (&firsts, Type::INT8_ARRAY),
        (&lasts, Type::INT8_ARRAY),
        (&first_times, Type::TIMESTAMPTZ_ARRAY),
        (&last_times, Type::TIMESTAMPTZ_ARRAY),
    ];
    client.execute_typed(&add, parameters).await?;
    Ok(())
}

/// Closes a log for appends because it moves elsewhere, or opens it again; returns its head, which
/// does not move as long as the log is closed. Appends that were on their way are in it. The URL
/// must be that of the owner.
///
/// # Errors
/// See [`ImportOpenError`].
pub async fn set_moved(
    options: &Options,
    to: Option<&str>,
) -> Result<Option<Position>, ImportOpenError> {
    let statements = Statements::new(&options.schema, options.log)?;
    let connected = connect(&options.url, options.connect_timeout).await?;
    let (schema, log) = (&statements.schema, statements.log);
    let update = format!("UPDATE {schema}.logs SET moved_to = $2 WHERE log_id = $1 RETURNING head");
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4), (&to, Type::TEXT)];
    let work = connected.client.query_typed_opt(&update, parameters);
    let row = timeout(options.append_timeout, work)
        .await
        .map_err(|_| OpenError::Timeout)??;
    let row = row.ok_or(OpenError::NoLog { log })?;
    Ok(position(row.try_get(0)?))
}

/// Returns where a log was moved to; `None` for one that takes appends, or is being imported.
///
/// # Errors
/// See [`OpenError`].
pub async fn moved_to(options: &Options) -> Result<Option<String>, OpenError> {
    let statements = Statements::new(&options.schema, options.log)?;
    let connected = connect(&options.url, options.connect_timeout).await?;
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!("SELECT moved_to FROM {schema}.logs WHERE log_id = $1");
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4)];
    let work = async {
        schema::check(&connected.client, &options.schema).await?;
        Ok::<_, OpenError>(connected.client.query_typed_opt(&ask, parameters).await?)
    };
    let row = timeout(options.read_timeout, work)
        .await
        .map_err(|_| OpenError::Timeout)??;
    Ok(row.ok_or(OpenError::NoLog { log })?.try_get(0)?)
}
