//! Opens the file: what it must be, how it is made, how it is brought to this version.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use factum_model::ErrorCode;
use factum_store::StateError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::backup::STATE_DB;
use super::options::StateOptions;

/// What marks the file as one of ours: `FCTS`.
const APPLICATION_ID: i64 = 0x4643_5453;
/// The steps that make the schema, oldest first. The file says how many of them it has seen. A
/// step that was released is never changed.
const MIGRATIONS: [&str; 1] = [include_str!("schema/0001.sql")];
/// Only its owner reads and writes the file.
const FILE_MODE: u32 = 0o600;
/// How long a connection waits for another process that has the file locked.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Why the bookkeeping was not opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StateOpenError {
    /// The file is damaged.
    #[error("{STATE_DB} is damaged: {detail}")]
    Damaged {
        /// What is wrong, in words.
        detail: String,
    },
    /// The file is an SQLite database of something else.
    #[error("{STATE_DB} belongs to another program (application id {found:#x})")]
    Foreign {
        /// The application id in its header.
        found: i64,
    },
    /// The file was written by a later release.
    #[error("{STATE_DB} has schema {found}, this release knows up to {known}")]
    Newer {
        /// The schema version of the file.
        found: i64,
        /// The last one that is known.
        known: usize,
    },
    /// The directory or the file could not be used.
    #[error("{STATE_DB} could not be opened: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The file could not be made, or a thread not be started.
    #[error("{STATE_DB} could not be opened")]
    Io(#[from] io::Error),
}

impl StateOpenError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged { .. } => ErrorCode::Corrupt,
            Self::Foreign { .. } | Self::Newer { .. } | Self::Io(_) => ErrorCode::StoreFailed,
            Self::Sqlite(error) => failure(error).code(),
        }
    }
}

impl From<rusqlite::Error> for StateOpenError {
    fn from(error: rusqlite::Error) -> Self {
        match failure(&error) {
            StateError::Corrupt { detail } => Self::Damaged { detail },
            StateError::Limit(_)
            | StateError::Invalid { .. }
            | StateError::Conflict { .. }
            | StateError::LeaseLost { .. }
            | StateError::OutcomeUnknown
            | StateError::Overloaded { .. }
            | StateError::StorageFull
            | StateError::Failed { .. }
            | StateError::ShuttingDown => Self::Sqlite(error),
        }
    }
}

/// Says in our words what went wrong in SQLite.
pub(super) fn failure(error: &rusqlite::Error) -> StateError {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(Code::DiskFull) => StateError::StorageFull,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => StateError::Corrupt {
            detail: error.to_string(),
        },
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => StateError::Overloaded {
            retry_after_ms: 1000,
        },
        _ => StateError::Failed {
            cause: error.to_string(),
        },
    }
}

/// Makes an empty file that only its owner can read, unless the file is there. SQLite gives the
/// files that it keeps beside it the same mode.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    let mut new = OpenOptions::new();
    match new.write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Opens the connection of the writer, and makes the file or brings it to this version.
pub(super) fn open_writer(options: &StateOptions) -> Result<Connection, StateOpenError> {
    let path = options.directory.join(STATE_DB);
    create_private(&path)?;
    let mut connection = connect(&path)?;
    check(&connection, options.open_check_bytes_max)?;
    // An acknowledged change survives the power: each commit syncs the write-ahead log.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    migrate(&mut connection)?;
    let page_bytes = u64::try_from(pragma(&connection, "page_size")?).unwrap_or(4096);
    let pages_max = i64::try_from(options.file_bytes_max / page_bytes).unwrap_or(i64::MAX);
    connection.pragma_update(None, "max_page_count", pages_max)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Opens a file that need not be open elsewhere and that is not to be changed.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    // What stands in a damaged or foreign schema is not run.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Otherwise every statement is planned anew whenever another value is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

pub(super) fn pragma(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Refuses a file that is not ours or not whole.
fn check(connection: &Connection, check_bytes_max: u64) -> Result<(), StateOpenError> {
    let n_pages = pragma(connection, "page_count")?;
    if n_pages == 0 {
        return Ok(());
    }
    identify(connection)?;
    let bytes = n_pages.saturating_mul(pragma(connection, "page_size")?);
    if u64::try_from(bytes).is_ok_and(|bytes| bytes <= check_bytes_max) {
        let detail: String =
            connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if detail != "ok" {
            return Err(StateOpenError::Damaged { detail });
        }
    }
    Ok(())
}

/// Refuses a file of another program or of a later release.
pub(super) fn identify(connection: &Connection) -> Result<(), StateOpenError> {
    let found = pragma(connection, "application_id")?;
    let version = pragma(connection, "user_version")?;
    // A file that another process is just making has neither yet.
    if found != APPLICATION_ID && (found, version) != (0, 0) {
        return Err(StateOpenError::Foreign { found });
    }
    let known = MIGRATIONS.len();
    if usize::try_from(version).is_ok_and(|version| version <= known) {
        return Ok(());
    }
    Err(StateOpenError::Newer {
        found: version,
        known,
    })
}

fn migrate(connection: &mut Connection) -> Result<(), StateOpenError> {
    let behavior = rusqlite::TransactionBehavior::Immediate;
    let transaction = connection.transaction_with_behavior(behavior)?;
    let done = pragma(&transaction, "user_version")?;
    let done = usize::try_from(done).unwrap_or_default();
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version)?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered has to survive the power, which no test can cut: SQLite promises it for
    /// these settings.
    #[test]
    fn commits_are_synced() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_writer(&StateOptions::at(directory.path())).unwrap();
        assert_eq!(pragma(&connection, "synchronous").unwrap(), 2);
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!(mode, "wal");
    }
}
