//! Appends on the condition that something has not happened.

use factum_model::{ErrorCode, NewEvent, Position};
use factum_query::Filter;
use tokio::task::JoinSet;

use super::Subject;
use super::fixtures::{
    append, at, event, everything, filters, id, json, refused, request, varied_history,
};
use crate::append::{AppendCondition, AppendError, AppendRequest};

fn unless(filter: Filter, after: Option<Position>, event: NewEvent) -> AppendRequest {
    AppendRequest {
        condition: Some(AppendCondition { filter, after }),
        ..request(vec![event])
    }
}

fn tagged(tag: &str) -> Filter {
    Filter {
        tags: vec![tag.to_owned()],
        ..Filter::default()
    }
}

/// For every kind of filter and every place to look from, the condition fails if and only if the
/// evaluator finds a match, and it names the first one.
pub async fn condition_fails_exactly_when_a_later_event_matches(subject: &Subject) {
    let mut log = varied_history(subject, 150).await;
    for filter in filters() {
        // Far from the end an index may answer, near it every event is looked at.
        for after in [None, Some(1), Some(40), Some(120), Some(148), Some(149)] {
            let after = after.map(at);
            let first = log
                .iter()
                .find(|event| Some(event.position) > after && filter.matches(event));
            // Its own events must not match the filters that follow, or they would all fail.
            let new = event("unlike.all.the.others-in-this-log", "quiet/q");
            let result = subject
                .store
                .append(unless(filter.clone(), after, new))
                .await;
            match (first, result) {
                (None, Ok(_)) => log = everything(&subject.store).await,
                (Some(first), Err(AppendError::ConditionFailed { position, id })) => {
                    assert_eq!((position, id), (first.position, first.id));
                }
                (first, result) => panic!("{filter:?} after {after:?}: {first:?}, {result:?}"),
            }
        }
    }
}

/// A refused request leaves nothing, and the position that it names is a good place to go on from.
pub async fn failed_condition_changes_nothing_and_names_the_first_match(subject: &Subject) {
    let store = &subject.store;
    let red = NewEvent {
        metadata: json(r#"{"tags":["red"]}"#),
        ..event("a", "form/f-1")
    };
    append(store, vec![event("a", "form/f-1"), red.clone(), red]).await;
    let new = || event("b", "form/f-2");
    for (after, found) in [(None, 2), (Some(1), 2), (Some(2), 3)] {
        let error = refused(store, unless(tagged("red"), after.map(at), new())).await;
        assert_eq!(error.code(), ErrorCode::ConditionFailed);
        let AppendError::ConditionFailed { position, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(position.get(), found);
    }
    assert_eq!(store.head(), Some(at(3)));
    for after in [at(3), at(4), at(u64::MAX)] {
        store
            .append(unless(tagged("red"), Some(after), new()))
            .await
            .unwrap();
    }
    store
        .append(unless(tagged("blue"), None, new()))
        .await
        .unwrap();
    assert_eq!(store.head(), Some(at(7)));
}

/// The condition speaks of what was appended before.
pub async fn condition_does_not_see_the_events_of_its_own_request(subject: &Subject) {
    let all = AppendRequest {
        events: vec![event("a", "form/f-1"), event("a", "form/f-1")],
        ..unless(Filter::default(), None, event("a", "form/f-1"))
    };
    subject.store.append(all.clone()).await.unwrap();
    let error = refused(&subject.store, all).await;
    assert!(matches!(error, AppendError::ConditionFailed { position, .. } if position == at(1)));
}

/// A store does not hide anything from a condition; who may ask what is not its business.
pub async fn condition_sees_events_of_the_engine(subject: &Subject) {
    append(
        &subject.store,
        vec![event("factum.key.made", "factum/key-1")],
    )
    .await;
    let filter = Filter {
        event_types: vec!["factum.>".parse().unwrap()],
        ..Filter::default()
    };
    refused(&subject.store, unless(filter, None, event("a", "form/f-1"))).await;
}

/// Of many that append a thing on the condition that it is not there, one does; even if they
/// are written together.
pub async fn condition_is_won_once(subject: &Subject) {
    for round in 0..10_u64 {
        let mut tasks = JoinSet::new();
        for writer in 0..16 {
            let store = subject.store.clone();
            let tag = format!("seat {round}");
            let new = NewEvent {
                id: Some(id(round * 100 + writer)),
                metadata: json(&format!(r#"{{"tags":["{tag}"]}}"#)),
                ..event("seat.taken", &format!("guest/g-{writer}"))
            };
            tasks.spawn(async move {
                let result = store.append(unless(tagged(&tag), None, new)).await;
                match result {
                    Ok(receipt) => (true, receipt.events[0].position),
                    Err(AppendError::ConditionFailed { position, .. }) => (false, position),
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|(won, _)| *won).count(), 1);
        assert!(
            results
                .iter()
                .all(|(_, position)| *position == at(round + 1))
        );
    }
}
