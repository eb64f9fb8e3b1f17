//! The index of a segment that is still being written, in memory.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Range;

use factum_model::RecordedEvent;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
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

/// A term in two halves, so that a slot of the table is no wider than what is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Halves([u32; 2]);

impl Halves {
    const fn of(term: Term) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
        let low = term as u32;
        let high = (term >> 32) as u32;
        Self([low, high])
    }

    fn term(self) -> Term {
        let [low, high] = self.0;
        Term::from(low) | Term::from(high) << 32
    }
}

impl Hash for Halves {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.term());
    }
}

/// Marks the number of a list; without it the number is the only ordinal.
const LIST_BIT: u32 = 1 << 31;

/// Terms with the ordinals of their events, ascending. Most terms have one, which stands in the
/// table; the others have lists.
#[derive(Default)]
pub(crate) struct TermMap {
    slots: HashMap<Halves, u32, BuildHasherDefault<TermHasher>>,
    lists: Vec<Vec<u32>>,
    /// How many ordinals the lists have, together.
    n_listed: usize,
}

impl std::fmt::Debug for TermMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TermMap")
            .field("n_terms", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl TermMap {
    /// Adds an event to a term; ordinals ascend. A second time the same changes nothing.
    pub(crate) fn push(&mut self, term: Term, ordinal: u32) {
        match self.slots.entry(Halves::of(term)) {
            Entry::Vacant(slot) => {
                slot.insert(ordinal);
            }
            Entry::Occupied(mut slot) => {
                let value = *slot.get();
                let list = self.lists.get_mut((value & !LIST_BIT) as usize);
                match list.filter(|_| value & LIST_BIT != 0) {
                    Some(list) if list.last() == Some(&ordinal) => {}
                    Some(list) => {
                        list.push(ordinal);
                        self.n_listed += 1;
                    }
                    None if value == ordinal => {}
                    None => {
                        // There are fewer lists than ordinals, which leave the bit free.
                        let number = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
                        slot.insert(number | LIST_BIT);
                        self.lists.push(vec![value, ordinal]);
                        self.n_listed += 2;
                    }
                }
            }
        }
    }

    /// Returns how much memory the table and its lists take, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let lists = self.lists.capacity() * size_of::<Vec<u32>>();
        self.slots.allocation_size() + lists + self.n_listed * size_of::<u32>()
    }

    /// Returns the ordinals of the events with a term.
    pub(crate) fn posting(&self, term: Term) -> &[u32] {
        let value = self.slots.get(&Halves::of(term));
        value.map(|value| self.ordinals(value)).unwrap_or_default()
    }

    fn ordinals<'a>(&'a self, value: &'a u32) -> &'a [u32] {
        if value & LIST_BIT == 0 {
            return std::slice::from_ref(value);
        }
        let list = self.lists.get((value & !LIST_BIT) as usize);
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the ordinals of the events with a term, within a range.
    pub(crate) fn bitmap(&self, term: Term, range: &Range<u32>) -> RoaringBitmap {
        let ordinals = within(self.posting(term), range);
        // Postings are ascending, so the only error, an unsorted value, cannot be.
        RoaringBitmap::from_sorted_iter(ordinals.iter().copied()).unwrap_or_default()
    }

    /// Returns all terms with their ordinals, by term.
    pub(crate) fn sorted(&self) -> SortedTerms<'_> {
        let slots = self.slots.iter();
        let mut slots: Vec<_> = slots.map(|(halves, value)| (*halves, *value)).collect();
        slots.sort_unstable_by_key(|(halves, _)| halves.term());
        SortedTerms { map: self, slots }
    }

    /// Forgets everything, and keeps the table for what comes, unless it takes more than so much.
    pub(crate) fn clear(&mut self, table_bytes_max: usize) {
        if self.slots.allocation_size() > table_bytes_max {
            *self = Self::default();
            return;
        }
        self.slots.clear();
        self.lists.clear();
        self.n_listed = 0;
    }
}

/// The terms of a table, ascending.
pub(crate) struct SortedTerms<'a> {
    map: &'a TermMap,
    /// As in the table, which is half of what the terms and their lists would take.
    slots: Vec<(Halves, u32)>,
}

impl SortedTerms<'_> {
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Term, &[u32])> {
        let slots = self.slots.iter();
        slots.map(|(halves, value)| (halves.term(), self.map.ordinals(value)))
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

    /// Returns how many terms there are.
    pub(crate) fn n_terms(&self) -> usize {
        self.terms.slots.len()
    }

    /// Returns all terms, in any order.
    pub(crate) fn terms(&self) -> impl Iterator<Item = Term> {
        self.terms.slots.keys().map(|halves| halves.term())
    }

    /// Returns all terms with their ordinals, by term.
    pub(crate) fn sorted_terms(&self) -> SortedTerms<'_> {
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
