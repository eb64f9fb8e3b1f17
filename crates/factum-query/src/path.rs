//! JSONPath of RFC 9535.

mod expression;
mod function;
mod parse;
mod select;

use std::fmt;
use std::str::FromStr;

use crate::document::{Document, NodeId};
use crate::invalid::{FilterLimits, InvalidFilter};
use crate::path::expression::Logical;
use crate::path::select::Selection;

/// How many values the filter expressions of one path may visit in one event before it stops:
/// what it has selected until then counts, and nothing more.
pub const PATH_STEPS_MAX: u64 = 200_000;

/// A path into a JSON text, by RFC 9535, in full.
///
/// Two paths are equal if they are written the same way.
#[derive(Clone)]
pub struct JsonPath {
    text: Box<str>,
    segments: Box<[Segment]>,
    has_filter: bool,
}

/// One step into the document.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Goes to all that is inside before it selects.
    pub(crate) descends: bool,
    pub(crate) selectors: Box<[Selector]>,
}

/// What a segment takes of the children of a value.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    Name(Box<str>),
    Wildcard,
    Index(i64),
    Slice(Slice),
    Filter(Box<Logical>),
}

/// Elements from a start to an end by a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) step: i64,
}

impl JsonPath {
    /// Reads a path under limits.
    ///
    /// # Errors
    /// [`InvalidFilter::Path`] with the place of the first fault, [`InvalidFilter::Length`] for a
    /// path that is too long.
    pub fn parse_within(text: &str, limits: &FilterLimits) -> Result<Self, InvalidFilter> {
        let parsed = parse::path(text, limits)?;
        Ok(Self {
            text: text.into(),
            segments: parsed.segments,
            has_filter: parsed.has_filter,
        })
    }

    /// Returns the path as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether the path has filter expressions (`?`), whose cost is bounded by
    /// [`PATH_STEPS_MAX`].
    #[must_use]
    pub const fn has_filter(&self) -> bool {
        self.has_filter
    }

    /// Returns the texts of the values that the path selects, in the order of RFC 9535 and as
    /// often as it selects them; `None` when the path visits more than [`PATH_STEPS_MAX`] values.
    /// The document must be JSON; of any other text the part before its fault is looked at.
    #[must_use]
    pub fn select<'a>(&self, document: &'a str) -> Option<Vec<&'a str>> {
        let document = Document::read(document);
        let selection = Selection::new(&document);
        let root = document.root()?;
        let nodes = selection.list(&self.segments, root);
        let texts = nodes.into_iter().map(|id| document.whole(id)).collect();
        (!selection.is_cut()).then_some(texts)
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the values that the path selects, each once, and whether it had to stop.
    pub(crate) fn select_set(&self, document: &Document<'_>) -> (Vec<NodeId>, bool) {
        let Some(root) = document.root() else {
            return (Vec::new(), false);
        };
        let selection = Selection::new(document);
        let nodes = selection.set(&self.segments, root);
        (nodes, selection.is_cut())
    }
}

impl FromStr for JsonPath {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        Self::parse_within(text, &FilterLimits::DEFAULT)
    }
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonPath {}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
