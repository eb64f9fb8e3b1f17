//! The disk of the operating system.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::{Disk, DiskFile, LockError, LockGuard};

/// Files that only their owner may read: payloads are nobody else's business.
const FILE_MODE: u32 = 0o600;
/// What direct writes need: addresses, offsets and lengths are multiples of this.
const DIRECT_ALIGNMENT: usize = 4096;
/// How much is zeroed in one call.
const ZERO_CHUNK: usize = 1 << 20;

/// A directory of the operating system.
#[derive(Debug)]
pub struct OsDisk {
    root: PathBuf,
    read_only: bool,
}

impl OsDisk {
    /// Opens a directory and makes it where it is missing, readable by its owner only.
    ///
    /// # Errors
    /// When it cannot be made or is not a directory.
    pub fn open_or_create(root: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)?;
        // The name of a new directory must survive a power cut too.
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self {
            root: root.to_owned(),
            read_only: false,
        })
    }

    /// Opens a directory that is there, for reading only.
    ///
    /// # Errors
    /// When it is not there or is not a directory.
    pub fn open_read_only(root: &Path) -> io::Result<Self> {
        if !std::fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            root: root.to_owned(),
            read_only: true,
        })
    }

    /// Returns the directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file(&self, name: &str, options: &OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.root.join(name);
        let file = options.open(&path)?;
        Ok(Arc::new(OsFile { file, path }))
    }
}

impl Disk for OsDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE);
        self.file(name, &options)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(name, OpenOptions::new().read(true).write(!self.read_only))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn LockGuard>, LockError> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE);
        let mut file = options.open(self.root.join(name))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                (&file).take(1024).read_to_string(&mut holder)?;
                return Err(LockError::Held {
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The lock is held whatever the file says, also on a disk without space to say it.
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        match written {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        Ok(Box::new(OsLock { _file: file }))
    }
}

/// Closing the file gives the lock back; so does the end of the process.
#[derive(Debug)]
struct OsLock {
    _file: File,
}

impl LockGuard for OsLock {}

#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut n_read = 0;
        while let Some(rest) = buffer.get_mut(n_read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + n_read as u64) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(n_read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<()> {
        fallocate(&self.file, FallocateFlags::empty(), offset, length).map_err(io::Error::from)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let aligned = (offset | length).is_multiple_of(DIRECT_ALIGNMENT as u64);
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default())
            .open(&self.path);
        // Not every file system takes direct writes (tmpfs does not); zeros through the cache are
        // as good, only slower for the writer that syncs the same file meanwhile.
        let file = match direct {
            Ok(file) if aligned => file,
            Ok(_) | Err(_) => OpenOptions::new().write(true).open(&self.path)?,
        };
        let buffer = vec![0_u8; ZERO_CHUNK + DIRECT_ALIGNMENT];
        let misaligned = buffer.as_ptr().addr() % DIRECT_ALIGNMENT;
        let start = (DIRECT_ALIGNMENT - misaligned) % DIRECT_ALIGNMENT;
        let zeros = buffer.get(start..start + ZERO_CHUNK).unwrap_or_default();
        let mut done = 0;
        while done < length {
            let wanted = (length - done).min(ZERO_CHUNK as u64);
            let chunk = zeros
                .get(..usize::try_from(wanted).unwrap_or(ZERO_CHUNK))
                .unwrap_or(zeros);
            file.write_all_at(chunk, offset + done)?;
            done += wanted;
        }
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open_or_create(dir.path()).unwrap();
        let guard = disk.lock("LOCK", "pid 7 on host").unwrap();
        match disk.lock("LOCK", "pid 8") {
            Err(LockError::Held { holder }) => assert_eq!(holder, "pid 7 on host"),
            other => panic!("{other:?}"),
        }
        drop(guard);
        disk.lock("LOCK", "pid 8").unwrap();
    }

    #[test]
    fn zeroed_ranges_read_as_zeros_and_leave_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open_or_create(dir.path()).unwrap();
        let file = disk.create("a").unwrap();
        file.write_at(&[7; 4096], 0).unwrap();
        file.zero(4096, 3 << 20).unwrap();
        file.zero(100 << 10, 5).unwrap();
        assert_eq!(file.length().unwrap(), 4096 + (3 << 20));
        let bytes = crate::disk::read_range(&*file, 4000, 200).unwrap();
        assert!(
            bytes[..96].iter().all(|&byte| byte == 7) && bytes[96..].iter().all(|&byte| byte == 0)
        );
    }
}
