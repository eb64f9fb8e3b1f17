//! Named subscriptions: made, changed, shared by nodes, deleted without a trace.

use std::sync::Arc;
use std::time::Duration;

use factum_engine::{
    Definition, Engine, EngineOptions, FeedSettings, FilterForm, Handout, NewSubscription, Outcome,
    Settled, Start, SubscriptionError, SubscriptionOptions, Subscriptions,
};
use factum_model::{ErrorCode, Position};
use factum_query::Filter;
use factum_store::{LogRead, MemoryStore, RecordScan, Visibility};

use super::harness::{Running, append, books, engine, positions, start, take};

/// Knows only filters by the ids of aggregates.
const FORM: FilterForm = FilterForm {
    read: |text| {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let ids = value["aggregateIds"].as_array().ok_or("unknown")?;
        let ids = ids.iter().map(|id| id.as_str().unwrap().parse().unwrap());
        Ok(Filter {
            aggregate_ids: ids.collect(),
            ..Filter::default()
        })
    },
    write: |filter| {
        let ids: Vec<_> = filter
            .aggregate_ids
            .iter()
            .map(ToString::to_string)
            .collect();
        serde_json::json!({ "aggregateIds": ids }).to_string()
    },
};

async fn open(engine: &Engine, node: &str) -> Subscriptions {
    let options = SubscriptionOptions::of(node.parse().unwrap());
    Subscriptions::open(engine.clone(), options, FORM)
        .await
        .unwrap()
}

fn running(subscriptions: &Subscriptions) -> Running {
    let subscriptions = subscriptions.clone();
    start(|stop| async move { subscriptions.run(&stop).await.unwrap() })
}

fn new(name: &str, start: Start) -> NewSubscription {
    NewSubscription {
        name: name.to_owned(),
        definition: Definition::default(),
        start,
    }
}

fn acks(handouts: &[Handout]) -> Vec<(factum_engine::HandoutToken, Outcome)> {
    let acks = handouts.iter().map(|handout| (handout.token, Outcome::Ack));
    acks.collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, SubscriptionError>, code: ErrorCode) {
    assert_eq!(result.unwrap_err().code(), code);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_lives_from_its_creation_to_its_deletion() {
    let engine = engine();
    let subscriptions = open(&engine, "node").await;
    let runs = running(&subscriptions);
    append(&engine, &[1, 2, 3]).await;
    subscriptions
        .create(new("crm", Start::Beginning), "ann")
        .await
        .unwrap();
    refused(
        subscriptions.create(new("crm", Start::End), "ann").await,
        ErrorCode::AlreadyExists,
    );
    let handouts = subscriptions.take("crm", &take(2)).await.unwrap();
    assert_eq!(positions(&handouts), [1, 2]);
    subscriptions.pause("crm", "ann").await.unwrap();
    let paused = subscriptions.pause("crm", "ann").await.unwrap();
    assert!(paused.is_paused);
    assert!(
        subscriptions
            .take("crm", &take(2))
            .await
            .unwrap()
            .is_empty()
    );
    // What was out before is settled all the same.
    let settled = subscriptions.settle("crm", acks(&handouts)).await.unwrap();
    assert_eq!(settled, [Settled::Done; 2]);
    subscriptions.resume("crm", "ann").await.unwrap();
    let handouts = subscriptions.take("crm", &take(2)).await.unwrap();
    assert_eq!(positions(&handouts), [3]);
    let after = Start::After(Position::new(2).unwrap());
    subscriptions.reset("crm", after, "ann").await.unwrap();
    let settled = subscriptions.settle("crm", acks(&handouts)).await.unwrap();
    assert_eq!(settled, [Settled::Stale]);
    let handouts = subscriptions.take("crm", &take(2)).await.unwrap();
    assert_eq!(positions(&handouts), [3]);
    subscriptions.delete("crm", "ann").await.unwrap();
    refused(
        subscriptions.take("crm", &take(2)).await,
        ErrorCode::NotFound,
    );
    refused(
        subscriptions.settle("crm", acks(&handouts)).await,
        ErrorCode::NotFound,
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = engine.state().unwrap();
    let left = state.scan(RecordScan::all("subscription.checkpoint".parse().unwrap()));
    assert!(left.await.unwrap().records.is_empty());
    // The name is free again, and the new one knows nothing of the old one.
    let end = engine.head();
    let again = subscriptions
        .create(new("crm", Start::End), "ann")
        .await
        .unwrap();
    assert_eq!((again.after, again.is_paused), (end, false));
    assert!(
        subscriptions
            .take("crm", &take(2))
            .await
            .unwrap()
            .is_empty()
    );
    append(&engine, &[4]).await;
    assert_eq!(subscriptions.take("crm", &take(2)).await.unwrap().len(), 1);
    runs.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_act_is_an_event_with_its_author() {
    let engine = engine();
    let subscriptions = open(&engine, "node").await;
    subscriptions
        .create(new("crm", Start::Beginning), "ann")
        .await
        .unwrap();
    let definition = Definition {
        filter: Filter {
            aggregate_ids: vec!["c-1".parse().unwrap()],
            ..Filter::default()
        },
        settings: FeedSettings {
            attempts_max: 3,
            ..FeedSettings::default()
        },
    };
    subscriptions
        .change("crm", definition.clone(), "ben")
        .await
        .unwrap();
    subscriptions
        .change("crm", definition.clone(), "ben")
        .await
        .unwrap();
    subscriptions.pause("crm", "cas").await.unwrap();
    subscriptions.resume("crm", "cas").await.unwrap();
    subscriptions.reset("crm", Start::End, "dan").await.unwrap();
    subscriptions.delete("crm", "eve").await.unwrap();
    let page = engine.read_log(LogRead {
        visibility: Visibility::Everything,
        ..LogRead::forwards()
    });
    let events = page.await.unwrap().events;
    let shown: Vec<_> = events
        .iter()
        .map(|event| (event.event_type(), event.aggregate_id(), event.metadata()))
        .collect();
    let expected = [
        ("factum.subscription.created", r#"{"userId":"ann"}"#),
        ("factum.subscription.changed", r#"{"userId":"ben"}"#),
        ("factum.subscription.paused", r#"{"userId":"cas"}"#),
        ("factum.subscription.resumed", r#"{"userId":"cas"}"#),
        ("factum.subscription.reset", r#"{"userId":"dan"}"#),
        ("factum.subscription.deleted", r#"{"userId":"eve"}"#),
    ];
    assert_eq!(
        shown,
        expected.map(|(name, by)| (name, "subscription-crm", by))
    );
    assert_eq!(
        events[1].payload(),
        r#"{"name":"crm","filter":{"aggregateIds":["c-1"]},"settings":{"order":"strict","ackDeadlineMs":30000,"attemptsMax":3,"inFlightMax":1000,"retriesMax":10000,"parkedMax":10000,"retry":{"firstMs":1000,"factor":2,"maxMs":300000}}}"#
    );
    // Whoever comes later reads the same.
    let again = open(&engine, "other").await;
    assert!(again.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_settings_and_numbers_are_bounded() {
    let engine = engine();
    let options = SubscriptionOptions {
        subscriptions_max: 2,
        ..SubscriptionOptions::of("node".parse().unwrap())
    };
    let subscriptions = Subscriptions::open(engine, options, FORM).await.unwrap();
    let long = "x".repeat(101);
    for name in ["", "-a", "a/b", "ä", "a b", &long] {
        let new = new(name, Start::End);
        refused(
            subscriptions.create(new, "ann").await,
            ErrorCode::InvalidRequest,
        );
    }
    let broken = FeedSettings {
        window_max: 0,
        ..FeedSettings::default()
    };
    let mut unsettled = new("a", Start::End);
    unsettled.definition.settings = broken;
    refused(
        subscriptions.create(unsettled, "ann").await,
        ErrorCode::InvalidRequest,
    );
    for name in ["a", "b"] {
        subscriptions
            .create(new(name, Start::End), "ann")
            .await
            .unwrap();
    }
    let third = subscriptions.create(new("c", Start::End), "ann").await;
    refused(third, ErrorCode::LimitExceeded);
    refused(subscriptions.pause("c", "ann").await, ErrorCode::NotFound);
    let bare = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
    let options = SubscriptionOptions::of("node".parse().unwrap());
    refused(
        Subscriptions::open(bare, options, FORM).await,
        ErrorCode::InvalidRequest,
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_begins_where_it_is_told_to() {
    let engine = engine();
    append(&engine, &[1, 2, 3]).await;
    let second = engine
        .store()
        .read_log(LogRead::forwards())
        .await
        .unwrap()
        .events[1]
        .recorded_at;
    let subscriptions = open(&engine, "node").await;
    let at = |number| Position::new(number);
    let cases = [
        (Start::Beginning, None),
        (Start::End, at(3)),
        (Start::After(at(2).unwrap()), at(2)),
        (Start::After(at(77).unwrap()), at(77)),
        (
            Start::At(second.saturating_add_micros(1_000_000_000)),
            at(3),
        ),
        (
            Start::At(second.saturating_add_micros(-1_000_000_000)),
            None,
        ),
    ];
    for (index, (start, expected)) in cases.into_iter().enumerate() {
        let name = format!("s{index}");
        let end_is = |expected: Option<Position>| match start {
            // Each creation is an event, too.
            Start::End | Start::At(_) if expected.is_some() => Position::new(3 + index as u64),
            Start::End | Start::At(_) | Start::Beginning | Start::After(_) => expected,
        };
        let made = subscriptions
            .create(new(&name, start), "ann")
            .await
            .unwrap();
        assert_eq!(made.after, end_is(expected), "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_see_what_the_others_do() {
    let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default())
        .with_state(Arc::new(books()));
    let (one, other) = (open(&engine, "one").await, open(&engine, "other").await);
    let (one_runs, other_runs) = (running(&one), running(&other));
    append(&engine, &[1, 1, 2]).await;
    one.create(new("crm", Start::Beginning), "ann")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = other.take("crm", &take(1)).await.unwrap();
    let second = one.take("crm", &take(9)).await.unwrap();
    assert_eq!((positions(&first), positions(&second)), (vec![1], vec![3]));
    // What one node hands out another one settles.
    one.settle("crm", acks(&first)).await.unwrap();
    let rest = other.take("crm", &take(9)).await.unwrap();
    assert_eq!(positions(&rest), [2]);
    other.delete("crm", "ann").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(one.list().is_empty());
    let state = engine.state().unwrap();
    let left = state.scan(RecordScan::all("subscription.checkpoint".parse().unwrap()));
    assert!(left.await.unwrap().records.is_empty());
    one_runs.stop().await;
    other_runs.stop().await;
}
