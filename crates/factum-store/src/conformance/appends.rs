//! What an append stores, and where.

use std::collections::BTreeSet;

use factum_model::{JsonObject, NewEvent, SchemaVersion, Timestamp};
use tokio::task::JoinSet;

use super::fixtures::{append, event, everything, id, json, refused, request, stream};
use super::{Subject, uuid_version};
use crate::append::AppendError;

/// The first event has position 1, sequence number 1 and the time of the store's clock.
pub async fn first_event_gets_the_first_places(subject: &Subject) {
    let now = factum_model::Clock::now(&*subject.clock);
    let receipt = append(&subject.store, vec![event("a.b", "form/f-1")]).await;
    let [receipt] = receipt.events[..] else {
        panic!("one receipt for one event");
    };
    assert_eq!(receipt.position.get(), 1);
    assert_eq!(receipt.sequence_number.get(), 1);
    assert_eq!(receipt.recorded_at, now);
    assert!(!receipt.deduplicated);
    assert_eq!(subject.store.head(), Some(receipt.position));
}

/// Positions of a request follow each other in its order; sequence numbers do per stream.
pub async fn events_of_a_request_are_contiguous_and_in_order(subject: &Subject) {
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    let streams = ["form/f-1", "form/f-2", "form/f-1", "mail/f-1", "form/f-2"];
    let events = streams.map(|of| event("a", of)).to_vec();
    let receipt = append(&subject.store, events).await;
    let places: Vec<_> = receipt
        .events
        .iter()
        .map(|receipt| (receipt.position.get(), receipt.sequence_number.get()))
        .collect();
    assert_eq!(places, [(2, 2), (3, 1), (4, 3), (5, 1), (6, 2)]);
    let log = everything(&subject.store).await;
    for ((stored, receipt), of) in log.iter().skip(1).zip(&receipt.events).zip(streams) {
        assert!(stored.is_of(&stream(of)));
        assert_eq!(
            (
                stored.id,
                stored.position,
                stored.sequence_number,
                stored.recorded_at
            ),
            (
                receipt.id,
                receipt.position,
                receipt.sequence_number,
                receipt.recorded_at
            )
        );
    }
}

/// A request without events is an error, not an empty receipt.
pub async fn empty_request_is_refused(subject: &Subject) {
    let error = refused(&subject.store, request(Vec::new())).await;
    assert!(matches!(error, AppendError::Empty), "{error:?}");
    assert_eq!(subject.store.head(), None);
}

/// What the writer gave comes back as it was.
pub async fn every_field_comes_back(subject: &Subject) {
    for timestamp in [Timestamp::MIN, Timestamp::MAX] {
        let proposed = NewEvent {
            id: Some(id(timestamp.as_micros().unsigned_abs())),
            schema_version: SchemaVersion::new(u32::MAX).unwrap(),
            timestamp: Some(timestamp),
            causation_id: Some(id(3)),
            correlation_id: Some("case ☃".parse().unwrap()),
            metadata: json(r#"{"userId":"ann","own":[1,2]}"#),
            payload: json(r#"{"amount":12.50}"#),
            ..event("order.line.added-2", "order/o 1/ü")
        };
        append(&subject.store, vec![proposed.clone()]).await;
        let log = everything(&subject.store).await;
        let stored = log.last().unwrap();
        assert!(stored.is_repeated_by(&proposed), "{stored:?}");
        assert_eq!(stored.timestamp, timestamp);
        assert_eq!(stored.origin, factum_model::EventOrigin::default());
    }
}

/// Payload and metadata are texts to the store: white space, escapes and the spelling of numbers
/// are kept.
pub async fn texts_come_back_byte_for_byte(subject: &Subject) {
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
    let texts = [
        "{}",
        "{ }",
        "\n\t{ \"a\" :\r\n [ 1 ,2] }  ",
        r#"{"a":"\u00e4\ud83d\ude00\/\\\"","ä😀":"ä😀","":""}"#,
        r#"{"a":1.0,"b":1e400,"c":-0,"d":0.10000000000000000000000000001,"e":1E+2}"#,
        r#"{"a":123456789012345678901234567890123456789012345678901234567890}"#,
        r#"{"b":1,"a":2,"A":3}"#,
        r#"{"a":null,"b":true,"c":false,"d":[],"e":{}}"#,
        nested.as_str(),
    ];
    let events = texts.map(|text| NewEvent {
        payload: json(text),
        metadata: json(text),
        ..event("a", "form/f-1")
    });
    append(&subject.store, events.to_vec()).await;
    let log = everything(&subject.store).await;
    for (stored, text) in log.iter().zip(texts) {
        assert_eq!((stored.payload(), stored.metadata()), (text, text));
    }
    assert_eq!(log.len(), texts.len());
}

/// The longest names are taken whole; names that differ anywhere are different.
pub async fn names_at_their_limits_are_kept_apart(subject: &Subject) {
    let long = |length: usize, last: char| {
        let mut text = "ü".repeat(length - 1);
        text.push(last);
        text
    };
    let mut streams = vec![
        stream("ab/c"),
        stream("a/bc"),
        stream("a/b"),
        stream("a/ b"),
        stream("a/\u{e9}"),
        stream("a/e\u{301}"),
        stream("A/b"),
    ];
    for last in ['x', 'y'] {
        streams.push(factum_model::StreamId::new(
            long(50, last).parse().unwrap(),
            long(255, last).parse().unwrap(),
        ));
    }
    let long_type = format!("{}.b", "a".repeat(98));
    let events: Vec<_> = streams
        .iter()
        .map(|stream| NewEvent {
            stream: stream.clone(),
            correlation_id: Some(long(128, 'z').parse().unwrap()),
            ..event(&long_type, "form/f-1")
        })
        .collect();
    let receipt = append(&subject.store, events.clone()).await;
    assert!(
        receipt
            .events
            .iter()
            .all(|event| event.sequence_number.get() == 1)
    );
    let log = everything(&subject.store).await;
    for (stored, proposed) in log.iter().zip(&events) {
        assert!(stored.is_repeated_by(proposed), "{stored:?}");
    }
    for stream in streams {
        let info = subject.store.stream_info(stream).await.unwrap().unwrap();
        assert_eq!(info.n_events, 1);
    }
}

/// An event of a megabyte and a request of a thousand events are within every store's bounds.
pub async fn large_events_and_large_requests_are_taken(subject: &Subject) {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat((1 << 20) - 64));
    let large = NewEvent {
        payload: JsonObject::parse(text.clone()).unwrap(),
        ..event("a", "form/f-1")
    };
    append(&subject.store, vec![large]).await;
    let many = (0..1000).map(|_| event("b", "form/f-1")).collect();
    let receipt = append(&subject.store, many).await;
    assert_eq!(receipt.events.len(), 1000);
    let log = everything(&subject.store).await;
    assert_eq!(log.len(), 1001);
    assert_eq!(log[0].payload(), text);
    assert_eq!(log[1000].sequence_number.get(), 1001);
}

/// An event without a timestamp happened when it was recorded, and the store remembers that the
/// writer did not say so.
pub async fn missing_timestamp_is_the_time_of_recording(subject: &Subject) {
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    let log = everything(&subject.store).await;
    assert_eq!(log[0].timestamp, log[0].recorded_at);
    assert!(log[0].origin.timestamp_assigned);
}

/// When the clock goes back, the time of recording stands still.
pub async fn recorded_at_never_decreases(subject: &Subject) {
    let start = factum_model::Clock::now(&*subject.clock);
    let mut latest = start;
    for step in [0, 5_000_000, -60_000_000, 1, 58_000_000, -1, 90_000_000] {
        subject.clock.advance(step);
        latest = latest.max(factum_model::Clock::now(&*subject.clock));
        let receipt = append(&subject.store, vec![event("a", "form/f-1")]).await;
        assert_eq!(receipt.events[0].recorded_at, latest);
    }
    let log = everything(&subject.store).await;
    assert!(log.is_sorted_by_key(|event| event.recorded_at));
}

/// An event without an id gets one of its own, of version 7.
pub async fn assigned_ids_are_distinct_and_of_version_7(subject: &Subject) {
    for _ in 0..4 {
        let events = (0..25).map(|_| event("a", "form/f-1")).collect();
        append(&subject.store, events).await;
        subject.clock.advance(-3_000_000);
    }
    let log = everything(&subject.store).await;
    let ids: BTreeSet<_> = log.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| uuid_version(*id) == 7));
}

/// However many append at once, positions and sequence numbers have no gap, and each request
/// stands in one piece where its receipt says.
pub async fn concurrent_appends_leave_no_gap(subject: &Subject) {
    let mut tasks = JoinSet::new();
    for writer in 0..32 {
        let store = subject.store.clone();
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for round in 0..10 {
                let events = (0..=round % 3)
                    .map(|index| event("a", &format!("form/f-{}", (writer + index) % 5)))
                    .collect();
                receipts.push(append(&store, events).await);
            }
            receipts
        });
    }
    let receipts: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let log = everything(&subject.store).await;
    let n_events: usize = receipts.iter().map(|receipt| receipt.events.len()).sum();
    assert_eq!(log.len(), n_events);
    check_dense(&log);
    for receipt in receipts {
        let first = receipt.events[0].position.get();
        for (receipt, position) in receipt.events.iter().zip(first..) {
            assert_eq!(receipt.position.get(), position);
            let stored = &log[usize::try_from(position - 1).unwrap()];
            assert_eq!(
                (stored.id, stored.sequence_number),
                (receipt.id, receipt.sequence_number)
            );
        }
    }
}

/// Asserts that a whole log has no gap in its positions nor in any stream.
///
/// # Panics
/// When it has.
pub fn check_dense(log: &[factum_model::RecordedEvent]) {
    let mut versions = std::collections::BTreeMap::new();
    for (event, position) in log.iter().zip(1..) {
        assert_eq!(event.position.get(), position);
        let stream = (event.aggregate_type(), event.aggregate_id());
        let version = versions.entry(stream).or_insert(0);
        *version += 1;
        assert_eq!(event.sequence_number.get(), *version, "{stream:?}");
    }
    assert!(log.is_sorted_by_key(|event| event.recorded_at));
}
