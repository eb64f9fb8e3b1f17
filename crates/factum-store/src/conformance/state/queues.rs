//! Promises about records as work.

use factum_model::ErrorCode;

use super::StateSubject;
use super::fixtures::{apply, claim, id, keys, put, record, refused, seconds, work};
use crate::state::{
    Action, Change, Claim, ClaimOrder, Due, Precondition, Put, Record, RecordVersion,
};

const FREE: ClaimOrder = ClaimOrder::Free;

fn complete(record: &Record) -> Change {
    Change::delete(record.id.clone(), Precondition::Version(record.version))
}

fn extend(of: &str, version: RecordVersion, by: u64) -> Change {
    Change {
        id: id(of),
        precondition: Precondition::Version(version),
        action: Action::Extend(seconds(by)),
    }
}

/// What is not due is not claimed, and what is due first comes first.
pub async fn only_due_records_are_claimed_oldest_first(subject: &StateSubject) {
    let store = &subject.store;
    for (key, after) in [("a", 20), ("b", 10), ("c", 10), ("d", 30)] {
        let later = Put::new(key).due(Due::After(seconds(after)));
        put(store, &format!("q/{key}"), later).await;
    }
    put(store, "q/never", Put::new(*b"")).await;
    assert_eq!(keys(&claim(store, "w", FREE).await), Vec::<&str>::new());
    subject.pass(20);
    let claimed = claim(store, "w", FREE).await;
    assert_eq!(keys(&claimed), ["b", "c", "a"]);
    assert_eq!(claimed.now, store.now().await.unwrap());
    let first = &claimed.records[0];
    assert_eq!(first.body, b"b");
    let held = first.claim.as_ref().unwrap();
    assert_eq!(held.owner.as_str(), "w");
    assert_eq!(held.until, claimed.now.saturating_add_micros(10_000_000));
    assert_eq!(record(store, "q/b").await, *first);
}

/// Nobody else gets a claimed record, until its time is up.
pub async fn claimed_record_is_hidden_until_its_time_is_up(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    assert_eq!(keys(&claim(store, "one", FREE).await), ["a"]);
    subject.pass(9);
    assert!(claim(store, "two", FREE).await.records.is_empty());
    assert!(claim(store, "one", FREE).await.records.is_empty());
    subject.pass(1);
    assert_eq!(record(store, "q/a").await.claim, None);
    let again = claim(store, "two", FREE).await;
    assert_eq!(keys(&again), ["a"]);
    assert_eq!(
        again.records[0].claim.as_ref().unwrap().owner.as_str(),
        "two"
    );
}

/// A worker that is late may complete its work, unless another has begun it.
pub async fn late_completion_counts_until_another_claims(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    let first = claim(store, "one", FREE).await;
    subject.pass(11);
    let second = claim(store, "two", FREE).await;
    let error = refused(store, complete(&first.records[0])).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    subject.pass(11);
    apply(store, vec![complete(&second.records[0])]).await;
    assert_eq!(store.record(id("q/a")).await.unwrap(), None);
}

/// A worker that needs longer says so in time.
pub async fn extended_claim_stays_hidden(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    let version = claim(store, "one", FREE).await.records[0].version;
    subject.pass(9);
    apply(store, vec![extend("q/a", version, 20)]).await;
    subject.pass(19);
    assert!(claim(store, "two", FREE).await.records.is_empty());
    assert_eq!(record(store, "q/a").await.version, version);
    // When the time is up it is too late, even if nobody has the record yet.
    subject.pass(1);
    let error = refused(store, extend("q/a", version, 20)).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    assert_eq!(keys(&claim(store, "two", FREE).await), ["a"]);
    let error = refused(store, extend("q/a", version, 20)).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
}

/// There is nothing to extend where nobody has claimed.
pub async fn extending_without_a_claim_is_refused(subject: &StateSubject) {
    let store = &subject.store;
    let version = put(store, "q/a", work("")).await;
    let error = refused(store, extend("q/a", version, 5)).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    let absent = Change {
        precondition: Precondition::Any,
        ..extend("q/x", version, 5)
    };
    assert_eq!(
        refused(store, absent).await.code(),
        ErrorCode::StateConflict
    );
}

/// Who writes a record takes it from its worker.
pub async fn write_ends_a_claim(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    let claimed = claim(store, "one", FREE).await;
    put(store, "q/a", work("")).await;
    let error = refused(store, complete(&claimed.records[0])).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    assert_eq!(keys(&claim(store, "two", FREE).await), ["a"]);
}

/// Work that failed is put back, and comes again when its delay is over.
pub async fn retry_comes_back_when_it_is_due(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    let claimed = claim(store, "one", FREE).await;
    let failed = &claimed.records[0];
    let later = Put::new(*b"1 attempt").due(Due::After(seconds(60)));
    let retry = Change::put(
        failed.id.clone(),
        Precondition::Version(failed.version),
        later,
    );
    apply(store, vec![retry]).await;
    subject.pass(59);
    assert!(claim(store, "one", FREE).await.records.is_empty());
    subject.pass(1);
    assert_eq!(
        claim(store, "two", FREE).await.records[0].body,
        b"1 attempt"
    );
}

/// How often a record was claimed without result is known.
pub async fn claims_are_counted_until_a_write(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "q/a", work("")).await;
    for n in 1..=3 {
        assert_eq!(claim(store, "one", FREE).await.records[0].n_claims, n);
        assert_eq!(record(store, "q/a").await.n_claims, n);
        subject.pass(10);
    }
    put(store, "q/a", work("")).await;
    assert_eq!(record(store, "q/a").await.n_claims, 0);
}

/// A claim of large records takes no more than a page of them.
pub async fn claim_ends_when_its_bytes_are_full(subject: &StateSubject) {
    let store = &subject.store;
    let limits = store.limits();
    let n_full = limits.page_bytes_max / limits.body_bytes_max;
    for key in 0..=n_full {
        let large = Put::new(vec![1; limits.body_bytes_max]);
        let large = large.due(Due::After(seconds(0)));
        put(store, &format!("q/{key:05}"), large).await;
    }
    let claim = || Claim {
        kind: "q".parse().unwrap(),
        owner: "w".parse().unwrap(),
        limit: 100,
        visibility: seconds(10),
        order: FREE,
    };
    assert_eq!(store.claim(claim()).await.unwrap().records.len(), n_full);
    assert_eq!(store.claim(claim()).await.unwrap().records.len(), 1);
}

/// A worker that starts again frees what it had before, and only that.
pub async fn abandoned_claims_are_due_again(subject: &StateSubject) {
    let store = &subject.store;
    let (kind, one) = ("q".parse().unwrap(), "one".parse().unwrap());
    put(store, "q/a", work("")).await;
    let old = claim(store, "one", FREE).await;
    put(store, "q/b", work("")).await;
    assert_eq!(keys(&claim(store, "two", FREE).await), ["b"]);
    let abandoned = store.abandon(kind, one).await.unwrap();
    assert_eq!(abandoned, 1);
    let error = refused(store, complete(&old.records[0])).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    assert_eq!(keys(&claim(store, "one", FREE).await), ["a"]);
    assert_eq!(record(store, "q/a").await.n_claims, 2);
}

/// The state of a queue is told.
pub async fn status_tells_what_waits(subject: &StateSubject) {
    let store = &subject.store;
    let start = store.now().await.unwrap();
    for (key, after) in [("a", 0), ("b", 5), ("c", 8), ("d", 60)] {
        let later = Put::new(key).due(Due::After(seconds(after)));
        put(store, &format!("q/{key}"), later).await;
    }
    put(store, "q/never", Put::new(*b"")).await;
    assert_eq!(keys(&claim(store, "w", FREE).await), ["a"]);
    subject.pass(8);
    let at = |after: i64| Some(start.saturating_add_micros(after * 1_000_000));
    let status = store.queue("q".parse().unwrap()).await.unwrap();
    assert_eq!((status.n_records, status.n_waiting), (5, 1));
    assert_eq!((status.n_due, status.n_claimed), (2, 1));
    assert_eq!((status.oldest_due_at, status.next_at), (at(5), at(10)));
    subject.pass(2);
    let status = store.queue("q".parse().unwrap()).await.unwrap();
    assert_eq!((status.n_due, status.n_claimed), (3, 0));
    assert_eq!((status.oldest_due_at, status.next_at), (at(0), at(60)));
    let empty = store.queue("none".parse().unwrap()).await.unwrap();
    assert_eq!((empty.n_records, empty.next_at), (0, None));
    assert_eq!(empty.oldest_due_at, None);
}

/// A worker knows until when it can sleep.
pub async fn claim_tells_when_to_come_again(subject: &StateSubject) {
    let store = &subject.store;
    let start = store.now().await.unwrap();
    let at = |after: i64| Some(start.saturating_add_micros(after * 1_000_000));
    assert_eq!(claim(store, "w", FREE).await.next_at, None);
    put(store, "q/a", Put::new(*b"").due(Due::After(seconds(30)))).await;
    assert_eq!(claim(store, "w", FREE).await.next_at, at(30));
    put(store, "q/b", work("")).await;
    let claimed = claim(store, "w", FREE).await;
    assert_eq!((keys(&claimed), claimed.next_at), (vec!["b"], at(10)));
    apply(store, vec![complete(&claimed.records[0])]).await;
    assert_eq!(claim(store, "w", FREE).await.next_at, at(30));
}
