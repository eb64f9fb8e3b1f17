//! Records, batches and claims for the promises and for other tests of bookkeeping.

use std::sync::Arc;
use std::time::Duration;

use crate::state::{
    Acquire, Acquired, Applied, Batch, Change, Claim, ClaimOrder, Claimed, Due, Lease,
    Precondition, Put, Record, RecordId, RecordScan, RecordVersion, StateError, StateStore,
};

/// Names a record by `kind/key`; the key may have slashes.
///
/// # Panics
/// When the text is not two valid names with a slash between them.
#[must_use]
pub fn id(text: &str) -> RecordId {
    let (kind, key) = text.split_once('/').unwrap();
    RecordId::new(kind.parse().unwrap(), key.parse().unwrap())
}

/// Makes seconds.
#[must_use]
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Makes a record that is due at once, in a group unless its name is empty.
///
/// # Panics
/// When the group is not a valid name.
#[must_use]
pub fn work(group: &str) -> Put {
    let put = Put::new(*b"work").due(Due::After(Duration::ZERO));
    match group {
        "" => put,
        group => put.in_group(group.parse().unwrap()),
    }
}

/// Applies a batch without fences, which must succeed.
///
/// # Panics
/// When it is refused.
pub async fn apply(store: &Arc<dyn StateStore>, changes: Vec<Change>) -> Applied {
    store.apply(Batch::of(changes)).await.unwrap()
}

/// Writes a record whatever it was, and returns its version.
///
/// # Panics
/// When it is refused.
pub async fn put(store: &Arc<dyn StateStore>, of: &str, put: Put) -> RecordVersion {
    let change = Change::put(id(of), Precondition::Any, put);
    apply(store, vec![change]).await.version
}

/// Reads a record that must be there.
///
/// # Panics
/// When it is not.
pub async fn record(store: &Arc<dyn StateStore>, of: &str) -> Record {
    store.record(id(of)).await.unwrap().unwrap()
}

/// Applies one change, which must be refused, and returns why.
///
/// # Panics
/// When it is taken.
pub async fn refused(store: &Arc<dyn StateStore>, change: Change) -> StateError {
    store.apply(Batch::of(vec![change])).await.unwrap_err()
}

/// Claims up to ten records of kind `q` for ten seconds.
///
/// # Panics
/// When the store fails.
pub async fn claim(store: &Arc<dyn StateStore>, owner: &str, order: ClaimOrder) -> Claimed {
    let claim = Claim {
        kind: "q".parse().unwrap(),
        owner: owner.parse().unwrap(),
        limit: 10,
        visibility: seconds(10),
        order,
    };
    store.claim(claim).await.unwrap()
}

/// Returns the keys of what was claimed.
#[must_use]
pub fn keys(claimed: &Claimed) -> Vec<&str> {
    let records = claimed.records.iter();
    records.map(|record| record.id.key.as_str()).collect()
}

/// Asks for a lease of ten seconds.
///
/// # Panics
/// When the store fails.
pub async fn acquire(store: &Arc<dyn StateStore>, name: &str, owner: &str) -> Acquired {
    let acquire = Acquire {
        name: name.parse().unwrap(),
        owner: owner.parse().unwrap(),
        ttl: seconds(10),
    };
    store.acquire(acquire).await.unwrap()
}

/// Asks for a lease of ten seconds that must be free.
///
/// # Panics
/// When it is not.
pub async fn lease(store: &Arc<dyn StateStore>, name: &str, owner: &str) -> Lease {
    acquire(store, name, owner).await.granted().unwrap()
}

/// Scans pages until there is no more.
///
/// # Panics
/// When a scan fails.
pub async fn all(store: &Arc<dyn StateStore>, mut scan: RecordScan) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = store.scan(scan.clone()).await.unwrap();
        assert!(page.records.len() <= scan.limit);
        records.extend(page.records);
        match page.next {
            None => return records,
            Some(next) => {
                assert_ne!(
                    Some(&next),
                    scan.after.as_ref(),
                    "the page does not move on"
                );
                scan.after = Some(next);
            }
        }
    }
}
