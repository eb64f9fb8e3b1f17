//! The names that the bookkeeping goes by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use factum_model::ErrorCode;
use thiserror::Error;

/// A name breaks a rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidStateName {
    /// The name is empty.
    #[error("{what} is empty")]
    Empty {
        /// What the name is for.
        what: &'static str,
    },
    /// The name is too long.
    #[error("{what} has {actual} bytes, the limit is {limit}")]
    TooLong {
        /// What the name is for.
        what: &'static str,
        /// The largest number of bytes.
        limit: usize,
        /// The number of bytes found.
        actual: usize,
    },
    /// The name has a character that its kind does not allow.
    #[error("{what} has {character:?} at byte {at}; allowed are {allowed}")]
    Character {
        /// What the name is for.
        what: &'static str,
        /// The first character that is not allowed.
        character: char,
        /// Where it stands, in bytes.
        at: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

impl InvalidStateName {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Empty { .. } | Self::Character { .. } => ErrorCode::InvalidRequest,
            Self::TooLong { .. } => ErrorCode::LimitExceeded,
        }
    }
}

/// What may stand in a kind of name.
struct Alphabet {
    allowed: &'static str,
    has: fn(char) -> bool,
}

const WORD: Alphabet = Alphabet {
    allowed: "letters, digits and _ - . : /",
    has: |character| character.is_ascii_alphanumeric() || "_-.:/".contains(character),
};
const TEXT: Alphabet = Alphabet {
    allowed: "all but control characters",
    has: |character| !character.is_control(),
};

fn check(
    text: &str,
    what: &'static str,
    limit: usize,
    alphabet: &Alphabet,
) -> Result<(), InvalidStateName> {
    if text.is_empty() {
        return Err(InvalidStateName::Empty { what });
    }
    if text.len() > limit {
        let actual = text.len();
        return Err(InvalidStateName::TooLong {
            what,
            limit,
            actual,
        });
    }
    let allowed = alphabet.allowed;
    let mut wrong = text.char_indices().filter(|(_, c)| !(alphabet.has)(*c));
    wrong.next().map_or(Ok(()), |(at, character)| {
        Err(InvalidStateName::Character {
            what,
            character,
            at,
            allowed,
        })
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:literal, $alphabet:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The largest number of bytes.
            pub const BYTES_MAX: usize = $limit;

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidStateName;

            fn from_str(text: &str) -> Result<Self, InvalidStateName> {
                check(text, $what, $limit, &$alphabet)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidStateName;

            fn try_from(text: String) -> Result<Self, InvalidStateName> {
                check(&text, $what, $limit, &$alphabet)?;
                Ok(Self(Arc::from(text)))
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
    /// What a record is: the name of a queue or of a table, 1–64 bytes of `[A-Za-z0-9_.:/-]`.
    RecordKind,
    "record kind",
    64,
    WORD
);
name!(
    /// Which record of its kind, 1–1280 bytes without control characters: an aggregate type and
    /// id of any length fit in. Ordered by bytes, on every store.
    RecordKey,
    "record key",
    1280,
    TEXT
);
name!(
    /// What records of a kind have in common, 1–1280 bytes without control characters.
    RecordGroup,
    "record group",
    1280,
    TEXT
);
name!(
    /// What a lease is for, 1–1280 bytes without control characters.
    LeaseName,
    "lease name",
    1280,
    TEXT
);
name!(
    /// Who claims records and holds leases, 1–256 bytes without control characters.
    OwnerName,
    "owner name",
    256,
    TEXT
);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = InvalidStateName> + fmt::Debug>(text: &str) -> String {
        text.parse::<T>().unwrap_err().to_string()
    }

    #[test]
    fn names_are_checked_and_the_error_names_the_rule() {
        assert_eq!(refused::<RecordKind>(""), "record kind is empty");
        assert_eq!(
            refused::<RecordKind>("a b"),
            "record kind has ' ' at byte 1; allowed are letters, digits and _ - . : /"
        );
        assert_eq!(
            refused::<RecordKey>("ä\0"),
            "record key has '\\0' at byte 2; allowed are all but control characters"
        );
        assert_eq!(
            refused::<OwnerName>(&"ä".repeat(129)),
            "owner name has 258 bytes, the limit is 256"
        );
        assert!("ä".repeat(640).parse::<RecordGroup>().is_ok());
        assert_eq!("x y".parse::<LeaseName>().unwrap().as_str(), "x y");
    }
}
