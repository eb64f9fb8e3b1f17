//! The event as a value of the language, looked up where it stands.

use std::any::Any;
use std::borrow::Cow;
use std::sync::OnceLock;

use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelNull, CelString, CelTimestamp, CelUInt, DYN_TYPE, LIST_TYPE,
    MAP_TYPE, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use factum_model::{RecordedEvent, Timestamp};
use regex::Regex;

use super::check;
use crate::document::{Document, Kind, NodeId};

/// The JSON texts of an event, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Documents<'e> {
    pub(super) payload: &'e Document<'e>,
    pub(super) metadata: &'e Document<'e>,
}

/// The variable `event`.
#[derive(Debug, Clone)]
pub(super) struct EventValue<'e> {
    event: &'e RecordedEvent,
    documents: Documents<'e>,
    names: OnceLock<Vec<CelString<'static>>>,
}

/// The names that expressions know.
pub(super) struct Scope<'e> {
    event: &'e EventValue<'e>,
    regexes: Vec<Pattern>,
}

impl<'e> Scope<'e> {
    pub(super) fn new(event: &'e EventValue<'e>, regexes: &[Regex]) -> Self {
        let regexes = regexes.iter().cloned().map(Pattern::new).collect();
        Self { event, regexes }
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if variable == check::EVENT {
            return Some(CowVal::Borrowed(self.event));
        }
        let index = variable.strip_prefix(check::REGEX)?.parse::<usize>().ok()?;
        let pattern = self.regexes.get(index)?;
        Some(CowVal::Borrowed(pattern))
    }
}

/// A regular expression that stands in an expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) const fn new(regex: Regex) -> Self {
        Self(regex)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// The members of `event`, as they are named in JSON.
const MEMBERS: [&str; 12] = [
    "id",
    "type",
    "version",
    "timestamp",
    "recordedAt",
    "aggregateType",
    "aggregateId",
    "sequenceNumber",
    "position",
    "causationId",
    "correlationId",
    "metadata",
];

impl<'e> EventValue<'e> {
    pub(super) const fn new(event: &'e RecordedEvent, documents: Documents<'e>) -> Self {
        Self {
            event,
            documents,
            names: OnceLock::new(),
        }
    }

    fn member<'b, 'v>(&self, name: &str) -> Option<CowVal<'b, 'v>>
    where
        'e: 'v,
    {
        let event = self.event;
        Some(match name {
            "payload" => json(self.documents.payload, 0),
            "metadata" => json(self.documents.metadata, 0),
            "type" => text(event.event_type()),
            "aggregateType" => text(event.aggregate_type()),
            "aggregateId" => text(event.aggregate_id()),
            "id" => CowVal::owned(CelString::from(event.id.to_string())),
            "version" => CowVal::owned(CelInt::from(i64::from(event.schema_version.get()))),
            "sequenceNumber" => integer(event.sequence_number.get()),
            "position" => integer(event.position.get()),
            "timestamp" => instant(event.timestamp)?,
            "recordedAt" => instant(event.recorded_at)?,
            "correlationId" => text(event.correlation_id()?),
            "causationId" => CowVal::owned(CelString::from(event.causation_id?.to_string())),
            _ => return None,
        })
    }

    fn names(&self) -> &[CelString<'static>] {
        self.names.get_or_init(|| {
            let all = MEMBERS.iter().chain(&["payload"]);
            all.filter(|name| self.member(name).is_some())
                .map(|name| CelString::from(*name))
                .collect()
        })
    }
}

fn text<'b, 'v>(text: &'v str) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text))
}

fn integer<'b, 'v>(number: u64) -> CowVal<'b, 'v> {
    match i64::try_from(number) {
        Ok(number) => CowVal::owned(CelInt::from(number)),
        Err(_) => CowVal::owned(CelUInt::from(number)),
    }
}

fn instant<'b, 'v>(at: Timestamp) -> Option<CowVal<'b, 'v>> {
    let at = chrono::DateTime::from_timestamp_micros(at.as_micros())?;
    Some(CowVal::owned(CelTimestamp::from(at.fixed_offset())))
}

/// A number is an integer if it is written as one and there is an integer of that size, and the
/// nearest double otherwise.
fn number<'b, 'v>(text: &str) -> CowVal<'b, 'v> {
    if let Ok(number) = text.parse::<i64>() {
        return CowVal::owned(CelInt::from(number));
    }
    if let Ok(number) = text.parse::<u64>() {
        return CowVal::owned(CelUInt::from(number));
    }
    CowVal::owned(CelDouble::from(text.parse::<f64>().unwrap_or(f64::NAN)))
}

fn json<'b, 'v>(document: &'v Document<'v>, node: NodeId) -> CowVal<'b, 'v> {
    match document.kind(node) {
        Kind::Null => CowVal::owned(CelNull),
        Kind::False => CowVal::owned(CelBool::from(false)),
        Kind::True => CowVal::owned(CelBool::from(true)),
        Kind::Number => number(document.raw(node)),
        Kind::String { .. } => match document.string(node) {
            Some(Cow::Borrowed(text)) => CowVal::owned(CelString::from(text)),
            Some(Cow::Owned(text)) => CowVal::owned(CelString::from(text)),
            None => CowVal::owned(CelNull),
        },
        Kind::Array => CowVal::owned(JsonList {
            document,
            node,
            elements: OnceLock::new(),
        }),
        Kind::Object => CowVal::owned(JsonMap {
            document,
            node,
            keys: OnceLock::new(),
        }),
    }
}

/// Looks a key up that must be a text.
fn key(index: &dyn Val) -> Result<&str, ExecutionError> {
    index
        .try_into()
        .map_err(|_| ExecutionError::UnexpectedType {
            got: index.get_type().name().to_owned(),
            want: "string".to_owned(),
        })
}

/// Hands out values that are kept somewhere.
struct Kept<'b, T>(std::slice::Iter<'b, T>);

impl<'b, 'v, T: AsVal<'v>> traits::Iterator<'b, 'v> for Kept<'b, T> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(T::as_val)
    }
}

trait AsVal<'v> {
    fn as_val(&self) -> &(dyn Val + 'v);
}

impl<'d: 'v, 'v> AsVal<'v> for CelString<'d> {
    fn as_val(&self) -> &(dyn Val + 'v) {
        self
    }
}

impl<'d: 'v, 'v> AsVal<'v> for Box<dyn Val + 'd> {
    fn as_val(&self) -> &(dyn Val + 'v) {
        self.as_ref()
    }
}

/// An object of payload or metadata.
#[derive(Debug, Clone)]
pub(super) struct JsonMap<'d> {
    document: &'d Document<'d>,
    node: NodeId,
    keys: OnceLock<Vec<CelString<'d>>>,
}

/// An array of payload or metadata.
#[derive(Debug)]
pub(super) struct JsonList<'d> {
    document: &'d Document<'d>,
    node: NodeId,
    elements: OnceLock<Vec<Box<dyn Val + 'd>>>,
}

impl Clone for JsonList<'_> {
    fn clone(&self) -> Self {
        Self {
            document: self.document,
            node: self.node,
            elements: OnceLock::new(),
        }
    }
}

impl<'d> JsonList<'d> {
    fn elements(&self) -> &[Box<dyn Val + 'd>] {
        self.elements.get_or_init(|| {
            let children = self.document.children(self.node);
            children
                .map(|child| json(self.document, child).into_owned())
                .collect()
        })
    }

    /// Returns how many elements or entries a list or map has.
    pub(super) fn length(value: &dyn Val) -> Option<i64> {
        value.as_sizer().map(|sizer| sizer.size().into())
    }
}

fn count(n: usize) -> CelInt {
    CelInt::from(i64::try_from(n).unwrap_or(i64::MAX))
}

macro_rules! container {
    ($name:ident, $type:ident) => {
        impl Val for $name<'_> {
            fn get_type(&self) -> &Type {
                &$type
            }

            fn cel_type() -> &'static Type {
                &$type
            }

            fn as_container(&self) -> Option<&dyn Container> {
                Some(self)
            }

            fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            }

            fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
            where
                Self: 'v,
            {
                Some(self)
            }

            fn as_sizer(&self) -> Option<&dyn Sizer> {
                Some(self)
            }

            fn equals(&self, other: &dyn Val) -> bool {
                super::equality::is_equal(self, other)
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
            where
                Self: 'v,
            {
                Box::new(self.clone())
            }
        }
    };
}

container!(EventValue, MAP_TYPE);
container!(JsonMap, MAP_TYPE);
container!(JsonList, LIST_TYPE);

impl<'e> Indexer for EventValue<'e> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = key(index)?;
        self.member(name)
            .ok_or_else(|| ExecutionError::no_such_key(name))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = key(index)?;
        self.member(name)
            .map(CowVal::into_owned)
            .ok_or_else(|| ExecutionError::no_such_key(name))
    }
}

impl Container for EventValue<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.member(key(value)?).is_some())
    }
}

impl Iterable for EventValue<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Kept(self.names().iter()))
    }
}

impl Sizer for EventValue<'_> {
    fn size(&self) -> CelInt {
        count(self.names().len())
    }
}

impl<'d> Indexer for JsonMap<'d> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = key(index)?;
        let member = self.document.member(self.node, name);
        member
            .map(|member| json(self.document, member))
            .ok_or_else(|| ExecutionError::no_such_key(name))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = key(index)?;
        let member = self.document.member(self.node, name);
        member
            .map(|member| json(self.document, member).into_owned())
            .ok_or_else(|| ExecutionError::no_such_key(name))
    }
}

impl Container for JsonMap<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        // Keys of JSON are texts, so nothing else is one of them.
        Ok(key(value).is_ok_and(|name| self.document.member(self.node, name).is_some()))
    }
}

impl<'d> Iterable for JsonMap<'d> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        let keys = self.keys.get_or_init(|| {
            let children = self.document.children(self.node);
            children
                .map(|child| CelString::from(self.document.key(child)))
                .collect()
        });
        Box::new(Kept(keys.iter()))
    }
}

impl Sizer for JsonMap<'_> {
    fn size(&self) -> CelInt {
        count(self.document.children(self.node).count())
    }
}

impl<'d> Indexer for JsonList<'d> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let child = self.child(index)?;
        Ok(json(self.document, child))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let child = self.child(index)?;
        Ok(json(self.document, child).into_owned())
    }
}

impl JsonList<'_> {
    fn child(&self, index: &dyn Val) -> Result<NodeId, ExecutionError> {
        let out_of_bounds = |number: i64| ExecutionError::IndexOutOfBounds(number.into());
        let number = if let Some(number) = index.downcast_ref::<CelInt>() {
            *number.inner()
        } else if let Some(number) = index.downcast_ref::<CelUInt>() {
            i64::try_from(*number.inner()).map_err(|_| out_of_bounds(i64::MAX))?
        } else {
            return Err(ExecutionError::UnexpectedType {
                got: index.get_type().name().to_owned(),
                want: "int".to_owned(),
            });
        };
        let place = usize::try_from(number).map_err(|_| out_of_bounds(number))?;
        let mut children = self.document.children(self.node);
        children.nth(place).ok_or_else(|| out_of_bounds(number))
    }
}

impl Container for JsonList<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        let mut elements = self.elements().iter();
        Ok(elements.any(|element| super::equality::is_equal(element.as_ref(), value)))
    }
}

impl<'d> Iterable for JsonList<'d> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Kept(self.elements().iter()))
    }
}

impl Sizer for JsonList<'_> {
    fn size(&self) -> CelInt {
        count(self.document.children(self.node).count())
    }
}
