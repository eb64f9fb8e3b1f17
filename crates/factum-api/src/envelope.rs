//! The body of an append: one event, or many with a condition.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use bytestring::ByteString;
use factum_model::{
    AggregateId, AggregateType, CorrelationId, ErrorCode, EventType, ExpectedVersion, InvalidName,
    JsonObject, LimitExceeded, Limits, NewEvent, SchemaVersion, SequenceNumber, StreamId,
};
use factum_query::{Filter, FilterLimits};
use serde::de::IgnoredAny;

use crate::fields::{Field, Fields, Shape};
use crate::filter::read_filter;
use crate::input::{InputError, InputFault, Path};

/// The bounds on what a body may bring.
#[derive(Debug, Clone, Copy, Default)]
pub struct InputLimits {
    /// The bounds on events.
    pub events: Limits,
    /// The bounds on filters.
    pub filter: FilterLimits,
}

/// What a client asks to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendInput {
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// What the client expects of streams, at most once each.
    pub expected: Vec<(StreamId, ExpectedVersion)>,
    /// What must not have happened.
    pub condition: Option<ConditionInput>,
    /// The body was one event, not a list of one.
    pub single: bool,
}

/// An append condition as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionInput {
    /// The events that must not be there.
    pub filter: Filter,
    /// A cursor or the number of a position; `None` looks at the whole log.
    pub after: Option<String>,
}

static EVENT: Shape<11> = Shape {
    of: "an event",
    code: ErrorCode::InvalidEvent,
    names: [
        "id",
        "type",
        "version",
        "timestamp",
        "aggregateType",
        "aggregateId",
        "causationId",
        "correlationId",
        "metadata",
        "payload",
        "expectedVersion",
    ],
};

/// Either body, so that one look tells which it is.
static BODY: Shape<13> = Shape {
    of: "an event",
    code: ErrorCode::InvalidEvent,
    names: [
        "id",
        "type",
        "version",
        "timestamp",
        "aggregateType",
        "aggregateId",
        "causationId",
        "correlationId",
        "metadata",
        "payload",
        "expectedVersion",
        "events",
        "condition",
    ],
};

static REQUEST: Shape<2> = Shape {
    of: "an append request",
    code: ErrorCode::InvalidRequest,
    names: ["events", "condition"],
};

static CONDITION: Shape<2> = Shape {
    of: "an append condition",
    code: ErrorCode::InvalidRequest,
    names: ["filter", "after"],
};

/// Reads the body of an append. Payload and metadata share the bytes of the body.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault, the rule and what was found.
pub fn parse_append(body: &Bytes, limits: &InputLimits) -> Result<AppendInput, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    // An unknown field is answered by the shape that was probably meant.
    let whole = match Fields::read(&body, &BODY, &path) {
        Ok(whole) => whole,
        Err(error) => {
            let plainer = if is_request(&body) {
                Fields::read(&body, &REQUEST, &path).err()
            } else {
                Fields::read(&body, &EVENT, &path).err()
            };
            return Err(plainer.unwrap_or(error));
        }
    };
    if whole.get("events").is_some() || whole.get("condition").is_some() {
        return parse_many(&body, limits);
    }
    let (event, expected) = read_event(&body, &body, &path, limits)?;
    let expected = expected.map(|version| (event.stream.clone(), version));
    Ok(AppendInput {
        expected: expected.into_iter().collect(),
        events: vec![event],
        condition: None,
        single: true,
    })
}

/// Tells whether a body that has a fault was meant as a request of many events.
fn is_request(body: &str) -> bool {
    let names = serde_json::from_str::<HashMap<String, IgnoredAny>>(body);
    names.is_ok_and(|names| REQUEST.names.iter().any(|name| names.contains_key(*name)))
}

fn parse_many(body: &ByteString, limits: &InputLimits) -> Result<AppendInput, InputError> {
    let path = Path::ROOT;
    let fields = Fields::read(body, &REQUEST, &path)?;
    let list = fields.require("events")?;
    let texts = list.list(limits.events.request_events_max)?;
    if texts.is_empty() {
        return Err(list.not("an array of at least one event"));
    }
    let list_path = path.key("events");
    let mut events = Vec::with_capacity(texts.len());
    let mut versions = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let (event, version) = read_event(body, text, &list_path.index(index), limits)?;
        if let Some(version) = version {
            versions.push((index, version));
        }
        events.push(event);
    }
    let condition = fields
        .get("condition")
        .map(|field| read_condition(field, limits))
        .transpose()?;
    Ok(AppendInput {
        expected: expectations(&events, versions, &list_path)?,
        events,
        condition,
        single: false,
    })
}

fn expectations(
    events: &[NewEvent],
    versions: Vec<(usize, ExpectedVersion)>,
    path: &Path<'_>,
) -> Result<Vec<(StreamId, ExpectedVersion)>, InputError> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen = HashSet::new();
    let first: Vec<bool> = events
        .iter()
        .map(|event| seen.insert(&event.stream))
        .collect();
    versions
        .into_iter()
        .map(|(index, version)| {
            if first.get(index) != Some(&true) {
                let rule = "stands on the first event of a stream in the request only";
                let path = path.index(index);
                let fault = InputFault::Expectation { rule };
                return Err(path
                    .key("expectedVersion")
                    .error(ErrorCode::InvalidRequest, fault));
            }
            Ok((events[index].stream.clone(), version))
        })
        .collect()
}

/// Reads one line of a bulk append: an event without an expected version.
///
/// # Errors
/// As [`parse_append`].
pub fn parse_line(line: &Bytes, limits: &InputLimits) -> Result<NewEvent, InputError> {
    let line = utf8(line)?;
    let (event, expected) = read_event(&line, &line, &Path::ROOT, limits)?;
    if expected.is_some() {
        // Where a chunk begins is not the client's to say, so neither is which event is first.
        let rule = "has no meaning in a bulk append";
        let fault = InputFault::Expectation { rule };
        let code = ErrorCode::InvalidRequest;
        return Err(Path::ROOT.key("expectedVersion").error(code, fault));
    }
    Ok(event)
}

pub(crate) fn utf8(body: &Bytes) -> Result<ByteString, InputError> {
    match ByteString::try_from(body.clone()) {
        Ok(text) => Ok(text),
        Err(_) => {
            let at = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), |_| 0);
            let fault = InputFault::NotUtf8 { at };
            Err(InputError::of_body(ErrorCode::InvalidRequest, fault))
        }
    }
}

pub(crate) fn read_event(
    body: &ByteString,
    text: &str,
    path: &Path<'_>,
    limits: &InputLimits,
) -> Result<(NewEvent, Option<ExpectedVersion>), InputError> {
    let fields = Fields::read(text, &EVENT, path)?;
    let object = |field: Field<'_, '_>| {
        JsonObject::parse_within(body.slice_ref(field.text), limits.events.json)
            .map_err(|fault| field.error(fault))
    };
    let event = NewEvent {
        id: optional(fields.get("id"), |field| field.parse_as("a UUID"))?,
        event_type: name(fields.require("type")?, EventType::from_text)?,
        schema_version: optional(fields.get("version"), version)?.unwrap_or_default(),
        timestamp: optional(fields.get("timestamp"), |field| field.timestamp())?,
        stream: StreamId::new(
            name(fields.require("aggregateType")?, AggregateType::from_text)?,
            name(fields.require("aggregateId")?, AggregateId::from_text)?,
        ),
        causation_id: optional(fields.get("causationId"), |field| field.parse_as("a UUID"))?,
        correlation_id: optional(fields.get("correlationId"), |field| {
            name(field, CorrelationId::from_text)
        })?,
        metadata: optional(fields.get("metadata"), object)?.unwrap_or_default(),
        payload: object(fields.require("payload")?)?,
    };
    check_size(&event, path, limits)?;
    let expected = optional(fields.get("expectedVersion"), expected_version)?;
    Ok((event, expected))
}

fn check_size(event: &NewEvent, path: &Path<'_>, limits: &InputLimits) -> Result<(), InputError> {
    factum_model::check_event(event, &limits.events)
        .map_err(|error: LimitExceeded| path.error(ErrorCode::LimitExceeded, error.into()))
}

fn optional<'a, 'p, T>(
    field: Option<Field<'a, 'p>>,
    read: impl FnOnce(Field<'a, 'p>) -> Result<T, InputError>,
) -> Result<Option<T>, InputError> {
    field.map(read).transpose()
}

/// Reads a name into a buffer of its own, so that a stream that is remembered does not keep the
/// body of a request in memory.
fn name<T>(
    field: Field<'_, '_>,
    from_text: impl FnOnce(ByteString) -> Result<T, InvalidName>,
) -> Result<T, InputError> {
    field.parse(|text| from_text(ByteString::from(text)))
}

fn version(field: Field<'_, '_>) -> Result<SchemaVersion, InputError> {
    const EXPECTED: &str = "an integer of 1 to 4294967295";
    let number = field.integer(EXPECTED)?;
    let number = u32::try_from(number).ok().and_then(SchemaVersion::new);
    number.ok_or_else(|| field.not(EXPECTED))
}

fn expected_version(field: Field<'_, '_>) -> Result<ExpectedVersion, InputError> {
    const EXPECTED: &str = "\"any\", \"noStream\", \"exists\" or a sequence number";
    match field.text {
        "\"any\"" => Ok(ExpectedVersion::Any),
        "\"noStream\"" => Ok(ExpectedVersion::NoStream),
        "\"exists\"" => Ok(ExpectedVersion::Exists),
        _ => {
            let number = field.integer(EXPECTED)?;
            // Version 0 is what a writer that counts from zero calls a stream without events.
            Ok(SequenceNumber::new(number)
                .map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact))
        }
    }
}

fn read_condition(
    field: Field<'_, '_>,
    limits: &InputLimits,
) -> Result<ConditionInput, InputError> {
    let path = field.parent.key(field.name);
    let fields = Fields::read(field.text, &CONDITION, &path)?;
    let filter = fields.require("filter")?;
    Ok(ConditionInput {
        filter: read_filter(filter.text, &path.key("filter"), &limits.filter)?,
        after: optional(fields.get("after"), after)?,
    })
}

/// Reads where to start: a cursor, or the number of a position.
pub(crate) fn after(field: Field<'_, '_>) -> Result<String, InputError> {
    const EXPECTED: &str = "a cursor or the number of a position";
    if field.text.starts_with('"') {
        return Ok(field.string()?.into_owned());
    }
    Ok(field.integer(EXPECTED)?.to_string())
}

#[cfg(test)]
mod tests;
