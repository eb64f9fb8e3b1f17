//! The one way to the disk.
//!
//! Every byte that the store reads or writes goes through these two traits, so that a simulated
//! disk can fail, tear and forget in every way that a real one may. A disk is one flat directory.

pub(crate) mod cold;
mod os;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use self::os::OsDisk;

/// A directory of files.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a new, empty file. Its name is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `AlreadyExists` when there is a file of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and, unless the disk is read-only, for writing.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of a file that may have had it. Atomic; durable only
    /// after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` when there is no file `from`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable only after [`Disk::sync_dir`]. Files that are open stay readable.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns the names of all files, in no order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// When the system says that it could not; what is durable then is not known.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the directory for this process alone, until the guard is dropped or the process
    /// ends, however it ends. Writes `holder` into the lock file.
    ///
    /// # Errors
    /// [`LockError::Held`] with the text of the present holder.
    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn LockGuard>, LockError>;

    /// Looks for damage of a file that its readers do not see, because a copy of what is damaged
    /// serves them, or cannot tell from other bytes. Says what there is.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn damage(&self, _name: &str) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// An open file. All methods may be called from several threads.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads into `buffer` from `offset` on and returns how many bytes there were; fewer than the
    /// buffer holds only at the end of the file.
    ///
    /// # Errors
    /// When the system could not read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. Durable only after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// When the system could not; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content and the length durable.
    ///
    /// # Errors
    /// When the system could not. What is durable then is not known, and calling it again does
    /// not tell: a system may forget what it failed to write.
    fn sync_data(&self) -> io::Result<()>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// When the system could not tell.
    fn length(&self) -> io::Result<u64>;

    /// Cuts or extends the file; what is new reads as zeros.
    ///
    /// # Errors
    /// When the system could not.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Reserves space for a range, so that writing there cannot fail for want of space. What is
    /// new reads as zeros; the length grows to cover the range.
    ///
    /// # Errors
    /// `StorageFull` when there is no space; `Unsupported` where space cannot be reserved.
    fn reserve(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Fills a range that nobody writes to now with durable zeros, so that later writes there only
    /// overwrite: that saves the file system a journal entry for each sync.
    ///
    /// # Errors
    /// When the system could not; the range reads as zeros all the same.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;
}

/// Holds the lock while it lives.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("another process has the data directory open: {holder}")]
    Held {
        /// What the holder wrote about itself.
        holder: String,
    },
    /// The system could not lock.
    #[error("the lock file cannot be locked")]
    Io(#[from] io::Error),
}

/// Fills `buffer` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub(crate) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let n_read = file.read_at(buffer, offset)?;
    if n_read < buffer.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Reads a range into a new buffer.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub(crate) fn read_range(file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    read_exact_at(file, &mut buffer, offset)?;
    Ok(buffer)
}
