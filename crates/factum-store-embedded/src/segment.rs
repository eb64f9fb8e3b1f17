//! A segment that is open for reading: its file, and its index in memory or beside it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use factum_model::{Position, RecordedEvent};
use factum_query::Narrowing;
use factum_store::ReadError;
use roaring::RoaringBitmap;

use crate::disk::DiskFile;
use crate::documents::{Documents, Growing};
use crate::frame::{FrameError, decode_record};
use crate::index::{
    BlockFilter, Bounds, Index, IndexError, LOST, Question, SealedIndex, TailIndex, bounds,
};
use crate::manifest::{ClosedSegment, SegmentEntry};
use crate::term::{Term, TermKey};
use crate::walk::{Step, Walk};
use crate::zero::ZeroFence;

/// Records that are not further apart are read at once.
const COALESCE_BYTES: u64 = 8 << 10;
/// The most that is read at once.
const READ_BYTES_MAX: u64 = 1 << 20;
/// The most that a reader holds of records that it has not looked at.
const PART_BYTES_MAX: u64 = 4 << 20;
/// A page of matches out of a scan copies each text, so that a small event does not hold the
/// whole chunk that it was read with in memory.
const SHARE_BYTES_MIN: u64 = 64 << 10;

/// A segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) entry: SegmentEntry,
    file: RwLock<Arc<dyn DiskFile>>,
    is_cold: AtomicBool,
    pub(crate) key: TermKey,
    index: RwLock<Index>,
    documents: RwLock<Documents>,
    /// Where the last durable group ends.
    end: AtomicU64,
    /// How many events it has, once it is closed.
    n_closed: AtomicU32,
    closed: OnceLock<ClosedSegment>,
    /// Ranges of ordinals that an operator has given up.
    quarantined: Vec<Range<u32>>,
    /// Keeps the zeros ahead of the log away from the writer.
    pub(crate) zero_fence: ZeroFence,
}

impl Segment {
    pub(crate) fn new(
        entry: SegmentEntry,
        file: Arc<dyn DiskFile>,
        key: TermKey,
        index: Index,
        end: u64,
    ) -> Self {
        Self {
            entry,
            file: RwLock::new(file),
            is_cold: AtomicBool::new(false),
            key,
            index: RwLock::new(index),
            documents: RwLock::new(Documents::Growing(Growing::default())),
            end: AtomicU64::new(end),
            n_closed: AtomicU32::new(entry.closed.map_or(u32::MAX, |closed| closed.n_events)),
            closed: entry.closed.map_or_else(OnceLock::new, OnceLock::from),
            quarantined: Vec::new(),
            zero_fence: ZeroFence::default(),
        }
    }

    /// Returns the log.
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the log from its compressed form from now on.
    pub(crate) fn use_cold(&self, file: Arc<dyn DiskFile>) {
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        self.set_cold();
    }

    /// Notes that the log is compressed.
    pub(crate) fn set_cold(&self) {
        self.is_cold.store(true, Ordering::Release);
    }

    /// Tells whether the log is known to be compressed.
    pub(crate) fn is_cold(&self) -> bool {
        self.is_cold.load(Ordering::Acquire)
    }

    /// Returns the ordinal of a position in this segment.
    pub(crate) fn ordinal(&self, position: Position) -> u32 {
        u32::try_from(position.get().saturating_sub(self.entry.base.get())).unwrap_or(u32::MAX)
    }

    /// Returns the position of an ordinal.
    pub(crate) fn position(&self, ordinal: u32) -> Position {
        let number = self.entry.base.get().saturating_add(u64::from(ordinal));
        Position::new(number).unwrap_or(self.entry.base)
    }

    /// Returns the end of the last durable group.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Tells readers that the file is durable up to here.
    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Takes no more events.
    pub(crate) fn close(&self, closed: ClosedSegment) {
        self.closed.get_or_init(|| closed);
        self.n_closed.store(closed.n_events, Ordering::Release);
    }

    /// Returns what the manifest says of it, once it is closed.
    pub(crate) fn closed(&self) -> Option<ClosedSegment> {
        self.closed.get().copied()
    }

    /// Returns the index of the documents.
    pub(crate) fn documents(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index of the documents; `None` once it is in a file.
    pub(crate) fn grow<T>(&self, change: impl FnOnce(&mut Growing) -> T) -> Option<T> {
        let mut documents = self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *documents {
            Documents::Growing(growing) => Some(change(growing)),
            Documents::Sealed(_) => None,
        }
    }

    /// Puts the index of the documents that is in a file in the place of the one in memory.
    pub(crate) fn seal_documents(&self, sealed: SealedIndex) {
        let sealed = Documents::Sealed(Arc::new(sealed));
        self.replace_documents(sealed);
    }

    /// Forgets the index of the documents in a file, so that it is made again from the log. One
    /// that is being made already stays.
    fn forget_documents(&self) {
        let mut documents = self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !documents.is_growing() {
            *documents = Documents::Growing(Growing::default());
        }
    }

    fn replace_documents(&self, by: Documents) {
        *self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// Tells whether an operator has given up events of it.
    pub(crate) fn has_quarantined(&self) -> bool {
        !self.quarantined.is_empty()
    }

    /// Returns the range of the ordinals up to a position.
    pub(crate) fn ordinals_to(&self, last: Option<Position>) -> Range<u32> {
        match last {
            Some(last) if self.entry.base <= last => {
                let n_closed = self.n_closed.load(Ordering::Acquire);
                0..self.ordinal(last).saturating_add(1).min(n_closed)
            }
            Some(_) | None => 0..0,
        }
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index in memory; does nothing once it is in a file.
    pub(crate) fn with_tail<T>(&self, change: impl FnOnce(&mut TailIndex) -> T) -> Option<T> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *index {
            Index::Tail(tail) => Some(change(tail)),
            Index::Sealed(_) => None,
        }
    }

    /// Looks at the index in memory; `None` once it is in a file.
    pub(crate) fn read_tail<T>(&self, look: impl FnOnce(&TailIndex) -> T) -> Option<T> {
        match &*self.index() {
            Index::Tail(tail) => Some(look(tail)),
            Index::Sealed(_) => None,
        }
    }

    /// Puts the index in the file in the place of the one in memory.
    pub(crate) fn seal(&self, sealed: SealedIndex) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        *index = Index::Sealed(Arc::new(sealed));
    }

    /// Tells whether both indexes are in files.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed().is_some() && !self.documents().is_growing()
    }

    /// Returns the index in the file, where there is one.
    pub(crate) fn sealed(&self) -> Option<Arc<SealedIndex>> {
        match &*self.index() {
            Index::Tail(_) => None,
            Index::Sealed(sealed) => Some(Arc::clone(sealed)),
        }
    }

    /// Asks the index; one that is damaged is rebuilt from the log, in memory, and asked again.
    fn ask<T>(&self, question: impl Fn(&Index) -> Result<T, IndexError>) -> Result<T, ReadError> {
        let answer = question(&self.index());
        let damage = match answer {
            Ok(answer) => return Ok(answer),
            Err(IndexError::Io(error)) => return Err(error.into()),
            Err(IndexError::Damaged(damage) | IndexError::Documents(damage)) => damage,
        };
        tracing::error!(segment = %self.entry.log_name(), damage, "index is damaged; rebuilding it");
        let entry = SegmentEntry {
            closed: self.closed(),
            ..self.entry
        };
        let rebuilt = rebuild_index(&self.file(), &entry, &self.key, self.end())?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        *index = Index::Tail(rebuilt);
        question(&index).map_err(|error| match error {
            IndexError::Io(error) => error.into(),
            IndexError::Damaged(damage) | IndexError::Documents(damage) => {
                std::io::Error::other(damage).into()
            }
        })
    }

    /// Returns the ordinals, within a range, of the events that match for certain, and of those
    /// that may.
    pub(crate) fn bounds(
        &self,
        narrowing: &Narrowing,
        range: &Range<u32>,
    ) -> Result<Bounds, ReadError> {
        let question = Question {
            narrowing,
            range,
            key: &self.key,
        };
        let asked = self.ask(|index| {
            let documents = self.documents();
            match bounds(&question, index, &documents) {
                Err(IndexError::Documents(damage)) => {
                    drop(documents);
                    tracing::error!(segment = %self.entry.documents_name(), damage, "index is damaged; making it again");
                    self.forget_documents();
                    bounds(&question, index, &self.documents())
                }
                answer => answer,
            }
        });
        let mut found = asked?;
        for range in &self.quarantined {
            found.certain.remove_range(range.clone());
            found.possible.remove_range(range.clone());
        }
        Ok(found)
    }

    /// Returns the newest event, within a range, that may have a term and for which `wanted`
    /// holds; `look` says where the event itself is.
    pub(crate) fn newest(
        &self,
        term: Term,
        mut range: Range<u32>,
        look: impl Fn(u32) -> Result<RecordedEvent, ReadError>,
        wanted: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        while let Some(ordinal) = self.ask(|index| index.last(term, &range))? {
            if !self.is_quarantined(ordinal) {
                let event = look(ordinal)?;
                if wanted(&event) {
                    return Ok(Some(event));
                }
            }
            // Another term with the same hash: go on before it.
            range.end = ordinal;
        }
        Ok(None)
    }

    /// Returns the ordinals of the events that may have a term.
    pub(crate) fn bitmap(
        &self,
        term: Term,
        range: &Range<u32>,
    ) -> Result<RoaringBitmap, ReadError> {
        let found = self.ask(|index| index.bitmap(term, range))?;
        Ok(self.without_quarantined(found))
    }

    fn is_quarantined(&self, ordinal: u32) -> bool {
        self.quarantined
            .iter()
            .any(|range| range.contains(&ordinal))
    }

    fn without_quarantined(&self, mut ordinals: RoaringBitmap) -> RoaringBitmap {
        for range in &self.quarantined {
            ordinals.remove_range(range.clone());
        }
        ordinals
    }

    /// Returns the ordinals, within a range, of the events that are lost and not given up.
    pub(crate) fn lost(&self, range: &Range<u32>) -> RoaringBitmap {
        let lost = self.index().lost(range);
        self.without_quarantined(lost)
    }

    /// Returns how many terms the index has.
    pub(crate) fn n_terms(&self) -> usize {
        self.index().n_terms()
    }

    /// Adds the terms of the index to a filter; returns whether they are all that there are. Of
    /// events that are lost nobody knows the terms, and reading the index may be what shows that it
    /// has to be built anew, without them.
    pub(crate) fn add_terms_to(&self, filter: &BlockFilter) -> Result<bool, ReadError> {
        let lost = self.ask(|index| {
            index.for_each_term(|term| filter.add(term))?;
            Ok(index.lost(&(0..u32::MAX)))
        })?;
        Ok(self.without_quarantined(lost).is_empty())
    }

    /// Tells whether events are lost that nobody has given up: then the index in memory, which
    /// knows which ones, must not be replaced by a file, which does not.
    pub(crate) fn has_unknown(&self) -> bool {
        let lost = self.index().lost(&(0..u32::MAX));
        !self.without_quarantined(lost).is_empty()
    }

    /// Returns the event types that may occur.
    pub(crate) fn event_types(&self) -> Result<Vec<String>, ReadError> {
        self.ask(|index| Ok(index.event_types(|_| true)))
    }

    /// Returns the aggregate types that may occur.
    pub(crate) fn aggregate_types(&self) -> Result<Vec<String>, ReadError> {
        self.ask(|index| Ok(index.aggregate_types()))
    }

    /// Returns the bucket that all timestamps of the block of an event are in, if there is one,
    /// and the ordinal after the block.
    pub(crate) fn time_block(
        &self,
        ordinal: u32,
        bucket: impl Fn(i64) -> Option<String>,
    ) -> (Option<String>, u32) {
        let Some(((first, last), end)) = self.index().times().block(ordinal) else {
            return (None, ordinal + 1);
        };
        let one = bucket(first).filter(|one| bucket(last).as_ref() == Some(one));
        (one, end)
    }

    /// Adds the aggregate types that may occur to a set.
    pub(crate) fn add_aggregate_types(
        &self,
        names: &mut BTreeSet<String>,
    ) -> Result<(), ReadError> {
        self.ask(|index| Ok(index.aggregate_types()))
            .map(|found| names.extend(found))
    }

    /// Reads one event.
    pub(crate) fn fetch_one(&self, ordinal: u32) -> Result<RecordedEvent, ReadError> {
        let mut events = self.fetch(&[ordinal])?;
        events
            .pop()
            .ok_or_else(|| self.corrupt(ordinal, &FrameError::Short))
    }

    /// Reads the events with some ordinals, ascending, in that order. Records that stand close
    /// together are read at once.
    pub(crate) fn fetch(&self, ordinals: &[u32]) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut events = Vec::with_capacity(ordinals.len());
        let places = self.places(ordinals)?;
        let mut rest = places.as_slice();
        while let Some(first) = rest.first() {
            let mut end = first.end;
            let mut n_together = 1;
            while let Some(next) = rest.get(n_together)
                && next.start <= end + COALESCE_BYTES
                // An index may be wrong in spite of its checksums; records ascend.
                && next.start >= first.start
                && next.end - first.start <= READ_BYTES_MAX
            {
                end = end.max(next.end);
                n_together += 1;
            }
            let (together, later) = rest.split_at(n_together);
            self.read_records(first.start..end, together, &mut events)?;
            rest = later;
        }
        Ok(events)
    }

    /// Returns where the records of some ordinals are.
    fn places(&self, ordinals: &[u32]) -> Result<Vec<Place>, ReadError> {
        let end = self.end();
        let mut places = Vec::with_capacity(ordinals.len());
        let mut rest = ordinals;
        while let Some(&first) = rest.first() {
            // One look-up serves all ordinals within a block of the table.
            let n_near = rest.partition_point(|&ordinal| ordinal - first < 1024);
            let (near, later) = rest.split_at(n_near);
            let last = near.last().copied().unwrap_or(first);
            let offsets = self.ask(|index| index.offsets(first..last.saturating_add(2)))?;
            for &ordinal in near {
                let at = (ordinal - first) as usize;
                let offset = offsets.get(at).copied().filter(|offset| *offset != LOST);
                let offset = offset.ok_or_else(|| self.corrupt(ordinal, &FrameError::Short))?;
                let start = u64::from(offset) * 8;
                let mut later = offsets.iter().skip(at + 1).copied();
                let next = later.find(|offset| *offset != LOST);
                let bound = next.map_or(end, |next| u64::from(next) * 8);
                places.push(Place {
                    ordinal,
                    start,
                    end: bound.min(end).max(start),
                });
            }
            rest = later;
        }
        Ok(places)
    }

    fn read_records(
        &self,
        range: Range<u64>,
        places: &[Place],
        events: &mut Vec<RecordedEvent>,
    ) -> Result<(), ReadError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut buffer = vec![0; length];
        let n_read = self.file().read_at(&mut buffer, range.start)?;
        buffer.truncate(n_read);
        let bytes = Bytes::from(buffer);
        for place in places {
            let at = usize::try_from(place.start - range.start).unwrap_or(usize::MAX);
            let event =
                decode_record(&bytes, at).map_err(|error| self.corrupt(place.ordinal, &error))?;
            if event.position != self.position(place.ordinal) {
                return Err(self.corrupt(place.ordinal, &FrameError::Content("position")));
            }
            events.push(event);
        }
        Ok(())
    }

    /// Gives up ranges of positions: reads pass over them.
    pub(crate) fn with_quarantined(mut self, ranges: &[(Position, Position)]) -> Self {
        let own = |&(first, last): &(Position, Position)| {
            let end = self.ordinal(last).saturating_add(1);
            let start = if first < self.entry.base {
                0
            } else {
                self.ordinal(first)
            };
            (last >= self.entry.base && start < end).then_some(start..end)
        };
        self.quarantined = ranges.iter().filter_map(own).collect();
        self
    }

    /// Returns the ordinals of a range, but for those of events that were given up.
    pub(crate) fn present(&self, range: Range<u32>) -> Vec<u32> {
        range
            .filter(|ordinal| !self.is_quarantined(*ordinal))
            .collect()
    }

    /// Cuts a list of ordinals, ascending, into parts whose records take so little memory that a
    /// reader may hold one at a time; a part has one at least. The last part comes first if they
    /// are read backwards.
    pub(crate) fn parts<'a>(
        &self,
        ordinals: &'a [u32],
        backwards: bool,
    ) -> Result<Vec<&'a [u32]>, ReadError> {
        let places = self.places(ordinals)?;
        let mut parts = Vec::new();
        let (mut rest, mut bytes, mut n_events) = (ordinals, 0, 0);
        for place in &places {
            let length = place.end - place.start;
            if n_events > 0 && bytes + length > PART_BYTES_MAX {
                let (part, later) = rest.split_at(n_events);
                parts.push(part);
                (rest, bytes, n_events) = (later, 0, 0);
            }
            bytes += length;
            n_events += 1;
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        if backwards {
            parts.reverse();
        }
        Ok(parts)
    }

    pub(crate) fn corrupt(&self, ordinal: u32, error: &FrameError) -> ReadError {
        let position = self.position(ordinal);
        let detail = format!("{}: {error}", self.entry.log_name());
        ReadError::Corrupt {
            first: position,
            last: position,
            detail,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    ordinal: u32,
    start: u64,
    /// At or behind the end of the record.
    end: u64,
}

/// Returns an event that holds no more memory than its own texts, if it shares a large buffer.
pub(crate) fn compact(event: RecordedEvent, shared_bytes: u64) -> RecordedEvent {
    if shared_bytes < SHARE_BYTES_MIN {
        event
    } else {
        event.into_owned()
    }
}

/// Builds the index of a segment from its log, up to `end`. The places of events that are damaged are
/// kept, so that reads of them say so.
pub(crate) fn rebuild_index(
    file: &Arc<dyn DiskFile>,
    entry: &SegmentEntry,
    key: &TermKey,
    end: u64,
) -> std::io::Result<TailIndex> {
    let mut walk = Walk::new(Arc::clone(file), entry)?.up_to(end);
    let mut tail = TailIndex::default();
    loop {
        match walk.step()? {
            Step::Group(group) => match group.records() {
                Ok(records) => push_group(&mut tail, key, &records),
                Err(_) => lose(&mut tail, group.header.first, walk.next_position()),
            },
            Step::Corrupt(corruption) => {
                lose(&mut tail, corruption.first, corruption.resume.header.first);
                walk.resume(&corruption.resume);
            }
            Step::End | Step::Torn => {
                let n_events = entry.closed.map_or(0, |closed| closed.n_events);
                while tail.n_events() < n_events {
                    tail.push_lost();
                }
                return Ok(tail);
            }
        }
    }
}

/// Adds the records of a group to an index.
pub(crate) fn push_group(tail: &mut TailIndex, key: &TermKey, records: &[(u64, RecordedEvent)]) {
    let mut terms = Vec::with_capacity(16);
    for (offset, event) in records {
        terms.clear();
        key.for_each(event, |term| terms.push(term));
        // Records are aligned to eight, and a segment is far smaller than 32 GiB.
        let offset = u32::try_from(offset / 8).unwrap_or(LOST);
        tail.push(
            crate::index::TailEntry::of(event, offset),
            terms.iter().copied(),
        );
    }
}

/// Keeps the places of lost events, so that the ordinals of later ones stay right.
pub(crate) fn lose(tail: &mut TailIndex, first: Position, resume: Position) {
    for _ in first.get()..resume.get() {
        tail.push_lost();
    }
}
