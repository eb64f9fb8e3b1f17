//! Names that people choose: event types, aggregate types and ids, correlation ids.

use std::fmt;
use std::str::FromStr;

use bytestring::ByteString;
use thiserror::Error;

use crate::instance::{AGENT_SESSION_AGGREGATE_TYPE, InstanceName};

/// The aggregate type of the engine's own events; only the engine may append to it.
pub const SYSTEM_AGGREGATE_TYPE: &str = "factum";

/// A name breaks one of the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The name is empty.
    #[error("{kind} is empty")]
    Empty {
        /// What the name is for.
        kind: &'static str,
    },
    /// The name is too long.
    #[error("{kind} has {actual} characters, the limit is {limit}")]
    TooLong {
        /// What the name is for.
        kind: &'static str,
        /// The largest number of characters.
        limit: usize,
        /// The number of characters found.
        actual: usize,
    },
    /// The name has a character that its kind does not allow.
    #[error("{kind} has {character:?} at byte {at}; allowed are {allowed}")]
    Character {
        /// What the name is for.
        kind: &'static str,
        /// The first character that is not allowed.
        character: char,
        /// Where it stands, in bytes.
        at: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A dotted name has an empty segment.
    #[error("{kind} has an empty segment at byte {at}")]
    EmptySegment {
        /// What the name is for.
        kind: &'static str,
        /// Where the segment should be, in bytes.
        at: usize,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ByteString);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Checks the rules and takes the text over without copying it.
            ///
            /// # Errors
            /// [`InvalidName`] when a rule of this kind of name is broken.
            pub fn from_text(text: ByteString) -> Result<Self, InvalidName> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                $check(text)?;
                Ok(Self(ByteString::from(text)))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// What happened: a dotted name of 1–100 characters, segments of `[A-Za-z0-9_-]`.
    EventType,
    check_event_type
);
name!(
    /// The kind of thing that a stream is about, 1–50 characters without control characters.
    AggregateType,
    check_aggregate_type
);
name!(
    /// The one thing of its kind that a stream is about, 1–255 characters without control characters.
    AggregateId,
    check_aggregate_id
);
name!(
    /// A request, session or case that events belong to, 1–128 characters without control characters.
    CorrelationId,
    check_correlation_id
);

/// The identity of a stream. The same id under another type is another stream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The kind of aggregate.
    pub aggregate_type: AggregateType,
    /// The aggregate of that kind.
    pub aggregate_id: AggregateId,
}

impl StreamId {
    /// Names the stream of one aggregate.
    #[must_use]
    pub const fn new(aggregate_type: AggregateType, aggregate_id: AggregateId) -> Self {
        Self {
            aggregate_type,
            aggregate_id,
        }
    }

    /// Tells whether the stream belongs to the engine itself.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.aggregate_type.as_str() == SYSTEM_AGGREGATE_TYPE
    }

    /// Tells whether the stream is that of an agent instance. Streams of the same type under other
    /// names are like any other.
    #[must_use]
    pub fn is_of_instance(&self) -> bool {
        self.aggregate_type.as_str() == AGENT_SESSION_AGGREGATE_TYPE
            && InstanceName::of(self.aggregate_id.as_str()).is_some()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.aggregate_type, self.aggregate_id)
    }
}

const EVENT_TYPE: &str = "event type";

fn check_event_type(text: &str) -> Result<(), InvalidName> {
    check_length(EVENT_TYPE, text, 100)?;
    let mut segment_start = true;
    for (at, character) in text.char_indices() {
        match character {
            '.' if segment_start => {
                return Err(InvalidName::EmptySegment {
                    kind: EVENT_TYPE,
                    at,
                });
            }
            '.' => segment_start = true,
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => segment_start = false,
            _ => {
                return Err(InvalidName::Character {
                    kind: EVENT_TYPE,
                    character,
                    at,
                    allowed: "letters, digits, '_', '-' and '.' between segments",
                });
            }
        }
    }
    if segment_start {
        return Err(InvalidName::EmptySegment {
            kind: EVENT_TYPE,
            at: text.len(),
        });
    }
    Ok(())
}

fn check_aggregate_type(text: &str) -> Result<(), InvalidName> {
    check_plain("aggregate type", text, 50)
}

fn check_aggregate_id(text: &str) -> Result<(), InvalidName> {
    check_plain("aggregate id", text, 255)
}

fn check_correlation_id(text: &str) -> Result<(), InvalidName> {
    check_plain("correlation id", text, 128)
}

fn check_plain(kind: &'static str, text: &str, limit: usize) -> Result<(), InvalidName> {
    check_length(kind, text, limit)?;
    match text
        .char_indices()
        .find(|(_, character)| character.is_control())
    {
        None => Ok(()),
        Some((at, character)) => Err(InvalidName::Character {
            kind,
            character,
            at,
            allowed: "all but control characters",
        }),
    }
}

fn check_length(kind: &'static str, text: &str, limit: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { kind });
    }
    // A character has at least one byte, so most names are done after one comparison.
    if text.len() > limit {
        let actual = text.chars().count();
        if actual > limit {
            return Err(InvalidName::TooLong {
                kind,
                limit,
                actual,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        let actual = text
            .parse::<EventType>()
            .map(|_| ())
            .map_err(|error| error.to_string());
        assert_eq!(actual, expected.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn event_types_are_dotted_segments() {
        check("a", Ok(()));
        check("submission.status-changed.v_2", Ok(()));
        check("", Err("event type is empty"));
        check(".a", Err("event type has an empty segment at byte 0"));
        check("a..b", Err("event type has an empty segment at byte 2"));
        check("a.", Err("event type has an empty segment at byte 2"));
        check(
            &"a".repeat(101),
            Err("event type has 101 characters, the limit is 100"),
        );
        assert!("a b".parse::<EventType>().is_err());
        assert!("ä".parse::<EventType>().is_err());
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert!("ä".repeat(50).parse::<AggregateType>().is_ok());
        assert!("ä".repeat(51).parse::<AggregateType>().is_err());
        assert!("😀".repeat(255).parse::<AggregateId>().is_ok());
        assert!("a\nb".parse::<AggregateId>().is_err());
        assert!("x".repeat(129).parse::<CorrelationId>().is_err());
    }
}
