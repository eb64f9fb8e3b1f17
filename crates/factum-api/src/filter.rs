//! Filters as they stand in bodies.

use bytes::Bytes;
use factum_model::{ErrorCode, EventId, SequenceNumber, StreamId};
use factum_query::{CostlyParts, Filter, FilterLimits, SequenceRange, TimeRange};

use crate::envelope::utf8;
use crate::fields::{Field, Fields, Shape};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::query_json::{Level, json_query, text_query};

static FILTER: Shape<18> = Shape {
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
        "sequenceRange",
        "payloadQuery",
        "metadataQuery",
        "text",
        "anyOf",
        "allOf",
        "not",
    ],
};

static STREAM: Shape<2> = Shape {
    of: "a stream",
    code: ErrorCode::InvalidFilter,
    names: ["aggregateType", "aggregateId"],
};

static SEQUENCE_RANGE: Shape<2> = Shape {
    of: "a range of sequence numbers",
    code: ErrorCode::InvalidFilter,
    names: ["from", "to"],
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
    let costly = CostlyParts::new(*limits);
    let filter = read_level(text, path, Level::outermost(limits, &costly))?;
    filter
        .check(*limits)
        .map_err(|error| path.error(ErrorCode::InvalidFilter, error.into()))?;
    Ok(filter)
}

/// Reads the conditions that stand among the fields of something larger. They are not checked
/// together.
pub(crate) fn read_conditions<const N: usize>(
    fields: &Fields<'_, '_, N>,
    limits: &FilterLimits,
) -> Result<Filter, InputError> {
    let costly = CostlyParts::new(*limits);
    conditions(fields, Level::outermost(limits, &costly))
}

fn read_level(text: &str, path: &Path<'_>, level: Level<'_>) -> Result<Filter, InputError> {
    conditions(&Fields::read(text, &FILTER, path)?, level)
}

fn conditions<const N: usize>(
    fields: &Fields<'_, '_, N>,
    level: Level<'_>,
) -> Result<Filter, InputError> {
    let max = level.limits.values_max;
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
        sequence: sequence_range(fields.get("sequenceRange"))?,
        payload: fields
            .get("payloadQuery")
            .map(|field| json_query(field, level))
            .transpose()?,
        metadata: fields
            .get("metadataQuery")
            .map(|field| json_query(field, level))
            .transpose()?,
        text: fields.get("text").map(text_query).transpose()?,
        any_of: filters(fields.given("anyOf"), level)?,
        all_of: filters(fields.given("allOf"), level)?,
        not: filters(fields.get("not"), level)?,
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

fn sequence_range(field: Option<Field<'_, '_>>) -> Result<SequenceRange, InputError> {
    const EXPECTED: &str = "a sequence number, which is an integer of at least 1";
    let Some(field) = field else {
        return Ok(SequenceRange::default());
    };
    let path = field.parent.key(field.name);
    let fields = Fields::read(field.text, &SEQUENCE_RANGE, &path)?;
    let number = |name: &'static str| {
        let read = |field: Field<'_, '_>| {
            let number = SequenceNumber::new(field.integer(EXPECTED)?);
            number.ok_or_else(|| field.not(EXPECTED))
        };
        fields.get(name).map(read).transpose()
    };
    Ok(SequenceRange {
        from: number("from")?,
        to: number("to")?,
    })
}

/// Reads filters inside a filter; one alone needs no list.
fn filters(field: Option<Field<'_, '_>>, level: Level<'_>) -> Result<Vec<Filter>, InputError> {
    let Some(field) = field else {
        return Ok(Vec::new());
    };
    let path = field.parent.key(field.name);
    if field.name == "not" && field.text.starts_with('{') {
        return Ok(vec![read_level(field.text, &path, level.inner(&path)?)?]);
    }
    let read = |(index, text): (usize, &str)| {
        let path = path.index(index);
        read_level(text, &path, level.inner(&path)?)
    };
    let list = field.list(level.limits.values_max)?.into_iter();
    list.enumerate().map(read).collect()
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
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn faults_of_queries_name_place_and_rule() {
        let leaf = |rest: &str| format!(r#"{{"payloadQuery":{{"path":"$.a",{rest}}}}}"#);
        check(
            r#"{"payloadQuery":{"path":"a","operator":"exists"}}"#,
            "/payloadQuery/path",
            "\"a\" is not a JSONPath: a path begins with $ at byte 0",
        );
        check(
            r#"{"payloadQuery":[{"path":"$.a[?@.b=1]","operator":"exists"}]}"#,
            "/payloadQuery/0/path",
            "\"$.a[?@.b=1]\" is not a JSONPath: expected ',' or ']' at byte 8",
        );
        check(
            &leaf(r#""operator":"equal","value":1"#),
            "/payloadQuery/operator",
            "equal is not an operator: equals, notEquals, in, contains, exists, regex, gt, gte, lt or lte",
        );
        check(
            &leaf(r#""operator":"equals""#),
            "/payloadQuery/value",
            "field \"value\" of a query of payload or metadata is missing",
        );
        check(
            &leaf(r#""operator":"equals","value":[1]"#),
            "/payloadQuery/value",
            "[1] is not a text, a number, true, false or null",
        );
        check(
            &leaf(r#""operator":"in","value":[1,{}]"#),
            "/payloadQuery/value/1",
            "{} is not a text, a number, true, false or null",
        );
        check(
            &leaf(r#""operator":"gt","value":true"#),
            "/payloadQuery/value",
            "true is not a number or a text",
        );
        check(
            &leaf(r#""operator":"regex","value":"(""#),
            "/payloadQuery/value",
            "\"(\" is not a regular expression: unclosed group",
        );
        check(
            &leaf(r#""operator":"regex","value":"(\\w{50}){50}""#),
            "/payloadQuery/value",
            "\"(\\\\w{50}){50}\" is not a regular expression: Compiled regex exceeds size limit of 262144 bytes.",
        );
        check(
            &leaf(r#""operator":"exists","value":false"#),
            "/payloadQuery/value",
            "false is not true; with \"exists\" the value may be left out",
        );
        check(
            r#"{"metadataQuery":{"and":[],"or":[]}}"#,
            "/metadataQuery/or",
            "or is not allowed beside \"and\", \"or\" or \"not\"",
        );
        check(
            r#"{"metadataQuery":{"not":{"and":[{"operator":"exists"}]}}}"#,
            "/metadataQuery/not/and/0/path",
            "field \"path\" of a query of payload or metadata is missing",
        );
        check(
            r#"{"text":" - "}"#,
            "/text",
            "the text has no word to search for",
        );
        check(
            r#"{"text":{}}"#,
            "/text/words",
            "field \"words\" of a text to search for is missing",
        );
        check(
            r#"{"sequenceRange":{"from":0}}"#,
            "/sequenceRange/from",
            "0 is not a sequence number, which is an integer of at least 1",
        );
        check(
            r#"{"sequenceRange":{"from":3,"to":2}}"#,
            "",
            "range of sequence numbers ends at 2 before it begins at 3",
        );
        let regex = r#"{"path":"$.a","operator":"regex","value":"x"}"#;
        check(
            &format!(r#"{{"payloadQuery":[{}]}}"#, [regex; 9].join(",")),
            "/payloadQuery/8/value",
            "filter with 9 regular expressions exceeds the limit of 8",
        );
        let filter = r#"{"path":"$[?@]","operator":"exists"}"#;
        check(
            &format!(r#"{{"payloadQuery":[{}]}}"#, [filter; 5].join(",")),
            "/payloadQuery/4/path",
            "filter with 5 paths with filter expressions exceeds the limit of 4",
        );
        let deep = [r#"{"not":"#.repeat(5), "{}".to_owned(), "}".repeat(5)].concat();
        check(
            &deep,
            "/not/not/not/not/not",
            "filter is nested deeper than the limit of 4",
        );
        let deep = [r#"{"not":"#.repeat(99), "{}".to_owned(), "}".repeat(99)].concat();
        check(
            &format!(r#"{{"payloadQuery":{deep}}}"#),
            "/payloadQuery/not/not/not/not",
            "filter is nested deeper than the limit of 4",
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
