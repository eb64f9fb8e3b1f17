//! Promises about many at once.

use std::sync::Arc;

use factum_model::ErrorCode;
use tokio::task::JoinSet;

use super::StateSubject;
use super::fixtures::{acquire, apply, claim, id, put, record, work};
use crate::state::{
    Acquired, Batch, Change, ClaimOrder, Precondition, Put, RecordScan, StateStore,
};

const TASKS: usize = 8;

/// Runs a task several times at once and collects what they return.
async fn at_once<T, F>(
    store: &Arc<dyn StateStore>,
    task: impl Fn(Arc<dyn StateStore>, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        tasks.spawn(task(Arc::clone(store), number));
    }
    tasks.join_all().await
}

/// Increments under compare-and-set lose none.
pub async fn compare_and_set_is_won_once(subject: &StateSubject) {
    put(&subject.store, "k/n", Put::new(*b"0")).await;
    at_once(&subject.store, |store, _| async move {
        let mut n_done = 0;
        while n_done < 10 {
            let seen = record(&store, "k/n").await;
            let number: u32 = String::from_utf8(seen.body).unwrap().parse().unwrap();
            let next = Put::new((number + 1).to_string());
            let change = Change::put(seen.id, Precondition::Version(seen.version), next);
            match store.apply(Batch::of(vec![change])).await {
                Ok(_) => n_done += 1,
                Err(error) => assert_eq!(error.code(), ErrorCode::StateConflict),
            }
        }
    })
    .await;
    assert_eq!(record(&subject.store, "k/n").await.body, b"80");
}

/// Of many that make the same record one succeeds.
pub async fn new_record_is_made_once(subject: &StateSubject) {
    for round in 0..10 {
        let won = at_once(&subject.store, move |store, number| async move {
            let new = Put::new(number.to_string());
            let change = Change::put(id(&format!("k/{round}")), Precondition::Absent, new);
            let made = store.apply(Batch::of(vec![change])).await;
            if let Err(error) = &made {
                assert_eq!(error.code(), ErrorCode::StateConflict);
            }
            made.is_ok().then_some(number)
        })
        .await;
        let won: Vec<_> = won.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        let made = record(&subject.store, &format!("k/{round}")).await;
        assert_eq!(made.body, won[0].to_string().as_bytes());
    }
}

/// Batches that touch the same records in opposite order neither deadlock nor mix.
pub async fn opposite_batches_both_end(subject: &StateSubject) {
    at_once(&subject.store, |store, number| async move {
        for round in 0..10 {
            let mut changes: Vec<_> = ["k/a", "k/b", "k/c"]
                .iter()
                .map(|of| {
                    let body = Put::new(format!("{number} {round}"));
                    Change::put(id(of), Precondition::Any, body)
                })
                .collect();
            if number % 2 == 0 {
                changes.reverse();
            }
            apply(&store, changes).await;
        }
    })
    .await;
    let a = record(&subject.store, "k/a").await;
    for of in ["k/b", "k/c"] {
        let other = record(&subject.store, of).await;
        assert_eq!((other.body, other.version), (a.body.clone(), a.version));
    }
}

/// Of many owners one gets a lease, and all others are told the same one.
pub async fn lease_is_won_once(subject: &StateSubject) {
    for round in 0..10 {
        let name = format!("l{round}");
        let answers = at_once(&subject.store, |store, number| {
            let name = name.clone();
            async move { acquire(&store, &name, &format!("owner {number}")).await }
        })
        .await;
        let mut granted = answers.iter().filter_map(|answer| answer.clone().granted());
        let winner = granted.next().unwrap();
        assert_eq!(granted.next(), None);
        for answer in answers {
            match answer {
                Acquired::Granted(lease) | Acquired::Held(lease) => assert_eq!(lease, winner),
            }
        }
    }
}

/// Many workers share a queue, and each record goes to one of them.
pub async fn no_record_is_claimed_by_two(subject: &StateSubject) {
    for order in [
        ClaimOrder::Free,
        ClaimOrder::OneAtATime,
        ClaimOrder::InOrder,
    ] {
        let record = |key: usize| {
            let of = id(&format!("q/{key:03}"));
            Change::put(of, Precondition::Absent, work(&format!("g{}", key % 7)))
        };
        apply(&subject.store, (0..120).map(record).collect()).await;
        let done = at_once(&subject.store, |store, number| async move {
            let mut done = Vec::new();
            loop {
                let claimed = claim(&store, &format!("w{number}"), order).await;
                if claimed.records.is_empty() && claimed.next_at.is_none() {
                    return done;
                }
                for record in claimed.records {
                    let version = Precondition::Version(record.version);
                    let complete = Change::delete(record.id.clone(), version);
                    apply(&store, vec![complete]).await;
                    done.push(record.id.key.to_string());
                }
            }
        })
        .await;
        let mut done: Vec<_> = done.into_iter().flatten().collect();
        done.sort();
        let expected: Vec<_> = (0..120).map(|key| format!("{key:03}")).collect();
        assert_eq!(done, expected);
    }
}

/// With many workers the records of a group are done one after the other, in their order.
pub async fn order_within_a_group_holds_with_many_workers(subject: &StateSubject) {
    let record = |key: usize| {
        let of = id(&format!("q/{key:03}"));
        Change::put(of, Precondition::Absent, work(&format!("g{}", key % 5)))
    };
    apply(&subject.store, (0..100).map(record).collect()).await;
    // What a worker does to the outside: it writes the last key of the group, which must be
    // the one before, and which nobody may touch between its reading and its writing.
    let last = |group: &str| format!("last/{group}");
    for group in 0..5 {
        put(&subject.store, &last(&format!("g{group}")), Put::new(*b"")).await;
    }
    at_once(&subject.store, move |store, number| async move {
        loop {
            let claimed = claim(&store, &format!("w{number}"), ClaimOrder::InOrder).await;
            if claimed.records.is_empty() && claimed.next_at.is_none() {
                return;
            }
            for work in claimed.records {
                let key: usize = work.id.key.as_str().parse().unwrap();
                let seen = self::record(&store, &last(work.group.unwrap().as_str())).await;
                let before = key.checked_sub(5).map(|key| key.to_string());
                assert_eq!(seen.body, before.unwrap_or_default().as_bytes());
                let written = Put::new(key.to_string());
                let version = Precondition::Version(seen.version);
                apply(&store, vec![Change::put(seen.id, version, written)]).await;
                let done = Change::delete(work.id, Precondition::Version(work.version));
                apply(&store, vec![done]).await;
            }
        }
    })
    .await;
}

/// Whoever lists records sees a batch whole or not at all.
pub async fn page_is_of_one_instant(subject: &StateSubject) {
    at_once(&subject.store, |store, number| async move {
        for round in 0..20 {
            if number < 4 {
                let put = |key: usize| {
                    let body = Put::new(format!("{number} {round}"));
                    Change::put(id(&format!("k/{key}")), Precondition::Any, body)
                };
                apply(&store, (0..5).map(put).collect()).await;
            } else {
                let scan = RecordScan::all("k".parse().unwrap());
                let page = store.scan(scan).await.unwrap();
                let first = page.records.first().map(|record| record.version);
                let same = |record: &crate::state::Record| Some(record.version) == first;
                assert!(page.records.iter().all(same), "{page:?}");
                assert!(page.records.len() == 5 || page.records.is_empty());
            }
        }
    })
    .await;
}

/// While leases run out and are taken over, what stale owners write is refused: the epochs that
/// stand in a record never go back.
pub async fn fenced_writes_never_go_back_while_time_passes(subject: &StateSubject) {
    let clock = Arc::clone(&subject.clock);
    at_once(&subject.store, move |store, number| {
        let clock = Arc::clone(&clock);
        async move {
            let mut last = 0;
            for round in 0..40 {
                clock.advance(900_000);
                let owner = format!("owner {number}");
                if let Acquired::Granted(lease) = acquire(&store, "l", &owner).await {
                    // The longer it thinks, the more likely it is that its lease is over.
                    clock.advance(if round % 3 == 0 { 6_000_000 } else { 1000 });
                    let write = Put::new(lease.epoch.to_string());
                    let batch = Batch {
                        changes: vec![Change::put(id("k/e"), Precondition::Any, write)],
                        fences: vec![lease.fence()],
                    };
                    if let Err(error) = store.apply(batch).await {
                        assert_eq!(error.code(), ErrorCode::LeaseLost);
                    }
                }
                if let Some(seen) = store.record(id("k/e")).await.unwrap() {
                    let epoch: u64 = String::from_utf8(seen.body).unwrap().parse().unwrap();
                    assert!(epoch >= last, "{epoch} after {last}");
                    last = epoch;
                }
            }
        }
    })
    .await;
}

/// While claims run out and are taken over, each record is completed once, and of a group one at
/// a time.
pub async fn work_is_completed_once_while_time_passes(subject: &StateSubject) {
    let record = |key: usize| {
        let of = id(&format!("q/{key:03}"));
        Change::put(of, Precondition::Absent, work(&format!("g{}", key % 5)))
    };
    apply(&subject.store, (0..40).map(record).collect()).await;
    let clock = Arc::clone(&subject.clock);
    let done = at_once(&subject.store, move |store, number| {
        let clock = Arc::clone(&clock);
        async move {
            let mut done = Vec::new();
            loop {
                let owner = format!("w{number}");
                let claimed = claim(&store, &owner, ClaimOrder::InOrder).await;
                if claimed.records.is_empty() && claimed.next_at.is_none() {
                    return done;
                }
                clock.advance(2_500_000);
                for record in claimed.records {
                    let version = Precondition::Version(record.version);
                    let complete = Change::delete(record.id.clone(), version);
                    match store.apply(Batch::of(vec![complete])).await {
                        Ok(_) => done.push(record.id.key.to_string()),
                        Err(error) => assert_eq!(error.code(), ErrorCode::StateConflict),
                    }
                }
            }
        }
    })
    .await;
    let mut done: Vec<_> = done.into_iter().flatten().collect();
    done.sort();
    let expected: Vec<_> = (0..40).map(|key| format!("{key:03}")).collect();
    assert_eq!(done, expected);
}
