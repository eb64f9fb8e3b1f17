//! Reads from a standby: never older than what their node knows of, whatever happens to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use factum_model::{Position, RecordedEvent};
use factum_store::conformance::fixtures::{
    append, at, event, everything, expected, filters, stream, varied,
};
use factum_store::{CountRead, Direction, EventStore, LogRead, StreamRead, Visibility};
use factum_store_postgres::{Options, Setup};
use factum_testkit::postgres::PrivateServer;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};

use crate::opened;

/// How long anything may take that a server does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a server and one that follows it, and returns how to open a log that is read there.
async fn pair() -> (PrivateServer, PrivateServer, Options) {
    let primary = block_in_place(PrivateServer::start);
    Setup::default().run(&primary.url()).await.unwrap();
    let standby = block_in_place(|| primary.start_standby());
    let options = Options {
        standby_url: Some(standby.url()),
        // Other tests may keep the machine busy.
        standby_wait: Duration::from_secs(2),
        ..Options::at(primary.url())
    };
    (primary, standby, options)
}

async fn open(options: &Options) -> Arc<dyn EventStore> {
    Arc::new(opened::open(options).await)
}

/// Returns how many reads were answered by the standby, and how many were not as it was behind, as
/// it failed, and as this node did not know how far it had to be.
fn reads(store: &Arc<dyn EventStore>) -> [u64; 4] {
    let metrics: HashMap<_, _> = store.metrics().values.into_iter().collect();
    ["reads", "behind", "failed", "passed_over"]
        .map(|name| metrics[format!("postgres_standby_{name}_total").as_str()])
}

async fn read_of(store: &Arc<dyn EventStore>, of: &str) -> Vec<RecordedEvent> {
    let read = StreamRead {
        direction: Direction::Backwards,
        limit: 3,
        ..StreamRead::forwards(stream(of))
    };
    store.read_stream(read).await.unwrap().events
}

/// Reads until a condition on the counters of the standby is met.
async fn read_until(store: &Arc<dyn EventStore>, is_met: impl Fn([u64; 4]) -> bool) {
    let start = Instant::now();
    while !is_met(reads(store)) {
        assert!(start.elapsed() < PATIENCE, "{:?}", reads(store));
        assert!(!everything(store).await.is_empty());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Every writer finds what it has just appended, at the node that it appended at; and what a node
/// shows once it never hides again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_from_a_standby() {
    let (_primary, _standby, options) = pair().await;
    let nodes = [open(&options).await, open(&options).await];
    let mut writers = JoinSet::new();
    for (writer, node) in (0..6).zip(nodes.iter().cycle()) {
        let node = Arc::clone(node);
        writers.spawn(async move {
            let of = format!("form/f-{writer}");
            let mut highest = None;
            for _ in 0..40 {
                let receipt = append(&node, vec![event("a", &of)]).await;
                let last = read_of(&node, &of).await;
                assert_eq!(last[0].id, receipt.events[0].id);
                let newest = LogRead {
                    direction: Direction::Backwards,
                    limit: 1,
                    ..LogRead::forwards()
                };
                let page = node.read_log(newest).await.unwrap();
                let position = page.events.first().map(|event| event.position);
                assert!(position >= highest && position >= Some(receipt.events[0].position));
                highest = position;
            }
        });
    }
    writers.join_all().await;
    for node in &nodes {
        read_until(node, |[read, ..]| read > 100).await;
    }
}

/// The standby gives the same answers as the server that it follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_gives_the_same_answers() {
    let (_primary, _standby, options) = pair().await;
    let store = open(&options).await;
    append(&store, (1..=200).map(varied).collect()).await;
    let log = everything(&store).await;
    for filter in filters() {
        for direction in [Direction::Forwards, Direction::Backwards] {
            let read = LogRead {
                filter: filter.clone(),
                visibility: Visibility::Everything,
                direction,
                ..LogRead::forwards()
            };
            let page = store.read_log(read.clone()).await.unwrap();
            assert_eq!(page.events, expected(&log, &read), "{filter:?}");
        }
        let matches = log.iter().filter(|event| filter.matches(event)).count();
        let count = CountRead {
            visibility: Visibility::Everything,
            ..CountRead::all(filter)
        };
        assert_eq!(store.count(count).await.unwrap().total, matches as u64);
    }
    for event in &log {
        assert_eq!(store.event(event.id).await.unwrap().as_ref(), Some(event));
    }
    let [read, ..] = reads(&store);
    assert!(read > 200, "{:?}", reads(&store));
}

/// A standby that does not go on, is gone or has another log answers nobody; the readers notice
/// nothing of it, and when it is back it answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_behind_or_gone_is_passed_over() {
    let (primary, mut standby, options) = pair().await;
    let store = open(&options).await;
    append(&store, vec![event("a", "form/f-1")]).await;
    read_until(&store, |[read, ..]| read > 0).await;

    block_in_place(|| standby.psql("SELECT pg_wal_replay_pause()"));
    for number in 2..4 {
        append(&store, vec![event("a", "form/f-1")]).await;
        let started = Instant::now();
        assert_eq!(read_of(&store, "form/f-1").await[0].position, at(number));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    let [read, behind, ..] = reads(&store);
    assert!(behind > 0, "{:?}", reads(&store));
    block_in_place(|| standby.psql("SELECT pg_wal_replay_resume()"));
    read_until(&store, |[now, ..]| now > read).await;

    block_in_place(|| standby.stop_immediately());
    assert_eq!(read_of(&store, "form/f-1").await[0].position, at(3));
    let [read, _, failed, _] = reads(&store);
    assert!(failed > 0, "{:?}", reads(&store));
    block_in_place(|| standby.resume());
    read_until(&store, |[now, ..]| now > read).await;

    let other = PrivateServer::start();
    Setup::default().run(&other.url()).await.unwrap();
    for wrong in [other.url(), "postgresql://nobody@127.0.0.1:1/x".to_owned()] {
        let store = open(&Options {
            standby_url: Some(wrong),
            ..Options::at(primary.url())
        })
        .await;
        assert_eq!(everything(&store).await.len(), 3);
        let [read, _, failed, _] = reads(&store);
        assert!(read == 0 && failed > 0, "{:?}", reads(&store));
    }
}

/// Without the server that takes appends a node cannot know how far the standby has to be. It
/// answers for as long as its answers may be old, and then nobody does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_alone_for_as_long_as_it_may() {
    let (mut primary, _standby, options) = pair().await;
    let stale_max = Duration::from_secs(4);
    let store = open(&Options {
        standby_stale_max: stale_max,
        read_timeout: Duration::from_secs(1),
        ..options
    })
    .await;
    append(&store, vec![event("a", "form/f-1")]).await;
    read_until(&store, |[read, ..]| read > 0).await;
    let read = LogRead {
        visibility: Visibility::Everything,
        time_max: Duration::from_millis(100),
        ..LogRead::forwards()
    };
    block_in_place(|| primary.stop_immediately());
    let stopped = Instant::now();
    let page = store.read_log(read.clone()).await.unwrap();
    assert_eq!(page.scanned_to, Position::new(1));
    let error = loop {
        match store.read_log(read.clone()).await {
            Ok(page) => assert_eq!(page.events.len(), 1),
            Err(error) => break error,
        }
        // It began within the bound.
        assert!(stopped.elapsed() < stale_max + Duration::from_secs(2));
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error.code().as_str(), "unavailable");
    assert!(stopped.elapsed() > Duration::from_secs(2));
    block_in_place(|| primary.resume());
    read_until(&store, |[_, _, _, passed_over]| passed_over > 0).await;
    append(&store, vec![event("a", "form/f-1")]).await;
    assert_eq!(everything(&store).await.len(), 2);
}
