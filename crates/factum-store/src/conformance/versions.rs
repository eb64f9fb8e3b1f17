//! Expected versions.

use factum_model::{ErrorCode, ExpectedVersion, SequenceNumber};
use tokio::task::JoinSet;

use super::Subject;
use super::fixtures::{append, at_version, event, everything, expecting, refused, request, stream};
use crate::append::{AppendError, AppendRequest, StreamExpectation};

fn conflict(error: &AppendError) -> (ExpectedVersion, Option<u64>) {
    match error {
        AppendError::VersionConflict {
            expected, actual, ..
        } => (*expected, actual.map(SequenceNumber::get)),
        other => panic!("{other:?} is no version conflict"),
    }
}

/// Each kind of expectation is met by exactly the versions it names, and a conflict tells the
/// actual version.
pub async fn expectations_are_checked_against_the_stream(subject: &Subject) {
    let store = &subject.store;
    let new = || event("a", "form/f-1");
    for (wrong, actual) in [
        (ExpectedVersion::Exists, None),
        (at_version(1), None),
        (at_version(u64::MAX), None),
    ] {
        let error = refused(store, expecting(wrong, new())).await;
        assert_eq!(conflict(&error), (wrong, actual));
    }
    store
        .append(expecting(ExpectedVersion::NoStream, new()))
        .await
        .unwrap();
    store
        .append(expecting(ExpectedVersion::Exists, new()))
        .await
        .unwrap();
    store.append(expecting(at_version(2), new())).await.unwrap();
    store
        .append(expecting(ExpectedVersion::Any, new()))
        .await
        .unwrap();
    for wrong in [ExpectedVersion::NoStream, at_version(3), at_version(5)] {
        let error = refused(store, expecting(wrong, new())).await;
        assert_eq!(conflict(&error), (wrong, Some(4)));
        assert_eq!(error.code(), ErrorCode::VersionConflict);
    }
    assert_eq!(everything(store).await.len(), 4);
}

/// A stream is a type and an id.
pub async fn same_id_under_another_type_is_another_stream(subject: &Subject) {
    append(
        &subject.store,
        vec![event("a", "form/x"), event("a", "form/x")],
    )
    .await;
    let other = expecting(ExpectedVersion::NoStream, event("a", "mail/x"));
    let receipt = subject.store.append(other).await.unwrap();
    assert_eq!(receipt.events[0].sequence_number.get(), 1);
}

/// A request over several streams is taken whole or not at all.
pub async fn one_unmet_expectation_refuses_the_whole_request(subject: &Subject) {
    let store = &subject.store;
    append(store, vec![event("a", "form/f-1")]).await;
    let expect = |of: &str, version| StreamExpectation {
        stream: stream(of),
        version,
    };
    let events = || vec![event("a", "form/f-1"), event("a", "form/f-2")];
    let wrong = AppendRequest {
        expected: vec![
            expect("form/f-1", at_version(1)),
            expect("form/f-2", at_version(1)),
        ],
        ..request(events())
    };
    assert_eq!(
        conflict(&refused(store, wrong).await),
        (at_version(1), None)
    );
    assert_eq!(everything(store).await.len(), 1);
    let right = AppendRequest {
        expected: vec![
            expect("form/f-1", at_version(1)),
            expect("form/f-2", at_version(0)),
        ],
        ..request(events())
    };
    let receipt = store.append(right).await.unwrap();
    assert_eq!(receipt.events[0].position.get(), 2);
}

/// An expectation counts even if the request appends nothing to that stream.
pub async fn expectation_of_a_stream_without_events_in_the_request_counts(subject: &Subject) {
    let store = &subject.store;
    append(store, vec![event("a", "form/f-1")]).await;
    let with = |version| AppendRequest {
        expected: vec![StreamExpectation {
            stream: stream("form/f-1"),
            version,
        }],
        ..request(vec![event("a", "form/f-2")])
    };
    let error = refused(store, with(ExpectedVersion::NoStream)).await;
    assert_eq!(conflict(&error).1, Some(1));
    store.append(with(at_version(1))).await.unwrap();
    assert_eq!(everything(store).await.len(), 2);
}

/// Of many that expect the same version, one is taken and the others learn that they are late.
pub async fn each_version_is_won_once(subject: &Subject) {
    const N_WRITERS: usize = 64;
    let mut tasks = JoinSet::new();
    for _ in 0..N_WRITERS {
        let store = subject.store.clone();
        tasks.spawn(async move {
            let mut version = 0;
            loop {
                let request = expecting(at_version(version), event("a", "form/f-1"));
                match store.append(request).await {
                    Ok(receipt) => return (version, receipt.events[0]),
                    Err(error) => {
                        let (_, actual) = conflict(&error);
                        let actual = actual.unwrap_or(0);
                        assert!(actual > version, "a conflict at {version} names {actual}");
                        version = actual;
                    }
                }
            }
        });
    }
    let mut won = tasks.join_all().await;
    won.sort_by_key(|(version, _)| *version);
    for ((version, receipt), index) in won.into_iter().zip(0..) {
        assert_eq!(version, index);
        assert_eq!(receipt.sequence_number.get(), index + 1);
        assert_eq!(receipt.position.get(), index + 1);
    }
    assert_eq!(everything(&subject.store).await.len(), N_WRITERS);
}

/// Of many that want to begin a stream, one does.
pub async fn first_event_of_a_stream_is_won_once(subject: &Subject) {
    for round in 0..10 {
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let store = subject.store.clone();
            let new = event("a", &format!("form/f-{round}"));
            tasks.spawn(async move {
                store
                    .append(expecting(ExpectedVersion::NoStream, new))
                    .await
                    .is_ok()
            });
        }
        let won = tasks.join_all().await;
        assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
    }
    assert_eq!(everything(&subject.store).await.len(), 10);
}
