//! Places in the log and in one stream, and what a writer may demand of a stream.

use std::fmt;
use std::num::NonZeroU64;

/// The place of an event in the whole log: 1, 2, 3 …, dense, in commit order.
///
/// A position is visible only once every smaller one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(NonZeroU64);

/// The place of an event in its stream: 1, 2, 3 …, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(NonZeroU64);

macro_rules! place {
    ($name:ident) => {
        impl $name {
            /// The first place.
            pub const FIRST: Self = Self(NonZeroU64::MIN);

            /// Returns the place with this number, or `None` for zero.
            #[must_use]
            pub const fn new(number: u64) -> Option<Self> {
                match NonZeroU64::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// Returns the number, which is at least 1.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0.get()
            }

            /// Returns the next place. Saturates at the largest number.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// Returns the place before this one, or `None` at the first.
            #[must_use]
            pub const fn previous(self) -> Option<Self> {
                Self::new(self.get() - 1)
            }

            /// Returns the place that follows `before`, where `None` stands for "before the first".
            #[must_use]
            pub const fn after(before: Option<Self>) -> Self {
                match before {
                    Some(place) => place.next(),
                    None => Self::FIRST,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

place!(Position);
place!(SequenceNumber);

/// What a writer demands of a stream before its events are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedVersion {
    /// Anything will do.
    #[default]
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    Exists,
    /// The last event of the stream has this sequence number.
    Exact(SequenceNumber),
}

impl ExpectedVersion {
    /// Tells whether a stream whose last event is `actual` meets the demand.
    #[must_use]
    pub fn is_met_by(self, actual: Option<SequenceNumber>) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual.is_none(),
            Self::Exists => actual.is_some(),
            Self::Exact(version) => actual == Some(version),
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::NoStream => f.write_str("noStream"),
            Self::Exists => f.write_str("exists"),
            Self::Exact(version) => version.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_met_by_exactly_the_versions_they_name() {
        let second = SequenceNumber::new(2);
        let exact = ExpectedVersion::Exact(SequenceNumber::FIRST.next());
        assert!(ExpectedVersion::Any.is_met_by(None) && ExpectedVersion::Any.is_met_by(second));
        assert!(ExpectedVersion::NoStream.is_met_by(None));
        assert!(!ExpectedVersion::NoStream.is_met_by(second));
        assert!(!ExpectedVersion::Exists.is_met_by(None));
        assert!(ExpectedVersion::Exists.is_met_by(second));
        assert!(exact.is_met_by(second) && !exact.is_met_by(None));
        assert!(!exact.is_met_by(SequenceNumber::new(3)));
    }

    #[test]
    fn places_start_at_one() {
        assert_eq!(Position::new(0), None);
        assert_eq!(Position::after(None), Position::FIRST);
        assert_eq!(Position::FIRST.previous(), None);
        assert_eq!(Position::FIRST.next().get(), 2);
    }
}
