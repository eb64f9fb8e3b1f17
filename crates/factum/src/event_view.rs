//! Events as the server writes them, and how people see them.

use std::borrow::Cow;
use std::io;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::{Out, Tone, printable};

/// A recorded event, read from the server's JSON. Further members are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventView<'a> {
    pub(crate) id: &'a str,
    #[serde(rename = "type")]
    pub(crate) event_type: &'a str,
    pub(crate) version: u32,
    pub(crate) timestamp: &'a str,
    pub(crate) recorded_at: &'a str,
    #[serde(borrow)]
    pub(crate) aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) aggregate_id: Cow<'a, str>,
    pub(crate) sequence_number: u64,
    pub(crate) position: u64,
    pub(crate) causation_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) payload: &'a RawValue,
}

/// How much of a payload stands on one line.
const PAYLOAD_CHARS: usize = 100;

impl<'a> EventView<'a> {
    /// Reads an event.
    pub(crate) fn parse(json: &'a [u8]) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(json)?)
    }

    /// Writes the event on one line.
    pub(crate) fn write_line(&self, out: &mut Out) -> io::Result<()> {
        let position = out.paint(Tone::Faint, &format!("{:>8}", self.position));
        let time = self.timestamp.get(..19).unwrap_or(self.timestamp);
        let event_type = out.paint(Tone::Name, &printable(self.event_type));
        let stream = printable(&format!("{}/{}", self.aggregate_type, self.aggregate_id));
        let payload = out.paint(Tone::Faint, &excerpt(self.payload.get()));
        out.line(format_args!(
            "{position}  {time}Z  {event_type}  {stream}#{}  {payload}",
            self.sequence_number
        ))
    }

    /// Writes the event with all its fields, one a line.
    pub(crate) fn write_fields(&self, out: &mut Out) -> io::Result<()> {
        let stream = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        let mut fields = vec![
            ("id", self.id.to_owned()),
            ("type", self.event_type.to_owned()),
            ("version", self.version.to_string()),
            ("stream", stream),
            ("sequence number", self.sequence_number.to_string()),
            ("position", self.position.to_string()),
            ("timestamp", self.timestamp.to_owned()),
            ("recorded at", self.recorded_at.to_owned()),
        ];
        if let Some(id) = self.causation_id {
            fields.push(("causation id", id.to_owned()));
        }
        if let Some(id) = &self.correlation_id {
            fields.push(("correlation id", id.to_string()));
        }
        if let Some(metadata) = self.metadata {
            fields.push(("metadata", metadata.get().to_owned()));
        }
        fields.push(("payload", self.payload.get().to_owned()));
        for (name, value) in fields {
            let name = out.paint(Tone::Faint, &format!("{name:<15}"));
            out.line(format_args!("{name}  {}", printable(&value)))?;
        }
        Ok(())
    }
}

fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(PAYLOAD_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    printable(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_payload_as_it_came() {
        let json = br#"{"id":"i","type":"a.b","version":1,"timestamp":"2026-03-01T09:30:00.000000Z",
            "recordedAt":"2026-03-01T09:30:00.000000Z","aggregateType":"a","aggregateId":"\u00fc","sequenceNumber":2,
            "position":7,"metadata":{},"payload":{"x": 1.0}}"#;
        let view = EventView::parse(json).unwrap();
        assert_eq!(view.payload.get(), r#"{"x": 1.0}"#);
        assert_eq!(view.aggregate_id, "ü");
        assert_eq!(view.correlation_id, None);
    }

    #[test]
    fn a_long_payload_is_cut_at_a_character() {
        assert_eq!(excerpt(&"ü".repeat(200)).chars().count(), PAYLOAD_CHARS + 1);
        assert_eq!(excerpt("{}"), "{}");
    }
}
