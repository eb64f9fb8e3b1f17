//! The file of the master key: made and replaced whole, readable by its owner alone.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
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
    let temporary = write_beside(path, text, None)?;
    // A link, unlike a rename, does not replace what another process may have made.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let removed = match fs::remove_file(&temporary) {
        // Who changes the key looks for what was left behind.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    linked
        .and(removed)
        .and_then(|()| sync_parent(path))
        .map_err(|source| failed(path, source))
}

/// Whom a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// The file, held against every other process that would change it. Reading it is free.
#[derive(Debug)]
pub(super) struct Held<'p> {
    path: &'p Path,
    owner: Owner,
    /// The lock goes with it.
    _file: File,
}

impl<'p> Held<'p> {
    /// Holds the file, which must be there. Waits for nobody.
    pub(super) fn new(path: &'p Path) -> Result<Self, MasterKeyError> {
        let io = |source| failed(path, source);
        let busy = || MasterKeyError::Busy {
            path: path.to_owned(),
        };
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => busy(),
            TryLockError::Error(source) => io(source),
        })?;
        let metadata = file.metadata().map_err(io)?;
        let there = fs::metadata(path).map_err(io)?;
        if (metadata.dev(), metadata.ino()) != (there.dev(), there.ino()) {
            // It was replaced between opening and locking it.
            return Err(busy());
        }
        let owner = Owner {
            user: metadata.uid(),
            group: metadata.gid(),
        };
        Ok(Self {
            path,
            owner,
            _file: file,
        })
    }

    /// Replaces the file whole, and leaves it to whom it belongs.
    pub(super) fn replace(&self, text: &str) -> Result<(), MasterKeyError> {
        let temporary = write_beside(self.path, text, Some(self.owner))?;
        if let Err(source) = fs::rename(&temporary, self.path) {
            // All keys are in it.
            drop(fs::remove_file(&temporary));
            return Err(failed(self.path, source));
        }
        sync_parent(self.path).map_err(|source| failed(self.path, source))
    }

    /// Removes what one that died while it changed the file has left beside it: it may hold keys
    /// that are to be forgotten.
    pub(super) fn remove_leftovers(&self) -> Result<(), MasterKeyError> {
        let io = |source| failed(self.path, source);
        let Some(name) = self.path.file_name() else {
            return Ok(());
        };
        for entry in fs::read_dir(parent(self.path)).map_err(io)? {
            let entry = entry.map_err(io)?;
            if is_temporary(&entry.file_name(), name) {
                fs::remove_file(entry.path()).map_err(io)?;
            }
        }
        Ok(())
    }
}

/// Tells whether a name is one that [`write_beside`] gives.
fn is_temporary(found: &OsStr, name: &OsStr) -> bool {
    let rest = found.as_bytes().strip_prefix(name.as_bytes());
    let random = rest.and_then(|rest| rest.strip_prefix(b"."));
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    random.is_some_and(|random| random.len() == 16 && random.iter().all(is_hex))
}

/// Writes the text beside the file: for the caller, or for somebody else.
pub(super) fn write_beside(
    path: &Path,
    text: &str,
    owner: Option<Owner>,
) -> Result<PathBuf, MasterKeyError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| MasterKeyError::Random)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}", u64::from_be_bytes(random)));
    let temporary = PathBuf::from(temporary);
    let io = |source| failed(path, source);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(OWNER_ONLY)
            .open(&temporary)
            .map_err(io)?;
        if let Some(owner) = owner {
            give(&file, path, owner)?;
        }
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(io)
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            // What was begun has part of a key in it; that it is there already is not our doing.
            drop(fs::remove_file(&temporary));
            Err(error)
        }
    }
}

/// Gives a file to its owner: whoever runs the command may be another user than the server is.
fn give(file: &File, path: &Path, owner: Owner) -> Result<(), MasterKeyError> {
    let Owner { user, group } = owner;
    let metadata = file.metadata().map_err(|source| failed(path, source))?;
    if (metadata.uid(), metadata.gid()) == (user, group) {
        return Ok(());
    }
    fchown(file, Some(user), Some(group)).map_err(|source| MasterKeyError::Owner {
        path: path.to_owned(),
        user,
        group,
        source,
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

fn failed(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Io {
        path: path.to_owned(),
        source,
    }
}
