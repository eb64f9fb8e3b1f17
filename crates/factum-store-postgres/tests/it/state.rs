//! The bookkeeping on PostgreSQL keeps every promise, and does what its model does.

use std::sync::Arc;

use factum_model::LogicalClock;
use factum_store::conformance::Setting;
use factum_store::conformance::state::StateSubject;
use factum_store::conformance::state::fixtures::{acquire, apply, claim, id, put, record, work};
use factum_store::{
    Change, ClaimOrder, MemoryStateStore, Precondition, Put, StateLimits, StateStore,
};
use factum_store_postgres::{LeafPolicy, Options, PostgresStateStore, StateClock, StateOptions};
use factum_testkit::postgres::Database;
use factum_testkit::state::StateHistory;

use crate::opened;

async fn database() -> (Database, Options) {
    opened::database(LeafPolicy::Monthly).await
}

fn at(log: &Options, clock: &Arc<LogicalClock>) -> StateOptions {
    StateOptions {
        clock: StateClock::Given(Arc::<LogicalClock>::clone(clock)),
        ..StateOptions::beside(log.clone())
    }
}

async fn open_at(options: StateOptions) -> Arc<dyn StateStore> {
    Arc::new(PostgresStateStore::open(options).await.unwrap())
}

async fn open(setting: Setting) -> StateSubject {
    let (database, log) = database().await;
    let options = at(&log, &setting.clock);
    let store = PostgresStateStore::open(options).await.unwrap();
    StateSubject::new(&setting, store, database)
}

factum_store::state_conformance!(postgres_state, open);

/// Random histories give the same answers as the model, each step at one of two nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_answered_as_by_the_model() {
    let slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some();
    let n_seeds = if slow { 100 } else { 4 };
    for seed in 0..n_seeds {
        let (_database, log) = database().await;
        let clock = Setting::new().clock;
        let nodes = [
            open_at(at(&log, &clock)).await,
            open_at(at(&log, &clock)).await,
        ];
        let limits = StateLimits::default();
        let model: Arc<dyn StateStore> = Arc::new(MemoryStateStore::with(clock.clone(), limits));
        let mut history = StateHistory::new(seed, clock);
        for round in 0..20 {
            history.go(20, (&model, &nodes[round % 2])).await;
        }
    }
}

/// With the clock of the server: what is due is claimed, and a lease runs out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_of_the_server_decides() {
    let (_database, log) = database().await;
    let store = open_at(StateOptions::beside(log)).await;
    put(&store, "q/now", work("")).await;
    let later = Put::new(*b"").due(factum_store::Due::After(std::time::Duration::from_hours(1)));
    put(&store, "q/later", later).await;
    let claimed = claim(&store, "w", ClaimOrder::InOrder).await;
    assert_eq!(claimed.records.len(), 1);
    let held = record(&store, "q/now").await.claim.unwrap();
    assert_eq!(held.until, claimed.now.saturating_add_micros(10_000_000));
    let lease = acquire(&store, "l", "one").await.granted().unwrap();
    assert!(lease.expires_at > store.now().await.unwrap());
    let short = std::time::Duration::from_millis(1);
    store.renew(lease.fence(), short).await.unwrap();
    while acquire(&store, "l", "two").await.granted().is_none() {}
}

/// Nodes that share a queue and a lease: each record is done once, the order within a group
/// holds, and of two that think they hold the lease one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_queue_without_doing_anything_twice() {
    let (_database, log) = database().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(open_at(StateOptions::beside(log.clone())).await);
    }
    let new = |key: usize| {
        let of = id(&format!("q/{key:03}"));
        Change::put(of, Precondition::Absent, work(&format!("g{}", key % 4)))
    };
    apply(&nodes[0], (0..80).map(new).collect()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let store = Arc::clone(&nodes[number % 3]);
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let claimed = claim(&store, &format!("w{number}"), ClaimOrder::InOrder).await;
                if claimed.records.is_empty() && claimed.next_at.is_none() {
                    return done;
                }
                for record in claimed.records {
                    done.push((record.version.get(), record.id.key.to_string()));
                    let version = Precondition::Version(record.version);
                    apply(&store, vec![Change::delete(record.id, version)]).await;
                }
            }
        });
    }
    let mut done: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    done.sort();
    // Versions grow with the claims of a kind, so they tell in which order these were made.
    for group in 0..4 {
        let of_group = |key: &&str| key.parse::<usize>().unwrap() % 4 == group;
        let keys: Vec<_> = done
            .iter()
            .map(|(_, key)| key.as_str())
            .filter(of_group)
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }
    assert_eq!(done.len(), 80);
}

/// The role of the nodes changes the bookkeeping through functions, and in no other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn application_has_no_way_around_the_functions() {
    let (database, log) = database().await;
    let store = open_at(StateOptions::beside(log)).await;
    put(&store, "k/a", Put::new(*b"kept")).await;
    for sql in [
        "DELETE FROM factum.state_records",
        "UPDATE factum.state_records SET version = 7",
        "TRUNCATE factum.state_records",
        "INSERT INTO factum.state_leases VALUES (1, 'l', 'me', 1, now())",
        "SELECT nextval('factum.state_numbers')",
    ] {
        let refused = database.psql_as(opened::APPLICATION, sql).unwrap_err();
        assert!(refused.contains("permission denied"), "{refused}");
    }
    assert_eq!(record(&store, "k/a").await.body, b"kept");
}

/// A node whose connections are cut again and again: each change was made or was not, whoever
/// asks knows which, and what was answered is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_and_do_nothing_twice() {
    let (database, log) = database().await;
    let store = open_at(StateOptions::beside(log)).await;
    let mut seen = put(&store, "k/n", Put::new(*b"0")).await;
    let (mut number, mut n_cut) = (0_u32, 0);
    let cutting = tokio::task::spawn_blocking(move || {
        for _ in 0..15 {
            let role = opened::APPLICATION;
            database.psql(&format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE usename = '{role}' AND datname = current_database()"
            ));
        }
        database
    });
    let mut last_round = false;
    loop {
        let next = Put::new((number + 1).to_string());
        let change = Change::put(id("k/n"), Precondition::Version(seen), next);
        match store.apply(factum_store::Batch::of(vec![change])).await {
            Ok(applied) => {
                number += 1;
                seen = applied.version;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                n_cut += 1;
                let found = record(&store, "k/n").await;
                let body: u32 = String::from_utf8(found.body).unwrap().parse().unwrap();
                if found.version == seen {
                    assert_eq!(body, number);
                } else {
                    assert!(matches!(error, factum_store::StateError::OutcomeUnknown));
                    assert_eq!(body, number + 1);
                    number = body;
                    seen = found.version;
                }
            }
        }
        if last_round {
            break;
        }
        last_round = cutting.is_finished();
    }
    assert!(n_cut > 0 && number > 0, "{n_cut} {number}");
    assert_eq!(record(&store, "k/n").await.version, seen);
    drop(cutting.await.unwrap());
}
