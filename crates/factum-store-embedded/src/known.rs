//! The terms of the closed segments, all together.
//!
//! Each index says for its own segment that a term is not there. An append looks for the ids that it
//! brings, nearly always in vain, so asking every segment would make it slower with each of them.
//! Here a handful of filters speaks for all of them. They are in memory only: what is not learnt yet
//! is asked for segment by segment, so nothing that is said here has to survive anything.

use std::sync::{Arc, PoisonError, RwLock};

use factum_model::Position;

use crate::index::BlockFilter;
use crate::term::Term;

/// The first filter has room for this many terms, each later one for as many as all before it.
const FIRST_TERMS: usize = 1 << 20;

/// The terms of the closed segments that were learnt.
#[derive(Debug, Default)]
pub(crate) struct KnownTerms(RwLock<Known>);

/// What was known at one moment: the oldest segments, without a gap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    filters: Arc<Vec<Arc<BlockFilter>>>,
    /// Where the newest segment begins that was learnt.
    newest: Option<Position>,
    /// For how many terms there is room, in all filters.
    capacity: usize,
    n_terms: usize,
}

impl Known {
    /// Tells whether the segment that begins at a position, and hence each before it, was learnt.
    pub(crate) fn covers(&self, base: Position) -> bool {
        self.newest.is_some_and(|newest| base <= newest)
    }

    /// Tells whether a term is for certain in no segment that was learnt.
    pub(crate) fn denies(&self, term: Term) -> bool {
        !self.filters.iter().any(|filter| filter.may_contain(term))
    }

    /// Adds a filter with room for so many terms at least.
    fn grow(&mut self, n_terms: usize) -> Arc<BlockFilter> {
        let room = self.capacity.max(FIRST_TERMS).max(n_terms);
        let filter = Arc::new(BlockFilter::with_capacity(room));
        let mut filters = Vec::clone(&self.filters);
        filters.push(Arc::clone(&filter));
        self.filters = Arc::new(filters);
        // What was left of the room before is not used any more.
        self.capacity = self.n_terms + room;
        filter
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.filters
            .iter()
            .map(|filter| filter.memory_bytes())
            .sum()
    }
}

impl KnownTerms {
    /// Returns what is known now.
    pub(crate) fn now(&self) -> Known {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Learns the next segment. `read` adds each of its terms, of which there are about `n_terms`,
    /// and may do so again; unless it says `true` nothing was learnt. One thread at a time learns.
    ///
    /// # Errors
    /// What `read` fails with.
    pub(crate) fn learn<E>(
        &self,
        base: Position,
        n_terms: usize,
        read: impl FnOnce(&BlockFilter) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut known = self.now();
        let has_room = known.n_terms + n_terms <= known.capacity;
        let filter = match known.filters.last() {
            Some(last) if has_room => Arc::clone(last),
            Some(_) | None => known.grow(n_terms),
        };
        if !read(&filter)? {
            return Ok(false);
        }
        known.n_terms += n_terms;
        known.newest = Some(base);
        // The lock is what orders the terms before the word that they are there.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_double_so_that_there_are_few_of_them() {
        let known = KnownTerms::default();
        for segment in 0..100 {
            let base = Position::new(segment + 1).unwrap();
            assert!(!known.now().covers(base));
            let read = |filter: &BlockFilter| {
                filter.add((segment << 32) + segment);
                Ok::<_, ()>(true)
            };
            assert!(known.learn(base, FIRST_TERMS / 4, read).unwrap());
            assert!(known.now().covers(base));
        }
        let known = known.now();
        assert_eq!(
            known.filters.len(),
            6,
            "1, 1, 2, 4, 8 and 16 times the first"
        );
        assert!((0..100).all(|segment: u64| !known.denies((segment << 32) + segment)));
        assert!(known.denies(u64::MAX));
    }

    #[test]
    fn what_could_not_be_read_is_not_learnt() {
        let known = KnownTerms::default();
        for n_terms in [0, 1] {
            assert!(known.learn(Position::FIRST, n_terms, |_| Err(())).is_err());
            assert_eq!(
                known.learn(Position::FIRST, n_terms, |_| Ok::<_, ()>(false)),
                Ok(false)
            );
            assert!(!known.now().covers(Position::FIRST));
        }
    }
}
