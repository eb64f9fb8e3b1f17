//! Crashes, failing bookkeeping, lost leases: nothing is skipped, and what is repeated is bounded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum_engine::{FeedSettings, Outcome, Settled};
use factum_model::Timestamp;
use factum_store::{
    Acquire, Acquired, Applied, Batch, BoxFuture, Capability, Claim, Claimed, Fence, GroupPage,
    GroupScan, Lease, LeasePage, LeaseScan, OwnerName, QueueStatus, Record, RecordId, RecordKind,
    RecordPage, RecordScan, StateError, StateHealth, StateLimits, StateStore, StateWatch,
    StoreMetrics,
};
use factum_testkit::Random;

use super::harness::{
    Witness, append, books, dispatching, engine, engine_with, feed_of, handling, positions,
    settings, streams, take,
};

const CONCURRENCY: usize = 8;

/// Kills the process at any moment, over and over.
#[tokio::test(start_paused = true)]
async fn what_runs_when_the_process_dies_is_repeated_and_nothing_else() {
    const N_EVENTS: usize = 400;
    for seed in 0..6 {
        let mut random = Random::seeded(seed);
        let engine = engine();
        append(&engine, &streams(&mut random, N_EVENTS, 30)).await;
        let witness = Arc::new(Witness {
            fails_one_in: 10,
            takes_ms_max: 20,
            ..Witness::seeded(seed)
        });
        let mut n_crashes = 0;
        while witness.n_done() < N_EVENTS {
            let feed = feed_of(&engine, "node", settings());
            let running = handling(&feed, Arc::clone(&witness) as _, CONCURRENCY);
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            running.kill().await;
            witness.forget_what_is_out();
            n_crashes += 1;
        }
        let n_repeats = witness.n_repeats();
        assert!(n_crashes > 5, "{n_crashes}");
        assert!(
            n_repeats <= CONCURRENCY * n_crashes,
            "{n_repeats} in {n_crashes}"
        );
    }
}

/// Fails before or after it has done what it was asked for.
#[derive(Debug)]
struct FaultyBooks {
    books: Box<dyn StateStore>,
    random: Mutex<Random>,
    n_faults: AtomicU64,
}

enum Fault {
    None,
    Before(StateError),
    After,
}

impl FaultyBooks {
    fn fault(&self) -> Fault {
        let mut random = self.random.lock().unwrap();
        if !random.one_in(12) {
            return Fault::None;
        }
        self.n_faults.fetch_add(1, Ordering::Relaxed);
        match random.below(4) {
            0 => Fault::After,
            1 => Fault::Before(StateError::OutcomeUnknown),
            2 => Fault::Before(StateError::Overloaded { retry_after_ms: 5 }),
            _ => Fault::Before(StateError::Failed {
                cause: "chance".to_owned(),
            }),
        }
    }

    async fn faulty<T>(
        &self,
        asked: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        match self.fault() {
            Fault::None => asked.await,
            Fault::Before(error) => Err(error),
            Fault::After => {
                asked.await?;
                Err(StateError::OutcomeUnknown)
            }
        }
    }
}

impl StateStore for FaultyBooks {
    fn capability(&self) -> Capability {
        self.books.capability()
    }

    fn limits(&self) -> StateLimits {
        self.books.limits()
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StateError>> {
        Box::pin(self.faulty(self.books.now()))
    }

    fn record(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Record>, StateError>> {
        Box::pin(self.faulty(self.books.record(id)))
    }

    fn scan(&self, scan: RecordScan) -> BoxFuture<'_, Result<RecordPage, StateError>> {
        Box::pin(self.faulty(self.books.scan(scan)))
    }

    fn groups(&self, scan: GroupScan) -> BoxFuture<'_, Result<GroupPage, StateError>> {
        Box::pin(self.faulty(self.books.groups(scan)))
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, StateError>> {
        Box::pin(self.faulty(self.books.apply(batch)))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StateError>> {
        Box::pin(self.faulty(self.books.claim(claim)))
    }

    fn abandon(
        &self,
        kind: RecordKind,
        owner: OwnerName,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(self.faulty(self.books.abandon(kind, owner)))
    }

    fn queue(&self, kind: RecordKind) -> BoxFuture<'_, Result<QueueStatus, StateError>> {
        Box::pin(self.faulty(self.books.queue(kind)))
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Acquired, StateError>> {
        Box::pin(self.faulty(self.books.acquire(acquire)))
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<Lease, StateError>> {
        Box::pin(self.faulty(self.books.renew(fence, ttl)))
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.faulty(self.books.release(fence)))
    }

    fn leases(&self, scan: LeaseScan) -> BoxFuture<'_, Result<LeasePage, StateError>> {
        Box::pin(self.faulty(self.books.leases(scan)))
    }

    fn watch(&self) -> StateWatch {
        self.books.watch()
    }

    fn health(&self) -> StateHealth {
        self.books.health()
    }

    fn metrics(&self) -> StoreMetrics {
        self.books.metrics()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.books.close()
    }
}

#[tokio::test(start_paused = true)]
async fn bookkeeping_that_fails_loses_and_disorders_nothing() {
    const N_EVENTS: usize = 400;
    for seed in 0..6 {
        let mut random = Random::seeded(100 + seed);
        let books = Arc::new(FaultyBooks {
            books: Box::new(books()),
            random: Mutex::new(Random::seeded(seed)),
            n_faults: AtomicU64::new(0),
        });
        let engine = engine_with(Arc::clone(&books) as _);
        append(&engine, &streams(&mut random, N_EVENTS, 30)).await;
        let witness = Arc::new(Witness {
            takes_ms_max: 20,
            ..Witness::seeded(seed)
        });
        let feed = feed_of(&engine, "node", settings());
        let running = handling(&feed, Arc::clone(&witness) as _, CONCURRENCY);
        witness.until_done(N_EVENTS).await;
        running.stop().await;
        // Each fault that hid or refused outcomes repeats those at most that came together.
        let n_faults = usize::try_from(books.n_faults.load(Ordering::Relaxed)).unwrap();
        assert!(n_faults > 20, "{n_faults}");
        assert!(witness.n_repeats() <= n_faults * CONCURRENCY);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_loses_its_lease_stops_reading() {
    let engine = engine();
    append(&engine, &[1, 2, 3]).await;
    let first = feed_of(&engine, "first", settings());
    let running = dispatching(&first);
    let handouts = first.take(&take(5)).await.unwrap();
    assert_eq!(positions(&handouts), [1, 2, 3]);
    // As if it had been silent for so long that another node was given its lease.
    let state = engine.state().unwrap();
    let leases = state.leases(LeaseScan {
        prefix: "subscription/".to_owned(),
        after: None,
        limit: 10,
    });
    let lease = leases.await.unwrap().leases.remove(0);
    state.release(lease.fence()).await.unwrap();
    let acquire = Acquire {
        name: lease.name,
        owner: "second".parse().unwrap(),
        ttl: Duration::from_hours(1),
    };
    let lease = state.acquire(acquire).await.unwrap().granted().unwrap();
    append(&engine, &[4]).await;
    assert!(first.take(&take(5)).await.unwrap().is_empty());
    assert_eq!(first.counters().lease_lost.get(), 1);
    // What is out is settled all the same: it is fenced by its own claims.
    let acks = handouts.iter().map(|handout| (handout.token, Outcome::Ack));
    assert_eq!(
        first.settle(acks.collect()).await.unwrap(),
        [Settled::Done; 3]
    );
    state.release(lease.fence()).await.unwrap();
    let second = feed_of(&engine, "second", settings());
    let other = dispatching(&second);
    assert_eq!(positions(&second.take(&take(5)).await.unwrap()), [4]);
    running.stop().await;
    other.stop().await;
}

/// Three nodes work on one subscription at once; they come and go, in order and by crashes.
#[tokio::test(start_paused = true)]
async fn several_nodes_share_a_subscription() {
    const N_EVENTS: usize = 1000;
    for seed in 0..3 {
        let mut random = Random::seeded(seed);
        let engine = engine();
        append(&engine, &streams(&mut random, N_EVENTS, 60)).await;
        let witness = Arc::new(Witness {
            takes_ms_max: 30,
            ..Witness::seeded(seed)
        });
        let settings = FeedSettings {
            ack_deadline: Duration::from_secs(30),
            ..settings()
        };
        let names = ["a", "b", "c"];
        let begin = |name: &str| {
            let feed = feed_of(&engine, name, settings);
            handling(&feed, Arc::clone(&witness) as _, CONCURRENCY)
        };
        let mut nodes: Vec<_> = names.iter().map(|name| begin(name)).collect();
        while witness.n_done() < N_EVENTS {
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            let which = random.index(names.len());
            nodes.remove(which).stop().await;
            nodes.insert(which, begin(names[which]));
        }
        for node in nodes {
            node.stop().await;
        }
        assert_eq!(witness.n_repeats(), 0);
        assert!(witness.out_max() > CONCURRENCY);
    }
}
