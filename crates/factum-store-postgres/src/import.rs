//! Takes over the log of another store, event by event, as the owner of the tables.
//!
//! As long as the import is not finished the row of the log says so, and it opens for nothing else.

mod batch;
mod moved;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use factum_model::{ErrorCode, Position, RecordedEvent};
use factum_store::{
    AppendError, BoxFuture, EventStore as _, ImportError, ImportFault, ImportTarget, Lineage,
    LogPage, LogRead, ReadError,
};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use self::batch::Refused;
pub use self::moved::{moved_to, set_moved};
use crate::error::{Failure, Meaning, OpenError, meaning};
use crate::options::Options;
use crate::pool::{Connected, connect};
use crate::schema;
use crate::statements::Statements;
use crate::store::{PostgresStore, Purpose};
use crate::values::{Uuid, position_bigint};

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
        let statements = &self.store.shared.statements;
        let before = self.store.head();
        let work = batch::import(&taken.client, statements, before, events);
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
