//! The filter expressions of paths.

use std::cmp::Ordering;

use crate::path::Segment;
use crate::path::function::RegexCall;
use crate::scalar::JsonScalar;

/// What holds or does not.
#[derive(Debug, Clone)]
pub(crate) enum Logical {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    Compare(Box<Comparable>, Comparison, Box<Comparable>),
    /// The query selects something.
    Exists(Query),
    Regex(Box<RegexCall>),
}

/// A query inside a filter.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// It begins at the document (`$`), not at the value that is looked at (`@`).
    pub(crate) from_root: bool,
    pub(crate) segments: Box<[Segment]>,
}

/// What has a value, or none.
#[derive(Debug, Clone)]
pub(crate) enum Comparable {
    Literal(JsonScalar),
    /// A query that selects one value at most, or `value()` of any query.
    Query(Query),
    Length(Box<Self>),
    Count(Query),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Tells whether the comparison holds, given whether the two are equal and, where they have
    /// one, their order.
    pub(crate) fn holds(self, equal: bool, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => equal || order == Some(Ordering::Less),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => equal || order == Some(Ordering::Greater),
        }
    }
}
