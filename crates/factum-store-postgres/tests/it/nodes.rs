//! Several nodes over one log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use factum_model::{EventId, ExpectedVersion, NewEvent, Position};
use factum_query::Filter;
use factum_store::conformance::fixtures::{
    append, at, at_version, event, everything, expecting, request, stream,
};
use factum_store::{AppendCondition, AppendError, AppendRequest, EventStore, LogRead, Visibility};
use factum_store_postgres::{LeafPolicy, Options};
use factum_testkit::Random;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::opened;

const WRITERS: u64 = 16;
const FOLLOWERS: usize = 6;
/// How long a follower may see nothing while others write.
const STALL_MAX: Duration = Duration::from_secs(5);

async fn nodes(options: &Options, n_nodes: usize) -> Vec<Arc<dyn EventStore>> {
    let mut nodes: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..n_nodes {
        nodes.push(Arc::new(opened::open(options).await));
    }
    nodes
}

/// Reads behind the head of a node as it moves, and checks that no position is left out.
async fn follow(store: Arc<dyn EventStore>, until: Position) -> Vec<EventId> {
    let mut head = store.watch_head();
    let mut read = LogRead {
        visibility: Visibility::Everything,
        limit: 50,
        ..LogRead::forwards()
    };
    let mut seen = Vec::new();
    while read.after < Some(until) {
        let page = store.read_log(read.clone()).await.unwrap();
        for event in &page.events {
            assert_eq!(
                event.position,
                Position::after(read.after),
                "one is missing"
            );
            read.after = Some(event.position);
            seen.push(event.id);
        }
        if page.events.is_empty() {
            let moved = timeout(STALL_MAX, head.changed()).await;
            assert!(moved.is_ok(), "nothing was seen for too long");
            moved.unwrap().unwrap();
        }
    }
    seen
}

/// Every position is seen once and in order by every follower, while sixteen writers on three
/// nodes append, some of their requests are refused, and transactions of others are open in the
/// same cluster, which would hide events that are ordered by transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_position_once_and_in_order() {
    const REQUESTS: u64 = 25;
    let (database, options) = opened::database(LeafPolicy::Events(200)).await;
    database.psql("CREATE TABLE other (n int)");
    let stop = Arc::new(AtomicBool::new(false));
    let (foreign_stop, foreign) = (Arc::clone(&stop), Arc::new(database));
    let held = Arc::clone(&foreign);
    let foreigner = std::thread::spawn(move || {
        while !foreign_stop.load(Ordering::Relaxed) {
            // An open transaction that writes, and then one that is rolled back.
            held.psql("BEGIN; INSERT INTO other VALUES (1); SELECT pg_sleep(0.7); ROLLBACK");
        }
    });
    let nodes = nodes(&options, 3).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&nodes[usize::try_from(writer % 3).unwrap()]);
        writers.spawn(async move {
            let mut random = Random::seeded(writer);
            let mut appended = 0;
            for _ in 0..REQUESTS {
                let of = format!("form/f-{}", random.below(4));
                let events: Vec<_> = (0..=random.below(3)).map(|_| event("a", &of)).collect();
                let n_events = events.len() as u64;
                let request = AppendRequest {
                    expected: if random.one_in(5) {
                        // Hardly ever met: a request that is refused in the midst of others.
                        expecting(ExpectedVersion::NoStream, event("a", &of)).expected
                    } else {
                        Vec::new()
                    },
                    ..request(events)
                };
                match store.append(request).await {
                    Ok(_) => appended += n_events,
                    Err(AppendError::VersionConflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                if random.one_in(3) {
                    sleep(Duration::from_millis(random.below(20))).await;
                }
            }
            appended
        });
    }
    // The followers do not know how far it goes until the writers have ended.
    let least = at(WRITERS * REQUESTS / 2);
    let mut followers = JoinSet::new();
    for follower in 0..FOLLOWERS {
        followers.spawn(follow(Arc::clone(&nodes[follower % 3]), least));
    }
    let total: u64 = writers.join_all().await.into_iter().sum();
    let early = followers.join_all().await;
    stop.store(true, Ordering::Relaxed);
    foreigner.join().unwrap();
    let log = everything(&nodes[0]).await;
    assert_eq!(log.len() as u64, total);
    let ids: Vec<_> = log.iter().map(|event| event.id).collect();
    for seen in early {
        assert_eq!(ids[..seen.len()], seen[..]);
    }
    let late = follow(Arc::clone(&nodes[2]), at(total)).await;
    assert_eq!(late, ids);
    assert!(log.is_sorted_by_key(|event| event.recorded_at));
    let n_leaves = foreign.psql("SELECT count(first_position) FROM factum.leaves");
    assert!(n_leaves.parse::<u64>().unwrap() > 1, "{n_leaves} leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_won_by_one_node() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let nodes = nodes(&options, 3).await;
    let mut tasks = JoinSet::new();
    for node in nodes.iter().cycle().take(9) {
        let node = Arc::clone(node);
        tasks.spawn(async move {
            let mut won = Vec::new();
            for version in 0..20 {
                let request = expecting(at_version(version), event("a", "form/f-1"));
                match node.append(request).await {
                    Ok(_) => won.push(version),
                    // What it is told of is what is there, not what this node remembers.
                    Err(AppendError::VersionConflict { actual, .. }) => {
                        assert!(actual.map_or(0, |actual| actual.get()) != version);
                    }
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
            won
        });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<_> = won.iter().collect();
    assert_eq!(won.len(), distinct.len(), "{won:?}");
    let info = nodes[1].stream_info(stream("form/f-1")).await.unwrap();
    assert_eq!(info.unwrap().version.get(), won.len() as u64);
}

/// Two nodes may not both sell the last seat: a condition holds at the head, not at what a node
/// has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_won_by_one_node() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let nodes = nodes(&options, 3).await;
    for seat in 0..15 {
        let name = format!("seat.taken-{seat}");
        let filter = Filter {
            event_types: vec![name.parse().unwrap()],
            ..Filter::default()
        };
        let mut tasks = JoinSet::new();
        for node in nodes.iter().cycle().take(6) {
            let request = AppendRequest {
                condition: Some(AppendCondition {
                    filter: filter.clone(),
                    after: None,
                }),
                ..request(vec![event(&name, "seat/s-1"), event("other", "seat/s-2")])
            };
            let node = Arc::clone(node);
            tasks.spawn(async move { node.append(request).await });
        }
        let answers = tasks.join_all().await;
        let won: Vec<_> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().ok())
            .collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        for answer in &answers {
            if let Err(error) = answer {
                let AppendError::ConditionFailed { position, .. } = error else {
                    panic!("{error}");
                };
                assert_eq!(*position, won[0].events[0].position);
            }
        }
    }
}

/// The same request at several nodes, as a client sends it that was not answered in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_repeated_at_other_nodes_is_stored_once() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let nodes = nodes(&options, 3).await;
    for round in 0..20 {
        let events: Vec<_> = (0..3)
            .map(|index| NewEvent {
                id: Some(factum_store::conformance::fixtures::id(
                    round * 10 + index + 1,
                )),
                ..event("a", "form/f-1")
            })
            .collect();
        let mut tasks = JoinSet::new();
        for node in &nodes {
            let (node, request) = (Arc::clone(node), request(events.clone()));
            tasks.spawn(async move { node.append(request).await.unwrap() });
        }
        let receipts = tasks.join_all().await;
        let first_time = receipts
            .iter()
            .filter(|receipt| !receipt.events[0].deduplicated)
            .count();
        assert_eq!(first_time, 1);
        let places = |index: usize| {
            let events = receipts[index].events.iter();
            events.map(|event| event.position).collect::<Vec<_>>()
        };
        assert_eq!((places(0), places(1)), (places(1), places(2)));
    }
    assert_eq!(everything(&nodes[0]).await.len(), 60);
}

/// A node hears of another's append long before it would ask by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_nodes_are_told_of_appends() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let patient = Options {
        poll_interval: Duration::from_secs(3600),
        ..options
    };
    let nodes = nodes(&patient, 2).await;
    let mut head = nodes[1].watch_head();
    let started = Instant::now();
    // The other one may not listen yet; then it is told of a later one.
    while head.borrow_and_update().is_none() {
        append(&nodes[0], vec![event("a", "form/f-1")]).await;
        let heard = timeout(Duration::from_millis(200), head.changed()).await;
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "nothing is heard"
        );
        if let Ok(heard) = heard {
            heard.unwrap();
        }
    }
}

/// Without notifications a node asks, and misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_hear_nothing_ask() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let deaf = Options {
        notify: false,
        poll_interval: Duration::from_millis(50),
        ..options
    };
    let nodes = nodes(&deaf, 2).await;
    append(&nodes[0], vec![event("a", "form/f-1")]).await;
    let mut head = nodes[1].watch_head();
    let seen = timeout(STALL_MAX, head.wait_for(|head| *head == Some(at(1)))).await;
    assert!(seen.unwrap().is_ok());
}
