//! Setting up, and what the database itself refuses.

use std::sync::Arc;

use factum_model::Timestamp;
use factum_store::EventStore;
use factum_store::conformance::fixtures::{append, event, everything, varied};
use factum_store::conformance::{Setting, Subject};
use factum_store_postgres::{LeafPolicy, OpenError, Options, PostgresStore, Setup};
use factum_testkit::postgres::Database;
use tokio::task::JoinSet;

use crate::opened::{self, APPLICATION};

/// The application may read and append, and the database refuses everything else; and even the
/// owner changes nothing by accident.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_recorded_can_be_changed() {
    let (database, options) = opened::database(LeafPolicy::Monthly).await;
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    append(&store, vec![event("a", "form/f-1")]).await;
    let acts = [
        "UPDATE factum.? SET log_id = 1",
        "DELETE FROM factum.?",
        "TRUNCATE factum.?",
        "INSERT INTO factum.? DEFAULT VALUES",
        "ALTER TABLE factum.? DISABLE TRIGGER ALL",
        "DROP TABLE factum.?",
    ];
    for table in [
        "events",
        "events_1",
        "event_ids",
        "streams",
        "logs",
        "leaves",
    ] {
        for act in acts {
            let act = act.replace('?', table);
            let refused = database.psql_as(APPLICATION, &act).unwrap_err();
            let is_refused =
                refused.contains("permission denied") || refused.contains("must be owner");
            assert!(is_refused, "{act}: {refused}");
        }
    }
    let owner = "postgres";
    for act in [
        "UPDATE factum.events SET payload = '{}'",
        "UPDATE factum.events_1 SET payload = '{}'",
        "DELETE FROM factum.events",
        "DELETE FROM factum.events_1",
        "TRUNCATE factum.events",
        "TRUNCATE factum.events_1",
        "TRUNCATE factum.events_2",
        "DELETE FROM factum.event_ids",
        "UPDATE factum.event_ids SET position = 2",
        "TRUNCATE factum.event_ids",
        "DELETE FROM factum.streams",
        "TRUNCATE factum.streams",
        "DELETE FROM factum.logs",
    ] {
        let refused = database.psql_as(owner, act).unwrap_err();
        assert!(refused.contains("append-only"), "{act}: {refused}");
    }
    assert_eq!(everything(&store).await.len(), 1);
    // What is granted works.
    let count = "SELECT count(*) FROM factum.events";
    assert_eq!(database.psql_as(APPLICATION, count).unwrap(), "1");
}

/// A name that the caller puts before the right one in its search path changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_do_not_follow_the_search_path_of_the_caller() {
    let (database, _options) = opened::database(LeafPolicy::Monthly).await;
    let functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'factum'::regnamespace \
         AND prosecdef AND NOT EXISTS (SELECT FROM unnest(proconfig) AS set WHERE set LIKE 'search_path=pg_catalog, pg_temp')";
    assert_eq!(database.psql(functions), "0");
    let to_all = "SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a \
         WHERE pronamespace = 'factum'::regnamespace AND a.grantee = 0";
    assert_eq!(database.psql(to_all), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_up_at_once_and_again_is_set_up_once() {
    let database = Database::create();
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let (setup, url) = (Setup::default(), database.url());
        tasks.spawn(async move { setup.run(&url).await.unwrap() });
    }
    tasks.join_all().await;
    let once = "SELECT count(*) = max(number) FROM factum.migrations";
    assert_eq!(database.psql(once), "t");
    assert_eq!(database.psql("SELECT count(*) FROM factum.leaves"), "3");
    let before = database.psql("SELECT store_id, lineage FROM factum.logs");
    Setup::default().run(&database.url()).await.unwrap();
    assert_eq!(
        database.psql("SELECT store_id, lineage FROM factum.logs"),
        before
    );
}

/// What is printed does the same as what is run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn printed_sql_sets_up_a_database() {
    let database = Database::create();
    let setup = Setup {
        application_role: Some(APPLICATION.to_owned()),
        schema: "events_of_ours".to_owned(),
        leaves: LeafPolicy::Weekly,
        ..Setup::default()
    };
    database.psql(&setup.sql().unwrap());
    setup.run(&database.url()).await.unwrap();
    let options = Options {
        schema: setup.schema,
        ..Options::at(database.url_as(APPLICATION))
    };
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    append(&store, vec![varied(1), varied(2)]).await;
    assert_eq!(everything(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_do_not_fit_are_refused() {
    let database = Database::create();
    let refused = PostgresStore::open(Options::at(database.url())).await;
    assert!(
        matches!(refused, Err(OpenError::NotSetUp { .. })),
        "{refused:?}"
    );
    Setup::default().run(&database.url()).await.unwrap();
    let other_log = Options {
        log: 2,
        ..Options::at(database.url())
    };
    let refused = PostgresStore::open(other_log).await;
    assert!(
        matches!(refused, Err(OpenError::NoLog { log: 2 })),
        "{refused:?}"
    );
    database.psql("INSERT INTO factum.migrations VALUES (99, 'later', '')");
    let refused = PostgresStore::open(Options::at(database.url())).await;
    let is_later = matches!(refused, Err(OpenError::Version { found: 99, .. }));
    assert!(is_later, "{refused:?}");
    let refused = Setup::default().run(&database.url()).await;
    let is_later = matches!(refused, Err(OpenError::Version { found: 99, .. }));
    assert!(is_later, "{refused:?}");
    database.psql("DELETE FROM factum.migrations WHERE number = 99");
    database.psql("UPDATE factum.migrations SET checksum = 'x' WHERE number = 2");
    let refused = Setup::default().run(&database.url()).await;
    assert!(
        matches!(refused, Err(OpenError::Changed { number: 2 })),
        "{refused:?}"
    );
}

/// Two logs in one schema know nothing of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_in_one_schema_are_apart() {
    let database = Database::create();
    let mut stores: Vec<Arc<dyn EventStore>> = Vec::new();
    for log in [1, 2] {
        let setup = Setup {
            log,
            ..Setup::default()
        };
        setup.run(&database.url()).await.unwrap();
        let options = Options {
            log,
            ..Options::at(database.url())
        };
        stores.push(Arc::new(opened::open(&options).await));
    }
    for (store, n_events) in stores.iter().zip([3, 5]) {
        append(store, (1..=n_events).map(varied).collect()).await;
    }
    for (store, n_events) in stores.iter().zip([3, 5]) {
        assert_eq!(everything(store).await.len(), n_events);
    }
    assert_ne!(stores[0].lineage().store_id, stores[1].lineage().store_id);
}

/// What constraints cannot hold together is found when it falls apart, as after a restore of some
/// tables only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_finds_what_does_not_agree() {
    let (database, options) = opened::database(LeafPolicy::Events(10)).await;
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    for first in [1, 11, 21] {
        append(&store, (first..first + 10).map(varied).collect()).await;
    }
    let findings = async || {
        let report = store.maintenance().unwrap().verify().await.unwrap();
        let found = report.findings.into_iter();
        let found: Vec<_> = found
            .map(|finding| {
                let first = finding.positions.map_or(0, |(first, _)| first.get());
                format!("{} {first}", finding.file)
            })
            .collect();
        (report.n_events, found)
    };
    assert_eq!(findings().await, (30, Vec::new()));
    for (damage, expected) in [
        ("UPDATE factum.logs SET head = 33", "events 31"),
        ("DELETE FROM factum.events WHERE position = 7", "events 7"),
        (
            "UPDATE factum.events SET recorded_at = now() + interval '1 h' WHERE position = 5",
            "events 6",
        ),
        (
            "UPDATE factum.streams SET version = 99 WHERE first_position = 1",
            "streams 1",
        ),
        (
            "UPDATE factum.event_ids SET position = 12 WHERE position = 11",
            "event_ids 11",
        ),
        (
            "UPDATE factum.leaves SET first_position = 9 WHERE first_position = 11",
            "leaves 11",
        ),
    ] {
        // What protects it is switched off, which only a superuser may.
        let act = format!("SET session_replication_role = replica; {damage}");
        database.psql(&act);
        let (_, found) = findings().await;
        assert!(
            found.iter().any(|found| found == expected),
            "{damage}: {found:?}"
        );
    }
}

/// Leaves end where the calendar says, by the time of recording.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_are_closed_by_the_calendar() {
    let (database, options) = opened::database(LeafPolicy::Daily).await;
    let setting = Setting::new();
    let options = Options {
        clock: setting.clock.clone(),
        leaves_ahead: 3,
        ..options
    };
    let subject = Subject::new(&setting, opened::open(&options).await, ());
    let hour = 3_600_000_000;
    for _ in 0..50 {
        append(&subject.store, vec![event("a", "form/f-1")]).await;
        subject.clock.advance(hour);
    }
    let leaves = database.psql(
        "SELECT count(*), min(recorded_at) AT TIME ZONE 'UTC' FROM factum.events \
         GROUP BY leaf ORDER BY leaf",
    );
    assert_eq!(
        leaves,
        "24|2026-01-01 00:00:00\n24|2026-01-02 00:00:00\n2|2026-01-03 00:00:00"
    );
    let ranges = database.psql(
        "SELECT first_position, last_position FROM factum.leaves WHERE first_position IS NOT NULL ORDER BY leaf",
    );
    assert_eq!(ranges, "1|24\n25|48\n49|");
    // A clock that goes back takes no event back to a leaf that is closed.
    let before = everything(&subject.store).await;
    subject.clock.set(Timestamp::MIN);
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    let after = everything(&subject.store).await;
    assert_eq!(after[50].recorded_at, before[49].recorded_at);
    assert_eq!(after.len(), 51);
}
