//! What is read, over connections that only read.

use std::ops::Bound;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use factum_model::Timestamp;
use factum_store::{
    Direction, GroupCount, GroupPage, GroupScan, HeldClaim, QueueStatus, Record, RecordId,
    RecordPage, RecordScan, RecordVersion, StateError,
};
use rusqlite::types::{FromSqlError, Type, Value};
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use tokio::sync::Semaphore;

use super::claims::next_at;
use super::open::{failure, open_reader};

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf, readers_max: usize) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            permits: Semaphore::new(readers_max),
        }
    }

    /// Runs a read when a connection is free; on a runtime, on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StateError> {
        let closed = |_| StateError::ShuttingDown;
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.read(read);
        };
        let readers = Arc::clone(self);
        let done = runtime.spawn_blocking(move || readers.read(read)).await;
        done.unwrap_or(Err(StateError::ShuttingDown))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StateError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let free = idle().pop();
        let connection = match free {
            Some(connection) => connection,
            None => open_reader(&self.path).map_err(|error| failure(&error))?,
        };
        // A connection whose read failed is not used again.
        let done = read(&connection).map_err(|error| failure(&error))?;
        idle().push(connection);
        Ok(done)
    }

    /// Closes the connections that nobody is using.
    pub(super) fn close(&self) {
        self.permits.close();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }
}

/// The columns that [`record`] reads.
pub(super) const COLUMNS: &str =
    "kind, key, version, written_at, due_at, grp, claim_owner, claim_until, n_claims, body";

/// Reads a record from a row of [`COLUMNS`].
pub(super) fn record(row: &Row<'_>, now: Timestamp) -> Result<Record, rusqlite::Error> {
    let owner: Option<String> = row.get(6)?;
    let until = instant(row, 7)?;
    let claim = match (owner, until) {
        (Some(_), Some(until)) if until > now => Some(HeldClaim {
            owner: name(row, 6)?,
            until,
        }),
        (_, _) => None,
    };
    let group: Option<String> = row.get(5)?;
    Ok(Record {
        id: RecordId::new(name(row, 0)?, name(row, 1)?),
        version: RecordVersion::new(row.get(2)?),
        body: row.get(9)?,
        due_at: instant(row, 4)?,
        group: group.map(|_| name(row, 5)).transpose()?,
        claim,
        n_claims: row.get(8)?,
        written_at: instant(row, 3)?.unwrap_or(Timestamp::MIN),
    })
}

/// Reads a name, which a whole file has only as it was checked.
pub(super) fn name<T>(row: &Row<'_>, column: usize) -> Result<T, rusqlite::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error);
    text.parse().map_err(|error| wrong(Box::new(error)))
}

pub(super) fn instant(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, rusqlite::Error> {
    let micros: Option<i64> = row.get(column)?;
    let at = |micros| {
        let range = FromSqlError::OutOfRange(micros);
        let wrong = || {
            let error = Box::new(range);
            rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, error)
        };
        Timestamp::from_micros(micros).ok_or_else(wrong)
    };
    micros.map(at).transpose()
}

/// Returns the instant a while later, at the latest [`Timestamp::MAX`].
pub(super) fn later(now: Timestamp, delay: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

pub(super) fn one(
    connection: &Connection,
    now: Timestamp,
    id: &RecordId,
) -> Result<Option<Record>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM record WHERE kind = ?1 AND key = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let names = [id.kind.as_str(), id.key.as_str()];
    statement
        .query_row(names, |row| record(row, now))
        .optional()
}

pub(super) fn scan(
    connection: &Connection,
    now: Timestamp,
    (scan, page_bytes_max): (&RecordScan, usize),
) -> Result<RecordPage, rusqlite::Error> {
    let mut page = RecordPage {
        records: Vec::new(),
        next: None,
    };
    let Some(bounds) = scan.bounds() else {
        return Ok(page);
    };
    let mut sql = format!("SELECT {COLUMNS} FROM record WHERE kind = ?");
    let mut values = vec![scan.kind.as_str()];
    if let Some(group) = &scan.group {
        sql.push_str(" AND grp = ?");
        values.push(group.as_str());
    }
    match bounds.lower {
        Bound::Included(key) => (sql.push_str(" AND key >= ?"), values.push(key)),
        Bound::Excluded(key) => (sql.push_str(" AND key > ?"), values.push(key)),
        Bound::Unbounded => ((), ()),
    };
    match bounds.upper() {
        Bound::Included(key) => (sql.push_str(" AND key <= ?"), values.push(key)),
        Bound::Excluded(key) => (sql.push_str(" AND key < ?"), values.push(key)),
        Bound::Unbounded => ((), ()),
    };
    sql.push_str(match scan.direction {
        Direction::Forwards => " ORDER BY key",
        Direction::Backwards => " ORDER BY key DESC",
    });
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.records.len() == scan.limit || bytes >= page_bytes_max {
            page.next = page.records.last().map(|last| last.id.key.clone());
            break;
        }
        let record = record(row, now)?;
        bytes += record.body.len();
        page.records.push(record);
    }
    Ok(page)
}

pub(super) fn groups(
    connection: &Connection,
    scan: &GroupScan,
) -> Result<GroupPage, rusqlite::Error> {
    let sql = "SELECT grp, count(*) FROM record
        WHERE kind = ?1 AND grp IS NOT NULL AND grp > ?2 GROUP BY grp ORDER BY grp LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let after = scan.after.as_ref().map_or("", |after| after.as_str());
    let params = params![scan.kind.as_str(), after, scan.limit + 1];
    let rows = statement.query_map(params, |row| {
        Ok(GroupCount {
            group: name(row, 0)?,
            n_records: row.get(1)?,
        })
    })?;
    let mut groups = rows.collect::<Result<Vec<_>, _>>()?;
    let has_more = groups.len() > scan.limit;
    groups.truncate(scan.limit);
    let last = groups.last().map(|last| last.group.clone());
    let next = last.filter(|_| has_more);
    Ok(GroupPage { groups, next })
}

pub(super) fn queue(
    connection: &Connection,
    now: Timestamp,
    kind: &str,
) -> Result<QueueStatus, rusqlite::Error> {
    // One transaction, so that the counts and the next instant are of one moment.
    let transaction = connection.unchecked_transaction()?;
    let sql = "SELECT count(*),
            count(*) FILTER (WHERE claimed),
            count(*) FILTER (WHERE NOT claimed AND due_at > ?2),
            count(*) FILTER (WHERE NOT claimed AND due_at <= ?2),
            min(due_at) FILTER (WHERE NOT claimed AND due_at <= ?2)
        FROM (SELECT due_at, coalesce(claim_until > ?2, FALSE) AS claimed
            FROM record WHERE kind = ?1)";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut status = statement.query_row(params![kind, now.as_micros()], |row| {
        Ok(QueueStatus {
            n_records: row.get(0)?,
            n_claimed: row.get(1)?,
            n_waiting: row.get(2)?,
            n_due: row.get(3)?,
            oldest_due_at: instant(row, 4)?,
            next_at: None,
        })
    })?;
    status.next_at = next_at(&transaction, kind, now)?;
    Ok(status)
}

/// Counts rows, for the metrics page.
pub(super) fn counter(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let counter = connection.query_row("SELECT counter FROM meta", [], |row| row.get(0));
    match counter? {
        Value::Integer(counter) => Ok(u64::try_from(counter).unwrap_or_default()),
        Value::Null | Value::Real(_) | Value::Text(_) | Value::Blob(_) => Ok(0),
    }
}
