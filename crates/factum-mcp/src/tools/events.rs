//! Events in the answers of the tools.

use factum_api::{EventDto, Layout, write_event};
use factum_model::RecordedEvent;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::say;
use crate::budget::without_large;

/// A page of events.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes an output")]
pub(super) struct EventsOut {
    /// The events, in reading direction. A payload that is too large for the budget is
    /// `{"omittedBytes":…}`.
    events: Vec<EventDto>,
    /// Give it as `cursor` to go on after these.
    cursor: String,
    /// There is, or may be, more.
    has_more: bool,
    /// How many match in all, where it was asked for.
    total_count: Option<u64>,
}

/// An event on its own.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes an output")]
pub(super) struct EventOut {
    /// The event. A payload that is too large for the budget is `{"omittedBytes":…}`.
    event: EventDto,
}

/// Events as JSON, within a budget.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) json: Vec<u8>,
    pub(super) n_events: usize,
    /// Something of an event was too large.
    pub(super) omitted: bool,
}

/// Writes a list of events. Those that do not fit are left out, but the first one is always there,
/// without what is too large about it.
pub(super) fn write_list(events: &[RecordedEvent], bytes_max: usize) -> Written {
    let mut written = Written::default();
    written.json.push(b'[');
    for event in events {
        let before = written.json.len();
        if written.n_events > 0 {
            written.json.push(b',');
        }
        write_event(&mut written.json, event, Layout::Verbatim);
        if written.json.len() > bytes_max {
            written.json.truncate(before);
            if written.n_events > 0 {
                break;
            }
            let (smaller, n_omitted) = write_one(event, bytes_max);
            written.json.extend_from_slice(smaller.as_bytes());
            written.omitted = n_omitted > 0;
        }
        written.n_events += 1;
    }
    written.json.push(b']');
    written
}

/// Writes an event, without what is too large about it. Returns how many members are left out.
pub(super) fn write_one(event: &RecordedEvent, bytes_max: usize) -> (String, usize) {
    let mut whole = Vec::new();
    write_event(&mut whole, event, Layout::Verbatim);
    let whole = String::from_utf8(whole).unwrap_or_default();
    if whole.len() <= bytes_max {
        return (whole, 0);
    }
    without_large(&whole, bytes_max)
}

/// Says in a line what an event is.
pub(super) fn in_short(event: &RecordedEvent) -> String {
    let (event_type, position) = (event.event_type(), event.position);
    let stream = format!("{}/{}", event.aggregate_type(), event.aggregate_id());
    format!("{event_type} of {stream} at position {position}")
}

/// Says what a page holds.
pub(super) fn page_text(written: &Written, has_more: bool, total: Option<u64>) -> String {
    let n_events = written.n_events;
    let mut text = match n_events {
        0 => "No events.".to_owned(),
        1 => "1 event.".to_owned(),
        _ => format!("{n_events} events."),
    };
    if let Some(total) = total {
        say(&mut text, format_args!(" {total} match in all."));
    }
    if has_more {
        text.push_str(" There may be more: ask on with the cursor.");
    }
    if written.omitted {
        text.push_str(" What was too large says its size as omittedBytes; maxBytes allows more.");
    }
    text
}

/// Writes a value that can only be written.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
