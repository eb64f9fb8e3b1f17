//! Scheduled events: each firing is one event, whatever happens to those who fire it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use factum_engine::{
    Calendar, Engine, EngineOptions, Missed, NewScheduled, Schedule, ScheduleError, ScheduleId,
    ScheduleOptions, ScheduleScan, When,
};
use factum_model::{
    ErrorCode, JsonObject, LogicalClock, NewEvent, RecordedEvent, StreamId, Timestamp,
};
use factum_store::{EventStore, LogRead, MemoryStateStore, MemoryStore, StateLimits, StateStore};
use factum_store_embedded::{EmbeddedStateStore, EmbeddedStore};
use factum_store_postgres::{LeafPolicy, PostgresStateStore, PostgresStore, Setup};
use factum_testkit::Random;
use factum_testkit::postgres::Database;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SECOND: i64 = 1_000_000;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn seconds(after: i64) -> Timestamp {
    start().saturating_add_micros(after * SECOND)
}

fn event(aggregate: &str) -> NewEvent {
    NewEvent::new(
        "reminder.sent".parse().unwrap(),
        StreamId::new("reminder".parse().unwrap(), aggregate.parse().unwrap()),
        JsonObject::parse(r#"{"n" : 1.0}"#).unwrap(),
    )
}

fn new(id: &str, when: When) -> NewScheduled {
    NewScheduled {
        id: Some(id.parse().unwrap()),
        when,
        event: event(id),
    }
}

fn id(text: &str) -> ScheduleId {
    text.parse().unwrap()
}

fn schedule(engine: &Engine, node: &str) -> Schedule {
    let options = ScheduleOptions {
        poll_interval: Duration::from_millis(10),
        claim_time: Duration::from_millis(300),
        ..ScheduleOptions::of(node.parse().unwrap())
    };
    Schedule::new(engine.clone(), options).unwrap()
}

/// A log in memory whose bookkeeping has a clock that is held.
struct Held {
    clock: Arc<LogicalClock>,
    engine: Engine,
    schedule: Schedule,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Held {
    fn start() -> Self {
        let clock = Arc::new(LogicalClock::at(start()));
        let limits = StateLimits::default();
        let state = MemoryStateStore::with(Arc::<LogicalClock>::clone(&clock), limits);
        let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
        let engine = engine.with_state(Arc::new(state));
        let schedule = schedule(&engine, "local");
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        let (runner, stopped) = (schedule.clone(), stop.clone());
        running.spawn(async move { runner.run(&stopped).await });
        Self {
            clock,
            engine,
            schedule,
            stop,
            running,
        }
    }

    /// Waits until nothing is due, and returns all events.
    async fn events(&self) -> Vec<RecordedEvent> {
        settled(&self.schedule).await;
        all(&self.engine).await
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(done) = self.running.join_next().await {
            done.unwrap();
        }
    }
}

async fn settled(schedule: &Schedule) {
    let settled = async {
        while schedule.meters().await.unwrap().due > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), settled)
        .await
        .unwrap();
}

async fn all(engine: &Engine) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut after = None;
    loop {
        let page = engine.read_log(LogRead {
            after,
            limit: 1000,
            ..LogRead::forwards()
        });
        let page = page.await.unwrap();
        events.extend(page.events);
        after = page.scanned_to;
        if !page.has_more {
            return events;
        }
    }
}

fn counts(events: &[RecordedEvent]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for event in events {
        *counts.entry(event.aggregate_id().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn an_event_is_appended_at_its_time_and_says_for_when_it_was() {
    let held = Held::start();
    let by = "ann";
    held.schedule
        .add(new("b", When::At(seconds(20))), by)
        .await
        .unwrap();
    let delay = When::After(Duration::from_secs(10));
    let added = held.schedule.add(new("a", delay), by).await.unwrap();
    assert_eq!(
        (added.due_at, added.created_by.as_str()),
        (seconds(10), "ann")
    );
    held.clock.set(seconds(9));
    assert!(held.events().await.is_empty());
    held.clock.set(seconds(10));
    assert_eq!(held.events().await.len(), 1);
    held.clock.set(seconds(25));
    let events = held.events().await;
    let late = &events[1];
    assert_eq!((late.aggregate_id(), late.timestamp), ("b", seconds(20)));
    assert_eq!(late.payload(), r#"{"n" : 1.0}"#);
    let metadata = late.metadata();
    assert!(metadata.contains(r#""scheduleId":"b""#), "{metadata}");
    assert!(
        metadata.contains(r#""scheduledFor":"2026-01-01T00:00:20"#),
        "{metadata}"
    );
    let error = held.schedule.get(&id("b")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    held.end().await;
}

#[tokio::test]
async fn what_is_scheduled_is_listed_repeated_and_cancelled() {
    let held = Held::start();
    for name in ["c", "a", "b"] {
        let when = When::At(seconds(100));
        held.schedule
            .add(new(name, when.clone()), "x")
            .await
            .unwrap();
        // The same again changes nothing.
        held.schedule.add(new(name, when), "x").await.unwrap();
    }
    let other = held
        .schedule
        .add(new("a", When::At(seconds(99))), "x")
        .await;
    assert_eq!(other.unwrap_err().code(), ErrorCode::AlreadyExists);
    let page = |after: Option<ScheduleId>| held.schedule.list(ScheduleScan { after, limit: 2 });
    let first = page(None).await.unwrap();
    let names = |items: &[factum_engine::Scheduled]| -> Vec<String> {
        items.iter().map(|item| item.id.to_string()).collect()
    };
    assert_eq!(
        (names(&first.items), first.has_more),
        (vec!["a".into(), "b".into()], true)
    );
    let second = page(Some(id("b"))).await.unwrap();
    assert_eq!(
        (names(&second.items), second.has_more),
        (vec!["c".into()], false)
    );
    held.schedule.cancel(&id("b")).await.unwrap();
    let again = held.schedule.cancel(&id("b")).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotFound);
    held.clock.set(seconds(200));
    let counts = counts(&held.events().await);
    assert_eq!(counts, HashMap::from([("a".into(), 1), ("c".into(), 1)]));
    held.end().await;
}

/// Asking again after it fired, since the first answer was lost, must not fire it again.
#[tokio::test]
async fn a_repeated_request_fires_once() {
    let held = Held::start();
    for _ in 0..3 {
        held.schedule
            .add(new("a", When::At(seconds(-5))), "x")
            .await
            .unwrap();
        assert_eq!(held.events().await.len(), 1);
    }
    assert_eq!(held.schedule.meters().await.unwrap().repeated, 2);
    held.end().await;
}

#[tokio::test]
async fn a_calendar_fires_again_and_again_and_catches_up() {
    let held = Held::start();
    let calendar = |missed| Calendar::new("* * * * *", "Europe/Vienna", missed).unwrap();
    for (name, missed) in [("all", Missed::All), ("latest", Missed::Latest)] {
        let when = When::Calendar(calendar(missed));
        held.schedule.add(new(name, when), "x").await.unwrap();
    }
    held.clock.set(seconds(60));
    assert_eq!(held.events().await.len(), 2);
    // Nobody ran for ten minutes.
    held.clock.set(seconds(660));
    let events = held.events().await;
    let counts = counts(&events);
    // Each of them, and the latest alone.
    assert_eq!((counts["all"], counts["latest"]), (11, 2));
    let due: Vec<Timestamp> = events
        .iter()
        .filter(|event| event.aggregate_id() == "all")
        .map(|event| event.timestamp)
        .collect();
    let expected: Vec<Timestamp> = (1..=11).map(|minute| seconds(60 * minute)).collect();
    assert_eq!(due, expected);
    let shown = held.schedule.get(&id("all")).await.unwrap();
    assert_eq!((shown.n_fired, shown.due_at), (11, seconds(720)));
    assert_eq!(shown.last.unwrap().due_at, seconds(660));
    held.end().await;
}

#[tokio::test]
async fn a_clock_that_is_set_changes_nothing_that_was_due() {
    let held = Held::start();
    for n in 0..50 {
        let when = When::At(seconds(n));
        held.schedule
            .add(new(&format!("once-{n}"), when), "x")
            .await
            .unwrap();
    }
    let minutely = Calendar::new("* * * * *", "UTC", Missed::All).unwrap();
    held.schedule
        .add(new("cron", When::Calendar(minutely)), "x")
        .await
        .unwrap();
    for at in [10, -3600, 25, 5, 3600, -86_400, 3600, 0, 3660] {
        held.clock.set(seconds(at));
        held.events().await;
    }
    let events = held.events().await;
    let mut counts = counts(&events);
    assert_eq!(counts.remove("cron"), Some(61));
    assert_eq!(counts.len(), 50);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    held.end().await;
}

#[tokio::test]
async fn what_could_not_be_appended_is_refused_when_it_is_scheduled() {
    let held = Held::start();
    let add = |change: fn(&mut NewScheduled)| {
        let mut scheduled = new("a", When::At(seconds(1)));
        change(&mut scheduled);
        let schedule = held.schedule.clone();
        async move { schedule.add(scheduled, "x").await.unwrap_err() }
    };
    let error = add(|new| new.event.event_type = "factum.key.created".parse().unwrap()).await;
    assert_eq!(error.code(), ErrorCode::ReservedName);
    let error = add(|new| {
        let stream = &mut new.event.stream;
        stream.aggregate_type = "agent_session".parse().unwrap();
        stream.aggregate_id = "shop-PS-0a1b2c".parse().unwrap();
    })
    .await;
    assert_eq!(error.code(), ErrorCode::ReservedName);
    let error = add(|new| new.event.timestamp = Some(start())).await;
    assert!(matches!(error, ScheduleError::Assigned));
    let metadata = |new: &mut NewScheduled| {
        new.event.metadata = JsonObject::parse(r#"{"scheduleId":"x"}"#).unwrap();
    };
    assert!(matches!(
        add(metadata).await,
        ScheduleError::Metadata { .. }
    ));
    for wrong in ["", "a b", "ä", &"x".repeat(101)] {
        assert!(wrong.parse::<ScheduleId>().is_err(), "{wrong}");
    }
    held.end().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_and_no_more() {
    let state = MemoryStateStore::new();
    let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
    assert!(matches!(
        Schedule::new(engine.clone(), ScheduleOptions::of("x".parse().unwrap())),
        Err(ScheduleError::NoBookkeeping)
    ));
    let options = ScheduleOptions {
        entries_max: 2,
        ..ScheduleOptions::of("x".parse().unwrap())
    };
    let schedule = Schedule::new(engine.with_state(Arc::new(state)), options).unwrap();
    let far = || When::At(Timestamp::MAX);
    schedule.add(new("a", far()), "x").await.unwrap();
    schedule.add(new("b", far()), "x").await.unwrap();
    let error = schedule.add(new("c", far()), "x").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LimitExceeded);
    let meters = schedule.meters().await.unwrap();
    let of = (meters.entries, meters.entries_max, meters.refused);
    assert_eq!(of, (2, 2, 1));
}

/// Nodes that run the schedule until they are ended in the middle of it.
struct Nodes {
    running: JoinSet<()>,
}

impl Nodes {
    fn start(engines: &[Engine], round: usize) -> Self {
        let mut running = JoinSet::new();
        for (index, engine) in engines.iter().enumerate() {
            let schedule = schedule(engine, &format!("node-{index}-{round}"));
            running.spawn(async move { schedule.run(&CancellationToken::new()).await });
        }
        Self { running }
    }

    /// Ends them at once, wherever they are.
    async fn kill(mut self) {
        self.running.shutdown().await;
    }
}

/// Schedules 1,000 events within a second and a half, and ends all nodes three times meanwhile,
/// always between a claim and its end for some.
async fn survive(open: impl AsyncFn() -> Vec<Engine>) {
    const EVENTS: usize = 1000;
    let mut random = Random::seeded(7);
    let engines = open().await;
    let planner = schedule(&engines[0], "planner");
    for n in 0..EVENTS {
        let when = When::After(Duration::from_millis(random.below(1500)));
        planner
            .add(new(&format!("e-{n}"), when), "x")
            .await
            .unwrap();
    }
    drop((planner, engines));
    for round in 0..3 {
        let engines = open().await;
        let nodes = Nodes::start(&engines, round);
        let enough = async {
            // Some of what is left, so that there is something left for the next ones.
            let enough = EVENTS * (round + 1) / 4;
            while all(&engines[0]).await.len() < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), enough)
            .await
            .unwrap();
        nodes.kill().await;
        for engine in engines {
            close(&engine).await;
        }
    }
    let engines = open().await;
    let nodes = Nodes::start(&engines, 3);
    let watcher = schedule(&engines[0], "watcher");
    let gone = async {
        while watcher.meters().await.unwrap().entries > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone)
        .await
        .unwrap();
    let events = all(&engines[0]).await;
    nodes.kill().await;
    let counts = counts(&events);
    assert_eq!((events.len(), counts.len()), (EVENTS, EVENTS));
    for engine in engines {
        close(&engine).await;
    }
}

async fn close(engine: &Engine) {
    engine.close().await;
    if let Some(state) = engine.state() {
        state.close().await;
    }
}

fn engine(store: Arc<dyn EventStore>, state: Arc<dyn StateStore>) -> Engine {
    Engine::new(store, EngineOptions::default()).with_state(state)
}

fn embedded(path: &Path) -> Engine {
    let store = EmbeddedStore::open(factum_store_embedded::Options::at(path)).unwrap();
    let state = factum_store_embedded::StateOptions::at(path);
    let state = EmbeddedStateStore::open(state).unwrap();
    engine(Arc::new(store), Arc::new(state))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_fire_once_through_three_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    survive(async || vec![embedded(path)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_fire_once_through_three_restarts_of_two_nodes_on_postgresql() {
    let database = Database::create();
    let setup = Setup {
        leaves: LeafPolicy::Events(1_000_000),
        ..Setup::default()
    };
    setup.run(&database.url()).await.unwrap();
    let node = async || {
        let options = factum_store_postgres::Options::at(database.url());
        let state = factum_store_postgres::StateOptions::beside(options.clone());
        let store = PostgresStore::open(options).await.unwrap();
        let state = PostgresStateStore::open(state).await.unwrap();
        engine(Arc::new(store), Arc::new(state))
    };
    survive(async || vec![node().await, node().await]).await;
}
