//! Copies of a store: made while it is in use, checked before they are used again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use factum_model::{Clock, Position};
use factum_store::{BackupReport, LineageId, MaintenanceError};

use crate::disk::{Disk, DiskFile, LockError, OsDisk, read_range};
use crate::manifest::{MANIFEST, MANIFEST_BYTES_MAX, MANIFEST_NEW, Manifest};
use crate::open::{OpenError, RESTORING, read};
use crate::options::{Options, random_bytes};
use crate::state::{self, STATE_DB};
use crate::store::{LOCK, holder};

/// The name of the list of files, which is written last.
pub(crate) const BACKUP: &str = "BACKUP";
const BACKUP_NEW: &str = "BACKUP.new";
/// The first line of the list.
const TITLE: &str = "factum backup 1";
/// The list of a store with a hundred thousand segments is smaller.
const BACKUP_BYTES_MAX: u64 = 64 << 20;
const COPY_BYTES: usize = 1 << 20;

/// A store as of one moment.
pub(crate) struct Snapshot {
    pub(crate) manifest: Manifest,
    /// Up to where the log of the last segment is durable.
    pub(crate) end: u64,
    pub(crate) head: Option<Position>,
}

/// Where a backup is made.
pub(crate) struct BackupTarget {
    path: PathBuf,
    disk: OsDisk,
    has_state: bool,
}

impl BackupTarget {
    /// Takes a directory that is new or empty.
    pub(crate) fn new(path: &Path) -> Result<Self, MaintenanceError> {
        Ok(Self {
            path: path.to_owned(),
            disk: empty_directory(path)?,
            has_state: false,
        })
    }

    /// Copies the bookkeeping of a data directory, if it has any.
    pub(crate) fn add_state(&mut self, directory: &Path) -> io::Result<()> {
        self.has_state = state::copy_to(directory, &self.path)?;
        Ok(())
    }
}

/// Copies a snapshot.
pub(crate) fn backup(
    source: &dyn Disk,
    snapshot: Snapshot,
    target: &BackupTarget,
    clock: &dyn Clock,
) -> Result<BackupReport, MaintenanceError> {
    let (n_files, n_bytes, head) = backup_to(source, snapshot, target, clock)?;
    Ok(BackupReport {
        path: target.path.clone(),
        head,
        n_files,
        n_bytes,
    })
}

/// How many files and bytes were copied, and up to which position.
type Copied = (u64, u64, Option<Position>);

fn backup_to(
    source: &dyn Disk,
    mut snapshot: Snapshot,
    target: &BackupTarget,
    clock: &dyn Clock,
) -> io::Result<Copied> {
    let disk: &dyn Disk = &target.disk;
    let mut copy = Copy {
        source,
        target: disk,
        list: String::new(),
        n_files: 0,
        n_bytes: 0,
    };
    snapshot.manifest.clean = None;
    let open_end = snapshot.end;
    for entry in &mut snapshot.manifest.segments {
        let name = entry.log_name();
        let end = entry.closed.map_or(open_end, |closed| closed.end.offset);
        copy.file(&name, Some(end))?;
        let index = entry.closed.and_then(|closed| closed.index);
        let Some(index_name) = index.map(|generation| entry.index_name(generation)) else {
            continue;
        };
        match copy.file(&index_name, None) {
            // It was rebuilt under another name meanwhile; the copy rebuilds it too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(closed) = &mut entry.closed {
                    closed.index = None;
                }
            }
            copied => copied?,
        }
    }
    if target.has_state {
        copy.hash(STATE_DB)?;
    }
    snapshot.manifest.store(disk)?;
    let manifest = disk.open(MANIFEST)?;
    copy.note(
        MANIFEST,
        &read_range(&*manifest, 0, to_usize(manifest.length()?)?),
    )?;
    let (list, n_files, n_bytes) = (copy.list, copy.n_files, copy.n_bytes);
    let mut text = format!("{TITLE}\n");
    let lineage = &snapshot.manifest.lineage;
    let facts = [
        ("storeId", hex(&lineage.store_id.0)),
        ("lineage", hex(&lineage.current.0.to_be_bytes())),
        ("head", snapshot.head.map_or(0, Position::get).to_string()),
        ("createdAt", clock.now().to_string()),
    ];
    for (name, value) in facts {
        text.push_str(&[name, " = ", &value, "\n"].concat());
    }
    text.push_str(&list);
    // The copies have their names before the list has its own, and the list is whole then.
    let file = disk.create(BACKUP_NEW)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync_data()?;
    disk.sync_dir()?;
    disk.rename(BACKUP_NEW, BACKUP)?;
    disk.sync_dir()?;
    Ok((n_files, n_bytes, snapshot.head))
}

fn empty_directory(target: &Path) -> Result<OsDisk, MaintenanceError> {
    let disk = OsDisk::open_or_create(target)?;
    if std::fs::read_dir(target)?.next().is_some() {
        return Err(MaintenanceError::TargetNotEmpty);
    }
    Ok(disk)
}

struct Copy<'a> {
    source: &'a dyn Disk,
    target: &'a dyn Disk,
    list: String,
    n_files: u64,
    n_bytes: u64,
}

impl Copy<'_> {
    /// Copies a file, or its first bytes, and syncs the copy.
    fn file(&mut self, name: &str, length: Option<u64>) -> io::Result<()> {
        let source = self.source.open(name)?;
        let length = match length {
            Some(length) => length,
            None => source.length()?,
        };
        let target = self.target.create(name)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        copy_chunks(&*source, length, |chunk, at| {
            hash.update(chunk);
            target.write_at(chunk, at)
        })?;
        target.sync_data()?;
        self.list(name, length, hash.finish().as_ref());
        Ok(())
    }

    /// Lists a file that was copied already.
    fn hash(&mut self, name: &str) -> io::Result<()> {
        let file = self.target.open(name)?;
        let length = file.length()?;
        let mut hash = digest::Context::new(&digest::SHA256);
        copy_chunks(&*file, length, |chunk, _| {
            hash.update(chunk);
            Ok(())
        })?;
        self.list(name, length, hash.finish().as_ref());
        Ok(())
    }

    fn note(&mut self, name: &str, bytes: &io::Result<Vec<u8>>) -> io::Result<()> {
        match bytes {
            Ok(bytes) => {
                let hash = digest::digest(&digest::SHA256, bytes);
                self.list(name, bytes.len() as u64, hash.as_ref());
                Ok(())
            }
            Err(error) => Err(error.kind().into()),
        }
    }

    fn list(&mut self, name: &str, length: u64, hash: &[u8]) {
        let (hash, bytes) = (hex(hash), length.to_string());
        self.list
            .push_str(&["file ", &hash, " ", &bytes, " ", name, "\n"].concat());
        self.n_files += 1;
        self.n_bytes += length;
    }
}

fn copy_chunks(
    source: &dyn DiskFile,
    length: u64,
    mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let chunk = to_usize(length - at)?.min(COPY_BYTES);
        each(&read_range(source, at, chunk)?, at)?;
        at += chunk as u64;
    }
    Ok(())
}

/// Why a backup could not be restored. The target has no manifest then, so it does not open; a
/// restore into it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The source has no list of files, so it is no complete backup.
    #[error("the source is not a complete backup: {detail}")]
    NotABackup {
        /// What is missing or wrong, in words.
        detail: String,
    },
    /// A file is not the one that was backed up.
    #[error("{file} of the backup is damaged: {detail}")]
    Damaged {
        /// The file, relative to the backup.
        file: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] MaintenanceError),
    /// Another process has the target open.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The restored store does not open.
    #[error("the restored store does not open")]
    Open(#[from] OpenError),
    /// The operating system could not read or write.
    #[error("reading or writing a file failed")]
    Io(#[from] io::Error),
}

/// Restores a backup into a directory that is new or empty, or in which a restore was interrupted.
///
/// Every file is checked against the list of the backup while it is copied, and the store is read
/// as at a start. It begins a new lineage: cursors up to the end of the backup stay right, later
/// ones are refused. Everything is durable when this returns. Until then the directory does not
/// open: its manifest, which never names the old lineage as the present one, is written last.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(source: &Path, target: &Path) -> Result<BackupReport, RestoreError> {
    let from = OsDisk::open_read_only(source)?;
    // What is no backup leaves no directory behind.
    read_list(&from)?;
    let to = OsDisk::open_or_create(target)?;
    for entry in std::fs::read_dir(target)? {
        // The disk lists files only.
        if !entry?.file_type()?.is_file() {
            return Err(MaintenanceError::TargetNotEmpty.into());
        }
    }
    let to: Arc<dyn Disk> = Arc::new(to);
    let report = restore_files(&from, &to, || state::renumber(target))?;
    let path = target.to_owned();
    Ok(BackupReport { path, ..report })
}

/// Restores a backup from one disk to another; see [`restore`]. The report names no path.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore_disk(
    source: &dyn Disk,
    target: &Arc<dyn Disk>,
) -> Result<BackupReport, RestoreError> {
    restore_files(source, target, || Ok(()))
}

/// Restores a backup; `finish` is what is to be done before the manifest makes it a store.
fn restore_files(
    source: &dyn Disk,
    target: &Arc<dyn Disk>,
    finish: impl FnOnce() -> io::Result<()>,
) -> Result<BackupReport, RestoreError> {
    let files = read_list(source)?;
    let manifest = read_manifest(source, &files)?;
    // Before the lock, which leaves a file behind, and again under it.
    left_over(&**target, &files)?;
    let _lock = target.lock(LOCK, &holder())?;
    prepare(&**target, &files)?;
    let (mut n_files, mut n_bytes) = (0, 0);
    for file in &files {
        if file.name != MANIFEST {
            restore_file(source, &**target, file)?;
        }
        n_files += 1;
        n_bytes += file.length;
    }
    target.sync_dir()?;
    let opened = read(target, manifest, &Options::at(""))?;
    let head = opened.next.previous();
    let mut manifest = opened.manifest;
    let old = manifest.lineage.current;
    manifest.lineage.earlier.push((old, head));
    manifest.lineage.current = LineageId(u64::from_le_bytes(random_bytes()));
    finish()?;
    manifest.store(&**target).map_err(io::Error::from)?;
    // The store is there. If this name comes back, the next start removes it.
    target.remove(RESTORING)?;
    target.sync_dir()?;
    Ok(BackupReport {
        path: PathBuf::new(),
        head,
        n_files,
        n_bytes,
    })
}

/// Returns the files that an interrupted restore left in the target, none if it is new or empty.
///
/// # Errors
/// When there are others.
fn left_over(disk: &dyn Disk, files: &[Listed]) -> Result<Vec<String>, RestoreError> {
    let mut names = disk.list()?;
    names.retain(|name| name != LOCK);
    let interrupted = names.iter().any(|name| name == RESTORING);
    // With a manifest it is a store, whatever became of the mark.
    let is_store = names.iter().any(|name| name == MANIFEST);
    let own = |name: &String| {
        let of_manifest = name == RESTORING || name == MANIFEST_NEW;
        // SQLite keeps files beside its own while it writes.
        let of_state = name.starts_with(STATE_DB);
        of_manifest || of_state || files.iter().any(|file| file.name == *name)
    };
    if is_store || !(names.is_empty() || interrupted && names.iter().all(own)) {
        return Err(MaintenanceError::TargetNotEmpty.into());
    }
    Ok(names)
}

/// Marks the target as one that a backup is being restored into, and removes what an interrupted
/// restore left in it.
fn prepare(disk: &dyn Disk, files: &[Listed]) -> Result<(), RestoreError> {
    let names = left_over(disk, files)?;
    for name in names.iter().filter(|name| *name != RESTORING) {
        disk.remove(name)?;
    }
    if names.is_empty() {
        disk.create(RESTORING)?;
    }
    Ok(disk.sync_dir()?)
}

/// Reads the manifest of a backup, once it is known to be the one that was backed up.
fn read_manifest(disk: &dyn Disk, files: &[Listed]) -> Result<Manifest, RestoreError> {
    let damaged = |detail| RestoreError::Damaged {
        file: MANIFEST.to_owned(),
        detail,
    };
    let listed = files.iter().find(|file| file.name == MANIFEST);
    let listed = listed.ok_or_else(|| RestoreError::NotABackup {
        detail: "it lists no manifest".to_owned(),
    })?;
    let file = match disk.open(MANIFEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("it is missing"));
        }
        file => file?,
    };
    if file.length()? != listed.length || listed.length > MANIFEST_BYTES_MAX {
        return Err(damaged("its length is another"));
    }
    let bytes = read_range(&*file, 0, to_usize(listed.length)?)?;
    if hex(digest::digest(&digest::SHA256, &bytes).as_ref()) != listed.hash {
        return Err(damaged("its checksum is another"));
    }
    Manifest::decode(&bytes).map_err(|_| damaged("it is of another format"))
}

struct Listed {
    hash: String,
    length: u64,
    name: String,
}

fn read_list(disk: &dyn Disk) -> Result<Vec<Listed>, RestoreError> {
    let wrong = |detail: &str| RestoreError::NotABackup {
        detail: detail.to_owned(),
    };
    let file = match disk.open(BACKUP) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(wrong("it has no file BACKUP"));
        }
        file => file?,
    };
    let length = file.length()?;
    if length > BACKUP_BYTES_MAX {
        return Err(wrong("its list of files is too long"));
    }
    let text = String::from_utf8(read_range(&*file, 0, to_usize(length)?)?);
    let text = text.map_err(|_| wrong("its list of files is not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(wrong("its list of files is of another format"));
    }
    let mut files = Vec::new();
    for line in lines.filter(|line| line.starts_with("file ")) {
        let parts: Vec<_> = line.split(' ').collect();
        let [_, hash, length, name] = parts.as_slice() else {
            return Err(wrong("a line of its list is not one"));
        };
        let length = length
            .parse()
            .map_err(|_| wrong("a length in its list is not one"))?;
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if !plain || name.starts_with('.') {
            return Err(wrong("a name in its list is not one"));
        }
        files.push(Listed {
            hash: (*hash).to_owned(),
            length,
            name: (*name).to_owned(),
        });
    }
    Ok(files)
}

fn restore_file(from: &dyn Disk, to: &dyn Disk, listed: &Listed) -> Result<(), RestoreError> {
    let damaged = |detail| RestoreError::Damaged {
        file: listed.name.clone(),
        detail,
    };
    let source = match from.open(&listed.name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged("it is missing"));
        }
        source => source?,
    };
    if source.length()? != listed.length {
        return Err(damaged("its length is another"));
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    let target = to.create(&listed.name)?;
    copy_chunks(&*source, listed.length, |chunk, at| {
        hash.update(chunk);
        target.write_at(chunk, at)
    })?;
    target.sync_data()?;
    if hex(hash.finish().as_ref()) != listed.hash {
        to.remove(&listed.name)?;
        return Err(damaged("its checksum is another"));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
