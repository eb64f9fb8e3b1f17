//! The index of a segment that is still being written, in memory.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use factum_model::RecordedEvent;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::index::times::Times;
use crate::term::Term;

/// The place of a record that is lost, in the table of offsets.
pub(crate) const LOST: u32 = u32::MAX;

/// The index of a segment, in memory.
///
/// The writer adds events before they are durable; readers bound every look-up by the head, so
/// they do not see them.
#[derive(Debug, Default)]
pub(crate) struct TailIndex {
    offsets: Vec<u32>,
    /// The ordinals of the events whose records are lost, ascending: nobody knows their terms.
    lost: Vec<u32>,
    terms: TermMap,
    event_types: BTreeSet<Box<str>>,
    aggregate_types: BTreeSet<Box<str>>,
    times: Times,
}

/// The ordinals of the events with a term, ascending. Most terms have one.
#[derive(Debug)]
enum Posting {
    One(u32),
    #[expect(
        clippy::box_collection,
        reason = "a slot of the table is half as large with the box"
    )]
    Many(Box<Vec<u32>>),
}

impl Posting {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(ordinal) => std::slice::from_ref(ordinal),
            Self::Many(ordinals) => ordinals,
        }
    }

    fn push(&mut self, ordinal: u32) {
        match self {
            Self::One(first) if *first == ordinal => {}
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, ordinal])),
            Self::Many(ordinals) if ordinals.last() == Some(&ordinal) => {}
            Self::Many(ordinals) => ordinals.push(ordinal),
        }
    }
}

/// Terms with the ordinals of their events.
#[derive(Debug, Default)]
pub(crate) struct TermMap(HashMap<Term, Posting, BuildHasherDefault<TermHasher>>);

impl TermMap {
    /// Adds an event to a term; ordinals ascend. A second time the same changes nothing.
    pub(crate) fn push(&mut self, term: Term, ordinal: u32) {
        self.0
            .entry(term)
            .and_modify(|posting| posting.push(ordinal))
            .or_insert(Posting::One(ordinal));
    }

    /// Returns how much memory the table takes, about; without the ordinals of frequent terms.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.allocation_size()
    }

    /// Returns the ordinals of the events with a term.
    pub(crate) fn posting(&self, term: Term) -> &[u32] {
        self.0.get(&term).map(Posting::as_slice).unwrap_or_default()
    }

    /// Returns the ordinals of the events with a term, within a range.
    pub(crate) fn bitmap(&self, term: Term, range: &Range<u32>) -> RoaringBitmap {
        let ordinals = within(self.posting(term), range);
        // Postings are ascending, so the only error, an unsorted value, cannot be.
        RoaringBitmap::from_sorted_iter(ordinals.iter().copied()).unwrap_or_default()
    }

    /// Returns all terms with their ordinals, by term.
    pub(crate) fn sorted(&self) -> Vec<(Term, &[u32])> {
        let mut terms: Vec<_> = self
            .0
            .iter()
            .map(|(term, posting)| (*term, posting.as_slice()))
            .collect();
        terms.sort_unstable_by_key(|(term, _)| *term);
        terms
    }
}

/// Terms are keyed hashes already.
#[derive(Debug, Default)]
pub(crate) struct TermHasher(u64);

impl Hasher for TermHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What the index keeps of an event beside its terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailEntry<'a> {
    pub(crate) offset: u32,
    pub(crate) event_type: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) timestamp: i64,
    pub(crate) recorded_at: i64,
}

impl<'a> TailEntry<'a> {
    pub(crate) fn of(event: &'a RecordedEvent, offset: u32) -> Self {
        Self {
            offset,
            event_type: event.event_type(),
            aggregate_type: event.aggregate_type(),
            timestamp: event.timestamp.as_micros(),
            recorded_at: event.recorded_at.as_micros(),
        }
    }
}

impl TailIndex {
    /// Returns how many events are in the index, those that are not durable yet included.
    pub(crate) fn n_events(&self) -> u32 {
        // A segment is closed long before it has four thousand million events.
        u32::try_from(self.offsets.len()).unwrap_or(u32::MAX)
    }

    /// Adds the next event.
    pub(crate) fn push(&mut self, entry: TailEntry<'_>, terms: impl IntoIterator<Item = Term>) {
        let ordinal = self.n_events();
        for term in terms {
            self.terms.push(term, ordinal);
        }
        // The sets have a handful of names, and most events bring one that is there.
        if !self.event_types.contains(entry.event_type) {
            self.event_types.insert(entry.event_type.into());
        }
        if !self.aggregate_types.contains(entry.aggregate_type) {
            self.aggregate_types.insert(entry.aggregate_type.into());
        }
        self.times.push(entry.timestamp, entry.recorded_at);
        self.offsets.push(entry.offset);
    }

    /// Keeps the place of an event whose record is lost.
    pub(crate) fn push_lost(&mut self) {
        self.lost.push(self.n_events());
        self.times.push_unknown();
        self.offsets.push(LOST);
    }

    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(crate) const fn times(&self) -> &Times {
        &self.times
    }

    /// Returns the ordinals, within a range, of the events whose records are lost. They may have
    /// had any term.
    pub(crate) fn lost(&self, range: &Range<u32>) -> &[u32] {
        within(&self.lost, range)
    }

    pub(crate) fn bitmap(&self, term: Term, range: &Range<u32>) -> RoaringBitmap {
        self.terms.bitmap(term, range)
    }

    /// Returns how many events have a term.
    pub(crate) fn count(&self, term: Term) -> usize {
        self.terms.posting(term).len()
    }

    /// Returns the last ordinal, within a range, of an event that has a term or is lost.
    pub(crate) fn last(&self, term: Term, range: &Range<u32>) -> Option<u32> {
        let known = within(self.terms.posting(term), range).last();
        known.max(self.lost(range).last()).copied()
    }

    pub(crate) fn event_types(&self) -> impl ExactSizeIterator<Item = &str> {
        self.event_types.iter().map(|name| &**name)
    }

    pub(crate) fn aggregate_types(&self) -> impl ExactSizeIterator<Item = &str> {
        self.aggregate_types.iter().map(|name| &**name)
    }

    /// Returns all terms with their ordinals, by term.
    pub(crate) fn sorted_terms(&self) -> Vec<(Term, &[u32])> {
        self.terms.sorted()
    }
}

fn within<'a>(ordinals: &'a [u32], range: &Range<u32>) -> &'a [u32] {
    let first = ordinals.partition_point(|&ordinal| ordinal < range.start);
    let last = ordinals.partition_point(|&ordinal| ordinal < range.end);
    ordinals.get(first..last).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(n_events: u32) -> TailIndex {
        let mut index = TailIndex::default();
        for ordinal in 0..n_events {
            let entry = TailEntry {
                offset: ordinal * 10,
                event_type: "a",
                aggregate_type: "b",
                timestamp: ordinal.into(),
                recorded_at: 0,
            };
            index.push(
                entry,
                [7, u64::from(ordinal % 3), 7, 1000 + u64::from(ordinal)],
            );
        }
        index
    }

    #[test]
    fn postings_hold_each_event_once() {
        let index = index(10);
        assert_eq!(index.bitmap(7, &(0..10)), (0..10).collect());
        assert_eq!(index.bitmap(1, &(2..8)), [4, 7].into_iter().collect());
        assert_eq!(index.bitmap(1003, &(0..10)), [3].into_iter().collect());
        assert!(index.bitmap(99, &(0..10)).is_empty());
    }
}
