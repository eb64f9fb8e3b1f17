//! The bounds on a filter, and what is wrong with one.

use factum_model::{SequenceNumber, Timestamp};
use thiserror::Error;

/// The bounds on a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterLimits {
    /// The largest number of values in all lists together; every condition counts as one.
    pub values_max: usize,
    /// How many levels of `any_of`, `all_of` and `not`, and of `and`, `or` and `not` in a query of
    /// payload or metadata, may stand inside each other, all together.
    pub depth_max: usize,
    /// The longest JSONPath in bytes.
    pub path_bytes_max: usize,
    /// The largest number of segments and selectors in a JSONPath, those in its filters included.
    pub path_parts_max: usize,
    /// How many JSONPaths of a filter may have filter expressions of their own.
    pub path_filters_max: usize,
    /// How many regular expressions a filter may have as values.
    pub regexes_max: usize,
    /// The longest regular expression in bytes.
    pub regex_bytes_max: usize,
    /// The largest compiled regular expression in bytes.
    pub regex_compiled_bytes_max: usize,
    /// The longest value to compare with, in bytes; for text all words together.
    pub needle_bytes_max: usize,
}

impl FilterLimits {
    /// The limits that hold where nobody says otherwise.
    pub const DEFAULT: Self = Self {
        values_max: 1000,
        depth_max: 4,
        path_bytes_max: 1024,
        path_parts_max: 64,
        path_filters_max: 4,
        regexes_max: 8,
        regex_bytes_max: 512,
        regex_compiled_bytes_max: 256 << 10,
        needle_bytes_max: 4096,
    };
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A filter breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidFilter {
    /// A type pattern is not one.
    #[error("{text:?} is not an event type or pattern: {rule}")]
    Pattern {
        /// The text as it came, cut.
        text: String,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A path is not a JSONPath.
    #[error("{text:?} is not a JSONPath: {rule} at byte {at}")]
    Path {
        /// The text as it came, cut.
        text: String,
        /// Where it is wrong, in bytes from its start.
        at: usize,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A regular expression is not one, or is too large.
    #[error("{text:?} is not a regular expression: {rule}")]
    Regex {
        /// The text as it came, cut.
        text: String,
        /// The rule that is broken.
        rule: String,
    },
    /// Something is longer than it may be.
    #[error("{what} of {actual} bytes exceeds the limit of {limit}")]
    Length {
        /// What is too long.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
    /// A text to search for has no word in it.
    #[error("the text has no word to search for")]
    Text,
    /// The filter has too many values.
    #[error("filter with {actual} values exceeds the limit of {limit}")]
    Values {
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
    /// The filter has too many parts that cost much.
    #[error("filter with {actual} {what} exceeds the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
    /// Conditions are nested too deeply.
    #[error("filter is nested deeper than the limit of {limit}")]
    Depth {
        /// The limit.
        limit: usize,
    },
    /// An append condition asks for something that no index answers at a bounded cost.
    #[error(
        "an append condition cannot ask for {what}; it can ask for types, aggregates, tags, ids, conversations, words, and for members of payload and metadata that exist or have a value"
    )]
    Condition {
        /// What it asks for.
        what: &'static str,
    },
    /// A time range ends before it begins.
    #[error("time range ends at {to} before it begins at {from}")]
    Range {
        /// The first instant inside.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
    /// A range of sequence numbers ends before it begins.
    #[error("range of sequence numbers ends at {to} before it begins at {from}")]
    SequenceRange {
        /// The first number inside.
        from: SequenceNumber,
        /// The last number inside.
        to: SequenceNumber,
    },
}

/// Checks how many parts of a kind there are.
pub(crate) const fn at_most(
    limit: usize,
    what: &'static str,
    actual: usize,
) -> Result<(), InvalidFilter> {
    if actual > limit {
        return Err(InvalidFilter::TooMany {
            what,
            limit,
            actual,
        });
    }
    Ok(())
}

/// Cuts a text for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(120).collect()
}
