//! Promises about records and batches.

use factum_model::ErrorCode;

use super::StateSubject;
use super::fixtures::{acquire, apply, id, put, record, refused, seconds};
use crate::health::WriteState;
use crate::state::{
    Action, Batch, Change, Claim, ClaimOrder, Due, LeaseScan, Precondition, Put, RecordScan,
    StateError,
};

/// A record that nobody has written is absent.
pub async fn absent_record_is_none(subject: &StateSubject) {
    assert_eq!(subject.store.record(id("k/a")).await.unwrap(), None);
    put(&subject.store, "k/a", Put::new(*b"")).await;
    assert_eq!(subject.store.record(id("other/a")).await.unwrap(), None);
    assert_eq!(subject.store.record(id("k/A")).await.unwrap(), None);
}

/// What was written is what is read, every byte of it.
pub async fn record_comes_back_byte_for_byte(subject: &StateSubject) {
    let store = &subject.store;
    let bytes: Vec<u8> = (0..=255).collect();
    let at = "2031-05-06T07:08:09.123456Z".parse().unwrap();
    let group = "Gruppe ü/\u{10ffff}";
    let written = Put::new(bytes.clone())
        .due(Due::At(at))
        .in_group(group.parse().unwrap());
    let version = put(store, "k/'\"\\% ä\u{10ffff}", written).await;
    let read = record(store, "k/'\"\\% ä\u{10ffff}").await;
    assert_eq!(read.body, bytes);
    assert_eq!(read.version, version);
    assert_eq!(read.due_at, Some(at));
    assert_eq!(read.group.unwrap().as_str(), group);
    assert_eq!(read.written_at, store.now().await.unwrap());
    assert_eq!((read.claim, read.n_claims), (None, 0));
    put(store, "k/e", Put::new(*b"")).await;
    let empty = record(store, "k/e").await;
    assert_eq!(
        (empty.body, empty.due_at, empty.group),
        (vec![], None, None)
    );
}

/// Names at their limits that differ in the last byte are two.
pub async fn longest_names_are_kept_apart(subject: &StateSubject) {
    let store = &subject.store;
    let (kind, text) = ("k".repeat(64), "ä".repeat(639));
    for end in ["a", "b"] {
        let of = format!("{kind}/{text}{end}a");
        let group = format!("{text}{end}a").parse().unwrap();
        put(store, &of, Put::new(end).in_group(group)).await;
    }
    for end in ["a", "b"] {
        let read = record(store, &format!("{kind}/{text}{end}a")).await;
        assert_eq!(read.body, end.as_bytes());
        assert_eq!(read.group.unwrap().as_str(), format!("{text}{end}a"));
    }
}

/// Each precondition lets through what it says, on records that are and that are not.
pub async fn preconditions_decide(subject: &StateSubject) {
    let store = &subject.store;
    let old = put(store, "k/a", Put::new(*b"0")).await;
    let now = put(store, "k/a", Put::new(*b"1")).await;
    for (of, precondition, passes) in [
        ("k/a", Precondition::Any, true),
        ("k/a", Precondition::Absent, false),
        ("k/a", Precondition::Version(old), false),
        ("k/a", Precondition::Version(now), true),
        ("k/x", Precondition::Any, true),
        ("k/x", Precondition::Absent, true),
        ("k/x", Precondition::Version(now), false),
    ] {
        let check = Change {
            id: id(of),
            precondition,
            action: Action::Check,
        };
        let checked = store.apply(Batch::of(vec![check])).await;
        assert_eq!(checked.is_ok(), passes, "{of} {precondition:?}");
        if let Err(StateError::Conflict {
            index,
            id: wrong,
            actual,
        }) = checked
        {
            assert_eq!((index, wrong), (0, id(of)));
            assert_eq!(actual, (of == "k/a").then_some(now));
        }
    }
    let gone = Change::delete(id("k/x"), Precondition::Any);
    apply(store, vec![gone]).await;
    let error = refused(store, Change::delete(id("k/a"), Precondition::Version(old))).await;
    assert_eq!(error.code(), ErrorCode::StateConflict);
    apply(
        store,
        vec![Change::delete(id("k/a"), Precondition::Version(now))],
    )
    .await;
    assert_eq!(store.record(id("k/a")).await.unwrap(), None);
}

/// A record that was deleted and made again is another one.
pub async fn version_is_never_given_twice(subject: &StateSubject) {
    let store = &subject.store;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(put(store, "k/a", Put::new(*b"1")).await);
        seen.push(put(store, "k/a", Put::new(*b"2")).await);
        apply(store, vec![Change::delete(id("k/a"), Precondition::Any)]).await;
    }
    for (index, version) in seen.iter().enumerate() {
        assert!(!seen[..index].contains(version));
    }
    let stale = Change::put(id("k/a"), Precondition::Version(seen[9]), Put::new(*b"3"));
    assert_eq!(refused(store, stale).await.code(), ErrorCode::StateConflict);
}

/// One precondition that is not met refuses all changes.
pub async fn failed_batch_changes_nothing(subject: &StateSubject) {
    let store = &subject.store;
    let kept = put(store, "k/b", Put::new(*b"old")).await;
    let changes = vec![
        Change::put(id("k/a"), Precondition::Absent, Put::new(*b"new")),
        Change::delete(id("k/b"), Precondition::Any),
        Change::put(id("k/c"), Precondition::Version(kept), Put::new(*b"new")),
    ];
    let error = store.apply(Batch::of(changes)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StateConflict);
    assert!(!error.is_retryable());
    assert_eq!(store.record(id("k/a")).await.unwrap(), None);
    assert_eq!(record(store, "k/b").await.version, kept);
}

/// Of several changes that cannot be made the first is named.
pub async fn first_failing_change_is_named(subject: &StateSubject) {
    let store = &subject.store;
    let version = put(store, "k/b", Put::new(*b"")).await;
    let changes = vec![
        Change::put(id("k/z"), Precondition::Absent, Put::new(*b"")),
        Change::put(id("k/b"), Precondition::Absent, Put::new(*b"")),
        Change::put(id("k/a"), Precondition::Version(version), Put::new(*b"")),
    ];
    let error = store.apply(Batch::of(changes)).await.unwrap_err();
    let StateError::Conflict {
        index,
        id: wrong,
        actual,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((index, wrong, actual), (1, id("k/b"), Some(version)));
}

/// The receipt of a batch names the version of all that it wrote.
pub async fn every_record_of_a_batch_has_its_version(subject: &StateSubject) {
    let store = &subject.store;
    let checked = put(store, "k/c", Put::new(*b"")).await;
    let check = Change {
        id: id("k/c"),
        precondition: Precondition::Version(checked),
        action: Action::Check,
    };
    let new = |of| Change::put(id(of), Precondition::Any, Put::new(*b""));
    let applied = apply(store, vec![new("k/b"), check, new("k/a")]).await;
    for of in ["k/a", "k/b"] {
        let read = record(store, of).await;
        assert_eq!(
            (read.version, read.written_at),
            (applied.version, applied.at)
        );
    }
    assert_eq!(record(store, "k/c").await.version, checked);
}

/// A delay begins when the record is written, not when the caller thinks it is.
pub async fn due_after_counts_from_the_clock_of_the_store(subject: &StateSubject) {
    let store = &subject.store;
    subject.pass(100);
    let now = store.now().await.unwrap();
    put(store, "k/a", Put::new(*b"").due(Due::After(seconds(30)))).await;
    let due_at = record(store, "k/a").await.due_at;
    assert_eq!(due_at, Some(now.saturating_add_micros(30_000_000)));
    let forever = Due::After(std::time::Duration::MAX);
    put(store, "k/b", Put::new(*b"").due(forever)).await;
    let due_at = record(store, "k/b").await.due_at;
    assert_eq!(due_at, Some(factum_model::Timestamp::MAX));
}

fn limited(error: &StateError) -> (String, usize, usize) {
    let StateError::Limit(limit) = error else {
        panic!("{error}");
    };
    (limit.what.to_owned(), limit.limit, limit.actual)
}

/// What is too large is refused, and the error names the bound.
pub async fn bounds_are_named(subject: &StateSubject) {
    let store = &subject.store;
    let limits = store.limits();
    let new = |key: usize, size: usize| {
        let put = Put::new(vec![7; size]);
        Change::put(id(&format!("k/{key}")), Precondition::Any, put)
    };
    let body = limits.body_bytes_max;
    apply(store, vec![new(0, body)]).await;
    let error = refused(store, new(0, body + 1)).await;
    assert_eq!(error.code(), ErrorCode::LimitExceeded);
    assert_eq!(
        limited(&error),
        ("body size in bytes".to_owned(), body, body + 1)
    );
    let many = limits.batch_changes_max;
    let changes = (0..=many).map(|key| new(key, 1)).collect();
    let error = store.apply(Batch::of(changes)).await.unwrap_err();
    assert_eq!(
        limited(&error),
        ("number of changes".to_owned(), many, many + 1)
    );
    let n_large = limits.batch_bytes_max / body;
    let changes = (0..=n_large).map(|key| new(key, body)).collect();
    let error = store.apply(Batch::of(changes)).await.unwrap_err();
    assert_eq!(limited(&error).0, "batch size in bytes");
    let page = limits.page_records_max;
    let scan = RecordScan {
        limit: page + 1,
        ..RecordScan::all("k".parse().unwrap())
    };
    let error = store.scan(scan).await.unwrap_err();
    let expected = ("number of records in a page".to_owned(), page, page + 1);
    assert_eq!(limited(&error), expected);
    let lease = acquire(store, "l", "me").await.granted().unwrap();
    let fences = vec![lease.fence(); limits.batch_fences_max + 1];
    let changes = Vec::new();
    let error = store.apply(Batch { changes, fences }).await.unwrap_err();
    assert_eq!(limited(&error).0, "number of fences");
    let error = store
        .renew(lease.fence(), limits.hold_max + seconds(1))
        .await;
    let error = limited(&error.unwrap_err());
    assert_eq!(error.0, "duration of a lease or claim in milliseconds");
}

/// A request that cannot be meant so is refused.
pub async fn contradictions_are_refused(subject: &StateSubject) {
    let store = &subject.store;
    let new = || Change::put(id("k/a"), Precondition::Any, Put::new(*b""));
    let twice = store
        .apply(Batch::of(vec![new(), new()]))
        .await
        .unwrap_err();
    assert_eq!(twice.code(), ErrorCode::InvalidRequest);
    assert_eq!(store.record(id("k/a")).await.unwrap(), None);
    let claim = Claim {
        kind: "k".parse().unwrap(),
        owner: "me".parse().unwrap(),
        limit: 1,
        visibility: seconds(0),
        order: ClaimOrder::Free,
    };
    let error = store.claim(claim).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    let scan = RecordScan {
        limit: 0,
        ..RecordScan::all("k".parse().unwrap())
    };
    let error = store.scan(scan).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    for (prefix, code) in [
        ("a\0".to_owned(), ErrorCode::InvalidRequest),
        ("ä".repeat(641), ErrorCode::LimitExceeded),
    ] {
        let scan = RecordScan {
            prefix: prefix.clone(),
            ..RecordScan::all("k".parse().unwrap())
        };
        assert_eq!(store.scan(scan).await.unwrap_err().code(), code);
        let scan = LeaseScan {
            prefix,
            after: None,
            limit: 1,
        };
        assert_eq!(store.leases(scan).await.unwrap_err().code(), code);
    }
}

/// Whoever waits for a write is woken by one.
pub async fn watch_changes_with_a_write(subject: &StateSubject) {
    let mut watch = subject.store.watch();
    watch.borrow_and_update();
    put(&subject.store, "k/a", Put::new(*b"")).await;
    let changed = tokio::time::timeout(seconds(10), watch.changed()).await;
    changed.unwrap().unwrap();
}

/// After it is closed a store refuses changes, and closing it again is harmless.
pub async fn closed_store_takes_no_changes(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "k/a", Put::new(*b"")).await;
    store.close().await;
    store.close().await;
    let new = Change::put(id("k/b"), Precondition::Any, Put::new(*b""));
    let error = refused(store, new).await;
    assert_eq!(error.code(), ErrorCode::ShuttingDown);
    assert_eq!(store.health().writes, WriteState::Closed);
}

/// A healthy store says so, and its metrics have proper names.
pub async fn healthy_store_says_so(subject: &StateSubject) {
    put(&subject.store, "k/a", Put::new(*b"")).await;
    assert_eq!(subject.store.health().writes, WriteState::Open);
    let values = subject.store.metrics().values;
    for (index, (name, _)) in values.iter().enumerate() {
        let proper = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(
            name.bytes().all(proper) && name.starts_with("state_"),
            "{name}"
        );
        assert!(values[..index].iter().all(|(other, _)| other != name));
    }
}
