//! Cuts pages out of the list of all events.

use factum_model::{Position, RecordedEvent};

use crate::read::{Direction, LogPage, LogRead, StreamPage, StreamRead};

/// Reads a page of the log.
pub(super) fn of_log(log: &[RecordedEvent], read: &LogRead) -> LogPage {
    let mut page = LogPage {
        events: Vec::new(),
        scanned_to: read.after,
        has_more: false,
        examined: 0,
    };
    if read.limit == 0 {
        return page;
    }
    let mut page_bytes = 0;
    let in_range: Vec<_> = log
        .iter()
        .filter(|event| is_in_range(event.position, read))
        .collect();
    for (n_scanned, event) in in_direction(&in_range, read.direction).enumerate() {
        if n_scanned >= read.scan_max.max(1) {
            page.has_more = true;
            return page;
        }
        page.examined += 1;
        if read.visibility.includes(event) && read.filter.matches(event) {
            if page.events.len() >= read.limit || page_bytes >= read.page_bytes_max.max(1) {
                page.has_more = true;
                // Reading on must come to this event again, and may skip what is before it, but
                // the last event of the page is the place that every store can name.
                page.scanned_to = page.events.last().map(|event| event.position);
                return page;
            }
            page_bytes += event.text_bytes();
            page.events.push(event.clone());
        }
        page.scanned_to = Some(event.position);
    }
    page
}

fn is_in_range(position: Position, read: &LogRead) -> bool {
    match read.direction {
        Direction::Forwards => {
            Some(position) > read.after && read.until.is_none_or(|until| position <= until)
        }
        Direction::Backwards => {
            read.after.is_none_or(|after| position < after)
                && read.until.is_none_or(|until| position >= until)
        }
    }
}

/// Reads a page of one stream.
pub(super) fn of_stream(log: &[RecordedEvent], read: &StreamRead) -> StreamPage {
    let stream: Vec<_> = log
        .iter()
        .filter(|event| event.is_of(&read.stream))
        .collect();
    let in_range: Vec<_> = stream
        .iter()
        .copied()
        .filter(|event| {
            read.from.is_none_or(|from| from <= event.sequence_number)
                && read.to.is_none_or(|to| event.sequence_number <= to)
        })
        .collect();
    let mut events = Vec::new();
    let mut page_bytes = 0;
    for event in in_direction(&in_range, read.direction) {
        if events.len() >= read.limit || page_bytes >= read.page_bytes_max.max(1) {
            break;
        }
        page_bytes += event.text_bytes();
        events.push(event.clone());
    }
    StreamPage {
        has_more: events.len() < in_range.len(),
        events,
        version: stream.last().map(|event| event.sequence_number),
    }
}

fn in_direction<'a>(
    events: &'a [&'a RecordedEvent],
    direction: Direction,
) -> Box<dyn Iterator<Item = &'a RecordedEvent> + 'a> {
    let events = events.iter().copied();
    match direction {
        Direction::Forwards => Box::new(events),
        Direction::Backwards => Box::new(events.rev()),
    }
}
