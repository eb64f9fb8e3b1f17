//! Work through the queue of the bookkeeping: each unit is put, claimed and completed.
//!
//! `cargo bench -p factum-store-embedded --bench state` prints one table. A round trip is three
//! durable changes, two of which stand in one commit with those of other workers.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_docs_in_private_items,
    reason = "a program that measures and prints"
)]

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use factum_store::{
    Batch, Change, Claim, ClaimOrder, Due, Precondition, Put, RecordId, StateStore,
};
use factum_store_embedded::{EmbeddedStateStore, StateOptions};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

fn claim(worker: usize, limit: usize, order: ClaimOrder) -> Claim {
    Claim {
        kind: "delivery".parse().unwrap(),
        owner: format!("worker {worker}").parse().unwrap(),
        limit,
        visibility: Duration::from_secs(30),
        order,
    }
}

fn new(key: usize) -> Change {
    let id = RecordId::new(
        "delivery".parse().unwrap(),
        format!("{key:020}").parse().unwrap(),
    );
    let put = Put::new(vec![7; 200]).due(Due::After(Duration::ZERO));
    let group = format!("submission/s-{}", key % 997);
    let put = put.in_group(group.parse().unwrap());
    Change::put(id, Precondition::Absent, put)
}

/// Returns how many records per second the workers claim and complete, `limit` at a time. What
/// they complete they replace in the same batch, so that the queue stays as long as it is.
async fn work(
    store: &Arc<dyn StateStore>,
    n_workers: usize,
    limit: usize,
    order: ClaimOrder,
) -> f64 {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..n_workers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut n_done = 0;
            while start.elapsed() < ROUND {
                let claimed = store.claim(claim(worker, limit, order)).await.unwrap();
                let mut changes = Vec::new();
                for record in claimed.records {
                    let key: usize = record.id.key.as_str().parse().unwrap();
                    let version = Precondition::Version(record.version);
                    changes.push(Change::delete(record.id, version));
                    changes.push(new(key + 1_000_000));
                    n_done += 1;
                }
                store.apply(Batch::of(changes)).await.unwrap();
            }
            n_done
        });
    }
    let n_done: usize = tasks.join_all().await.into_iter().sum();
    n_done as f64 / start.elapsed().as_secs_f64()
}

/// Returns how many batches of one change per second are applied.
async fn put(store: &Arc<dyn StateStore>, n_workers: usize) -> f64 {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..n_workers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let id = RecordId::new(
                "checkpoint".parse().unwrap(),
                format!("{worker}").parse().unwrap(),
            );
            let mut n_done = 0;
            while start.elapsed() < ROUND {
                let body = Put::new(vec![7; 40]);
                let change = Change::put(id.clone(), Precondition::Any, body);
                store.apply(Batch::of(vec![change])).await.unwrap();
                n_done += 1;
            }
            n_done
        });
    }
    let n_done: usize = tasks.join_all().await.into_iter().sum();
    n_done as f64 / start.elapsed().as_secs_f64()
}

/// Returns how often per second the disk makes four KiB durable behind the end of a file.
fn syncs(directory: &std::path::Path) -> f64 {
    let mut file = std::fs::File::create(directory.join("raw")).unwrap();
    let start = Instant::now();
    let mut n_done = 0;
    while start.elapsed() < ROUND {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        n_done += 1;
    }
    f64::from(n_done) / start.elapsed().as_secs_f64()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let directory = tempfile::tempdir_in(".").unwrap();
    let store = EmbeddedStateStore::open(StateOptions::at(directory.path())).unwrap();
    let store: Arc<dyn StateStore> = Arc::new(store);
    runtime.block_on(async {
        for part in 0..10 {
            let changes = (part * 200..(part + 1) * 200).map(new).collect();
            store.apply(Batch::of(changes)).await.unwrap();
        }
        println!("per second, {ROUNDS} rounds; 2,000 records wait in 997 groups");
        for _ in 0..ROUNDS {
            println!("syncs of 4 KiB: {:.0}", syncs(directory.path()));
            for n_workers in [1, 8] {
                let rate = put(&store, n_workers).await;
                println!("{n_workers} workers, checkpoints: {rate:.0}");
                for (limit, order) in [
                    (1, ClaimOrder::Free),
                    (1, ClaimOrder::InOrder),
                    (32, ClaimOrder::InOrder),
                ] {
                    let rate = work(&store, n_workers, limit, order).await;
                    println!("{n_workers} workers, {limit} at a time, {order:?}: {rate:.0}");
                }
            }
        }
    });
}
