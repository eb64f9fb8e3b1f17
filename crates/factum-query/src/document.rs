//! A JSON text taken apart once: where each value begins and ends, and what is inside what.

use std::borrow::Cow;

use crate::decimal::NumberRef;
use crate::scalar::{JsonScalar, write_number, write_text};
use crate::scan::{Container, Scalar, Visit, decode, walk};

/// The number of a value in its document, in reading order; the outermost value is 0.
pub(crate) type NodeId = u32;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    String { escaped: bool },
    Array,
    Object,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    key_escaped: bool,
    /// Where the text of the value begins and ends; for a string what is between the quotes.
    start: u32,
    end: u32,
    key_start: u32,
    key_end: u32,
    /// The first value after this one that is not inside it; while it is open its parent.
    next: NodeId,
}

/// A JSON text with its values in reading order.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

impl<'a> Document<'a> {
    /// Takes a text apart. A text with a fault yields what stands before it.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut builder = Builder {
            nodes: Vec::with_capacity(text.len() / 16 + 4),
            innermost: NONE,
            key: (0, 0, false),
        };
        walk(text, &mut builder);
        while builder.innermost != NONE {
            builder.close(text.len());
        }
        Self {
            text,
            nodes: builder.nodes,
        }
    }

    /// Returns the outermost value.
    pub(crate) fn root(&self) -> Option<NodeId> {
        (!self.nodes.is_empty()).then_some(0)
    }

    /// Returns how many values there are.
    pub(crate) const fn n_values(&self) -> usize {
        self.nodes.len()
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// Returns what a value is.
    pub(crate) fn kind(&self, id: NodeId) -> Kind {
        self.node(id).map_or(Kind::Null, |node| node.kind)
    }

    /// Returns the value and everything inside it, as a range of numbers.
    pub(crate) fn inside(&self, id: NodeId) -> std::ops::Range<NodeId> {
        id..self.node(id).map_or(id, |node| node.next)
    }

    /// Returns the members of an object or the elements of an array, in order.
    pub(crate) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let range = self.inside(id);
        let mut next = range.start + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < range.end).then(|| {
                next = self.inside(child).end.max(child + 1);
                child
            })
        })
    }

    /// Returns the text of a value; for a string what stands between its quotes.
    pub(crate) fn raw(&self, id: NodeId) -> &'a str {
        let node = self.node(id);
        node.and_then(|node| self.text.get(node.start as usize..node.end as usize))
            .unwrap_or_default()
    }

    /// Returns the text of a value, the quotes of a string included.
    pub(crate) fn whole(&self, id: NodeId) -> &'a str {
        let Some(node) = self.node(id) else {
            return "";
        };
        let quotes = usize::from(matches!(node.kind, Kind::String { .. }));
        let range = (node.start as usize).saturating_sub(quotes)..node.end as usize + quotes;
        self.text.get(range).unwrap_or_default()
    }

    /// Returns the key of a member.
    pub(crate) fn key(&self, id: NodeId) -> Cow<'a, str> {
        let Some(node) = self.node(id) else {
            return Cow::Borrowed("");
        };
        let raw = self
            .text
            .get(node.key_start as usize..node.key_end as usize);
        decode(raw.unwrap_or_default(), node.key_escaped)
    }

    /// Returns the member of an object with a key.
    pub(crate) fn member(&self, id: NodeId, key: &str) -> Option<NodeId> {
        if self.kind(id) != Kind::Object {
            return None;
        }
        self.children(id).find(|&child| self.key(child) == key)
    }

    /// Returns a string, or `None` for any other value.
    pub(crate) fn string(&self, id: NodeId) -> Option<Cow<'a, str>> {
        match self.kind(id) {
            Kind::String { escaped } => Some(decode(self.raw(id), escaped)),
            Kind::Null | Kind::False | Kind::True | Kind::Number | Kind::Array | Kind::Object => {
                None
            }
        }
    }

    /// Returns a number, or `None` for any other value.
    pub(crate) fn number(&self, id: NodeId) -> Option<NumberRef<'a>> {
        (self.kind(id) == Kind::Number).then(|| NumberRef::read(self.raw(id)))
    }

    /// Tells whether a value is this scalar.
    pub(crate) fn is(&self, id: NodeId, scalar: &JsonScalar) -> bool {
        match scalar {
            JsonScalar::Null => self.kind(id) == Kind::Null,
            JsonScalar::Bool(false) => self.kind(id) == Kind::False,
            JsonScalar::Bool(true) => self.kind(id) == Kind::True,
            JsonScalar::Number(number) => self.number(id) == Some(number.as_number()),
            JsonScalar::String(text) => self.string(id).as_deref() == Some(&**text),
        }
    }

    /// Writes a value as [`JsonScalar::to_bytes`] does; nothing for one that has parts.
    pub(crate) fn write_scalar(&self, id: NodeId, bytes: &mut Vec<u8>) {
        match self.kind(id) {
            Kind::Null => bytes.push(b'n'),
            Kind::False => bytes.push(b'f'),
            Kind::True => bytes.push(b't'),
            Kind::Number => write_number(NumberRef::read(self.raw(id)), bytes),
            Kind::String { escaped } => write_text(&decode(self.raw(id), escaped), bytes),
            Kind::Array | Kind::Object => {}
        }
    }

    /// Returns every string of the document that is a value.
    pub(crate) fn strings(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let all = self.root().map_or(0..0, |root| self.inside(root));
        all.filter_map(|id| self.string(id))
    }
}

const NONE: NodeId = NodeId::MAX;

struct Builder {
    nodes: Vec<Node>,
    /// The innermost open container; it and its ancestors are linked through `next`.
    innermost: NodeId,
    key: (u32, u32, bool),
}

impl Builder {
    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        let (key_start, key_end, key_escaped) = std::mem::take(&mut self.key);
        self.nodes.push(Node {
            kind,
            key_escaped,
            start: place(start),
            end: place(end),
            key_start,
            key_end,
            next: place(self.nodes.len() + 1),
        });
    }
}

impl<'a> Visit<'a> for Builder {
    fn open(&mut self, container: Container, at: usize) {
        let kind = match container {
            Container::Object => Kind::Object,
            Container::Array => Kind::Array,
        };
        let id = place(self.nodes.len());
        self.push(kind, at, at);
        if let Some(node) = self.nodes.last_mut() {
            node.next = self.innermost;
        }
        self.innermost = id;
    }

    fn close(&mut self, end: usize) {
        let next = place(self.nodes.len());
        match self.nodes.get_mut(self.innermost as usize) {
            Some(node) => {
                self.innermost = node.next;
                node.next = next;
                node.end = place(end);
            }
            None => self.innermost = NONE,
        }
    }

    fn key(&mut self, raw: &'a str, escaped: bool, at: usize) {
        self.key = (place(at), place(at + raw.len()), escaped);
    }

    fn scalar(&mut self, kind: Scalar, raw: &'a str, at: usize) {
        let (kind, start) = match kind {
            Scalar::Null => (Kind::Null, at),
            Scalar::False => (Kind::False, at),
            Scalar::True => (Kind::True, at),
            Scalar::Number => (Kind::Number, at),
            Scalar::String { escaped } => (Kind::String { escaped }, at + 1),
        };
        self.push(kind, start, start + raw.len());
    }
}

fn place(place: usize) -> u32 {
    // No stored text is as long as four gigabytes.
    u32::try_from(place).unwrap_or(u32::MAX)
}
