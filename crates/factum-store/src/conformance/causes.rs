//! Correlation ids that come from causes.

use factum_model::NewEvent;
use factum_query::Filter;

use super::Subject;
use super::fixtures::{append, event, everything, id, pages, request};
use crate::append::{AppendRequest, PartialRepeat};
use crate::read::LogRead;

fn caused(number: u64, cause: Option<u64>, correlation: Option<&str>) -> NewEvent {
    NewEvent {
        id: Some(id(number)),
        causation_id: cause.map(id),
        correlation_id: correlation.map(|text| text.parse().unwrap()),
        ..event("a", "form/f-1")
    }
}

async fn check(subject: &Subject, expected: &[(Option<&str>, bool)]) {
    let log = everything(&subject.store).await;
    let found: Vec<_> = log
        .iter()
        .map(|event| (event.correlation_id(), event.origin.correlation_inherited))
        .collect();
    assert_eq!(found, expected);
}

/// An event whose cause is in the store joins its conversation, over any number of steps.
pub async fn correlation_is_inherited_from_a_stored_cause(subject: &Subject) {
    append(&subject.store, vec![caused(1, None, Some("case"))]).await;
    append(&subject.store, vec![caused(2, Some(1), None)]).await;
    append(&subject.store, vec![caused(3, Some(2), None)]).await;
    check(
        subject,
        &[
            (Some("case"), false),
            (Some("case"), true),
            (Some("case"), true),
        ],
    )
    .await;
}

/// The cause may stand earlier in the same request; one that stands later is none yet.
pub async fn correlation_is_inherited_within_a_request(subject: &Subject) {
    let events = vec![
        caused(5, Some(1), None),
        caused(1, None, Some("case")),
        caused(2, Some(1), None),
        caused(3, Some(2), None),
        caused(4, Some(4), None),
    ];
    append(&subject.store, events).await;
    let (case, none) = ((Some("case"), true), (None, false));
    check(subject, &[none, (Some("case"), false), case, case, none]).await;
}

/// A cause that is skipped as a repeat hands on the conversation that it inherited itself.
pub async fn correlation_is_inherited_from_a_skipped_cause(subject: &Subject) {
    append(&subject.store, vec![caused(1, None, Some("case"))]).await;
    append(&subject.store, vec![caused(2, Some(1), None)]).await;
    let rest = AppendRequest {
        partial_repeat: PartialRepeat::Skip,
        ..request(vec![caused(2, Some(1), None), caused(3, Some(2), None)])
    };
    subject.store.append(rest).await.unwrap();
    check(
        subject,
        &[
            (Some("case"), false),
            (Some("case"), true),
            (Some("case"), true),
        ],
    )
    .await;
}

/// What the writer says stands.
pub async fn given_correlation_wins(subject: &Subject) {
    append(&subject.store, vec![caused(1, None, Some("case"))]).await;
    append(&subject.store, vec![caused(2, Some(1), Some("own"))]).await;
    check(subject, &[(Some("case"), false), (Some("own"), false)]).await;
}

/// A cause need not be in the store, nor have a conversation.
pub async fn unknown_cause_is_kept_and_gives_nothing(subject: &Subject) {
    append(&subject.store, vec![caused(1, Some(77), None)]).await;
    append(&subject.store, vec![caused(2, Some(1), None)]).await;
    check(subject, &[(None, false), (None, false)]).await;
    assert_eq!(
        everything(&subject.store).await[0].causation_id,
        Some(id(77))
    );
}

/// To filters, an inherited correlation id is like a given one.
pub async fn inherited_correlation_is_found_by_filters(subject: &Subject) {
    let events = vec![
        caused(1, None, Some("case")),
        caused(2, Some(1), None),
        caused(3, None, None),
    ];
    append(&subject.store, events).await;
    append(&subject.store, vec![caused(4, Some(2), None)]).await;
    let filter = Filter {
        correlation_id: Some("case".parse().unwrap()),
        ..Filter::default()
    };
    let found = pages(
        &subject.store,
        LogRead {
            filter,
            ..LogRead::forwards()
        },
    )
    .await;
    let positions: Vec<_> = found.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, [1, 2, 4]);
}
