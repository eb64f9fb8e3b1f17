//! Finds what a path selects.

use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

use crate::decimal::{Decimal, NumberRef};
use crate::document::{Document, Kind, NodeId};
use crate::path::expression::{Comparable, Logical, Query};
use crate::path::function::{Expression, RegexCall, compile};
use crate::path::{PATH_STEPS_MAX, Segment, Selector, Slice};
use crate::scalar::JsonScalar;

/// How many steps it counts to compile a regular expression that stands in the document.
const COMPILE_STEPS: u64 = 4000;

/// How deeply two values are compared before a path stops; documents are not as deep as that
/// unless their own limit was raised.
const SAME_DEPTH_MAX: usize = 512;

/// One run of a path over a document.
///
/// Outside filters every segment visits every value at most once for each of its selectors, so
/// only what filter expressions visit, and lists in which values may stand many times, are
/// charged.
pub(crate) struct Selection<'d, 'a> {
    document: &'d Document<'a>,
    steps_left: Cell<u64>,
}

/// How often a value may be in a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Once, and only the filters are charged.
    Set,
    /// Once, inside of a filter.
    ChargedSet,
    /// As often as it is selected.
    List,
}

impl<'d, 'a> Selection<'d, 'a> {
    pub(crate) const fn new(document: &'d Document<'a>) -> Self {
        Self {
            document,
            steps_left: Cell::new(PATH_STEPS_MAX),
        }
    }

    /// Tells whether the run had to stop.
    pub(crate) const fn is_cut(&self) -> bool {
        self.steps_left.get() == 0
    }

    /// Returns all values, in order, as often as they are selected.
    pub(crate) fn list(&self, segments: &[Segment], start: NodeId) -> Vec<NodeId> {
        self.run(segments, start, Mode::List)
    }

    /// Returns all values, each once, in the order of the document.
    pub(crate) fn set(&self, segments: &[Segment], start: NodeId) -> Vec<NodeId> {
        self.run(segments, start, Mode::Set)
    }

    /// Counts steps and tells whether there were so many left.
    fn charge(&self, steps: u64) -> bool {
        let left = self.steps_left.get().saturating_sub(steps);
        self.steps_left.set(left);
        left > 0
    }

    fn charge_bytes(&self, bytes: usize) -> bool {
        self.charge(bytes as u64 / 16 + 1)
    }

    fn run(&self, segments: &[Segment], start: NodeId, mode: Mode) -> Vec<NodeId> {
        let mut nodes = vec![start];
        for segment in segments {
            let mut found = Vec::new();
            let mut covered = 0;
            for &node in &nodes {
                if !segment.descends {
                    self.children(segment, node, mode, &mut found);
                } else if mode == Mode::List || node >= covered {
                    // In a set what is inside a value that was descended into has been visited.
                    covered = self.document.inside(node).end;
                    self.descend(segment, node, mode, &mut found);
                }
                if self.is_cut() {
                    break;
                }
            }
            if mode != Mode::List {
                Self::unite(&mut found);
            }
            nodes = found;
        }
        nodes
    }

    /// Brings values into the order of the document, each once.
    fn unite(found: &mut Vec<NodeId>) {
        if found.is_sorted_by(|left, right| left < right) {
            return;
        }
        if found.len() < 64 {
            found.sort_unstable();
            found.dedup();
            return;
        }
        let (Some(&first), Some(&last)) = (found.iter().min(), found.iter().max()) else {
            return;
        };
        let mut is_in = vec![false; (last - first) as usize + 1];
        for node in found.drain(..) {
            is_in[(node - first) as usize] = true;
        }
        found.extend(
            (first..=last)
                .zip(is_in)
                .filter_map(|(node, is_in)| is_in.then_some(node)),
        );
    }

    fn descend(&self, segment: &Segment, node: NodeId, mode: Mode, found: &mut Vec<NodeId>) {
        for inner in self.document.inside(node) {
            if matches!(self.document.kind(inner), Kind::Array | Kind::Object) {
                self.children(segment, inner, mode, found);
            }
            if self.is_cut() {
                return;
            }
        }
    }

    fn children(&self, segment: &Segment, node: NodeId, mode: Mode, found: &mut Vec<NodeId>) {
        // As a set, what other selectors take is among what the wildcard takes.
        let is_wildcard = |selector: &&Selector| matches!(selector, Selector::Wildcard);
        let wildcard = segment.selectors.iter().find(is_wildcard);
        let selectors = match wildcard {
            Some(wildcard) if mode != Mode::List => std::slice::from_ref(wildcard),
            Some(_) | None => &*segment.selectors,
        };
        for selector in selectors {
            if mode != Mode::List && found.len() > 2 * self.document.n_values() {
                Self::unite(found);
            }
            let n_visited = self.select(selector, node, found);
            if self.is_cut() || (mode != Mode::Set && !self.charge(1 + n_visited)) {
                return;
            }
        }
    }

    /// Selects among the children of a value and returns how many of them it looked at.
    fn select(&self, selector: &Selector, node: NodeId, found: &mut Vec<NodeId>) -> u64 {
        let document = self.document;
        let kind = document.kind(node);
        let mut n_visited = 0_u64;
        let mut children = document.children(node).inspect(|_| n_visited += 1);
        match selector {
            Selector::Name(name) if kind == Kind::Object => {
                found.extend(children.find(|&child| document.key(child) == **name));
            }
            Selector::Wildcard => found.extend(children),
            Selector::Index(index) if kind == Kind::Array => {
                if let Ok(index) = usize::try_from(*index) {
                    found.extend(children.nth(index));
                } else {
                    let elements: Vec<NodeId> = children.collect();
                    let index = isize::try_from(*index).unwrap_or(isize::MIN);
                    let from_end = elements.len().checked_add_signed(index);
                    found.extend(from_end.and_then(|index| elements.get(index)));
                }
            }
            Selector::Slice(slice) if kind == Kind::Array => {
                slice_of(*slice, &children.collect::<Vec<_>>(), found);
            }
            Selector::Name(_) | Selector::Index(_) | Selector::Slice(_) => {}
            Selector::Filter(logical) => {
                let taken = children.take_while(|_| !self.is_cut());
                found.extend(taken.filter(|&child| self.holds(logical, child)));
            }
        }
        n_visited
    }

    fn holds(&self, logical: &Logical, current: NodeId) -> bool {
        if !self.charge(1) {
            return false;
        }
        match logical {
            Logical::Or(any) => any.iter().any(|inner| self.holds(inner, current)),
            Logical::And(all) => all.iter().all(|inner| self.holds(inner, current)),
            Logical::Not(inner) => !self.holds(inner, current),
            Logical::Exists(query) => !self.query(query, current, Mode::ChargedSet).is_empty(),
            Logical::Compare(left, comparison, right) => {
                let (left, right) = (self.value(left, current), self.value(right, current));
                let equal = self.equal(&left, &right);
                comparison.holds(equal, self.order(&left, &right))
            }
            Logical::Regex(call) => self.regex(call, current).unwrap_or(false),
        }
    }

    fn query(&self, query: &Query, current: NodeId, mode: Mode) -> Vec<NodeId> {
        let start = if query.from_root { 0 } else { current };
        self.run(&query.segments, start, mode)
    }

    fn value<'v>(&self, comparable: &'v Comparable, current: NodeId) -> Value<'v>
    where
        'a: 'v,
    {
        match comparable {
            Comparable::Literal(JsonScalar::Null) => Value::Null,
            Comparable::Literal(JsonScalar::Bool(value)) => Value::Bool(*value),
            Comparable::Literal(JsonScalar::Number(number)) => Value::Number(number.as_number()),
            Comparable::Literal(JsonScalar::String(text)) => Value::String(Cow::Borrowed(text)),
            // `value()` of a query that selects one value twice is nothing.
            Comparable::Query(query) => match *self.query(query, current, Mode::List) {
                [node] => self.value_of(node),
                _ => Value::Nothing,
            },
            Comparable::Count(query) => {
                let nodes = self.query(query, current, Mode::List);
                Value::Computed(Decimal::from(nodes.len() as u64))
            }
            Comparable::Length(inner) => match self.value(inner, current) {
                Value::String(text) => {
                    self.charge_bytes(text.len());
                    Value::Computed(Decimal::from(text.chars().count() as u64))
                }
                Value::Container(node) => {
                    let mut length = 0_u64;
                    for _ in self.document.children(node) {
                        length += 1;
                    }
                    self.charge(length);
                    Value::Computed(Decimal::from(length))
                }
                Value::Nothing
                | Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Computed(_) => Value::Nothing,
            },
        }
    }

    fn value_of(&self, node: NodeId) -> Value<'a> {
        match self.document.kind(node) {
            Kind::Null => Value::Null,
            Kind::False => Value::Bool(false),
            Kind::True => Value::Bool(true),
            Kind::Number => self
                .document
                .number(node)
                .map_or(Value::Nothing, Value::Number),
            Kind::String { .. } => self
                .document
                .string(node)
                .map_or(Value::Nothing, Value::String),
            Kind::Array | Kind::Object => Value::Container(node),
        }
    }

    fn equal(&self, left: &Value<'_>, right: &Value<'_>) -> bool {
        match (left, right) {
            (Value::Nothing, Value::Nothing) | (Value::Null, Value::Null) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::String(left), Value::String(right)) => {
                self.charge_bytes(left.len().min(right.len())) && left == right
            }
            (Value::Container(left), Value::Container(right)) => self.same(*left, *right, 0),
            (left, right) => match (left.number(), right.number()) {
                (Some(left), Some(right)) => left == right,
                (None, _) | (_, None) => false,
            },
        }
    }

    /// Returns the order of two numbers or two strings.
    fn order(&self, left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
        if let (Value::String(left), Value::String(right)) = (left, right) {
            self.charge_bytes(left.len().min(right.len()));
            return Some(left.cmp(right));
        }
        Some(left.number()?.cmp(&right.number()?))
    }

    /// Compares two values with all that is inside them.
    fn same(&self, left: NodeId, right: NodeId, depth: usize) -> bool {
        let document = self.document;
        let steps = if depth > SAME_DEPTH_MAX { u64::MAX } else { 1 };
        if !self.charge(steps) {
            return false;
        }
        match (document.kind(left), document.kind(right)) {
            (Kind::Array, Kind::Array) => {
                let mut others = document.children(right);
                let pairs = document.children(left).all(|own| {
                    others
                        .next()
                        .is_some_and(|other| self.same(own, other, depth + 1))
                });
                pairs && others.next().is_none()
            }
            (Kind::Object, Kind::Object) => {
                let n_others = document.children(right).count();
                let matching = document.children(left).all(|own| {
                    self.charge(n_others as u64);
                    let other = document.member(right, &document.key(own));
                    other.is_some_and(|other| self.same(own, other, depth + 1))
                });
                matching && document.children(left).count() == n_others
            }
            (Kind::Array | Kind::Object, _) | (_, Kind::Array | Kind::Object) => false,
            _ => self.equal(&self.value_of(left), &self.value_of(right)),
        }
    }

    fn regex(&self, call: &RegexCall, current: NodeId) -> Option<bool> {
        let Value::String(text) = self.value(&call.text, current) else {
            return None;
        };
        self.charge_bytes(text.len() * 4);
        match &call.regex {
            Expression::Fixed(regex) => Some(regex.as_ref()?.is_match(&text)),
            Expression::Computed(comparable) => {
                let Value::String(regex) = self.value(comparable, current) else {
                    return None;
                };
                if !self.charge(COMPILE_STEPS) || !self.charge_bytes(regex.len() * 16) {
                    return None;
                }
                Some(compile(&regex, call.whole)?.is_match(&text))
            }
        }
    }
}

fn slice_of(slice: Slice, elements: &[NodeId], found: &mut Vec<NodeId>) {
    let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { length + index } else { index };
    let step = slice.step;
    let mut take = |index: i64| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        found.extend(elements.get(index));
    };
    if step > 0 {
        let end = from_start(slice.end.unwrap_or(length)).clamp(0, length);
        let mut index = from_start(slice.start.unwrap_or(0)).clamp(0, length);
        while index < end {
            take(index);
            index = index.saturating_add(step);
        }
    } else if step < 0 {
        let end = slice
            .end
            .map_or(-1, |end| from_start(end).clamp(-1, length - 1));
        let start = slice.start.map_or(length - 1, from_start);
        let mut index = start.clamp(-1, length - 1);
        while index > end {
            take(index);
            index = index.saturating_add(step);
        }
    }
}

/// What a comparable stands for.
enum Value<'v> {
    /// The query selects nothing.
    Nothing,
    Null,
    Bool(bool),
    Number(NumberRef<'v>),
    Computed(Decimal),
    String(Cow<'v, str>),
    /// An array or an object.
    Container(NodeId),
}

impl Value<'_> {
    const fn number(&self) -> Option<NumberRef<'_>> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Computed(number) => Some(number.as_number()),
            Self::Nothing | Self::Null | Self::Bool(_) | Self::String(_) | Self::Container(_) => {
                None
            }
        }
    }
}
