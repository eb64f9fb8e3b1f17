//! The index of a segment: in memory while it is written, in a file once it is closed.

mod block_filter;
mod bounds;
pub(crate) mod build;
mod plan;
mod sealed;
pub(crate) mod sections;
mod tail;
mod times;

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

pub(crate) use self::block_filter::BlockFilter;
pub(crate) use self::bounds::Bounds;
pub(crate) use self::plan::{Question, bounds};
pub(crate) use self::sealed::{IndexError, SealedIndex};
pub(crate) use self::tail::{LOST, SortedTerms, TailEntry, TailIndex, TermMap};

use crate::index::times::Times;
use crate::term::Term;

/// The index of a segment.
#[derive(Debug)]
pub(crate) enum Index {
    /// In memory.
    Tail(TailIndex),
    /// In a file.
    Sealed(Arc<SealedIndex>),
}

impl Index {
    /// Returns the ordinals, within a range, of the events whose records were lost before they
    /// could be indexed: whatever is asked for, it may be one of them.
    pub(crate) fn lost(&self, range: &Range<u32>) -> RoaringBitmap {
        match self {
            Self::Tail(tail) => tail.lost(range).iter().copied().collect(),
            Self::Sealed(_) => RoaringBitmap::new(),
        }
    }

    /// Returns the ordinals, within a range, of the events that may have a term.
    pub(crate) fn bitmap(
        &self,
        term: Term,
        range: &Range<u32>,
    ) -> Result<RoaringBitmap, IndexError> {
        match self {
            Self::Tail(tail) => Ok(tail.bitmap(term, range) | self.lost(range)),
            Self::Sealed(sealed) => {
                let mut bitmap = sealed.bitmap(term)?;
                bitmap.remove_range(..range.start);
                bitmap.remove_range(range.end..);
                Ok(bitmap)
            }
        }
    }

    /// Returns the last ordinal, within a range, of an event that may have a term.
    pub(crate) fn last(&self, term: Term, range: &Range<u32>) -> Result<Option<u32>, IndexError> {
        match self {
            Self::Tail(tail) => Ok(tail.last(term, range)),
            Self::Sealed(sealed) => {
                let mut bitmap = sealed.bitmap(term)?;
                bitmap.remove_range(range.end..);
                Ok(bitmap.max().filter(|last| range.start <= *last))
            }
        }
    }

    /// Returns the offsets of a range of records, divided by eight; shorter when the range
    /// reaches beyond the last record.
    pub(crate) fn offsets(&self, range: Range<u32>) -> Result<Vec<u32>, IndexError> {
        match self {
            Self::Tail(tail) => {
                let end = range.end.min(tail.n_events());
                let offsets = tail
                    .offsets()
                    .get(range.start.min(end) as usize..end as usize);
                Ok(offsets.unwrap_or_default().to_vec())
            }
            Self::Sealed(sealed) => {
                let end = range.end.min(sealed.n_events());
                sealed.offsets(range.start.min(end)..end)
            }
        }
    }

    /// Returns the event types that may occur and for which `wanted` holds.
    pub(crate) fn event_types(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let chosen = |name: &&str| wanted(name);
        match self {
            Self::Tail(tail) => tail
                .event_types()
                .filter(chosen)
                .map(str::to_owned)
                .collect(),
            Self::Sealed(sealed) => sealed
                .event_types()
                .filter(chosen)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Returns the aggregate types that may occur.
    pub(crate) fn aggregate_types(&self) -> Vec<String> {
        match self {
            Self::Tail(tail) => tail.aggregate_types().map(str::to_owned).collect(),
            Self::Sealed(sealed) => sealed.aggregate_types().map(str::to_owned).collect(),
        }
    }

    /// Returns how many events may have a term, about.
    pub(crate) fn count(&self, term: Term) -> Result<u64, IndexError> {
        match self {
            Self::Tail(tail) => Ok(tail.count(term) as u64),
            Self::Sealed(sealed) => Ok(sealed.count(term)?.into()),
        }
    }

    /// Returns how many terms it has.
    pub(crate) fn n_terms(&self) -> usize {
        match self {
            Self::Tail(tail) => tail.n_terms(),
            Self::Sealed(sealed) => sealed.n_keys(),
        }
    }

    /// Gives each term once.
    pub(crate) fn for_each_term(&self, mut take: impl FnMut(Term)) -> Result<(), IndexError> {
        match self {
            Self::Tail(tail) => {
                tail.terms().for_each(take);
                Ok(())
            }
            Self::Sealed(sealed) => sealed.for_each_key(&mut take),
        }
    }

    /// Returns the spans of times.
    pub(crate) fn times(&self) -> &Times {
        match self {
            Self::Tail(tail) => tail.times(),
            Self::Sealed(sealed) => sealed.times(),
        }
    }
}
