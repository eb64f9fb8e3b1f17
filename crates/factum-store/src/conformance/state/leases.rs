//! Promises about leases and fences.

use factum_model::ErrorCode;

use super::StateSubject;
use super::fixtures::{acquire, id, lease, put, seconds};
use crate::state::{Acquired, Batch, Change, Fence, LeaseScan, Precondition, Put, StateError};

fn fenced(fences: Vec<Fence>, precondition: Precondition) -> Batch {
    let changes = vec![Change::put(id("k/a"), precondition, Put::new(*b"fenced"))];
    Batch { changes, fences }
}

/// Of several owners one has a lease, and the others are told who.
pub async fn lease_is_held_by_one(subject: &StateSubject) {
    let store = &subject.store;
    let held = lease(store, "l", "one").await;
    let now = store.now().await.unwrap();
    assert_eq!((held.name.as_str(), held.owner.as_str()), ("l", "one"));
    assert_eq!(held.expires_at, now.saturating_add_micros(10_000_000));
    let refused = acquire(store, "l", "two").await;
    assert_eq!(refused, Acquired::Held(held));
    lease(store, "m", "two").await;
}

/// A lease is over at the instant it names, by the store's clock.
pub async fn lease_runs_out_by_the_clock_of_the_store(subject: &StateSubject) {
    let store = &subject.store;
    let first = lease(store, "l", "one").await;
    subject.pass(9);
    assert_eq!(acquire(store, "l", "two").await.granted(), None);
    subject.pass(1);
    let second = lease(store, "l", "two").await;
    assert!(second.epoch > first.epoch);
}

/// A holder that renews keeps the lease and its epoch.
pub async fn renewed_lease_lasts_longer(subject: &StateSubject) {
    let store = &subject.store;
    let first = lease(store, "l", "one").await;
    for _ in 0..5 {
        subject.pass(9);
        let renewed = store.renew(first.fence(), seconds(10)).await.unwrap();
        let until = store.now().await.unwrap().saturating_add_micros(10_000_000);
        assert_eq!((renewed.epoch, renewed.expires_at), (first.epoch, until));
        assert_eq!(renewed.owner, first.owner);
    }
    assert_eq!(acquire(store, "l", "two").await.granted(), None);
}

async fn assert_lost(subject: &StateSubject, fence: &Fence) {
    let store = &subject.store;
    let error = store.renew(fence.clone(), seconds(10)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LeaseLost);
    let batch = fenced(vec![fence.clone()], Precondition::Any);
    let error = store.apply(batch).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LeaseLost);
    let StateError::LeaseLost { fence: named } = error else {
        panic!("{error}");
    };
    assert_eq!(named, *fence);
}

/// Who was too late has lost, even if nobody else came.
pub async fn lease_that_ran_out_cannot_be_renewed(subject: &StateSubject) {
    let held = lease(&subject.store, "l", "one").await;
    subject.pass(10);
    assert_lost(subject, &held.fence()).await;
}

/// A lease that was given back is free at once; giving it back again does nothing.
pub async fn released_lease_is_free_and_lost(subject: &StateSubject) {
    let store = &subject.store;
    let first = lease(store, "l", "one").await;
    store.release(first.fence()).await.unwrap();
    assert_lost(subject, &first.fence()).await;
    let second = lease(store, "l", "two").await;
    store.release(first.fence()).await.unwrap();
    assert_eq!(
        acquire(store, "l", "one").await,
        Acquired::Held(second.clone())
    );
    store.renew(second.fence(), seconds(10)).await.unwrap();
}

/// Whatever becomes of a lease, its next grant has a greater epoch.
pub async fn epochs_only_grow(subject: &StateSubject) {
    let store = &subject.store;
    let mut last = None;
    for round in 0..12 {
        let held = lease(store, "l", ["one", "two"][round % 2]).await;
        assert!(Some(held.epoch) > last);
        last = Some(held.epoch);
        match round % 3 {
            0 => store.release(held.fence()).await.unwrap(),
            1 => subject.pass(10),
            _ => {
                let again = lease(store, "l", held.owner.as_str()).await;
                assert!(Some(again.epoch) > last);
                last = Some(again.epoch);
                subject.pass(100_000);
            }
        }
    }
}

/// Two that go by the same name do not both hold a lease.
pub async fn owner_that_asks_again_loses_the_earlier_grant(subject: &StateSubject) {
    let store = &subject.store;
    let first = lease(store, "l", "one").await;
    let second = lease(store, "l", "one").await;
    assert!(second.epoch > first.epoch);
    assert_lost(subject, &first.fence()).await;
    let batch = fenced(vec![second.fence()], Precondition::Any);
    store.apply(batch).await.unwrap();
}

/// A batch is made only while all its leases are held.
pub async fn fence_keeps_a_stale_owner_from_writing(subject: &StateSubject) {
    let store = &subject.store;
    let (l, m) = (
        lease(store, "l", "one").await,
        lease(store, "m", "one").await,
    );
    let both = || fenced(vec![l.fence(), m.fence()], Precondition::Any);
    store.apply(both()).await.unwrap();
    subject.pass(5);
    store.renew(l.fence(), seconds(10)).await.unwrap();
    subject.pass(5);
    let before = store.record(id("k/a")).await.unwrap();
    let StateError::LeaseLost { fence } = store.apply(both()).await.unwrap_err() else {
        panic!("the batch was taken, or refused for another reason");
    };
    assert_eq!(fence, m.fence());
    assert_eq!(store.record(id("k/a")).await.unwrap(), before);
    let only = fenced(vec![l.fence()], Precondition::Any);
    store.apply(only).await.unwrap();
    let empty = Batch {
        changes: Vec::new(),
        fences: vec![m.fence()],
    };
    let error = store.apply(empty).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LeaseLost);
}

/// A stale owner learns that it is stale, and nothing about records.
pub async fn fence_is_checked_before_preconditions(subject: &StateSubject) {
    let store = &subject.store;
    put(store, "k/a", Put::new(*b"")).await;
    let held = lease(store, "l", "one").await;
    subject.pass(10);
    let batch = fenced(vec![held.fence()], Precondition::Absent);
    let error = store.apply(batch).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LeaseLost);
}

/// What is held is listed, in pages, with its holder; what has run out is not.
pub async fn held_leases_are_listed(subject: &StateSubject) {
    let store = &subject.store;
    lease(store, "p/0", "gone").await;
    subject.pass(10);
    let mut expected = Vec::new();
    for name in ["p/1", "p/2", "p/3", "q/1"] {
        expected.push(lease(store, name, &format!("owner of {name}")).await);
    }
    let released = lease(store, "p/4", "gone").await;
    store.release(released.fence()).await.unwrap();
    for (prefix, n_leases) in [("", 4), ("p/", 3), ("q/", 1), ("r", 0)] {
        for limit in 1..=5 {
            let mut leases = Vec::new();
            let mut scan = LeaseScan {
                prefix: prefix.to_owned(),
                after: None,
                limit,
            };
            loop {
                let page = store.leases(scan.clone()).await.unwrap();
                assert!(page.leases.len() <= limit);
                leases.extend(page.leases);
                scan.after = page.next;
                if scan.after.is_none() {
                    break;
                }
            }
            let wanted = expected
                .iter()
                .filter(|l| l.name.as_str().starts_with(prefix));
            assert_eq!(leases, wanted.cloned().collect::<Vec<_>>());
            assert_eq!(leases.len(), n_leases);
        }
    }
}
