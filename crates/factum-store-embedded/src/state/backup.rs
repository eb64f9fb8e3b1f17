//! The bookkeeping in backups, restores and verifications of the data directory.
//!
//! The file is only ever opened through SQLite while a process may have it open: the locks that
//! SQLite holds on it are those of the process, and closing the file by other means drops them.

use std::io;
use std::path::Path;

use factum_store::{Finding, FindingKind, VerifyReport};
use rusqlite::Connection;

use super::open::{create_private, identify, open_read_only, open_reader, pragma};

/// The name of the file.
pub(crate) const STATE_DB: &str = "state.db";
/// What separates the numbers that a restored store gives from those that it has given since the
/// backup was made: versions and epochs of the history that was lost are never given again.
const RESTORE_LEAP: i64 = 1 << 32;
/// The most damage that is reported.
const FINDINGS_MAX: i64 = 20;

fn other(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}

/// Copies the bookkeeping of a directory, if it has any, as of one moment, into a directory
/// without. Returns whether it has. It may be in use meanwhile.
pub(crate) fn copy_to(directory: &Path, target: &Path) -> io::Result<bool> {
    let source = directory.join(STATE_DB);
    if !source.try_exists()? {
        return Ok(false);
    }
    let connection = open_read_only(&source).map_err(other)?;
    let copy = target.join(STATE_DB);
    create_private(&copy)?;
    let name = copy.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    connection
        .execute("VACUUM INTO ?1", [name])
        .map_err(other)?;
    // Nobody has the copy open.
    std::fs::File::open(&copy)?.sync_all()?;
    Ok(true)
}

/// Prepares bookkeeping that was restored: the numbers of the history that the restore has lost
/// are skipped, and leases of it are forgotten.
pub(crate) fn renumber(directory: &Path) -> io::Result<()> {
    let path = directory.join(STATE_DB);
    if !path.try_exists()? {
        return Ok(());
    }
    let connection = Connection::open(&path).map_err(other)?;
    let renumbered = connection.pragma_update(None, "synchronous", "FULL");
    let renumbered = renumbered.and_then(|()| {
        let leap = format!("UPDATE meta SET counter = counter + {RESTORE_LEAP}");
        connection.execute_batch(&format!("BEGIN; {leap}; DELETE FROM lease; COMMIT"))
    });
    renumbered.map_err(other)?;
    connection.close().map_err(|(_, error)| other(error))
}

/// Checks the bookkeeping of a directory, if it has any. It may be in use meanwhile.
pub(crate) fn verify(directory: &Path, report: &mut VerifyReport) -> io::Result<()> {
    let path = directory.join(STATE_DB);
    if !path.try_exists()? {
        return Ok(());
    }
    report.n_files += 1;
    let details = match check(&path, report) {
        Ok(details) => details,
        Err(error) => vec![error.to_string()],
    };
    report
        .findings
        .extend(details.into_iter().map(|detail| Finding {
            kind: FindingKind::Checksum,
            file: STATE_DB.to_owned(),
            offset: None,
            positions: None,
            detail,
        }));
    Ok(())
}

fn check(path: &Path, report: &mut VerifyReport) -> Result<Vec<String>, rusqlite::Error> {
    let connection = open_read_only(path).or_else(|_| open_reader(path))?;
    if let Err(error) = identify(&connection) {
        return Ok(vec![error.to_string()]);
    }
    let bytes =
        pragma(&connection, "page_count")?.saturating_mul(pragma(&connection, "page_size")?);
    report.n_bytes += u64::try_from(bytes).unwrap_or_default();
    let mut details = Vec::new();
    let each = |row: &rusqlite::Row<'_>| {
        details.push(row.get(0)?);
        Ok(())
    };
    connection.pragma(None, "integrity_check", FINDINGS_MAX, each)?;
    details.retain(|detail: &String| detail != "ok");
    Ok(details)
}
