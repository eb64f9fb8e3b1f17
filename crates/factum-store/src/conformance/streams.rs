//! Reads of one stream, and what is known of it.

use factum_model::{NewEvent, RecordedEvent, SequenceNumber, Timestamp};

use super::Subject;
use super::fixtures::{append, event, everything, id, stream, varied_history};
use crate::read::{Direction, StreamInfo, StreamPage, StreamRead};

const DIRECTIONS: [Direction; 2] = [Direction::Forwards, Direction::Backwards];

fn expected(log: &[RecordedEvent], read: &StreamRead) -> Vec<RecordedEvent> {
    let mut events: Vec<_> = log
        .iter()
        .filter(|event| event.is_of(&read.stream))
        .filter(|event| read.from.is_none_or(|from| from <= event.sequence_number))
        .filter(|event| read.to.is_none_or(|to| event.sequence_number <= to))
        .cloned()
        .collect();
    if read.direction == Direction::Backwards {
        events.reverse();
    }
    events
}

/// `from` and `to` are inclusive sequence numbers, whichever way the stream is read.
pub async fn stream_is_read_in_both_directions_and_any_range(subject: &Subject) {
    let log = varied_history(subject, 90).await;
    let bounds = [0, 1, 2, 5, 12, 99, u64::MAX].map(SequenceNumber::new);
    for of in ["form/f-1", "submission/f-1", "mail/ä ☃", "factum/keys"].map(stream) {
        let n_events = log.iter().filter(|event| event.is_of(&of)).count() as u64;
        assert!(n_events > 3, "{of} has {n_events} events");
        for direction in DIRECTIONS {
            for from in bounds {
                for to in bounds {
                    let read = StreamRead {
                        direction,
                        from,
                        to,
                        ..StreamRead::forwards(of.clone())
                    };
                    let page = subject.store.read_stream(read.clone()).await.unwrap();
                    assert_eq!(page.events, expected(&log, &read), "{read:?}");
                    assert!(!page.has_more, "{read:?}");
                    assert_eq!(page.version, SequenceNumber::new(n_events));
                }
            }
        }
    }
}

/// A stream that nobody appended to is not an error, and not there.
pub async fn unknown_stream_is_empty(subject: &Subject) {
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    for of in ["form/f-2", "mail/f-1"].map(stream) {
        let page = subject
            .store
            .read_stream(StreamRead::forwards(of.clone()))
            .await
            .unwrap();
        let nothing = StreamPage {
            events: Vec::new(),
            has_more: false,
            version: None,
        };
        assert_eq!(page, nothing);
        assert_eq!(subject.store.stream_info(of).await.unwrap(), None);
    }
}

/// A page of a stream has at most `limit` events, ends when its bytes are full, and says exactly
/// whether there is more.
pub async fn stream_page_ends_at_its_limit_or_bytes(subject: &Subject) {
    append(
        &subject.store,
        (0..6).map(|_| event("a", "form/f-1")).collect(),
    )
    .await;
    let event_bytes = everything(&subject.store).await[0].text_bytes();
    for direction in DIRECTIONS {
        let read = StreamRead {
            direction,
            ..StreamRead::forwards(stream("form/f-1"))
        };
        for limit in 1..8 {
            let page = subject
                .store
                .read_stream(StreamRead {
                    limit,
                    ..read.clone()
                })
                .await
                .unwrap();
            assert_eq!(
                (page.events.len(), page.has_more),
                (limit.min(6), limit < 6)
            );
        }
        for (page_bytes_max, n_events) in [(0, 1), (event_bytes, 1), (event_bytes + 1, 2)] {
            let page = subject
                .store
                .read_stream(StreamRead {
                    page_bytes_max,
                    ..read.clone()
                })
                .await
                .unwrap();
            assert_eq!((page.events.len(), page.has_more), (n_events, true));
        }
        // What is outside of the range is not "more".
        let part = StreamRead {
            from: SequenceNumber::new(2),
            to: SequenceNumber::new(4),
            limit: 3,
            ..read
        };
        let page = subject.store.read_stream(part).await.unwrap();
        assert_eq!((page.events.len(), page.has_more), (3, false));
    }
}

/// Reading on from the last sequence number gives the whole stream.
pub async fn stream_pages_make_the_whole(subject: &Subject) {
    let log = varied_history(subject, 90).await;
    for limit in [1, 4] {
        let mut read = StreamRead {
            limit,
            ..StreamRead::forwards(stream("form/f-1"))
        };
        let whole = expected(&log, &read);
        let mut found = Vec::new();
        loop {
            let page = subject.store.read_stream(read.clone()).await.unwrap();
            found.extend(page.events);
            if !page.has_more {
                break;
            }
            read.from = found
                .last()
                .map(|event: &RecordedEvent| event.sequence_number.next());
        }
        assert_eq!(found, whole);
    }
}

/// Version, count, and the times and places of the first and the last event; the times are the
/// writer's and need not be in order.
pub async fn stream_info_tells_first_and_last(subject: &Subject) {
    let timed = |micros| NewEvent {
        timestamp: Timestamp::from_micros(micros),
        ..event("a", "form/f-1")
    };
    append(&subject.store, vec![event("a", "form/f-2"), timed(50)]).await;
    append(
        &subject.store,
        vec![timed(90), event("a", "mail/f-1"), timed(20)],
    )
    .await;
    append(&subject.store, vec![event("a", "form/f-2")]).await;
    let info = subject.store.stream_info(stream("form/f-1")).await.unwrap();
    assert_eq!(
        info,
        Some(StreamInfo {
            stream: stream("form/f-1"),
            version: SequenceNumber::new(3).unwrap(),
            n_events: 3,
            first_timestamp: Timestamp::from_micros(50).unwrap(),
            last_timestamp: Timestamp::from_micros(20).unwrap(),
            first_position: super::fixtures::at(2),
            last_position: super::fixtures::at(5),
        })
    );
}

/// The types under which an id has a stream come sorted, each once.
pub async fn aggregate_types_of_an_id_are_sorted(subject: &Subject) {
    let streams = [
        "mail/x", "form/x", "mail/x", "form/y", "factum/x", "Form/x", "form/x2",
    ];
    append(&subject.store, streams.map(|of| event("a", of)).to_vec()).await;
    let named = NewEvent {
        id: Some(id(1)),
        ..event("a", "zoo/x")
    };
    append(&subject.store, vec![named]).await;
    for (aggregate_id, expected) in [
        ("x", &["Form", "factum", "form", "mail", "zoo"][..]),
        ("y", &["form"]),
        ("z", &[]),
    ] {
        let types = subject
            .store
            .aggregate_types_of(aggregate_id.parse().unwrap())
            .await
            .unwrap();
        let types: Vec<_> = types.iter().map(AsRef::as_ref).collect();
        assert_eq!(types, expected);
    }
}
