//! Consumer groups on running servers: members come and go, nodes are killed, and still every event
//! is done, each aggregate in order and with one consumer at a time.
//!
//! A short run is part of every test run; `FACTUM_SLOW_TESTS=1` makes it five minutes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use factum_testkit::Random;
use serde_json::{Value, json};

use crate::harness::until;
use crate::nodes::{Naming, Nodes};

/// How long a consumer may have an event.
const DEADLINE: Duration = Duration::from_millis(1500);
const N_STREAMS: u64 = 40;
/// How many events one fetch asks for: what a consumer that dies leaves behind.
const BATCH: usize = 10;
/// How far the group may be behind before no more is appended: it is to end soon after the writer.
const BEHIND_MAX: u64 = 500;

fn duration() -> Duration {
    let is_slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some_and(|value| value == "1");
    if is_slow {
        Duration::from_mins(5)
    } else {
        Duration::from_secs(8)
    }
}

/// What is seen of the events from outside.
#[derive(Default)]
struct Seen {
    /// Who has an event of a stream, and until when nobody else may.
    held: BTreeMap<u64, (usize, Instant)>,
    /// The last number of each stream for which an ack was sent.
    sent_to: BTreeMap<u64, u64>,
    /// The numbers of each stream of which it is known that they are done.
    n_done: BTreeMap<u64, u64>,
    n_handed_out: usize,
    n_repeats: usize,
    n_deaths: usize,
}

struct Witness<'a> {
    nodes: &'a Nodes,
    seen: Mutex<Seen>,
    members: AtomicUsize,
    ends: AtomicBool,
}

impl Witness<'_> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn n_settled(&self) -> u64 {
        self.seen().sent_to.values().sum()
    }

    /// One member of the group: takes, works, settles, until it dies or all ends.
    fn consume(&self, seed: u64) {
        let mut random = Random::seeded(seed);
        let member = self.members.fetch_add(1, Ordering::Relaxed);
        let consumer = format!("member-{member}");
        while !self.ends.load(Ordering::Relaxed) {
            let node = random.index(self.nodes.servers.len());
            let asked_at = now();
            let fetch = json!({"consumer": consumer, "limit": BATCH, "waitMs": 300});
            let path = "/v1/subscriptions/crm/fetch";
            let Some((200, answer)) = self.nodes.ask(node, "POST", path, &fetch) else {
                pause(20);
                continue;
            };
            let events = answer["events"].as_array().unwrap();
            let got: Vec<(u64, u64, &Value)> = events.iter().map(place).collect();
            self.take(member, asked_at, &got);
            if !got.is_empty() && random.one_in(12) {
                // It dies with what it has; a new member comes in its place.
                self.seen().n_deaths += 1;
                return self.consume(random.next());
            }
            pause(random.below(15));
            if !got.is_empty() {
                self.settle(&mut random, member, &got);
            }
        }
    }

    /// Checks what was handed out.
    fn take(&self, member: usize, asked_at: Instant, got: &[(u64, u64, &Value)]) {
        let now = now();
        let mut seen = self.seen();
        for (stream, number, _) in got {
            if let Some((holder, until)) = seen.held.get(stream) {
                assert!(
                    *holder == member || *until <= now,
                    "stream {stream} is with {holder} and {member}"
                );
            }
            let sent_to = seen.sent_to.get(stream).copied().unwrap_or(0);
            assert!(*number <= sent_to + 1, "{stream}: {number} after {sent_to}");
            seen.n_handed_out += 1;
            if *number <= sent_to {
                seen.n_repeats += 1;
            }
            // It was claimed after it was asked for, so it is not free before that.
            seen.held.insert(*stream, (member, asked_at + DEADLINE));
        }
    }

    fn settle(&self, random: &mut Random, member: usize, got: &[(u64, u64, &Value)]) {
        let mut seen = self.seen();
        for (stream, number, _) in got {
            if seen
                .held
                .get(stream)
                .is_some_and(|(holder, _)| *holder == member)
            {
                seen.held.remove(stream);
            }
            let sent_to = seen.sent_to.entry(*stream).or_default();
            *sent_to = (*sent_to).max(*number);
        }
        drop(seen);
        let tokens: Vec<&Value> = got.iter().map(|(_, _, token)| *token).collect();
        let node = random.index(self.nodes.servers.len());
        let path = "/v1/subscriptions/crm/ack";
        let answer = self
            .nodes
            .ask(node, "POST", path, &json!({ "tokens": tokens }));
        let Some((200, answer)) = answer else {
            return;
        };
        let mut seen = self.seen();
        for ((stream, number, _), result) in got.iter().zip(answer["results"].as_array().unwrap()) {
            if result["result"] == "done" {
                let done = seen.n_done.entry(*stream).or_default();
                *done = (*done).max(*number);
            }
        }
    }
}

fn place(handout: &Value) -> (u64, u64, &Value) {
    let payload = &handout["event"]["payload"];
    let number = |name: &str| payload[name].as_u64().unwrap();
    (number("stream"), number("number"), &handout["token"])
}

#[expect(
    clippy::disallowed_methods,
    reason = "deadlines of running servers pass by themselves"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "consumers work at their own pace"
)]
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Appends to all streams until the time is up, as fast as the group is; returns how many events each
/// stream has.
fn append(nodes: &Nodes, witness: &Witness<'_>, until: Instant) -> BTreeMap<u64, u64> {
    let mut random = Random::seeded(99);
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    while now() < until {
        let mut events = Vec::new();
        for _ in 0..20 {
            let stream = random.below(N_STREAMS);
            let number = numbers.entry(stream).or_default();
            *number += 1;
            let id = format!("00000000-0000-4000-8000-{:012x}", stream << 32 | *number);
            events.push(json!({
                "id": id, "type": "case.noted", "aggregateType": "case",
                "aggregateId": stream.to_string(),
                "payload": {"stream": stream, "number": *number},
            }));
        }
        let body = json!({ "events": events });
        nodes.append(&mut random, &body);
        pause(20);
        let n_appended: u64 = numbers.values().sum();
        while now() < until && n_appended > witness.n_settled() + BEHIND_MAX {
            pause(20);
        }
    }
    numbers
}

/// Ends the members of a group when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::print_stderr, reason = "what a run has seen is its result")]
fn tell(seen: &Seen, numbers: &BTreeMap<u64, u64>, n_crashes: usize) {
    let n_events: u64 = numbers.values().sum();
    eprintln!(
        "{n_events} events in {} streams, {} handed out, {} repeats, {} members died, {n_crashes} nodes were killed",
        numbers.len(),
        seen.n_handed_out,
        seen.n_repeats,
        seen.n_deaths,
    );
}

/// Runs a group of four while nodes and members come and go.
fn share(nodes: &Nodes, crashes_every: Duration) {
    let definition = json!({
        "name": "crm", "start": "beginning", "filter": {"eventTypes": ["case.noted"]},
        "ackDeadlineMs": DEADLINE.as_millis(), "attemptsMax": 0, "inFlightMax": 400,
    });
    let made = nodes.ask(0, "POST", "/v1/subscriptions", &definition);
    assert_eq!(made.unwrap().0, 201);
    let witness = Witness {
        nodes,
        seen: Mutex::default(),
        members: AtomicUsize::new(0),
        ends: AtomicBool::new(false),
    };
    let ends_at = now() + duration();
    let mut n_crashes = 0;
    let numbers = std::thread::scope(|scope| {
        // Also when something is found to be wrong, the members have to end.
        let _end = End(&witness.ends);
        let consumers: Vec<_> = (0..4)
            .map(|seed| {
                let witness = &witness;
                scope.spawn(move || witness.consume(seed))
            })
            .collect();
        let appender = scope.spawn(|| append(nodes, &witness, ends_at));
        let mut random = Random::seeded(7);
        let step = u64::try_from(crashes_every.as_millis()).unwrap();
        while now() + crashes_every * 2 < ends_at {
            pause(step / 2 + random.below(step));
            nodes.crash(random.index(nodes.servers.len()));
            n_crashes += 1;
        }
        let numbers = appender.join().unwrap();
        until("every event is done", || {
            let all_are_done = |seen: &Seen| numbers == seen.sent_to;
            let broken = consumers
                .iter()
                .any(std::thread::ScopedJoinHandle::is_finished);
            assert!(!broken, "a consumer has found something wrong");
            all_are_done(&witness.seen()).then_some(())
        });
        let path = "/v1/subscriptions/crm";
        until("nothing is left", || {
            let (_, answer) = nodes.ask(0, "GET", path, &json!({}))?;
            let status = &answer["status"];
            let left = ["ready", "inFlight", "waiting", "parked", "lagEvents"];
            left.iter().all(|name| status[name] == 0).then_some(())
        });
        numbers
    });
    let seen = witness.seen();
    tell(&seen, &numbers, n_crashes);
    assert!(seen.n_deaths > 3 && n_crashes > 0);
    // What is repeated was with a member that died, or its ack was lost with a node.
    let most = (seen.n_deaths + n_crashes * 4) * BATCH;
    assert!(seen.n_repeats <= most, "{} of {most}", seen.n_repeats);
}

#[test]
fn a_group_shares_a_subscription_while_members_and_the_server_die() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = Nodes::start(dir.path(), 1, Naming::AtRandom, &[]);
    share(&nodes, Duration::from_secs(3));
}

#[test]
fn a_group_shares_a_subscription_over_three_nodes_on_postgresql() {
    let database = crate::postgres::initialised();
    let dir = tempfile::tempdir().unwrap();
    let url = database.url();
    let nodes = Nodes::start(dir.path(), 3, Naming::AtRandom, &["--postgres", &url]);
    share(&nodes, Duration::from_secs(3));
}
