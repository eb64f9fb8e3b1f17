//! Conditions on the members of payload and metadata.

use std::collections::HashSet;
use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::decimal::Decimal;
use crate::document::{Document, Kind, NodeId};
use crate::invalid::{FilterLimits, InvalidFilter, excerpt};
use crate::path::JsonPath;
use crate::scalar::JsonScalar;

/// Says which JSON texts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonQuery {
    /// One condition.
    Leaf(JsonCondition),
    /// All of these hold; without any, every text is meant.
    And(Vec<Self>),
    /// One of these holds; without any, no text is meant.
    Or(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
}

/// Something about the values that a path selects. It holds when one of them, whichever it is,
/// passes the test; so it never holds where the path selects nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonCondition {
    /// Which values.
    pub path: JsonPath,
    /// What must be true of one of them.
    pub test: JsonTest,
}

/// A test of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonTest {
    /// It is there; `null` is.
    Exists,
    /// It is this value. Numbers are compared exactly: `1` is `1.0`, and `"1"` is neither.
    Equals(JsonScalar),
    /// It is there and is another value. A path that selects several values passes as soon as one
    /// of them differs.
    NotEquals(JsonScalar),
    /// It is one of these values.
    In(Vec<JsonScalar>),
    /// It is a string that has this string as a part, or an array that has this value as an
    /// element. Case counts.
    Contains(JsonScalar),
    /// It is a string in which the expression matches somewhere.
    Regex(Expression),
    /// It is on this side of a bound of its own kind; values of other kinds never are.
    Range(Side, Bound),
}

/// A side of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Greater than the bound.
    Greater,
    /// Greater than the bound or equal.
    GreaterOrEqual,
    /// Less than the bound.
    Less,
    /// Less than the bound or equal.
    LessOrEqual,
}

impl Side {
    const fn has(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }
}

/// What has an order: numbers among each other, by value, and strings among each other, by their
/// characters' code points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A number.
    Number(Decimal),
    /// A string.
    String(Box<str>),
}

/// A regular expression whose cost is linear in the text it looks at. Two are equal if they are
/// written the same way.
#[derive(Debug, Clone)]
pub struct Expression(Regex);

impl Expression {
    /// Compiles an expression under limits, in the syntax of the crate `regex`: no back
    /// references, no looking around.
    ///
    /// # Errors
    /// [`InvalidFilter::Regex`], [`InvalidFilter::Length`].
    pub fn parse_within(text: &str, limits: &FilterLimits) -> Result<Self, InvalidFilter> {
        if text.len() > limits.regex_bytes_max {
            return Err(InvalidFilter::Length {
                what: "regular expression",
                limit: limits.regex_bytes_max,
                actual: text.len(),
            });
        }
        let compiled = RegexBuilder::new(text)
            .size_limit(limits.regex_compiled_bytes_max)
            .dfa_size_limit(limits.regex_compiled_bytes_max)
            .nest_limit(50)
            .build();
        compiled.map(Self).map_err(|error| InvalidFilter::Regex {
            text: excerpt(text),
            rule: rule_of(&error),
        })
    }

    /// Returns the expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn into_regex(self) -> Regex {
        self.0
    }
}

/// Returns the last line of what the compiler says; those before it draw the place.
fn rule_of(error: &regex::Error) -> String {
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    excerpt(last.trim_start_matches("error: "))
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Expression {}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl JsonQuery {
    /// Asks for a value at a path.
    ///
    /// # Errors
    /// [`InvalidFilter::Path`].
    pub fn equals(path: &str, value: impl Into<JsonScalar>) -> Result<Self, InvalidFilter> {
        Ok(Self::Leaf(JsonCondition {
            path: path.parse()?,
            test: JsonTest::Equals(value.into()),
        }))
    }

    /// Calls `each` with every condition, at whatever level.
    pub(crate) fn for_each_condition<'q>(&'q self, each: &mut impl FnMut(&'q JsonCondition)) {
        match self {
            Self::Leaf(condition) => each(condition),
            Self::And(inner) | Self::Or(inner) => {
                inner
                    .iter()
                    .for_each(|inner| inner.for_each_condition(each));
            }
            Self::Not(inner) => inner.for_each_condition(each),
        }
    }

    /// Tells how many levels stand inside each other; one condition alone has none.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::And(inner) | Self::Or(inner) => {
                1 + inner.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Not(inner) => 1 + inner.depth(),
        }
    }

    /// Returns how many values and levels there are to look at.
    pub(crate) fn n_values(&self) -> usize {
        match self {
            Self::Leaf(condition) => condition.test.n_values(),
            Self::And(inner) | Self::Or(inner) => {
                1 + inner.iter().map(Self::n_values).sum::<usize>()
            }
            Self::Not(inner) => 1 + inner.n_values(),
        }
    }

    /// Tells whether a document is meant. `cut` is set when a path had to stop.
    pub(crate) fn matches(&self, document: &Document<'_>, cut: &std::cell::Cell<bool>) -> bool {
        match self {
            Self::Leaf(condition) => {
                let (nodes, was_cut) = condition.path.select_set(document);
                if was_cut {
                    cut.set(true);
                }
                condition.test.passes_one(document, &nodes)
            }
            Self::And(inner) => inner.iter().all(|inner| inner.matches(document, cut)),
            Self::Or(inner) => inner.iter().any(|inner| inner.matches(document, cut)),
            Self::Not(inner) => !inner.matches(document, cut),
        }
    }
}

impl JsonTest {
    fn n_values(&self) -> usize {
        match self {
            Self::In(values) => 1 + values.len(),
            Self::Exists
            | Self::Equals(_)
            | Self::NotEquals(_)
            | Self::Contains(_)
            | Self::Regex(_)
            | Self::Range(..) => 1,
        }
    }

    /// Returns the size of the longest value to compare with.
    pub(crate) fn needle_bytes(&self) -> usize {
        match self {
            Self::Exists | Self::Regex(_) => 0,
            Self::Equals(value) | Self::NotEquals(value) | Self::Contains(value) => value.bytes(),
            Self::In(values) => values.iter().map(JsonScalar::bytes).max().unwrap_or(0),
            Self::Range(_, Bound::Number(number)) => number.as_number().canonical_bytes(),
            Self::Range(_, Bound::String(text)) => text.len(),
        }
    }

    fn passes_one(&self, document: &Document<'_>, nodes: &[NodeId]) -> bool {
        /// How many comparisons are less work than a table of the values.
        const COMPARISONS_MAX: usize = 4096;
        match self {
            Self::In(values) if nodes.len().saturating_mul(values.len()) > COMPARISONS_MAX => {
                let mut bytes = Vec::new();
                let table: HashSet<Vec<u8>> = values.iter().map(JsonScalar::to_bytes).collect();
                nodes.iter().any(|&node| {
                    bytes.clear();
                    document.write_scalar(node, &mut bytes);
                    table.contains(&bytes)
                })
            }
            _ => nodes.iter().any(|&node| self.passes(document, node)),
        }
    }

    fn passes(&self, document: &Document<'_>, node: NodeId) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(value) => document.is(node, value),
            Self::NotEquals(value) => !document.is(node, value),
            Self::In(values) => values.iter().any(|value| document.is(node, value)),
            Self::Contains(value) => contains(document, node, value),
            Self::Regex(expression) => document
                .string(node)
                .is_some_and(|text| expression.0.is_match(&text)),
            Self::Range(side, Bound::Number(bound)) => document
                .number(node)
                .is_some_and(|number| side.has(number.cmp(&bound.as_number()))),
            Self::Range(side, Bound::String(bound)) => document
                .string(node)
                .is_some_and(|text| side.has((*text).cmp(&**bound))),
        }
    }
}

fn contains(document: &Document<'_>, node: NodeId, value: &JsonScalar) -> bool {
    if document.kind(node) == Kind::Array {
        return document
            .children(node)
            .any(|element| document.is(element, value));
    }
    match value {
        JsonScalar::String(part) => document
            .string(node)
            .is_some_and(|text| text.contains(&**part)),
        JsonScalar::Null | JsonScalar::Bool(_) | JsonScalar::Number(_) => false,
    }
}
