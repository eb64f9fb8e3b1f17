//! Calls of functions, and what their failures mean.

use factum_store::StateError;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::options::{StateClock, StateOptions};
use crate::error::{Failure, Meaning, OpenError, meaning};
use crate::pool::Pool;
use crate::schema::quoted_schema;
use crate::values::{InvalidRow, Time};

/// When to come back to a server that is busy.
const RETRY_AFTER_MS: u64 = 1000;

/// Where the bookkeeping is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) options: StateOptions,
    pub(super) pool: Pool,
    /// The schema as it stands in SQL.
    pub(super) schema: String,
    pub(super) log: i32,
    pub(super) lock_ms: i32,
}

/// Parameters with their types.
pub(super) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl Place {
    pub(super) fn new(options: StateOptions) -> Result<Self, OpenError> {
        let connect = &options.connect;
        let lock_ms = connect.lock_timeout.as_millis();
        Ok(Self {
            pool: Pool::new(connect, connect.connections_max)?,
            schema: quoted_schema(&connect.schema)?,
            log: connect.log,
            lock_ms: i32::try_from(lock_ms).unwrap_or(i32::MAX),
            options,
        })
    }

    /// Returns the time that tests give; the server knows its own.
    pub(super) fn now(&self) -> Option<Time> {
        match &self.options.clock {
            StateClock::Server => None,
            StateClock::Given(clock) => Some(Time(clock.now())),
        }
    }

    /// Calls a function that changes something.
    pub(super) async fn call(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StateError> {
        let deadline = Instant::now() + self.options.connect.append_timeout;
        loop {
            let object = self.pool.get(deadline).await.map_err(failed)?;
            let call = object.query_typed(sql, parameters);
            let error = match timeout_at(deadline, call).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => error,
                Err(_) => {
                    // The server may be at it still, or be gone without a word.
                    drop(deadpool_postgres::Object::take(object));
                    return Err(StateError::OutcomeUnknown);
                }
            };
            let again = [
                &SqlState::T_R_SERIALIZATION_FAILURE,
                &SqlState::T_R_DEADLOCK_DETECTED,
            ];
            if error.code().is_some_and(|code| again.contains(&code)) && Instant::now() < deadline {
                continue;
            }
            return Err(refused(&error));
        }
    }

    /// Runs a query that changes nothing.
    pub(super) async fn ask(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StateError> {
        let deadline = Instant::now() + self.options.connect.read_timeout;
        let read = self.pool.read_one(sql, parameters, deadline);
        read.await.map_err(failed)
    }
}

/// Says what a failed change has done.
fn refused(error: &tokio_postgres::Error) -> StateError {
    match meaning(error) {
        Meaning::Lost => {
            tracing::warn!(%error, "the connection was lost while the bookkeeping was changed");
            StateError::OutcomeUnknown
        }
        Meaning::Busy => StateError::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        },
        Meaning::Full => StateError::StorageFull,
        Meaning::ReadOnly | Meaning::Moved | Meaning::Taken | Meaning::Refused => {
            tracing::error!(%error, "the bookkeeping was not changed");
            let cause = in_words(error);
            StateError::Failed { cause }
        }
    }
}

/// Says what went wrong before anything was changed.
fn failed(failure: Failure) -> StateError {
    match failure {
        Failure::Closed => StateError::ShuttingDown,
        Failure::Timeout => StateError::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        },
        Failure::Statement(error) => StateError::Failed {
            cause: in_words(&error),
        },
        Failure::NoConnection(error) => StateError::Failed {
            cause: format!("no connection: {error}"),
        },
        Failure::Row(error) => unreadable(error),
    }
}

fn in_words(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// Says that a row is not one that this program writes.
pub(super) fn unreadable(error: impl Into<InvalidRow>) -> StateError {
    let mut detail = String::new();
    let error = error.into();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        detail.push_str(&error.to_string());
        cause = error.source();
        if cause.is_some() {
            detail.push_str(": ");
        }
    }
    StateError::Corrupt { detail }
}

/// Says that a function has returned no row.
pub(super) fn no_row() -> StateError {
    StateError::Corrupt {
        detail: "a function has returned no row".to_owned(),
    }
}

/// Returns a duration as the functions take it: none is longer than all of time.
pub(super) fn micros(time: std::time::Duration) -> i64 {
    const ALL_OF_TIME: i64 = 10_000 * 366 * 86_400_000_000;
    i64::try_from(time.as_micros()).map_or(ALL_OF_TIME, |micros| micros.min(ALL_OF_TIME))
}
