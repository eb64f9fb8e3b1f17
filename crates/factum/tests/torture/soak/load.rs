//! What appends, what reads the log at the end, and what watches the server.

use std::io::BufRead as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::plan::Plan;
use crate::client::Client;
use crate::server::Server;

/// A client that appends at a steady rate.
pub(super) struct Writer {
    client: Client,
    number: u64,
    epoch: Instant,
    pause: Duration,
}

impl Writer {
    pub(super) const fn new(client: Client, number: u64, epoch: Instant, pause: Duration) -> Self {
        Self {
            client,
            number,
            epoch,
            pause,
        }
    }

    pub(super) fn run(mut self, stop: &AtomicBool, n_appended: &AtomicU64) {
        let mut n_sent = 0_u64;
        let mut due = Instant::now();
        while !stop.load(Ordering::SeqCst) {
            // Now and then a unit of several events.
            let n_events = if n_sent.is_multiple_of(11) { 5 } else { 1 };
            let events: Vec<_> = (0..n_events)
                .map(|index| self.event((n_sent + index) * 100 + self.number))
                .collect();
            let (status, receipt) = self
                .client
                .post("/v1/events", &json!({ "events": events }))
                .unwrap();
            assert_eq!(status, 201, "{receipt}");
            n_sent += n_events;
            n_appended.fetch_add(n_events, Ordering::SeqCst);
            due += self.pause * u32::try_from(n_events).unwrap();
            // A machine that is too slow for the rate does not make up for it.
            due = due.max(Instant::now() - Duration::from_secs(1));
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    fn event(&self, number: u64) -> Value {
        let kind = ["alpha.made", "beta.made", "beta.gone", "gamma.x.y"];
        let pick = |n: u64| usize::try_from(number / 100 % n).unwrap();
        json!({
            "type": format!("soak.{}", kind[pick(4)]),
            "aggregateType": if number.is_multiple_of(3) { "order" } else { "invoice" },
            "aggregateId": format!("s-{}", pick(7)),
            "correlationId": format!("case-{}", pick(5)),
            "metadata": {"tags": [format!("t{}", pick(3))], "userId": format!("u{}", pick(4))},
            "payload": {
                "number": number,
                "sentMicros": u64::try_from(self.epoch.elapsed().as_micros()).unwrap(),
                "text": "x".repeat(pick(900)),
            },
        })
    }
}

/// Appends more than the buffers of a socket hold, so that who does not read is behind from the
/// beginning.
pub(super) fn ballast(client: &mut Client) {
    let event = json!({
        "type": "ballast.taken", "aggregateType": "ballast", "aggregateId": "b-1",
        "payload": {"text": "x".repeat(64 << 10)},
    });
    let unit = json!({ "events": vec![event; 16] });
    for _ in 0..10 {
        let (status, receipt) = client.post("/v1/events", &unit).unwrap();
        assert_eq!(status, 201, "{receipt}");
    }
}

/// Returns position and number of every event that a plan matches, as the log has them.
pub(super) fn matching(client: &mut Client, plan: &Plan) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut query = json!({"filter": plan.json, "limit": 1000});
        if !after.is_null() {
            query["after"] = after;
        }
        let (status, page) = client.post("/v1/events/query", &query).unwrap();
        assert_eq!(status, 200, "{page}");
        found.extend(page["events"].as_array().unwrap().iter().map(place_of));
        if page["hasMore"] == false {
            return found;
        }
        after = page["cursor"].clone();
    }
}

/// Returns the position of the last event that a plan matches, or 0.
pub(super) fn last_position(client: &mut Client, plan: &Plan) -> u64 {
    let query = json!({"filter": plan.json, "limit": 1, "direction": "backwards"});
    let (status, page) = client.post("/v1/events/query", &query).unwrap();
    assert_eq!(status, 200, "{page}");
    page["events"].get(0).map_or(0, |event| place_of(event).0)
}

fn place_of(event: &Value) -> (u64, u64) {
    // The engine's own events have no number.
    let number = event["payload"]["number"].as_u64().unwrap_or_default();
    (event["position"].as_u64().unwrap(), number)
}

/// Checks that those who do not read are behind, or have been sent away because of it.
pub(super) fn check_stalled(server: &Server, n_stalled: usize) {
    let (status, list) = server.client().get("/v1/streams").unwrap();
    assert_eq!(status, 200, "{list}");
    let items = list["items"].as_array().unwrap();
    let stalled: Vec<_> = items
        .iter()
        .flat_map(|item| item["subscriptions"].as_array().unwrap())
        .filter(|subscription| subscription["subscriptionId"] == "stalled")
        .collect();
    assert!(stalled.len() <= n_stalled);
    for one in &stalled {
        assert!(one["lag"].as_u64().unwrap() > 0, "it reads nothing: {one}");
    }
    eprintln!(
        "of {n_stalled} that never read, {} were sent away",
        n_stalled - stalled.len()
    );
}

/// Looks at the memory of the server again and again, in bytes.
pub(super) fn sample_memory(server: &Server, every: Duration, stop: &AtomicBool) -> Vec<u64> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        samples.push(memory(server.pid()));
        std::thread::park_timeout(every);
    }
    samples
}

fn memory(pid: u32) -> u64 {
    let status = std::fs::File::open(format!("/proc/{pid}/status")).unwrap();
    let lines = std::io::BufReader::new(status).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// Says how much memory the server took, and checks over a long time that it does not grow.
pub(super) fn report_memory(samples: &[u64], time: Duration) {
    let mib = |bytes: u64| bytes >> 20;
    let peak = |samples: &[u64]| samples.iter().max().copied().unwrap_or_default();
    let third = samples.len() / 3;
    let [start, middle, end] = [0, samples.len() / 2, samples.len() - 1].map(|at| samples[at]);
    eprintln!(
        "memory of the server: {} MiB at the start, {} in the middle, {} at the end, {} at most",
        mib(start),
        mib(middle),
        mib(end),
        mib(peak(samples))
    );
    if time >= Duration::from_secs(60) {
        let (before, after) = (
            peak(&samples[third..2 * third]),
            peak(&samples[2 * third..]),
        );
        assert!(
            after < before + before / 4 + (16 << 20),
            "memory grows: {} MiB, then {} MiB",
            mib(before),
            mib(after)
        );
    }
}
