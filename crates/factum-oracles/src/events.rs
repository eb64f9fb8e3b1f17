//! Bodies of appends, and events written out again.

use bytes::Bytes;
use factum_api::{
    InputError, InputLimits, Layout, Place, Problem, parse_append, parse_line, write_cloud_event,
    write_event,
};
use factum_model::{
    EventId, EventOrigin, NewEvent, Position, RecordedEvent, RecordedFields, SequenceNumber,
    Timestamp,
};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) const SEEDS: &[&str] = &[
    r#"{"type":"a.b","aggregateType":"a","aggregateId":"1","payload":{"x": 1.0}}"#,
    r#"{"id":"01a1fd3e-dc9a-7040-af22-b7001ac66f9d","type":"a","version":2,"timestamp":"2026-11-21T08:35:17Z","aggregateType":"a","aggregateId":"ä\n\"","causationId":"01a1fd3e-dc9a-7040-af22-b7001ac66f9d","correlationId":"c","metadata":{"tags":["t"],"userId":"u"},"payload":{ },"expectedVersion":"noStream"}"#,
    r#"{"events":[{"type":"a","aggregateType":"a","aggregateId":"1","payload":{},"expectedVersion":3},{"type":"b","aggregateType":"b","aggregateId":"1","payload":{}}],"condition":{"filter":{"eventTypes":["a.*"],"tags":["x"]},"after":7}}"#,
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    correlation_id: Option<String>,
    timestamp: String,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// A body is refused with a place that can be named, or its events go out again as they came in.
///
/// # Panics
/// When not.
pub fn events(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let limits = InputLimits::default();
    match parse_append(&body, &limits) {
        Ok(input) => {
            assert!(!input.events.is_empty());
            assert!(input.expected.len() <= input.events.len());
            input.events.iter().for_each(goes_out_again);
        }
        Err(error) => can_be_named(&error),
    }
    match parse_line(&body, &limits) {
        Ok(event) => goes_out_again(&event),
        Err(error) => can_be_named(&error),
    }
}

pub(crate) fn can_be_named(error: &InputError) {
    let problem = Problem::from(error);
    assert!((400..500).contains(&problem.status), "{error}");
    assert!(!problem.detail.is_empty());
    match &error.place {
        Place::Pointer(pointer) => {
            assert!(
                pointer.is_empty() || pointer.starts_with('/'),
                "{pointer:?}"
            );
        }
        Place::Parameter(name) => assert_eq!(problem.parameter.as_ref(), Some(name)),
    }
    // The answer goes out as JSON.
    let text = serde_json::to_string(&problem).unwrap();
    assert!(text.len() < 4096, "an error of {} bytes", text.len());
}

/// Records an event as a store would.
pub(crate) fn recorded(event: &NewEvent) -> RecordedEvent {
    RecordedEvent::new(RecordedFields {
        id: event.id.unwrap_or(EventId::from_bytes([7; 16])),
        position: Position::FIRST,
        sequence_number: SequenceNumber::FIRST,
        recorded_at: Timestamp::MIN,
        timestamp: event.timestamp.unwrap_or(Timestamp::MIN),
        schema_version: event.schema_version,
        origin: EventOrigin::default(),
        causation_id: event.causation_id,
        event_type: event.event_type.as_str(),
        aggregate_type: event.stream.aggregate_type.as_str(),
        aggregate_id: event.stream.aggregate_id.as_str(),
        correlation_id: event.correlation_id.as_ref().map(|id| id.as_str()),
        metadata: event.metadata.as_str(),
        payload: event.payload.as_str(),
    })
}

fn goes_out_again(event: &NewEvent) {
    let record = recorded(event);
    let mut out = Vec::new();
    write_event(&mut out, &record, Layout::Verbatim);
    let written: Written<'_> = serde_json::from_slice(&out).unwrap();
    assert_eq!(written.payload.get(), event.payload.as_str().trim());
    let metadata = written.metadata.map_or("{}", RawValue::get);
    assert_eq!(metadata, event.metadata.as_str().trim());
    assert_eq!(written.id, record.id.to_string());
    assert_eq!(written.event_type, event.event_type.as_str());
    assert_eq!(written.aggregate_type, event.stream.aggregate_type.as_str());
    assert_eq!(written.aggregate_id, event.stream.aggregate_id.as_str());
    let correlation = event.correlation_id.as_ref().map(|id| id.as_str());
    assert_eq!(written.correlation_id.as_deref(), correlation);
    assert_eq!(written.timestamp.parse(), Ok(record.timestamp));
    out.clear();
    write_event(&mut out, &record, Layout::OneLine);
    assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
    serde_json::from_slice::<Written<'_>>(&out).unwrap();
    out.clear();
    write_cloud_event(&mut out, &record);
    serde_json::from_slice::<&RawValue>(&out).unwrap();
}
