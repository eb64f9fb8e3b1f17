//! Filters as they stand in bodies.

use bytes::Bytes;
use factum_model::{ErrorCode, EventId, StreamId};
use factum_query::{Filter, FilterLimits, InvalidFilter, TimeRange};

use crate::envelope::utf8;
use crate::fields::{Field, Fields, Shape};
use crate::input::{InputError, InputFault, Path, excerpt};

static FILTER: Shape<12> = Shape {
    of: "a filter",
    code: ErrorCode::InvalidFilter,
    names: [
        "eventTypes",
        "aggregateTypes",
        "aggregateIds",
        "streams",
        "ids",
        "tags",
        "correlationId",
        "causationId",
        "userId",
        "timestampRange",
        "recordedRange",
        "anyOf",
    ],
};

static STREAM: Shape<2> = Shape {
    of: "a stream",
    code: ErrorCode::InvalidFilter,
    names: ["aggregateType", "aggregateId"],
};

static RANGE: Shape<2> = Shape {
    of: "a time range",
    code: ErrorCode::InvalidFilter,
    names: ["from", "to"],
};

/// Reads a filter that is a whole text of its own.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_filter(text: &Bytes, limits: &FilterLimits) -> Result<Filter, InputError> {
    read_filter(&utf8(text)?, &Path::ROOT, limits)
}

/// Reads a filter that stands at `path`.
pub(crate) fn read_filter(
    text: &str,
    path: &Path<'_>,
    limits: &FilterLimits,
) -> Result<Filter, InputError> {
    let filter = read_level(text, path, limits, 0)?;
    filter
        .check(*limits)
        .map_err(|error| path.error(ErrorCode::InvalidFilter, error.into()))?;
    Ok(filter)
}

fn read_level(
    text: &str,
    path: &Path<'_>,
    limits: &FilterLimits,
    depth: usize,
) -> Result<Filter, InputError> {
    if depth > limits.depth_max {
        let limit = limits.depth_max;
        return Err(path.error(
            ErrorCode::InvalidFilter,
            InvalidFilter::Depth { limit }.into(),
        ));
    }
    let fields = Fields::read(text, &FILTER, path)?;
    let max = limits.values_max;
    Ok(Filter {
        event_types: list(fields.given("eventTypes"), max, |text| Ok(text.parse()?))?,
        aggregate_types: list(
            fields.given("aggregateTypes"),
            max,
            |text| Ok(text.parse()?),
        )?,
        aggregate_ids: list(fields.given("aggregateIds"), max, |text| Ok(text.parse()?))?,
        streams: streams(fields.given("streams"), max)?,
        ids: list(fields.given("ids"), max, event_id)?,
        tags: list(fields.given("tags"), max, |text| Ok(text.to_owned()))?,
        correlation_id: fields
            .get("correlationId")
            .map(|field| field.parse(str::parse))
            .transpose()?,
        causation_id: fields
            .get("causationId")
            .map(|field| field.parse_as("a UUID"))
            .transpose()?,
        user_id: fields
            .get("userId")
            .map(|field| Ok(field.string()?.into_owned()))
            .transpose()?,
        timestamp: range(fields.get("timestampRange"))?,
        recorded_at: range(fields.get("recordedRange"))?,
        any_of: any_of(fields.given("anyOf"), limits, depth)?,
        ..Filter::default()
    })
}

fn list<T>(
    field: Option<Field<'_, '_>>,
    max: usize,
    parse: impl Fn(&str) -> Result<T, InputFault>,
) -> Result<Vec<T>, InputError> {
    field.map_or(Ok(Vec::new()), |field| field.strings(max, parse))
}

/// Reads an event id out of a text.
pub(crate) fn event_id(text: &str) -> Result<EventId, InputFault> {
    text.parse().map_err(|_| InputFault::Value {
        expected: "a UUID",
        found: excerpt(text),
    })
}

fn streams(field: Option<Field<'_, '_>>, max: usize) -> Result<Vec<StreamId>, InputError> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    let path = field.parent.key(field.name);
    let element = |(index, text): (usize, &str)| {
        let path = path.index(index);
        let fields = Fields::read(text, &STREAM, &path)?;
        Ok(StreamId::new(
            fields.require("aggregateType")?.parse(str::parse)?,
            fields.require("aggregateId")?.parse(str::parse)?,
        ))
    };
    field
        .list(max)?
        .into_iter()
        .enumerate()
        .map(element)
        .collect()
}

fn range(field: Option<Field<'_, '_>>) -> Result<TimeRange, InputError> {
    let Some(field) = field else {
        return Ok(TimeRange::default());
    };
    let path = field.parent.key(field.name);
    let fields = Fields::read(field.text, &RANGE, &path)?;
    Ok(TimeRange {
        from: fields
            .get("from")
            .map(|field| field.timestamp())
            .transpose()?,
        to: fields
            .get("to")
            .map(|field| field.timestamp())
            .transpose()?,
    })
}

fn any_of(
    field: Option<Field<'_, '_>>,
    limits: &FilterLimits,
    depth: usize,
) -> Result<Vec<Filter>, InputError> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    let path = field.parent.key(field.name);
    field
        .list(limits.values_max)?
        .into_iter()
        .enumerate()
        .map(|(index, text)| read_level(text, &path.index(index), limits, depth + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Place;

    fn check(text: &str, pointer: &str, message: &str) {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let error = parse_filter(&text, &FilterLimits::default()).unwrap_err();
        assert_eq!(error.place, Place::Pointer(pointer.to_owned()));
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn a_filter_reads_as_it_is_meant() {
        let text = r#"{"eventTypes":["a.*"],"streams":[{"aggregateType":"a","aggregateId":"1"}],
            "tags":["x"],"userId":"ann","timestampRange":{"from":"2026-01-01T00:00:00Z","to":null},
            "anyOf":[{"ids":["018bcfe5-6800-7fff-bfff-ffffffffffff"]},{}]}"#;
        let filter = parse_filter(&text.into(), &FilterLimits::default()).unwrap();
        assert_eq!(filter.event_types, ["a.*".parse().unwrap()]);
        assert_eq!(filter.streams.len(), 1);
        assert_eq!(filter.any_of.len(), 2);
        assert_eq!(filter.timestamp.from, "2026-01-01T00:00:00Z".parse().ok());
        assert!(
            parse_filter(&"{}".into(), &FilterLimits::default())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn faults_name_place_and_rule() {
        check(
            r#"{"types":["a"]}"#,
            "/types",
            "unknown field \"types\" of a filter",
        );
        check(
            r#"{"event_types":["a"]}"#,
            "/event_types",
            "unknown field \"event_types\" of a filter, did you mean \"eventTypes\"?",
        );
        check(
            r#"{"eventTypes":["a","b..c"]}"#,
            "/eventTypes/1",
            "\"b..c\" is not an event type or pattern: a segment is empty",
        );
        check(r#"{"tags":[1]}"#, "/tags/0", "expected a text, found 1");
        check(r#"{"tags":"x"}"#, "/tags", "expected an array, found \"x\"");
        check(
            r#"{"anyOf":[{"ids":["x"]}]}"#,
            "/anyOf/0/ids/0",
            "x is not a UUID",
        );
        check(
            r#"{"timestampRange":{"from":"x"}}"#,
            "/timestampRange/from",
            "\"x\" is not an RFC 3339 date and time with a zone, such as 2026-03-01T09:30:00Z",
        );
        let deep = format!("{}{{}}{}", r#"{"anyOf":["#.repeat(5), "]}".repeat(5));
        check(
            &deep,
            "/anyOf/0/anyOf/0/anyOf/0/anyOf/0/anyOf/0",
            "filter is nested deeper than the limit of 4",
        );
        check("[]", "", "expected an object, found []");
    }
}
