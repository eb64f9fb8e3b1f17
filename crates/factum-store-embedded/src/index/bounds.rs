//! What an index knows of a question: which events match for certain, and which may.

use std::ops::Range;

use roaring::RoaringBitmap;

/// The ordinals, within a range, of the events that match for certain, and of those that may.
///
/// Three values for every event (yes, no, perhaps) stay exact through `and`, `or` and `not`, so
/// that only what is in doubt has to be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bounds {
    /// These match.
    pub(crate) certain: RoaringBitmap,
    /// No others match. `certain` is a part of it.
    pub(crate) possible: RoaringBitmap,
}

impl Bounds {
    /// These and no others.
    pub(crate) fn exactly(events: RoaringBitmap) -> Self {
        Self {
            certain: events.clone(),
            possible: events,
        }
    }

    /// None for certain; perhaps these.
    pub(crate) fn perhaps(events: RoaringBitmap) -> Self {
        Self {
            certain: RoaringBitmap::new(),
            possible: events,
        }
    }

    /// Nothing is known of any event of a range.
    pub(crate) fn unknown(range: &Range<u32>) -> Self {
        Self::perhaps(all(range))
    }

    /// All events of a range.
    pub(crate) fn everything(range: &Range<u32>) -> Self {
        Self::exactly(all(range))
    }

    /// These have a term, but nothing is known of those in `doubtful`.
    pub(crate) fn with_doubt(found: RoaringBitmap, doubtful: &RoaringBitmap) -> Self {
        if doubtful.is_empty() {
            return Self::exactly(found);
        }
        Self {
            possible: &found | doubtful,
            certain: found - doubtful,
        }
    }

    /// Gives up what is certain.
    pub(crate) fn loosened(self) -> Self {
        Self::perhaps(self.possible)
    }

    pub(crate) fn and(&mut self, other: &Self) {
        self.certain &= &other.certain;
        self.possible &= &other.possible;
    }

    pub(crate) fn or(&mut self, other: &Self) {
        self.certain |= &other.certain;
        self.possible |= &other.possible;
    }

    pub(crate) fn not(self, range: &Range<u32>) -> Self {
        Self {
            certain: all(range) - self.possible,
            possible: all(range) - self.certain,
        }
    }

    /// Returns the events that have to be looked at to know.
    pub(crate) fn doubtful(&self) -> RoaringBitmap {
        &self.possible - &self.certain
    }
}

fn all(range: &Range<u32>) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    bitmap.insert_range(range.clone());
    bitmap
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every event is yes, no or perhaps; what the operators say must be what three-valued logic
    /// says.
    #[test]
    fn operators_are_those_of_three_valued_logic() {
        let range = 0..9;
        // Ordinal i: left is i / 3, right is i % 3; 0 no, 1 perhaps, 2 yes.
        let side = |digit: fn(u32) -> u32| Bounds {
            certain: range
                .clone()
                .filter(|ordinal| digit(*ordinal) == 2)
                .collect(),
            possible: range
                .clone()
                .filter(|ordinal| digit(*ordinal) >= 1)
                .collect(),
        };
        let left = side(|ordinal| ordinal / 3);
        let right = side(|ordinal| ordinal % 3);
        let mut both = left.clone();
        both.and(&right);
        let mut either = left.clone();
        either.or(&right);
        let neither = left.not(&range);
        for ordinal in range {
            let value = |bounds: &Bounds| {
                u32::from(bounds.certain.contains(ordinal))
                    + u32::from(bounds.possible.contains(ordinal))
            };
            let (left, right) = (ordinal / 3, ordinal % 3);
            assert_eq!(value(&both), left.min(right));
            assert_eq!(value(&either), left.max(right));
            assert_eq!(value(&neither), 2 - left);
        }
    }
}
