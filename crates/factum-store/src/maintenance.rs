//! Care for stored data: verification and backup, while the store is in use.

use std::path::{Path, PathBuf};

use factum_model::{ErrorCode, Position};
use thiserror::Error;

use crate::store::BoxFuture;

/// What a verification found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// How many events were read and checked.
    pub n_events: u64,
    /// How many streams they are of.
    pub n_streams: u64,
    /// How many files were read.
    pub n_files: u64,
    /// How many bytes were read.
    pub n_bytes: u64,
    /// What is wrong. Empty when all is well.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with stored data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of damage it is.
    pub kind: FindingKind,
    /// The file, relative to the data directory.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: Option<u64>,
    /// The positions that cannot be served because of it, first and last.
    pub positions: Option<(Position, Position)>,
    /// What is wrong, in words.
    pub detail: String,
}

/// Kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// Bytes do not match their checksum.
    Checksum,
    /// A position or sequence number is missing or stands twice.
    Gap,
    /// The index does not say what the log says. It can be rebuilt.
    Index,
    /// A file is missing, or is not one of this store.
    File,
    /// The last group was cut by a crash before it was acknowledged.
    TornTail,
}

impl FindingKind {
    /// Returns the kind as it stands in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Gap => "gap",
            Self::Index => "index",
            Self::File => "file",
            Self::TornTail => "torn_tail",
        }
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// The directory of the backup.
    pub path: PathBuf,
    /// The last position in it.
    pub head: Option<Position>,
    /// How many files it has.
    pub n_files: u64,
    /// How many bytes they have.
    pub n_bytes: u64,
}

/// Why a maintenance operation failed.
#[derive(Debug, Error)]
pub enum MaintenanceError {
    /// The target exists and is not an empty directory.
    #[error("backup target exists and is not empty")]
    TargetNotEmpty,
    /// This kind of store leaves it to others.
    #[error("this store does not offer that: {instead}")]
    NotOffered {
        /// What to do instead, in words.
        instead: &'static str,
    },
    /// What was copied does not verify.
    #[error("the copy does not verify: {detail}")]
    Damaged {
        /// What is wrong, in words.
        detail: String,
    },
    /// The operating system could not read or write.
    #[error("reading or writing a file failed")]
    Io(#[from] std::io::Error),
}

impl MaintenanceError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TargetNotEmpty | Self::NotOffered { .. } => ErrorCode::InvalidRequest,
            Self::Damaged { .. } => ErrorCode::Corrupt,
            Self::Io(_) => ErrorCode::Internal,
        }
    }
}

/// Care for stored data, while the store is in use.
pub trait Maintenance: Send + Sync {
    /// Reads everything that is stored and checks it: checksums, dense positions, per-stream
    /// sequences, and the index against the log. Changes nothing.
    ///
    /// # Errors
    /// Only when a file cannot be read at all; damage is a finding, not an error.
    fn verify(&self) -> BoxFuture<'_, Result<VerifyReport, MaintenanceError>>;

    /// Copies the store, as of a moment during the call, into a directory that is new or empty.
    /// The copy is complete and synced when this returns, and can be restored anywhere.
    ///
    /// # Errors
    /// See [`MaintenanceError`]; what was written of the copy stays and has no `BACKUP` file.
    fn backup<'a>(
        &'a self,
        target: &'a Path,
    ) -> BoxFuture<'a, Result<BackupReport, MaintenanceError>>;
}
