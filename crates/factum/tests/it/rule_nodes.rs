//! Rules on three nodes of one log: nodes are killed at random and started again, the receiver
//! fails, hangs and is slow, and still every event arrives, each aggregate in order and from one
//! node at a time.
//!
//! A few rounds are part of every test run; `FACTUM_SLOW_TESTS=1` makes it two hundred.

use std::sync::Mutex;
use std::time::Duration;

use factum_testkit::Random;
use factum_testkit::postgres::Database;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::until;
use crate::nodes::{Naming, Nodes};
use crate::receiver::{Got, Mood, Receiver, in_order, pause, webhook};

const N_NODES: usize = 3;
const N_STREAMS: u64 = 12;
const PER_ROUND: u64 = 60;
/// How many events of the target one node has under way at most.
const CONCURRENCY: usize = 4;

fn rounds() -> usize {
    let is_slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some_and(|value| value == "1");
    if is_slow { 200 } else { 4 }
}

struct Cluster {
    nodes: Nodes,
    _dir: TempDir,
    _database: Database,
}

impl Cluster {
    fn start() -> Self {
        let database = crate::postgres::initialised();
        let dir = tempfile::tempdir().unwrap();
        let url = database.url();
        // The nodes share the key under which secrets of targets are kept.
        let key = dir.path().join("master.key");
        let more = [
            &["--postgres", &url, "--deliver-allow", "127.0.0.1"][..],
            &["--secrets-key-file", key.to_str().unwrap()],
        ]
        .concat();
        Self {
            nodes: Nodes::start(dir.path(), N_NODES, Naming::Kept, &more),
            _dir: dir,
            _database: database,
        }
    }

    /// Asks a node, which must be there and agree.
    fn expect(&self, node: usize, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.nodes.ask(node, method, path, body).unwrap();
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// Makes or changes a rule on one node, and waits until every node has it as it is now.
    fn apply(&self, node: usize, rule: &Value) {
        let path = format!("/v1/rules/{}", rule["id"].as_str().unwrap());
        let (status, _) = self.nodes.ask(node, "GET", &path, &json!({})).unwrap();
        match status {
            404 => self.expect(node, "POST", "/v1/rules", rule),
            _ => self.expect(node, "PUT", &path, rule),
        };
        let made = self.expect(node, "GET", &path, &json!({}));
        for other in 0..N_NODES {
            until("a change of a rule is seen by every node", || {
                let (_, answer) = self.nodes.ask(other, "GET", &path, &json!({}))?;
                (answer == made).then_some(())
            });
        }
    }

    fn append(&self, random: &mut Random, from: u64) {
        let events: Vec<Value> = (from..from + PER_ROUND)
            .map(|number| {
                json!({
                    "id": format!("00000000-0000-4000-8000-{number:012x}"),
                    "type": "case.noted", "aggregateType": "case",
                    "aggregateId": format!("c-{}", random.below(N_STREAMS)),
                    "payload": {"number": number},
                })
            })
            .collect();
        self.nodes.append(random, &json!({ "events": events }));
    }
}

fn rule(receiver: &Receiver, path: &str, attempts_max: u64) -> Value {
    let retry = json!({
        "strategy": "fixed", "baseDelayMs": 30, "maxAttempts": attempts_max, "jitter": "none"
    });
    json!({
        "id": "r",
        "name": "r",
        "conditions": {"type": "eventType", "operator": "equals", "value": "case.noted"},
        "targets": [{
            "id": "t", "retry": retry, "concurrency": CONCURRENCY,
            "to": webhook(&receiver.url(path), 1000),
        }],
    })
}

fn n_taken(got: &[Got]) -> usize {
    got.iter().filter(|one| one.taken).count()
}

#[test]
fn three_nodes_that_are_killed_deliver_everything_in_order() {
    let random = Mutex::new(Random::seeded(17));
    let receiver = Receiver::start(move |_| match random.lock().unwrap().below(100) {
        0..30 => Mood::Fails,
        30..32 => Mood::Hangs,
        32..42 => Mood::TakesAfter(Duration::from_millis(60)),
        _ => Mood::Takes,
    });
    let cluster = Cluster::start();
    cluster.apply(0, &rule(&receiver, "/t", 1000));
    let mut random = Random::seeded(18);
    let mut n_events = 0;
    for _ in 0..rounds() {
        cluster.append(&mut random, n_events);
        n_events += PER_ROUND;
        pause(Duration::from_millis(random.below(700)));
        cluster.nodes.crash(random.index(N_NODES));
    }
    // So slow that one node alone would be at it for long.
    receiver.becomes(|_| Mood::TakesAfter(Duration::from_millis(50)));
    cluster.append(&mut random, n_events);
    let n_events = usize::try_from(n_events + PER_ROUND).unwrap();
    until("everything has arrived", || {
        (receiver.taken("/t").len() >= n_events).then_some(())
    });
    let got = receiver.got();
    in_order(&got);
    assert_eq!(receiver.overlaps().len(), 0, "{:?}", receiver.overlaps());
    assert_eq!(receiver.taken("/t").len(), n_events);
    let n_repeats = n_taken(&got) - n_events;
    println!(
        "{} rounds, {n_events} events, {} requests, {n_repeats} repeats of what was taken",
        rounds(),
        got.len()
    );
    // What a node had under way when it was killed is all that may have been taken unheard.
    assert!(
        n_repeats <= rounds() * CONCURRENCY,
        "{n_repeats} repeats in {} rounds",
        rounds()
    );
    let name = "factum_delivery_attempts_total{outcome=\"delivered\"}";
    let sent = (0..N_NODES).map(|node| cluster.nodes.metric(node, name).unwrap());
    let n_at_work = sent.filter(|sent| *sent > 0).count();
    assert!(n_at_work > 1, "only {n_at_work} nodes sent anything");
    let letters = cluster.expect(1, "GET", "/v1/dead-letters", &json!({}));
    assert_eq!(letters["items"], json!([]));
}

#[test]
fn a_rule_is_changed_and_its_dead_are_tried_again_from_any_node() {
    let receiver = Receiver::start(|_| Mood::Takes);
    let cluster = Cluster::start();
    let mut random = Random::seeded(5);
    cluster.apply(0, &rule(&receiver, "/before", 1000));
    cluster.append(&mut random, 0);
    let n_each = usize::try_from(PER_ROUND).unwrap();
    until("the rule is followed", || {
        (receiver.taken("/before").len() == n_each).then_some(())
    });

    cluster.apply(1, &rule(&receiver, "/after", 1));
    receiver.becomes(|_| Mood::Fails);
    cluster.append(&mut random, PER_ROUND);
    // The node on which it was changed is of no more importance than the others.
    cluster.nodes.crash(1);
    let n_pending = |node| {
        let groups = cluster.expect(node, "GET", "/v1/dead-letters/groups", &json!({}));
        let counts = groups["items"].as_array().unwrap().iter();
        let counts = counts.map(|group| group["pendingRetry"].as_u64().unwrap());
        counts.sum::<u64>()
    };
    until("all have died", || {
        (n_pending(2) == PER_ROUND).then_some(())
    });
    let of_path = |path: &str| receiver.got().iter().filter(|one| one.path == path).count();
    assert_eq!(
        of_path("/before"),
        n_each,
        "the rule as it was gets no more"
    );

    receiver.becomes(|_| Mood::Takes);
    let retried = json!({"all": true});
    let answer = cluster.expect(2, "POST", "/v1/dead-letters/retry", &retried);
    assert_eq!(answer["changed"], PER_ROUND);
    until("the dead arrive", || {
        (receiver.taken("/after").len() == n_each).then_some(())
    });
    until("another node says so", || {
        let path = "/v1/dead-letters?status=resolved&limit=100";
        let list = cluster.expect(0, "GET", path, &json!({}));
        (list["items"].as_array().unwrap().len() == n_each).then_some(())
    });
}
