//! What goes wrong between this and the server, and what that means.

use std::io;

use factum_model::ErrorCode;
use factum_store::ReadError;
use thiserror::Error;
use tokio_postgres::error::SqlState;

use crate::values::InvalidRow;

/// Why a store could not be opened or set up.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The URL is not one.
    #[error("the URL of PostgreSQL is not valid")]
    Url(#[source] tokio_postgres::Error),
    /// The URL asks for TLS in a way that is not known, or its certificates cannot be read.
    #[error("TLS to PostgreSQL cannot be set up: {rule}")]
    Tls {
        /// What is wrong, in words.
        rule: &'static str,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The name goes into statements, and has characters that are not allowed there.
    #[error("{what} {name:?} must be a lower-case letter, then at most 39 of a-z, 0-9 and _")]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name, cut to 64 characters.
        name: String,
    },
    /// The database has no such schema with a log in it.
    #[error("schema {schema} is not set up; run `factum postgres init`")]
    NotSetUp {
        /// The schema.
        schema: String,
    },
    /// The schema has no log of this number.
    #[error("there is no log {log}; run `factum postgres init`")]
    NoLog {
        /// The number.
        log: i32,
    },
    /// The schema is of another version of the program.
    #[error("the schema has version {found}, this program works with {expected}")]
    Version {
        /// What the database has.
        found: i32,
        /// What is needed.
        expected: i32,
    },
    /// A step of the set-up is not the one that was run in this database.
    #[error("step {number} of the set-up was run with other content")]
    Changed {
        /// Its number.
        number: i32,
    },
    /// The log of another store is being imported.
    #[error("a migration into log {log} is not finished; go on with `factum migrate`")]
    HalfImported {
        /// The number.
        log: i32,
    },
    /// The server is too old.
    #[error("PostgreSQL {version} is too old; 14 is needed")]
    ServerTooOld {
        /// Its version, as `server_version_num` has it.
        version: i32,
    },
    /// The database keeps text in another encoding.
    #[error("the database has the encoding {encoding}; UTF8 is needed")]
    Encoding {
        /// The encoding.
        encoding: String,
    },
    /// The server did not answer in time.
    #[error("PostgreSQL did not answer in time")]
    Timeout,
    /// A row is not as it should be.
    #[error("a row cannot be read")]
    Row(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A statement failed, or there is no connection.
    #[error("PostgreSQL refused")]
    Postgres(#[from] tokio_postgres::Error),
}

impl OpenError {
    /// Tells whether the role that is connected is not allowed what was asked.
    #[must_use]
    pub fn lacks_permission(&self) -> bool {
        let Self::Postgres(error) = self else {
            return false;
        };
        error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
    }

    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Url(_) | Self::Tls { .. } | Self::Name { .. } => ErrorCode::InvalidRequest,
            Self::NotSetUp { .. }
            | Self::NoLog { .. }
            | Self::Version { .. }
            | Self::Changed { .. }
            | Self::ServerTooOld { .. }
            | Self::Encoding { .. }
            | Self::Row(_)
            | Self::Postgres(_) => ErrorCode::StoreFailed,
            Self::HalfImported { .. } => ErrorCode::Locked,
            Self::Timeout => ErrorCode::Timeout,
        }
    }
}

/// What a failed statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The connection is gone or the server is going: another connection may do better. What was
    /// being written may be there or not.
    Lost,
    /// The server has no time, no memory or no connection for it now; it did nothing.
    Busy,
    /// The server has no space; it did nothing.
    Full,
    /// The server takes no writes, as it follows another one; it did nothing.
    ReadOnly,
    /// The log takes no appends: it was moved, or is being imported; it did nothing.
    Moved,
    /// Some id is taken that was not; it did nothing.
    Taken,
    /// Anything else; it did nothing.
    Refused,
}

/// Says what a failed statement means.
pub(crate) fn meaning(error: &tokio_postgres::Error) -> Meaning {
    let Some(code) = error.code() else {
        // The server has said nothing: the connection broke, or was never there.
        return Meaning::Lost;
    };
    let class = code.code().get(..2).unwrap_or_default();
    match (class, code) {
        (_, code) if code.code() == "FA003" || *code == SqlState::UNIQUE_VIOLATION => {
            Meaning::Taken
        }
        (_, code) if code.code() == "FA004" => Meaning::Moved,
        (_, code) if *code == SqlState::DISK_FULL => Meaning::Full,
        (_, code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Meaning::ReadOnly,
        (_, code)
            if *code == SqlState::QUERY_CANCELED
                || *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::TOO_MANY_CONNECTIONS =>
        {
            Meaning::Busy
        }
        // Deadlock and serialization; insufficient resources.
        ("40" | "53", _) => Meaning::Busy,
        // Connection exceptions; shutting down, crashed, starting.
        ("08" | "57", _) => Meaning::Lost,
        _ => Meaning::Refused,
    }
}

/// Why a step of an operation failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// No connection could be had in time.
    #[error("no connection to PostgreSQL")]
    NoConnection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server did not answer in time.
    #[error("PostgreSQL did not answer in time")]
    Timeout,
    /// A statement failed.
    #[error("a statement failed")]
    Statement(#[from] tokio_postgres::Error),
    /// A row cannot be understood.
    #[error("a row cannot be understood")]
    Row(#[from] InvalidRow),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => Self::Closed,
            Failure::Row(_) => Self::Io(io::Error::new(io::ErrorKind::InvalidData, failure)),
            Failure::NoConnection(_) | Failure::Timeout => Self::Unavailable(failure.into()),
            Failure::Statement(ref error) => match meaning(error) {
                Meaning::Lost | Meaning::Busy | Meaning::ReadOnly => {
                    Self::Unavailable(failure.into())
                }
                Meaning::Full | Meaning::Moved | Meaning::Taken | Meaning::Refused => {
                    Self::Io(io::Error::other(failure))
                }
            },
        }
    }
}
