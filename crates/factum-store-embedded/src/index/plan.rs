//! From a filter to the events that may match it.

use std::ops::Range;

use factum_query::{Filter, TypePattern};
use roaring::RoaringBitmap;

use crate::index::{Index, IndexError};
use crate::term::{Term, TermKey};

/// Returns the ordinals, within a range, of the events that may match; `None` when no condition
/// of the filter is one that the index knows, so that all of them may.
///
/// Every event that matches is among them; whether one of them matches is for
/// [`Filter::matches`] to say.
pub(crate) fn candidates(
    index: &Index,
    key: &TermKey,
    filter: &Filter,
    range: &Range<u32>,
) -> Result<Option<RoaringBitmap>, IndexError> {
    let mut found = Narrowing {
        index,
        range,
        found: None,
    };
    // The most selective conditions come first: an empty result ends the work.
    found.any(filter.ids.iter().map(|id| key.event_id(*id)))?;
    found.any(
        filter
            .streams
            .iter()
            .map(|stream| key.stream(stream.aggregate_type.as_str(), stream.aggregate_id.as_str())),
    )?;
    found.any(
        filter
            .aggregate_ids
            .iter()
            .map(|id| key.aggregate_id(id.as_str())),
    )?;
    found.any(
        filter
            .correlation_id
            .iter()
            .map(|id| key.correlation(id.as_str())),
    )?;
    found.any(filter.causation_id.iter().map(|id| key.causation(*id)))?;
    found.any(filter.user_id.iter().map(|id| key.user(id)))?;
    for tag in &filter.tags {
        found.any([key.tag(tag)])?;
    }
    if !filter.event_types.is_empty() && !found.is_empty() {
        found.narrow(event_types(index, key, &filter.event_types, range)?);
    }
    found.any(
        filter
            .aggregate_types
            .iter()
            .map(|name| key.aggregate_type(name.as_str())),
    )?;
    if !filter.any_of.is_empty() && !found.is_empty() {
        let mut union = Some(RoaringBitmap::new());
        for inner in &filter.any_of {
            let inner = candidates(index, key, inner, range)?;
            union = union.zip(inner).map(|(union, inner)| union | inner);
        }
        if let Some(union) = union {
            found.narrow(union);
        }
    }
    Ok(found.found)
}

fn event_types(
    index: &Index,
    key: &TermKey,
    patterns: &[TypePattern],
    range: &Range<u32>,
) -> Result<RoaringBitmap, IndexError> {
    let names = if patterns.iter().all(TypePattern::is_exact) {
        patterns
            .iter()
            .map(|pattern| pattern.as_str().to_owned())
            .collect()
    } else {
        index.event_types(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    };
    let mut union = index.lost(range);
    for name in names {
        union |= index.bitmap(key.event_type(&name), range)?;
    }
    Ok(union)
}

struct Narrowing<'a> {
    index: &'a Index,
    range: &'a Range<u32>,
    found: Option<RoaringBitmap>,
}

impl Narrowing<'_> {
    fn is_empty(&self) -> bool {
        self.found.as_ref().is_some_and(RoaringBitmap::is_empty)
    }

    fn narrow(&mut self, by: RoaringBitmap) {
        match &mut self.found {
            Some(found) => *found &= by,
            None => self.found = Some(by),
        }
    }

    /// Narrows to the events with at least one of the terms; without a term nothing is asked.
    fn any(&mut self, terms: impl IntoIterator<Item = Term>) -> Result<(), IndexError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut union: Option<RoaringBitmap> = None;
        for term in terms {
            let bitmap = self.index.bitmap(term, self.range)?;
            union = Some(union.map_or_else(|| bitmap.clone(), |union| union | &bitmap));
        }
        if let Some(union) = union {
            self.narrow(union);
        }
        Ok(())
    }
}
