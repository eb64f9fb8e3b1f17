//! Events written as JSON by hand: payload and metadata are copied, never parsed.

use factum_model::{RecordedEvent, Timestamp};
use memchr::memchr2_iter;

/// How the texts that are kept byte for byte are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Byte for byte.
    Verbatim,
    /// On one line: line ends, which a JSON text has between its tokens only, become spaces. For
    /// formats in which a line is an event.
    OneLine,
}

/// Appends an event as a JSON object.
pub fn write_event(out: &mut Vec<u8>, event: &RecordedEvent, layout: Layout) {
    out.reserve(event.text_bytes() + 320);
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(event.id.encode(&mut [0; 36]).as_bytes());
    out.extend_from_slice(b"\",\"type\":\"");
    // The characters of an event type need no escape.
    out.extend_from_slice(event.event_type().as_bytes());
    out.extend_from_slice(b"\",\"version\":");
    write_number(out, u64::from(event.schema_version.get()));
    out.extend_from_slice(b",\"timestamp\":");
    write_timestamp(out, event.timestamp);
    out.extend_from_slice(b",\"recordedAt\":");
    write_timestamp(out, event.recorded_at);
    out.extend_from_slice(b",\"aggregateType\":");
    write_string(out, event.aggregate_type());
    out.extend_from_slice(b",\"aggregateId\":");
    write_string(out, event.aggregate_id());
    out.extend_from_slice(b",\"sequenceNumber\":");
    write_number(out, event.sequence_number.get());
    out.extend_from_slice(b",\"position\":");
    write_number(out, event.position.get());
    if let Some(id) = event.causation_id {
        out.extend_from_slice(b",\"causationId\":\"");
        out.extend_from_slice(id.encode(&mut [0; 36]).as_bytes());
        out.push(b'"');
    }
    if let Some(id) = event.correlation_id() {
        out.extend_from_slice(b",\"correlationId\":");
        write_string(out, id);
    }
    out.extend_from_slice(b",\"metadata\":");
    write_json(out, event.metadata(), layout);
    out.extend_from_slice(b",\"payload\":");
    write_json(out, event.payload(), layout);
    out.push(b'}');
}

/// Appends an event as a CloudEvent of version 1.0 in its structured JSON form.
///
/// The subject is the aggregate id, the source `/v1/aggregates/{type}/{id}`; the sequence number,
/// the position and what else an event has are extension attributes. The metadata are one too, as
/// a text, since an attribute has no structure.
pub fn write_cloud_event(out: &mut Vec<u8>, event: &RecordedEvent) {
    out.reserve(event.text_bytes() + 640);
    out.extend_from_slice(b"{\"specversion\":\"1.0\",\"id\":\"");
    out.extend_from_slice(event.id.encode(&mut [0; 36]).as_bytes());
    out.extend_from_slice(b"\",\"source\":\"/v1/aggregates/");
    write_path_segment(out, event.aggregate_type());
    out.push(b'/');
    write_path_segment(out, event.aggregate_id());
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(event.event_type().as_bytes());
    out.extend_from_slice(b"\",\"subject\":");
    write_string(out, event.aggregate_id());
    out.extend_from_slice(b",\"time\":");
    write_timestamp(out, event.timestamp);
    out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"schemaversion\":");
    write_number(out, u64::from(event.schema_version.get()));
    out.extend_from_slice(b",\"recordedtime\":");
    write_timestamp(out, event.recorded_at);
    out.extend_from_slice(b",\"aggregatetype\":");
    write_string(out, event.aggregate_type());
    out.extend_from_slice(b",\"aggregateid\":");
    write_string(out, event.aggregate_id());
    // Integers of CloudEvents have 32 bits, so what may be larger is a text.
    out.extend_from_slice(b",\"sequence\":\"");
    write_number(out, event.sequence_number.get());
    out.extend_from_slice(b"\",\"position\":\"");
    write_number(out, event.position.get());
    out.push(b'"');
    if let Some(id) = event.causation_id {
        out.extend_from_slice(b",\"causationid\":\"");
        out.extend_from_slice(id.encode(&mut [0; 36]).as_bytes());
        out.push(b'"');
    }
    if let Some(id) = event.correlation_id() {
        out.extend_from_slice(b",\"correlationid\":");
        write_string(out, id);
    }
    if event.metadata() != "{}" {
        out.extend_from_slice(b",\"metadata\":");
        write_string(out, event.metadata());
    }
    out.extend_from_slice(b",\"data\":");
    write_json(out, event.payload(), Layout::Verbatim);
    out.push(b'}');
}

fn write_json(out: &mut Vec<u8>, json: &str, layout: Layout) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    match layout {
        Layout::Verbatim => {}
        Layout::OneLine => {
            // Inside its strings a checked JSON text has no raw line ends.
            for at in memchr2_iter(b'\n', b'\r', json.as_bytes()) {
                if let Some(byte) = out.get_mut(start + at) {
                    *byte = b' ';
                }
            }
        }
    }
}

/// Appends a text as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex(control).map(|digit| digit.to_ascii_lowercase()));
            }
        }
    }
    out.extend_from_slice(text.as_bytes().get(plain_from..).unwrap_or_default());
    out.push(b'"');
}

fn write_path_segment(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend_from_slice(&hex(byte));
        }
    }
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 0xf)],
    ]
}

pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(crate) fn write_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    out.push(b'"');
    out.extend_from_slice(at.encode(&mut [0; Timestamp::TEXT_BYTES]).as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use factum_model::{
        EventId, EventOrigin, Position, RecordedFields, SchemaVersion, SequenceNumber,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::schema::EventDto;

    fn event(aggregate_id: &str, metadata: &str, payload: &str) -> RecordedEvent {
        RecordedEvent::new(RecordedFields {
            id: EventId::from_bytes([1; 16]),
            position: Position::FIRST.next(),
            sequence_number: SequenceNumber::FIRST,
            recorded_at: Timestamp::from_micros(20).unwrap(),
            timestamp: Timestamp::from_micros(10).unwrap(),
            schema_version: SchemaVersion::FIRST,
            origin: EventOrigin::default(),
            causation_id: Some(EventId::from_bytes([2; 16])),
            event_type: "form.opened",
            aggregate_type: "form",
            aggregate_id,
            correlation_id: Some("case"),
            metadata,
            payload,
        })
    }

    fn written(event: &RecordedEvent, layout: Layout) -> String {
        let mut out = Vec::new();
        write_event(&mut out, event, layout);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_written_with_every_field() {
        let text = written(&event("f\"1", "{}", "{\"x\" : 1.0}"), Layout::Verbatim);
        assert_eq!(
            text,
            r#"{"id":"01010101-0101-0101-0101-010101010101","type":"form.opened","version":1,"timestamp":"1970-01-01T00:00:00.000010Z","recordedAt":"1970-01-01T00:00:00.000020Z","aggregateType":"form","aggregateId":"f\"1","sequenceNumber":1,"position":2,"causationId":"02020202-0202-0202-0202-020202020202","correlationId":"case","metadata":{},"payload":{"x" : 1.0}}"#
        );
        let read: EventDto = serde_json::from_str(&text).unwrap();
        assert_eq!(read.aggregate_id, "f\"1");
    }

    #[test]
    fn an_event_on_one_line_has_no_line_ends() {
        let event = event("1", "{\r\n}", "{\n\"a\":\n\"\\n\"}");
        assert!(
            written(&event, Layout::OneLine)
                .ends_with(r#""metadata":{  },"payload":{ "a": "\n"}}"#)
        );
        assert!(written(&event, Layout::Verbatim).contains("{\r\n}"));
    }

    #[test]
    fn a_cloud_event_has_the_required_attributes() {
        let mut out = Vec::new();
        write_cloud_event(&mut out, &event("a/ä", r#"{"userId":"ann"}"#, "{}"));
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["specversion"], "1.0");
        assert_eq!(read["source"], "/v1/aggregates/form/a%2F%C3%A4");
        assert_eq!(read["subject"], "a/ä");
        assert_eq!(read["metadata"], r#"{"userId":"ann"}"#);
        let names = read.as_object().unwrap().keys();
        let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(names.into_iter().all(plain));
    }

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
