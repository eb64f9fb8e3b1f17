//! Several nodes over one log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use factum_model::{EventId, ExpectedVersion, NewEvent, Position};
use factum_query::Filter;
use factum_store::conformance::fixtures::{
    append, at, at_version, event, everything, expecting, json, request, stream,
};
use factum_store::{AppendCondition, AppendError, AppendRequest, EventStore, LogRead, Visibility};
use factum_store_postgres::{LeafPolicy, Options};
use factum_testkit::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::opened;

const WRITERS: u64 = 16;
const FOLLOWERS: usize = 6;
/// How long a follower may see nothing while others write, and how long after its acknowledgement
/// an event may be unseen.
const STALL_MAX: Duration = Duration::from_secs(1);

async fn nodes(options: &Options, n_nodes: usize) -> Vec<Arc<dyn EventStore>> {
    let mut nodes: Vec<Arc<dyn EventStore>> = Vec::new();
    for _ in 0..n_nodes {
        nodes.push(Arc::new(opened::open(options).await));
    }
    nodes
}

/// What a follower has seen.
#[derive(Default)]
struct Seen {
    /// In order, each with when.
    events: Vec<(EventId, Instant)>,
    /// The longest time between two pages.
    longest: Duration,
}

/// Reads behind the head of a node as it moves, up to a position that is told in the end, and
/// checks that no position is left out.
async fn follow(store: Arc<dyn EventStore>, mut until: watch::Receiver<Option<Position>>) -> Seen {
    let mut head = store.watch_head();
    let mut read = LogRead {
        visibility: Visibility::Everything,
        limit: 50,
        ..LogRead::forwards()
    };
    let mut seen = Seen::default();
    let mut last_seen = Instant::now();
    while until.borrow().is_none() || read.after < *until.borrow() {
        let page = store.read_log(read.clone()).await.unwrap();
        let now = Instant::now();
        for event in &page.events {
            assert_eq!(
                event.position,
                Position::after(read.after),
                "one is missing"
            );
            read.after = Some(event.position);
            seen.events.push((event.id, now));
        }
        if page.events.is_empty() {
            let woken = async {
                tokio::select! {
                    moved = head.changed() => moved.unwrap(),
                    told = until.changed() => told.unwrap(),
                }
            };
            let woken = timeout_at(last_seen + STALL_MAX, woken).await;
            assert!(woken.is_ok(), "nothing was seen for {STALL_MAX:?}");
        } else {
            seen.longest = seen.longest.max(now - last_seen);
            last_seen = now;
        }
    }
    seen
}

/// Makes an event of which there is much to be indexed.
fn form(random: &mut Random, of: &str) -> NewEvent {
    let members: Vec<_> = (0..20)
        .map(|member| format!(r#""member-{member}":"{}""#, random.below(1 << 40)))
        .collect();
    NewEvent {
        payload: json(&format!("{{{}}}", members.join(","))),
        ..event("a", of)
    }
}

/// Appends with pauses, some requests of which are refused, and returns when what was
/// acknowledged.
async fn write(store: Arc<dyn EventStore>, seed: u64, n_requests: u64) -> Vec<(EventId, Instant)> {
    let mut random = Random::seeded(seed);
    let mut acknowledged = Vec::new();
    for _ in 0..n_requests {
        let of = format!("form/f-{}", random.below(4));
        let n_events = 1 + random.below(4);
        let events: Vec<_> = (0..n_events).map(|_| form(&mut random, &of)).collect();
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
            Ok(receipt) => {
                let now = Instant::now();
                let events = receipt.events.iter();
                acknowledged.extend(events.map(|event| (event.id, now)));
            }
            Err(AppendError::VersionConflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if random.one_in(3) {
            sleep(Duration::from_millis(random.below(20))).await;
        }
    }
    acknowledged
}

/// Every position is seen once and in order by every follower, and soon, while sixteen writers on
/// three nodes append, some of their requests are refused, and transactions of others are open in
/// the same cluster, which would hide events that are ordered by transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_position_once_and_in_order() {
    let is_slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some();
    let n_requests = if is_slow { 1000 } else { 25 };
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
    for (writer, node) in (0..WRITERS).zip(nodes.iter().cycle()) {
        writers.spawn(write(Arc::clone(node), writer, n_requests));
    }
    let (told, until) = watch::channel(None);
    let mut followers = JoinSet::new();
    for node in nodes.iter().cycle().take(FOLLOWERS) {
        followers.spawn(follow(Arc::clone(node), until.clone()));
    }
    let acknowledged: HashMap<_, _> = writers.join_all().await.into_iter().flatten().collect();
    told.send_replace(Position::new(acknowledged.len() as u64));
    let followers = followers.join_all().await;
    stop.store(true, Ordering::Relaxed);
    foreigner.join().unwrap();
    let log = everything(&nodes[0]).await;
    assert_eq!(log.len(), acknowledged.len());
    assert!(log.is_sorted_by_key(|event| event.recorded_at));
    let (mut latest, mut longest) = (Duration::ZERO, Duration::ZERO);
    for seen in followers {
        assert!(
            seen.events
                .iter()
                .map(|(id, _)| *id)
                .eq(log.iter().map(|event| event.id))
        );
        longest = longest.max(seen.longest);
        for (id, at) in seen.events {
            latest = latest.max(at.saturating_duration_since(acknowledged[&id]));
        }
    }
    eprintln!(
        "{} events, each seen within {latest:?}, never nothing for longer than {longest:?}",
        log.len()
    );
    assert!(
        latest < STALL_MAX && longest < STALL_MAX,
        "{latest:?} {longest:?}"
    );
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
