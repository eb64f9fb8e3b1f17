//! Bodies of appends, right and wrong.

use super::*;
use crate::input::Place;

const EVENT_TEXT: &str =
    r#"{"type":"a.b","aggregateType":"a","aggregateId":"1","payload":{"x" : 1.0}}"#;

fn parse(body: &str) -> Result<AppendInput, InputError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    parse_append(&body, &InputLimits::default())
}

fn check(body: &str, code: ErrorCode, pointer: &str, message: &str) {
    let error = parse(body).unwrap_err();
    assert_eq!(error.to_string(), message, "{body}");
    assert_eq!(error.place, Place::Pointer(pointer.to_owned()), "{body}");
    assert_eq!(error.code, code, "{body}");
}

#[test]
fn one_event_keeps_its_payload_byte_for_byte() {
    let input = parse(EVENT_TEXT).unwrap();
    assert!(input.single && input.expected.is_empty());
    assert_eq!(input.events[0].payload.as_str(), r#"{"x" : 1.0}"#);
    assert_eq!(input.events[0].metadata.as_str(), "{}");
    assert_eq!(input.events[0].schema_version, SchemaVersion::FIRST);
}

#[test]
fn every_field_is_read() {
    let input = parse(
        r#" {"id":"018bcfe5-6800-7fff-bfff-ffffffffffff","type":"a.b","version":3,
        "timestamp":"2026-03-01T09:30:00+01:00","aggregateType":"\u0061","aggregateId":"x\"y",
        "causationId":null,"correlationId":"case 7","metadata":{"tags":["t"]},"payload":{},
        "expectedVersion":4} "#,
    )
    .unwrap();
    let event = &input.events[0];
    assert_eq!(event.stream.to_string(), "a/x\"y");
    assert_eq!(
        event.timestamp.unwrap().to_string(),
        "2026-03-01T08:30:00.000000Z"
    );
    assert_eq!(event.schema_version.get(), 3);
    assert_eq!(event.causation_id, None);
    let version = ExpectedVersion::Exact(SequenceNumber::new(4).unwrap());
    assert_eq!(input.expected, [(event.stream.clone(), version)]);
}

#[test]
fn many_events_come_with_expectations_and_a_condition() {
    let with =
        |version: &str| EVENT_TEXT.replacen('{', &format!("{{\"expectedVersion\":{version},"), 1);
    let body = format!(
        r#"{{"events":[{},{EVENT_TEXT}],"condition":{{"filter":{{"tags":["x"]}},"after":12}}}}"#,
        with("0")
    );
    let input = parse(&body).unwrap();
    assert!(!input.single);
    assert_eq!(input.expected[0].1, ExpectedVersion::NoStream);
    assert_eq!(input.condition.unwrap().after.as_deref(), Some("12"));
    check(
        &format!(r#"{{"events":[{EVENT_TEXT},{}]}}"#, with("\"any\"")),
        ErrorCode::InvalidRequest,
        "/events/1/expectedVersion",
        "expectedVersion stands on the first event of a stream in the request only",
    );
}

#[test]
fn faults_of_the_request_name_place_and_rule() {
    use ErrorCode::{InvalidEvent, InvalidRequest, LimitExceeded};
    check(
        "",
        InvalidRequest,
        "",
        "not JSON: EOF while parsing a value at line 1 column 0",
    );
    check("[1]", InvalidEvent, "", "expected an object, found [1]");
    check(
        "{",
        InvalidRequest,
        "",
        "not JSON: EOF while parsing an object at line 1 column 1",
    );
    check(
        &format!("{EVENT_TEXT} x"),
        InvalidRequest,
        "",
        "not JSON: trailing characters at line 1 column 76",
    );
    check(
        r#"{"events":[],"conditions":{}}"#,
        InvalidRequest,
        "/conditions",
        "unknown field \"conditions\" of an append request, did you mean \"condition\"?",
    );
    check(
        r#"{"events":[]}"#,
        InvalidRequest,
        "/events",
        "[] is not an array of at least one event",
    );
    check(
        r#"{"condition":{"filter":{}}}"#,
        InvalidRequest,
        "/events",
        "field \"events\" of an append request is missing",
    );
    check(
        &format!(r#"{{"events":[{}]}}"#, vec!["1"; 1001].join(",")),
        LimitExceeded,
        "/events",
        "number of elements of 1001 exceeds the limit of 1000",
    );
    let error = parse_append(
        &Bytes::from_static(b"{\"a\":\"\xff\"}"),
        &InputLimits::default(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the text is not UTF-8: byte 6 is wrong"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn faults_of_an_event_name_place_and_rule() {
    use ErrorCode::{InvalidEvent, InvalidRequest, LimitExceeded};
    let check = |from: &str, to: &str, code, pointer, message| {
        let event = EVENT_TEXT.replacen(from, to, 1);
        assert_ne!(event, EVENT_TEXT);
        check(
            &format!(r#"{{"events":[{EVENT_TEXT},{event}]}}"#),
            code,
            pointer,
            message,
        );
    };
    check(
        "\"type\":\"a.b\",",
        "",
        InvalidEvent,
        "/events/1/type",
        "field \"type\" of an event is missing",
    );
    check(
        "\"type\":\"a.b\"",
        "\"type\":7",
        InvalidEvent,
        "/events/1/type",
        "expected a text, found 7",
    );
    check(
        "\"type\"",
        "\"type\":\"x\",\"type\"",
        InvalidEvent,
        "/events/1/type",
        "field \"type\" stands twice",
    );
    check(
        "a.b",
        "a..b",
        InvalidEvent,
        "/events/1/type",
        "event type has an empty segment at byte 2",
    );
    check(
        "{\"x\" : 1.0}",
        "{\"x\":[1,{\"k\":1,\"k\":2}]}",
        InvalidEvent,
        "/events/1/payload/x/1/k",
        "duplicate key \"k\" at byte 15 (/x/1/k)",
    );
    check(
        "{\"x\" : 1.0}",
        "[]",
        InvalidEvent,
        "/events/1/payload",
        "expected an object at byte 0",
    );
    check(
        "\"payload\"",
        "\"version\":0,\"payload\"",
        InvalidEvent,
        "/events/1/version",
        "0 is not an integer of 1 to 4294967295",
    );
    check(
        "\"payload\"",
        "\"expectedVersion\":\"none\",\"payload\"",
        InvalidEvent,
        "/events/1/expectedVersion",
        "expected \"any\", \"noStream\", \"exists\" or a sequence number, found \"none\"",
    );
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    check(
        "{\"x\" : 1.0}",
        &deep,
        LimitExceeded,
        "/events/1/payload/x/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0",
        "nesting is deeper than the limit of 64 at byte 68 (/x/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0)",
    );
    check(
        "1.0",
        "1.",
        InvalidRequest,
        "",
        "not JSON: invalid number at line 1 column 158",
    );
}

#[test]
fn a_hundred_thousand_levels_are_an_error_not_a_crash() {
    let deep = "[".repeat(100_000);
    for body in [
        deep.clone(),
        format!("{{\"events\":{deep}"),
        format!("{{\"payload\":{deep}"),
    ] {
        assert!(parse(&body).is_err());
    }
    let closed = format!("{{\"metadata\":{deep}{}}}", "]".repeat(100_000));
    assert!(parse(&closed).is_err());
}

#[test]
fn a_bulk_line_has_no_expectation() {
    let limits = InputLimits::default();
    assert!(parse_line(&EVENT_TEXT.into(), &limits).is_ok());
    let line = EVENT_TEXT.replacen('{', "{\"expectedVersion\":1,", 1);
    let error = parse_line(&line.into(), &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expectedVersion has no meaning in a bulk append"
    );
}
