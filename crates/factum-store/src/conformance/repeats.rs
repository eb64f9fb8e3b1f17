//! Requests that come again.

use std::sync::Arc;

use factum_model::{EventId, ExpectedVersion, NewEvent, Position, SchemaVersion, Timestamp};
use factum_query::Filter;
use tokio::task::JoinSet;

use super::Subject;
use super::fixtures::{
    append, at, at_version, event, everything, expecting, id, json, refused, request, stream,
    varied,
};
use crate::append::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, PartialRepeat, StreamExpectation,
};
use crate::store::EventStore;

fn named(number: u64, of: &str) -> NewEvent {
    NewEvent {
        id: Some(id(number)),
        ..event("a", of)
    }
}

fn as_repeated(receipt: &AppendReceipt) -> AppendReceipt {
    let mut receipt = receipt.clone();
    for event in &mut receipt.events {
        event.deduplicated = true;
    }
    receipt
}

async fn check_taken(
    store: &Arc<dyn EventStore>,
    request: AppendRequest,
    expected: (usize, EventId, Option<Position>),
) {
    let before = store.head();
    match refused(store, request).await {
        AppendError::DuplicateEvent {
            index,
            id,
            position,
            ..
        } => {
            assert_eq!((index, id, position), expected);
        }
        other => panic!("{other:?} is no duplicate"),
    }
    assert_eq!(store.head(), before);
}

/// A repeat answers what the first request was answered, however much was appended since.
pub async fn repeated_event_returns_the_original_receipt(subject: &Subject) {
    let store = &subject.store;
    let mut receipts = Vec::new();
    for number in 0..20 {
        receipts.push(append(store, vec![varied(number)]).await);
        subject.clock.advance(1_000_000);
    }
    for (receipt, number) in receipts.iter().zip(0..) {
        let again = append(store, vec![varied(number)]).await;
        assert_eq!(again, as_repeated(receipt));
    }
    assert_eq!(everything(store).await.len(), 20);
}

/// So does a whole batch over several streams; even in another order, in which case the
/// receipts come in that order.
pub async fn repeated_batch_returns_the_original_receipts(subject: &Subject) {
    let store = &subject.store;
    let batch: Vec<_> = (0..10).map(varied).collect();
    let receipt = append(store, batch.clone()).await;
    append(store, vec![event("a", "form/f-1")]).await;
    assert_eq!(append(store, batch.clone()).await, as_repeated(&receipt));
    let mut reversed = as_repeated(&receipt);
    reversed.events.reverse();
    assert_eq!(
        append(store, batch.into_iter().rev().collect()).await,
        reversed
    );
    assert_eq!(everything(store).await.len(), 11);
}

/// The first request has changed what a repeat expects; that does not matter.
pub async fn repeat_is_found_before_any_other_check(subject: &Subject) {
    let store = &subject.store;
    let request = AppendRequest {
        condition: Some(AppendCondition {
            filter: Filter::default(),
            after: None,
        }),
        ..expecting(ExpectedVersion::NoStream, named(1, "form/f-1"))
    };
    let receipt = store.append(request.clone()).await.unwrap();
    append(store, vec![event("a", "form/f-1")]).await;
    let again = store.append(request).await.unwrap();
    assert_eq!(again, as_repeated(&receipt));
}

/// An id names one event; a difference in any field is another event.
#[expect(clippy::too_many_lines, reason = "one table of differences")]
pub async fn id_with_other_content_is_refused(subject: &Subject) {
    let store = &subject.store;
    let original = NewEvent {
        timestamp: Timestamp::from_micros(7),
        causation_id: Some(id(90)),
        correlation_id: Some("case".parse().unwrap()),
        metadata: json(r#"{"a":1}"#),
        payload: json(r#"{"a":1}"#),
        ..named(1, "form/f-1")
    };
    append(store, vec![event("a", "form/f-1"), original.clone()]).await;
    let others = [
        NewEvent {
            event_type: "b".parse().unwrap(),
            ..original.clone()
        },
        NewEvent {
            schema_version: SchemaVersion::new(2).unwrap(),
            ..original.clone()
        },
        NewEvent {
            timestamp: Timestamp::from_micros(8),
            ..original.clone()
        },
        NewEvent {
            timestamp: None,
            ..original.clone()
        },
        NewEvent {
            stream: stream("form/f-2"),
            ..original.clone()
        },
        NewEvent {
            stream: stream("mail/f-1"),
            ..original.clone()
        },
        NewEvent {
            causation_id: Some(id(91)),
            ..original.clone()
        },
        NewEvent {
            causation_id: None,
            ..original.clone()
        },
        NewEvent {
            correlation_id: Some("other".parse().unwrap()),
            ..original.clone()
        },
        NewEvent {
            correlation_id: None,
            ..original.clone()
        },
        NewEvent {
            metadata: json(r#"{"a": 1}"#),
            ..original.clone()
        },
        NewEvent {
            payload: json(r#"{"a":1.0}"#),
            ..original.clone()
        },
    ];
    for other in others {
        let new = event("c", "form/f-3");
        check_taken(
            store,
            request(vec![new, other.clone()]),
            (1, id(1), Some(at(2))),
        )
        .await;
        let skip = AppendRequest {
            partial_repeat: PartialRepeat::Skip,
            ..request(vec![other])
        };
        check_taken(store, skip, (0, id(1), Some(at(2)))).await;
    }
    append(store, vec![original]).await;
    assert_eq!(everything(store).await.len(), 2);
}

/// One request cannot have one id twice, whether the contents are the same or not.
pub async fn id_twice_in_a_request_is_refused(subject: &Subject) {
    let store = &subject.store;
    for other in [named(1, "form/f-1"), named(1, "form/f-2")] {
        let twice = request(vec![named(1, "form/f-1"), event("a", "form/f-1"), other]);
        check_taken(store, twice, (2, id(1), None)).await;
    }
    assert_eq!(store.head(), None);
}

/// A request that is sent ten times at once is stored once, and all are told the same places.
pub async fn same_request_at_once_is_stored_once(subject: &Subject) {
    let store = &subject.store;
    for round in 0..8 {
        let batch = AppendRequest {
            expected: vec![StreamExpectation {
                stream: stream("form/f-1"),
                version: at_version(round * 3),
            }],
            ..request(
                (0..3)
                    .map(|index| named(round * 3 + index + 1, "form/f-1"))
                    .collect(),
            )
        };
        let mut tasks = JoinSet::new();
        for _ in 0..10 {
            let (store, batch) = (store.clone(), batch.clone());
            tasks.spawn(async move { store.append(batch).await.unwrap() });
        }
        let receipts = tasks.join_all().await;
        let original = as_repeated(&receipts[0]);
        assert!(
            receipts
                .iter()
                .all(|receipt| as_repeated(receipt) == original)
        );
        let n_first = receipts
            .iter()
            .filter(|receipt| **receipt != original)
            .count();
        assert_eq!(n_first, 1, "one request is the first");
    }
    assert_eq!(everything(store).await.len(), 24);
}

/// A unit that is half there was not one unit.
pub async fn partial_repeat_is_refused_unless_skipped(subject: &Subject) {
    let store = &subject.store;
    append(store, vec![named(1, "form/f-1"), named(2, "form/f-1")]).await;
    let part = vec![named(3, "form/f-1"), named(2, "form/f-1")];
    check_taken(store, request(part), (1, id(2), Some(at(2)))).await;
    let unnamed = vec![named(1, "form/f-1"), event("a", "form/f-1")];
    check_taken(store, request(unnamed), (0, id(1), Some(at(1)))).await;
}

/// An import that goes on with other chunks gets the old receipts for what is there, and appends
/// the rest; what it expected of streams that are partly there was met before.
pub async fn skipped_part_keeps_its_place_and_the_rest_is_appended(subject: &Subject) {
    let store = &subject.store;
    let first = append(store, vec![named(1, "form/f-1"), named(2, "form/f-2")]).await;
    let skipping = |expected: Vec<StreamExpectation>| AppendRequest {
        expected,
        partial_repeat: PartialRepeat::Skip,
        ..request(vec![
            named(2, "form/f-2"),
            named(3, "form/f-1"),
            named(1, "form/f-1"),
            named(4, "form/f-3"),
        ])
    };
    let expect = |of: &str, version| StreamExpectation {
        stream: stream(of),
        version,
    };
    let unmet = skipping(vec![expect("form/f-3", ExpectedVersion::Exists)]);
    assert!(matches!(
        refused(store, unmet).await,
        AppendError::VersionConflict { .. }
    ));
    let request = skipping(vec![
        expect("form/f-1", ExpectedVersion::NoStream),
        expect("form/f-2", ExpectedVersion::NoStream),
        expect("form/f-3", ExpectedVersion::NoStream),
    ]);
    let receipt = store.append(request.clone()).await.unwrap();
    let old = as_repeated(&first);
    assert_eq!(
        (receipt.events[0], receipt.events[2]),
        (old.events[1], old.events[0])
    );
    let places = [1, 3].map(|index| {
        let event: &crate::append::EventReceipt = &receipt.events[index];
        (
            event.position.get(),
            event.sequence_number.get(),
            event.deduplicated,
        )
    });
    assert_eq!(places, [(3, 2, false), (4, 1, false)]);
    let again = store.append(request).await.unwrap();
    assert_eq!(again, as_repeated(&receipt));
    assert_eq!(everything(store).await.len(), 4);
}

/// Ids are looked at before versions, versions before the condition.
pub async fn checks_come_in_the_promised_order(subject: &Subject) {
    let store = &subject.store;
    append(store, vec![named(1, "form/f-1")]).await;
    let everything_wrong = AppendRequest {
        condition: Some(AppendCondition {
            filter: Filter::default(),
            after: None,
        }),
        ..expecting(ExpectedVersion::NoStream, named(1, "form/f-1"))
    };
    let other = NewEvent {
        payload: json(r#"{"other":1}"#),
        ..named(1, "form/f-1")
    };
    let taken = AppendRequest {
        events: vec![other],
        ..everything_wrong.clone()
    };
    assert!(matches!(
        refused(store, taken).await,
        AppendError::DuplicateEvent { .. }
    ));
    let late = AppendRequest {
        events: vec![named(2, "form/f-1")],
        ..everything_wrong.clone()
    };
    assert!(matches!(
        refused(store, late).await,
        AppendError::VersionConflict { .. }
    ));
    let condition = AppendRequest {
        expected: Vec::new(),
        events: vec![named(2, "form/f-1")],
        ..everything_wrong
    };
    assert!(matches!(
        refused(store, condition).await,
        AppendError::ConditionFailed { .. }
    ));
}

/// What the store added to the first request is not held against the repeat; a writer may leave
/// it out again, or give it as it was read, but not change it.
pub async fn assigned_fields_are_no_difference(subject: &Subject) {
    let store = &subject.store;
    let cause = NewEvent {
        correlation_id: Some("case".parse().unwrap()),
        ..named(1, "form/f-1")
    };
    let effect = NewEvent {
        causation_id: Some(id(1)),
        ..named(2, "form/f-1")
    };
    append(store, vec![cause]).await;
    let receipt = append(store, vec![effect.clone()]).await;
    subject.clock.advance(9_000_000);
    assert_eq!(
        append(store, vec![effect.clone()]).await,
        as_repeated(&receipt)
    );
    let stored = store.event(id(2)).await.unwrap().unwrap();
    let as_read = NewEvent {
        timestamp: Some(stored.timestamp),
        correlation_id: Some("case".parse().unwrap()),
        ..effect.clone()
    };
    assert_eq!(append(store, vec![as_read]).await, as_repeated(&receipt));
    for other in [
        NewEvent {
            timestamp: Some(stored.timestamp.saturating_add_micros(1)),
            ..effect.clone()
        },
        NewEvent {
            correlation_id: Some("other".parse().unwrap()),
            ..effect
        },
    ] {
        check_taken(store, request(vec![other]), (0, id(2), Some(at(2)))).await;
    }
}
