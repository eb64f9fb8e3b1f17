//! Events, requests and filters for the promises and for other tests of stores.

use std::sync::Arc;

use factum_model::{
    EventId, ExpectedVersion, JsonObject, NewEvent, Position, RecordedEvent, SequenceNumber,
    StreamId, Timestamp,
};
use factum_query::{Filter, TimeRange};

use crate::append::{AppendError, AppendReceipt, AppendRequest, StreamExpectation};
use crate::read::{Direction, LogRead, Visibility};
use crate::store::EventStore;

/// Names a stream by `type/id`.
///
/// # Panics
/// When the text is not two valid names with a slash between them.
#[must_use]
pub fn stream(text: &str) -> StreamId {
    let (aggregate_type, aggregate_id) = text.split_once('/').unwrap();
    StreamId::new(
        aggregate_type.parse().unwrap(),
        aggregate_id.parse().unwrap(),
    )
}

/// Parses a JSON object.
///
/// # Panics
/// When the text is none.
#[must_use]
pub fn json(text: &str) -> JsonObject {
    JsonObject::parse(text.to_owned()).unwrap()
}

/// Makes the id with a number.
#[must_use]
pub const fn id(number: u64) -> EventId {
    let mut bytes = [0; 16];
    let number = number.to_be_bytes();
    let mut at = 0;
    while at < 8 {
        bytes[at + 8] = number[at];
        at += 1;
    }
    // Some given id of version 7, with a time long past.
    bytes[6] = 0x70;
    bytes[8] |= 0x80;
    EventId::from_bytes(bytes)
}

/// Makes an event of a type for a stream.
///
/// # Panics
/// When one of the names is not valid.
#[must_use]
pub fn event(event_type: &str, of: &str) -> NewEvent {
    NewEvent::new(event_type.parse().unwrap(), stream(of), json("{}"))
}

/// Makes a request of events without any condition.
#[must_use]
pub fn request(events: Vec<NewEvent>) -> AppendRequest {
    AppendRequest {
        events,
        ..AppendRequest::default()
    }
}

/// Makes a request of one event that expects a version of its stream.
#[must_use]
pub fn expecting(version: ExpectedVersion, event: NewEvent) -> AppendRequest {
    let stream = event.stream.clone();
    AppendRequest {
        expected: vec![StreamExpectation { stream, version }],
        ..request(vec![event])
    }
}

/// Expects that the last event of a stream has a number; zero expects no stream.
#[must_use]
pub fn at_version(number: u64) -> ExpectedVersion {
    SequenceNumber::new(number).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact)
}

/// Makes the position with a number.
///
/// # Panics
/// For zero.
#[must_use]
pub const fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// Appends events, which must succeed.
///
/// # Panics
/// When they are refused.
pub async fn append(store: &Arc<dyn EventStore>, events: Vec<NewEvent>) -> AppendReceipt {
    store.append(request(events)).await.unwrap()
}

/// Appends a request, which must be refused, and returns why.
///
/// # Panics
/// When it is taken.
pub async fn refused(store: &Arc<dyn EventStore>, request: AppendRequest) -> AppendError {
    store.append(request).await.unwrap_err()
}

/// Reads everything, the events of the engine included.
///
/// # Panics
/// When a read fails.
pub async fn everything(store: &Arc<dyn EventStore>) -> Vec<RecordedEvent> {
    let read = LogRead {
        visibility: Visibility::Everything,
        ..LogRead::forwards()
    };
    pages(store, read).await
}

/// Reads pages until there is no more.
///
/// # Panics
/// When a read fails, or a page that promises more does not move on.
pub async fn pages(store: &Arc<dyn EventStore>, mut read: LogRead) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        let page = store.read_log(read.clone()).await.unwrap();
        assert!(page.events.len() <= read.limit);
        events.extend(page.events);
        if !page.has_more {
            return events;
        }
        assert_ne!(page.scanned_to, read.after, "the page does not move on");
        read.after = page.scanned_to;
    }
}

/// Returns, by the plain evaluator, what a read of a whole log should find.
#[must_use]
pub fn expected(log: &[RecordedEvent], read: &LogRead) -> Vec<RecordedEvent> {
    let in_range = |event: &&RecordedEvent| {
        let position = event.position;
        match read.direction {
            Direction::Forwards => {
                Some(position) > read.after && read.until.is_none_or(|until| position <= until)
            }
            Direction::Backwards => {
                read.after.is_none_or(|after| position < after)
                    && read.until.is_none_or(|until| position >= until)
            }
        }
    };
    let mut events: Vec<_> = log
        .iter()
        .filter(in_range)
        .filter(|event| read.visibility.includes(event) && read.filter.matches(event))
        .cloned()
        .collect();
    if read.direction == Direction::Backwards {
        events.reverse();
    }
    events
}

const TYPES: [&str; 6] = [
    "form.opened",
    "form.field.changed",
    "form.closed",
    "submission.created",
    "mail",
    "mail.sent",
];
const STREAMS: [&str; 6] = [
    "form/f-1",
    "form/f-2",
    "submission/f-1",
    "submission/s-1",
    "mail/ä ☃",
    "factum/keys",
];
const METADATA: [&str; 5] = [
    "{}",
    r#"{"userId":"ann","tags":["red"]}"#,
    r#"{"tags":["red","blue"],"userId":"bob"}"#,
    r#"{ "tags" : [ "\u0072ed" ], "other": {"userId":"ann"} }"#,
    r#"{"userId":"a\u006en","tags":null}"#,
];

/// Makes one of many different events, with the id of its number.
///
/// # Panics
/// Never: all its names are valid.
#[must_use]
pub fn varied(number: u64) -> NewEvent {
    let pick = |from: &[&'static str], step: u64| {
        let index = number.wrapping_mul(step) / 3 % from.len() as u64;
        from[usize::try_from(index).unwrap()]
    };
    let hour = 3_600_000_000 * i64::try_from(number % 24).unwrap();
    NewEvent {
        id: Some(id(number)),
        timestamp: (!number.is_multiple_of(5)).then(|| Timestamp::from_micros(hour).unwrap()),
        causation_id: number.is_multiple_of(4).then(|| id(number / 2)),
        correlation_id: number
            .is_multiple_of(7)
            .then(|| format!("case {}", number % 3).parse().unwrap()),
        metadata: json(pick(&METADATA, 5)),
        payload: json(&format!(r#"{{"number":{number}}}"#)),
        ..event(pick(&TYPES, 7), pick(&STREAMS, 11))
    }
}

/// Appends many different events, in requests of different sizes while the clock moves.
///
/// # Panics
/// When they are refused.
pub async fn varied_history(subject: &super::Subject, n_events: u64) -> Vec<RecordedEvent> {
    let mut next = 1;
    while next <= n_events {
        let end = (next + next % 5 + 1).min(n_events + 1);
        append(&subject.store, (next..end).map(varied).collect()).await;
        subject.clock.advance(1_000_000);
        next = end;
    }
    everything(&subject.store).await
}

/// Returns filters that between them use every condition; for histories of [`varied`] events.
///
/// # Panics
/// Never: all its names are valid.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one table")]
pub fn filters() -> Vec<Filter> {
    let none = Filter::default();
    let types = |patterns: &[&str]| Filter {
        event_types: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        ..Filter::default()
    };
    let tags = |tags: &[&str]| Filter {
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        ..Filter::default()
    };
    let user = |user: &str| Filter {
        user_id: Some(user.to_owned()),
        ..Filter::default()
    };
    let time = |micros: i64| Timestamp::from_micros(micros);
    let correlation = Filter {
        correlation_id: Some("case 1".parse().unwrap()),
        ..none.clone()
    };
    let early = Filter {
        recorded_at: TimeRange {
            from: None,
            to: time(super::START_MICROS + 5_000_000),
        },
        ..none.clone()
    };
    let night = Filter {
        timestamp: TimeRange {
            from: time(0),
            to: time(6 * 3_600_000_000),
        },
        ..none.clone()
    };
    vec![
        types(&["form.opened"]),
        types(&["form.*"]),
        types(&["form.>", "mail"]),
        types(&["*.*"]),
        types(&[">"]),
        types(&["nothing.like.it"]),
        tags(&["red"]),
        tags(&["red", "blue"]),
        tags(&["green"]),
        user("ann"),
        user("bob"),
        Filter {
            aggregate_types: vec!["form".parse().unwrap(), "factum".parse().unwrap()],
            ..none.clone()
        },
        Filter {
            aggregate_ids: vec!["f-1".parse().unwrap(), "ä ☃".parse().unwrap()],
            ..none.clone()
        },
        Filter {
            streams: vec![stream("form/f-2"), stream("submission/f-1")],
            ..none.clone()
        },
        Filter {
            ids: vec![id(3), id(17), id(999_999)],
            ..none.clone()
        },
        Filter {
            causation_id: Some(id(6)),
            ..none.clone()
        },
        Filter {
            any_of: vec![correlation.clone(), types(&["mail"])],
            ..types(&["mail.>", "mail", "form.opened"])
        },
        Filter {
            any_of: vec![
                Filter {
                    any_of: vec![night.clone(), tags(&["blue"])],
                    ..user("bob")
                },
                early.clone(),
            ],
            ..none.clone()
        },
        Filter {
            tags: vec!["red".to_owned()],
            user_id: Some("ann".to_owned()),
            ..types(&["form.>"])
        },
        correlation,
        early,
        night,
        none,
    ]
}
