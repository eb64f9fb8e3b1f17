//! What is on the disk, what is only in its cache, and what a crash makes of both.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Fault;
use crate::random::Random;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// Names one file over all its names.
pub(super) type FileId = u64;

/// An operation that is counted.
#[derive(Debug)]
pub(super) enum Operation {
    /// Makes, renames or removes a file.
    Name,
    SyncDir,
    Write {
        id: FileId,
        bytes: Vec<u8>,
        offset: usize,
    },
    SetLength {
        id: FileId,
        length: usize,
    },
    Sync {
        id: FileId,
    },
}

/// A file: its bytes as the machine sees them, and as the disk has them.
#[derive(Debug, Clone, Default)]
pub(super) struct FileState {
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since they were last synced.
    dirty: BTreeSet<usize>,
    /// Older contents of dirty sectors that may have reached the disk on their own.
    written_back: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The length was changed since it was last synced; between which two lengths it went.
    lengths: Option<(usize, usize)>,
}

/// A change of names that no sync of the directory has covered.
#[derive(Debug, Clone)]
enum NameChange {
    Create {
        name: String,
        id: FileId,
    },
    Rename {
        from: String,
        to: String,
        id: FileId,
    },
    Remove {
        name: String,
    },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) n_operations: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) n_reads: u64,
    pub(super) failing_reads: BTreeSet<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) holder: Option<String>,
    pub(super) names: BTreeMap<String, FileId>,
    pub(super) files: BTreeMap<FileId, FileState>,
    durable_names: BTreeMap<String, FileId>,
    changes: Vec<NameChange>,
    next_id: FileId,
    random: Random,
}

impl State {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            n_operations: 0,
            crash_at: None,
            crashed: false,
            faults: BTreeMap::new(),
            n_reads: 0,
            failing_reads: BTreeSet::new(),
            capacity: None,
            holder: None,
            names: BTreeMap::new(),
            files: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            next_id: 0,
            random: Random::seeded(seed),
        }
    }

    /// # Errors
    /// When the power has failed.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("simulated: the power has failed"));
        }
        Ok(())
    }

    /// Counts a read, and lets it go wrong if that is planned.
    ///
    /// # Errors
    /// When nothing must be read.
    pub(super) fn begin_read(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.n_reads += 1;
        if self.failing_reads.remove(&self.n_reads) {
            return Err(io::Error::other("simulated: input/output error"));
        }
        Ok(())
    }

    /// Counts an operation, and lets it go wrong if that is planned.
    ///
    /// # Errors
    /// When the operation must not be done.
    pub(super) fn begin(&mut self, operation: &Operation) -> io::Result<()> {
        self.check_power()?;
        self.n_operations += 1;
        if self.crash_at.is_some_and(|at| at <= self.n_operations) {
            self.half_done(operation);
            self.crashed = true;
            return self.check_power();
        }
        let Some(fault) = self.faults.remove(&self.n_operations) else {
            return self.check_space(operation);
        };
        match (fault, operation) {
            (Fault::Full, _) => return Err(io::ErrorKind::StorageFull.into()),
            (Fault::ShortWrite, Operation::Write { id, bytes, offset }) => {
                let n_kept = self.random.index(bytes.len());
                self.write(*id, &bytes[..n_kept], *offset);
            }
            (Fault::LostSync, Operation::Sync { id }) => self.forget_dirty(*id),
            (Fault::LostNames, Operation::SyncDir) => {
                self.forget_names();
                return Err(io::ErrorKind::StorageFull.into());
            }
            (Fault::Io | Fault::ShortWrite | Fault::LostSync | Fault::LostNames, _) => {}
        }
        Err(io::Error::other("simulated: input/output error"))
    }

    /// Does what an operation may have done when the power failed during it. The crash itself
    /// then loses any part of that again.
    fn half_done(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { id, bytes, offset } => self.write(*id, bytes, *offset),
            Operation::SetLength { id, length } => self.set_length(*id, *length),
            // A crash during a sync is a crash before it or after it or in between: what was
            // pending is subject to chance anyway. Names that were being changed are too.
            Operation::Sync { .. } | Operation::SyncDir | Operation::Name => {}
        }
    }

    fn check_space(&self, operation: &Operation) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        let (id, end) = match operation {
            Operation::Write { id, bytes, offset } => (id, offset + bytes.len()),
            Operation::SetLength { id, length } => (id, *length),
            Operation::Name | Operation::SyncDir | Operation::Sync { .. } => return Ok(()),
        };
        let length = self.files.get(id).map_or(0, |file| file.bytes.len());
        let used: usize = self.files.values().map(|file| file.bytes.len()).sum();
        let growth = end.saturating_sub(length);
        if growth > 0 && (used + growth) as u64 > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> io::Result<FileId> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<FileId> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.next_id += 1;
        let (id, name) = (self.next_id, name.to_owned());
        self.files.insert(id, FileState::default());
        self.names.insert(name.clone(), id);
        self.changes.push(NameChange::Create { name, id });
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let id = self.find(from)?;
        self.names.remove(from);
        let (from, to) = (from.to_owned(), to.to_owned());
        self.names.insert(to.clone(), id);
        self.changes.push(NameChange::Rename { from, to, id });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.find(name)?;
        self.names.remove(name);
        let name = name.to_owned();
        self.changes.push(NameChange::Remove { name });
        Ok(())
    }

    pub(super) fn sync_dir(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            change.apply(&mut self.durable_names);
        }
    }

    /// Takes the pending changes of names for durable though they are not.
    fn forget_names(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            // Some of it had reached the disk before the failure.
            if self.random.one_in(2) {
                change.apply(&mut self.durable_names);
            }
        }
    }

    pub(super) fn write(&mut self, id: FileId, bytes: &[u8], offset: usize) {
        let written_back = self.random.one_in(4);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let sectors = offset / SECTOR..=(end - 1) / SECTOR;
        if written_back {
            // The system may write a page at any time; then the older content is a candidate too.
            for sector in sectors.clone().filter(|sector| file.dirty.contains(sector)) {
                let older = sector_of(&file.bytes, sector);
                file.written_back.entry(sector).or_default().push(older);
            }
        }
        if file.bytes.len() < end {
            file.set_length(end);
        }
        file.bytes[offset..end].copy_from_slice(bytes);
        file.dirty.extend(sectors);
    }

    pub(super) fn set_length(&mut self, id: FileId, length: usize) {
        if let Some(file) = self.files.get_mut(&id) {
            file.set_length(length);
        }
    }

    pub(super) fn sync(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.durable.resize(file.bytes.len(), 0);
            let dirty = std::mem::take(&mut file.dirty);
            for sector in dirty {
                put_sector(&mut file.durable, sector, &sector_of(&file.bytes, sector));
            }
            file.written_back.clear();
            file.lengths = None;
        }
    }

    /// Makes a range durable, and nothing beside it: a sector that is only partly inside stays
    /// pending.
    pub(super) fn make_durable(&mut self, id: FileId, offset: usize, length: usize) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let end = offset + length;
        if file.durable.len() < end {
            file.durable.resize(end, 0);
        }
        if let Some((low, high)) = file.lengths {
            file.lengths = Some((low.max(end), high.max(end)));
        }
        for sector in offset.div_ceil(SECTOR)..end / SECTOR {
            put_sector(&mut file.durable, sector, &sector_of(&file.bytes, sector));
            file.dirty.remove(&sector);
            file.written_back.remove(&sector);
        }
    }

    /// Takes what is pending for clean: it never reaches the disk, but reads see it.
    fn forget_dirty(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(&id) {
            // Some of it had reached the disk before the failure.
            for sector in std::mem::take(&mut file.dirty) {
                if self.random.one_in(2) {
                    put_sector(&mut file.durable, sector, &sector_of(&file.bytes, sector));
                }
            }
            file.written_back.clear();
        }
    }

    /// Returns the disk that a crash leaves.
    pub(super) fn survivor(&mut self) -> Self {
        let seed = self.random.next();
        let mut survivor = Self::new(seed);
        survivor.next_id = self.next_id;
        survivor.capacity = self.capacity;
        survivor.names = self.surviving_names();
        survivor.durable_names.clone_from(&survivor.names);
        for (name, id) in survivor.names.clone() {
            let file = self.files.get(&id).cloned().unwrap_or_default();
            let bytes = file.survive(&mut self.random);
            let durable = bytes.clone();
            let file = FileState {
                bytes,
                durable,
                ..FileState::default()
            };
            // Two names of one file cannot be made through the interface, but may survive an
            // unsynced rename; each is then a file of its own with the same bytes.
            survivor.next_id += 1;
            survivor.files.insert(survivor.next_id, file);
            survivor.names.insert(name, survivor.next_id);
        }
        survivor.durable_names.clone_from(&survivor.names);
        survivor
    }

    /// Applies an arbitrary subset of the pending changes of names, in an arbitrary order but for
    /// those of the same name. A rename is one change: the old name goes when the new one comes.
    fn surviving_names(&mut self) -> BTreeMap<String, FileId> {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            // What came first is not more likely to survive than what came last.
            if self.random.one_in(2) {
                continue;
            }
            change.apply(&mut names);
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Create { name, id } => {
                names.insert(name.clone(), *id);
            }
            Self::Rename { from, to, id } => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl FileState {
    fn set_length(&mut self, length: usize) {
        let present = self.bytes.len();
        let (low, high) = self
            .lengths
            .unwrap_or((self.durable.len(), self.durable.len()));
        self.lengths = Some((low.min(length), high.max(length).max(present)));
        self.bytes.resize(length, 0);
        if length < present {
            // What was cut must read as zeros when the file grows again, so the last sector
            // changes; those behind it are gone.
            self.dirty.insert(length / SECTOR);
            self.dirty
                .extend(length.div_ceil(SECTOR)..present.div_ceil(SECTOR));
        }
    }

    /// Returns what a crash leaves of the file.
    fn survive(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if let Some((low, high)) = self.lengths {
            let length = match random.below(4) {
                0 => self.durable.len(),
                1 => self.bytes.len(),
                _ => low + random.index(high - low + 1),
            };
            bytes.resize(length, 0);
        }
        // All, none or any of the sectors, so that the extremes are not rare.
        let chance = random.below(4);
        for sector in &self.dirty {
            let survives = match chance {
                0 => false,
                1 => true,
                _ => random.one_in(2),
            };
            if !survives {
                continue;
            }
            let older = self.written_back.get(sector).map_or(&[][..], Vec::as_slice);
            let which = random.index(older.len() + 1);
            match older.get(which) {
                Some(older) => put_sector(&mut bytes, *sector, older),
                None => put_sector(&mut bytes, *sector, &sector_of(&self.bytes, *sector)),
            }
        }
        bytes
    }
}

/// Returns a sector, with zeros behind the end of the file.
fn sector_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let start = (sector * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    let mut content = bytes[start..end].to_vec();
    content.resize(SECTOR, 0);
    content
}

/// Puts a sector in place, as far as the file reaches.
fn put_sector(bytes: &mut [u8], sector: usize, content: &[u8]) {
    let start = (sector * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    bytes[start..end].copy_from_slice(&content[..end - start]);
}
