//! The file of the master key: made and replaced whole, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::MasterKeyError;

/// The most bytes that the file may have.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const OWNER_ONLY: u32 = 0o600;

/// Returns what the file says, or `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, MasterKeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let metadata = file.metadata().map_err(|source| failed(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|source| failed(path, source))?;
    Ok(Some(text))
}

/// Makes the file. One that is there already stays as it is.
pub(super) fn create(path: &Path, text: &str) -> Result<(), MasterKeyError> {
    let temporary = write_beside(path, text)?;
    // A link, unlike a rename, does not replace what another process may have made.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let removed = fs::remove_file(&temporary);
    linked
        .and(removed)
        .and_then(|()| sync_parent(path))
        .map_err(|source| failed(path, source))
}

/// Replaces the file whole.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), MasterKeyError> {
    let temporary = write_beside(path, text)?;
    fs::rename(&temporary, path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| failed(path, source))
}

fn write_beside(path: &Path, text: &str) -> Result<PathBuf, MasterKeyError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| MasterKeyError::Random)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}", u64::from_be_bytes(random)));
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(source) => {
            // What was begun has part of a key in it; that it is there already is not our doing.
            drop(fs::remove_file(&temporary));
            Err(failed(path, source))
        }
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn failed(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Io {
        path: path.to_owned(),
        source,
    }
}
