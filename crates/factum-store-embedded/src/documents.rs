//! The index of payloads and metadata of a segment: in memory, in runs, while the segment is
//! written; in one file beside it once it is closed.
//!
//! It is made behind the writer, from the log, so an append never waits for it. What it does not
//! cover yet is looked at event by event.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use factum_model::{KnownMetadata, RecordedEvent};
use factum_query::{LeftOutPath, Part, TermHasher, TermKey};
use roaring::RoaringBitmap;

use crate::disk::DiskFile;
use crate::index::build::{IndexIdentity, TermTable, encode_terms};
use crate::index::sections::FileSink;
use crate::index::{IndexError, SealedIndex, TermMap};
use crate::term::Term;

/// The documents of a segment.
#[derive(Debug)]
pub(crate) enum Documents {
    /// In memory.
    Growing(Growing),
    /// In a file.
    Sealed(Arc<SealedIndex>),
}

/// How large the hash table of the newest events may become.
const OPEN_BYTES_MAX: usize = 32 << 20;
/// How many names of a kind are kept.
const NAMES_MAX: usize = 4096;

/// The names of a kind that occur, so that events can be counted by them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    names: BTreeSet<Box<str>>,
    /// There are more than are kept.
    cut: bool,
}

impl Names {
    pub(crate) fn insert(&mut self, name: &str) {
        if self.cut || self.names.contains(name) {
            return;
        }
        if self.names.len() < NAMES_MAX {
            self.names.insert(name.into());
        } else {
            self.cut();
        }
    }

    /// Gives up to know all names.
    fn cut(&mut self) {
        self.names.clear();
        self.cut = true;
    }

    fn merge(&mut self, other: &Self) {
        if other.cut {
            self.cut();
        }
        other.iter().for_each(|name| self.insert(name));
    }

    /// Returns the names; `None` when there are more than are kept.
    pub(crate) fn all(&self) -> Option<Vec<String>> {
        let names = self.names.iter().map(|name| name.to_string());
        (!self.cut).then(|| names.collect())
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(crate) const fn is_complete(&self) -> bool {
        !self.cut
    }
}

/// The names in the documents of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dictionary {
    pub(crate) users: Names,
    pub(crate) tags: Names,
    /// What may be left out of the payloads. The configuration names few.
    pub(crate) left_out: BTreeSet<LeftOutPath>,
}

impl Dictionary {
    /// Gives up to know all names.
    pub(crate) fn cut(&mut self) {
        self.users.cut();
        self.tags.cut();
    }

    /// Adds the names of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.users.merge(&other.users);
        self.tags.merge(&other.tags);
        for path in &other.left_out {
            if !self.left_out.contains(path) {
                self.left_out.insert(path.clone());
            }
        }
    }

    /// Adds the names of an event.
    pub(crate) fn add(&mut self, event: &RecordedEvent) {
        if event.metadata() == "{}" {
            return;
        }
        let known = KnownMetadata::read_stored(event.metadata());
        if let Some(user) = &known.user_id {
            self.users.insert(user);
        }
        for tag in &known.tags {
            self.tags.insert(tag);
        }
    }
}

/// An index in memory, up to an event.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    /// Every run has the terms of the events after those of the run before; its events end
    /// where its number says.
    runs: Vec<(u32, Arc<SealedIndex>)>,
    run_bytes: usize,
    /// The terms of the newest events.
    open: TermMap,
    n_open: u32,
    /// The ordinal of the first event that is not in the index.
    end: u32,
    pub(crate) dictionary: Dictionary,
}

/// Says that it is the index of the documents that is damaged.
fn of_documents(error: IndexError) -> IndexError {
    match error {
        IndexError::Damaged(damage) => IndexError::Documents(damage),
        IndexError::Documents(_) | IndexError::Io(_) => error,
    }
}

impl Documents {
    /// Returns the ordinal of the first event that is not in the index.
    pub(crate) fn end(&self) -> u32 {
        match self {
            Self::Growing(growing) => growing.end,
            Self::Sealed(sealed) => sealed.n_events(),
        }
    }

    /// Tells whether it is in memory.
    pub(crate) const fn is_growing(&self) -> bool {
        matches!(self, Self::Growing(_))
    }

    /// Returns the users who occur, of those that are in the index; `None` if they are too many.
    pub(crate) fn users(&self) -> Option<Vec<String>> {
        match self {
            Self::Growing(growing) => growing.dictionary.users.all(),
            Self::Sealed(sealed) => sealed.users(),
        }
    }

    /// Returns the tags that occur, of those that are in the index; `None` if they are too many.
    pub(crate) fn tags(&self) -> Option<Vec<String>> {
        match self {
            Self::Growing(growing) => growing.dictionary.tags.all(),
            Self::Sealed(sealed) => sealed.tags(),
        }
    }

    /// Returns the terms of the events whose facts were left out where this one is.
    pub(crate) fn hiding(&self, fact: &TermKey, hasher: &TermHasher) -> Vec<Term> {
        if fact.part == Part::Metadata {
            return Vec::new();
        }
        self.left_out()
            .filter(|path| path.hides(fact))
            .map(|path| hasher.left_out(hasher.place(fact.part, path.steps())))
            .collect()
    }

    /// Tells whether words may be left out.
    pub(crate) fn hides_words(&self) -> bool {
        self.left_out().next().is_some()
    }

    fn left_out(&self) -> impl Iterator<Item = &LeftOutPath> {
        let (growing, sealed) = match self {
            Self::Growing(growing) => (Some(&growing.dictionary.left_out), None),
            Self::Sealed(sealed) => (None, Some(sealed.left_out())),
        };
        let growing = growing.into_iter().flatten();
        growing.chain(sealed.into_iter().flatten())
    }

    /// Returns how many bytes it keeps in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Growing(growing) => growing.run_bytes + growing.open.memory_bytes(),
            Self::Sealed(sealed) => sealed.memory_bytes(),
        }
    }

    /// Returns the ordinals, within a range, of the events that have a term, of those that are in
    /// the index.
    pub(crate) fn bitmap(
        &self,
        term: Term,
        range: &Range<u32>,
    ) -> Result<RoaringBitmap, IndexError> {
        let mut bitmap = match self {
            Self::Sealed(sealed) => sealed.bitmap(term).map_err(of_documents)?,
            Self::Growing(growing) => {
                let mut bitmap = growing.open.bitmap(term, range);
                let mut first = 0;
                for (end, run) in &growing.runs {
                    if first < range.end && range.start < *end {
                        bitmap |= run.bitmap(term).map_err(of_documents)?;
                    }
                    first = *end;
                }
                bitmap
            }
        };
        bitmap.remove_range(..range.start);
        bitmap.remove_range(range.end..);
        Ok(bitmap)
    }

    /// Returns how many events have a term, of those that are in the index.
    pub(crate) fn count(&self, term: Term) -> Result<u64, IndexError> {
        match self {
            Self::Sealed(sealed) => Ok(sealed.count(term).map_err(of_documents)?.into()),
            Self::Growing(growing) => {
                let mut count = growing.open.posting(term).len() as u64;
                for (_, run) in &growing.runs {
                    count += u64::from(run.count(term).map_err(of_documents)?);
                }
                Ok(count)
            }
        }
    }
}

impl Growing {
    /// Adds the terms of the next event, in any order, also more than once.
    pub(crate) fn push(&mut self, terms: &[Term]) {
        for term in terms {
            self.open.push(*term, self.end);
        }
        self.end += 1;
        self.n_open += 1;
    }

    /// Returns the ordinal of the first event that is not in the index.
    pub(crate) const fn end(&self) -> u32 {
        self.end
    }

    /// Tells whether the newest events take so much memory that they should become a run.
    pub(crate) fn is_large(&self) -> bool {
        self.open.memory_bytes() > OPEN_BYTES_MAX
    }

    /// Returns how many events are in no run yet.
    pub(crate) const fn n_open(&self) -> u32 {
        self.n_open
    }

    /// Returns the newest events as a run; they stay where they are until [`Growing::replace`].
    pub(crate) fn run(&self, identity: &IndexIdentity) -> Result<(SealedIndex, usize), IndexError> {
        // Without the room that the buffer has to spare.
        let bytes = encode_terms(identity, &self.open.sorted())?.into_boxed_slice();
        let length = bytes.len();
        let file = Arc::new(InMemory(bytes.into()));
        Ok((SealedIndex::open(file, identity)?, length))
    }

    /// Puts a run in the place of the newest events.
    pub(crate) fn replace(&mut self, (run, length): (SealedIndex, usize)) {
        self.runs.push((self.end, Arc::new(run)));
        self.run_bytes += length;
        // Half the bound, so that a table that is empty is not taken for a large one.
        self.open.clear(OPEN_BYTES_MAX / 2);
        self.n_open = 0;
    }

    /// Returns all runs.
    pub(crate) fn runs(&self) -> Vec<Arc<SealedIndex>> {
        self.runs.iter().map(|(_, run)| Arc::clone(run)).collect()
    }
}

/// Merges runs, in the order of their events.
pub(crate) fn merge(
    runs: &[Arc<SealedIndex>],
    table: &mut TermTable<FileSink>,
) -> Result<(), IndexError> {
    let mut cursors: Vec<_> = runs.iter().map(|run| run.terms()).collect();
    let mut postings: Vec<Vec<u32>> = vec![Vec::new(); cursors.len()];
    // The smallest term comes first, and of equal ones that of the earliest run.
    let mut heap = BinaryHeap::new();
    for (number, (cursor, posting)) in cursors.iter_mut().zip(&mut postings).enumerate() {
        heap.extend(cursor.next(posting)?.map(|term| Reverse((term, number))));
    }
    let mut current: Option<Term> = None;
    let mut ordinals: Vec<u32> = Vec::new();
    while let Some(Reverse((term, number))) = heap.pop() {
        if current != Some(term) {
            if let Some(done) = current.replace(term) {
                table.push(done, &ordinals)?;
            }
            ordinals.clear();
        }
        let (Some(cursor), Some(posting)) = (cursors.get_mut(number), postings.get_mut(number))
        else {
            continue;
        };
        ordinals.append(posting);
        heap.extend(cursor.next(posting)?.map(|term| Reverse((term, number))));
    }
    if let Some(done) = current {
        table.push(done, &ordinals)?;
    }
    Ok(())
}

/// A file that is only in memory.
#[derive(Debug)]
struct InMemory(Bytes);

impl DiskFile for InMemory {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.0.len());
        let rest = self.0.get(start..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn reserve(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn zero(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
