//! A simulated disk that fails, tears and forgets.

mod file;
mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use factum_store_embedded::{Disk, DiskFile, LockError, LockGuard};

use self::file::SimFile;
use self::state::{Operation, State};

/// A way in which one operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and does nothing.
    Io,
    /// The operation fails for want of space and does nothing.
    Full,
    /// A write stores some of its bytes, then fails; other operations fail as with [`Fault::Io`].
    ShortWrite,
    /// A sync fails, and what was to be synced is from now on taken for clean though it never
    /// reached the disk: reads still see it, a later sync does not write it, a crash loses it.
    /// Other operations fail as with [`Fault::Io`].
    LostSync,
    /// The same for a sync of the directory: the creations, renames and removals that it was to
    /// make durable are there until a crash, and no later sync of the directory covers them.
    /// It says that the disk is full. Other operations fail as with [`Fault::Io`].
    LostNames,
}

/// A directory in memory, with all that a real disk may do to it.
///
/// What is written lives in a cache until it is synced. A crash keeps an arbitrary subset of what
/// was not: sectors of 512 bytes one by one, lengths anywhere between the synced and the written
/// one, and of the creations, renames and removals that no [`Disk::sync_dir`] covered any subset
/// that fits together. All of it follows from the seed.
///
/// Operations that change something or make it durable are counted from 1, and reads of files on
/// their own. Clones are handles of
/// the same disk. After a crash every operation of the old handles fails for ever, like those of
/// a process that has died; [`SimDisk::restart`] returns a handle of the surviving disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// Makes an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(seed))),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many operations there were.
    #[must_use]
    pub fn n_operations(&self) -> u64 {
        self.lock_state().n_operations
    }

    /// Lets the power fail at operation `n`, counted over the life of this handle: it and all
    /// after it fail. An operation that is hit may have been done in part, as far as a crash goes.
    pub fn crash_after(&self, n: u64) {
        self.lock_state().crash_at = Some(n);
    }

    /// Lets the power fail now.
    pub fn crash(&self) {
        self.lock_state().crashed = true;
    }

    /// Tells whether the power has failed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock_state().crashed
    }

    /// Lets operation `n` go wrong.
    pub fn fail(&self, n: u64, fault: Fault) {
        self.lock_state().faults.insert(n, fault);
    }

    /// Returns how many reads of files there were.
    #[must_use]
    pub fn n_reads(&self) -> u64 {
        self.lock_state().n_reads
    }

    /// Lets read `n` of a file fail, once, as of a sector that the disk cannot read.
    pub fn fail_read(&self, n: u64) {
        self.lock_state().failing_reads.insert(n);
    }

    /// Lets all reads succeed from now on.
    pub fn forget_failing_reads(&self) {
        self.lock_state().failing_reads.clear();
    }

    /// Limits the bytes of all files together. Writes and reservations beyond fail for want of
    /// space.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Fails the power, if that has not happened, and returns the disk that survives, with its
    /// operations counted from 1 again. The old handles stay dead.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.lock_state();
        state.crashed = true;
        Self {
            state: Arc::new(Mutex::new(state.survivor())),
        }
    }

    /// Returns a copy of the disk as it is, with nothing lost: what the machine sees, not what
    /// would survive.
    #[must_use]
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock_state();
        let id = state.names.get(name)?;
        state.files.get(id).map(|file| file.bytes.clone())
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.begin(&Operation::Name)?;
        let id = state.create(name)?;
        drop(state);
        Ok(SimFile::handle(&self.state, id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock_state();
        state.check_power()?;
        let id = state.find(name)?;
        drop(state);
        Ok(SimFile::handle(&self.state, id))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin(&Operation::Name)?;
        state.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin(&Operation::Name)?;
        state.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        state.check_power()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin(&Operation::SyncDir)?;
        state.sync_dir();
        Ok(())
    }

    fn lock(&self, _name: &str, holder: &str) -> Result<Box<dyn LockGuard>, LockError> {
        let mut state = self.lock_state();
        state.check_power()?;
        if let Some(present) = &state.holder {
            let holder = present.clone();
            return Err(LockError::Held { holder });
        }
        state.holder = Some(holder.to_owned());
        Ok(Box::new(SimLock {
            state: Arc::clone(&self.state),
        }))
    }
}

#[derive(Debug)]
struct SimLock {
    state: Arc<Mutex<State>>,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.holder = None;
    }
}

impl LockGuard for SimLock {}

#[cfg(test)]
mod tests;
