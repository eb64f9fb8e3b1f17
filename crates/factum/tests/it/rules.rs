//! Rules on running servers: what they send arrives, all of it and in order, whatever dies.
//!
//! A few rounds are part of every test run; `FACTUM_SLOW_TESTS=1` makes it two hundred.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use factum_testkit::Random;
use factum_testkit::servers::{NatsConsumer, NatsServer};
use serde_json::{Value, json};

use crate::harness::{Server, data_files, until};
use crate::receiver::{Mood, Receiver, in_order, now, pause, tells_the_secret, webhook};

fn start(data: &Path) -> Server {
    let arguments = ["--deliver-allow", "127.0.0.1"];
    Server::start_with(data, &arguments)
}

fn apply(server: &Server, data: &Path, rule: &Value) {
    let file = data.join("rule.json");
    std::fs::write(&file, rule.to_string()).unwrap();
    server.run(&["rules", "apply", "-f", file.to_str().unwrap()]);
}

/// Returns the application of an event that the rule is for, as the file has it.
fn wanted_application(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).unwrap();
    let is_wanted = event["type"] == "permit.confirmation_of_receipt"
        && event["payload"]["application"]["channel"] == "Internet";
    is_wanted.then(|| event["aggregateId"].as_str().unwrap().to_owned())
}

/// Returns the applications of the events that a consumer gets, until there are so many; each of
/// them comes in order.
fn applications_of(consumer: &mut NatsConsumer, n_events: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while seen.len() < n_events {
        let event: Value = serde_json::from_slice(&consumer.next()).unwrap();
        // Whoever consumes tells repeats by the id of the event.
        if seen.insert(event["id"].as_str().unwrap().to_owned()) {
            let application = event["aggregateId"].as_str().unwrap().to_owned();
            let number = event["sequenceNumber"].as_u64().unwrap();
            let before = last.insert(application, number);
            assert!(before.is_none_or(|before| before < number), "{event}");
        }
    }
    last.into_keys().collect()
}

#[test]
fn what_a_rule_is_for_goes_to_a_webhook_and_to_nats_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Mood::Takes);
    let nats = NatsServer::start(None);
    let mut consumer = nats.consume("PERMITS", "permits.>");
    let server = start(dir.path());
    let Some(file) = data_files()
        .into_iter()
        .find(|file| file.argument().contains("permits"))
    else {
        // The sample has none of these; the other tests have events of their own.
        return;
    };
    let rule = json!({
        "id": "internet",
        "name": "Receipts of applications over the Internet",
        "conditions": [
            {"type": "eventType", "operator": "equals", "value": "permit.confirmation_of_receipt"},
            {"type": "payload", "operator": "equals", "field": "$.application.channel", "value": "Internet"},
        ],
        "targets": [
            {"id": "crm", "to": webhook(&receiver.url("/crm"), 5000)},
            {"id": "queue", "to": {
                "type": "nats",
                "server": {"host": "127.0.0.1", "port": nats.port(), "tls": false},
                "username": NatsServer::USER,
                "password": NatsServer::PASSWORD,
                "subject": "permits.{{ aggregateId }}",
            }},
        ],
    });
    apply(&server, dir.path(), &rule);
    let all = json!({
        "id": "all",
        "name": "Everything of a permit, said in CEL",
        "conditions": {"type": "custom", "expression": "event.aggregateType == 'permit' && event.sequenceNumber <= 25"},
        "targets": [{"id": "archive", "concurrency": 32, "to": webhook(&receiver.url("/all"), 5000)}],
    });
    apply(&server, dir.path(), &all);
    let shown = server.run(&["rules", "show", "internet"]);
    assert!(!tells_the_secret(&shown), "{shown}");
    server.json(&["import", file.argument()]);
    let lines = file.lines();
    let wanted: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| wanted_application(line))
        .collect();
    until("the receipts have arrived", || {
        (receiver.taken("/crm").len() >= wanted.len()).then_some(())
    });
    until("everything has arrived", || {
        (receiver.taken("/all").len() >= lines.len()).then_some(())
    });
    assert_eq!(applications_of(&mut consumer, wanted.len()), wanted);
    let got = receiver.got();
    in_order(&got);
    let of = |path: &'static str| got.iter().filter(move |one| one.path == path);
    let streams: BTreeSet<String> = of("/crm").map(|one| one.stream.clone()).collect();
    assert_eq!(streams, wanted);
    let deliveries: BTreeSet<&str> = of("/crm").map(|one| one.delivery.as_str()).collect();
    assert_eq!(deliveries.len(), wanted.len(), "each has an id of its own");
    assert_eq!(receiver.taken("/all").len(), lines.len());
    let listed = server.json(&["deliveries", "list", "--rule", "internet", "--limit", "5"]);
    assert_eq!(listed["items"][0]["status"], "delivered");
    let tested = server.json(&["rules", "test", "internet", "--last", "3"]);
    assert_eq!(tested["items"][0]["rules"][0]["outcome"], "not_matched");
    assert_eq!(tested["items"][0]["rules"][0]["pointer"], "/conditions/0");
    assert_eq!(server.stop(), 0);
}

fn append(server: &Server, events: &[Value]) {
    let body = json!({ "events": events }).to_string();
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {{key}}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = server.raw(&request);
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

fn rounds() -> u32 {
    let is_slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some_and(|value| value == "1");
    if is_slow { 200 } else { 4 }
}

#[test]
fn a_server_that_is_killed_again_and_again_delivers_everything_in_order() {
    const PER_ROUND: u64 = 60;
    const CONCURRENCY: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let random = Mutex::new(Random::seeded(7));
    let receiver = Receiver::start(move |_| match random.lock().unwrap().below(100) {
        0..30 => Mood::Fails,
        30..33 => Mood::Hangs,
        33..43 => Mood::TakesAfter(Duration::from_millis(60)),
        _ => Mood::Takes,
    });
    let mut random = Random::seeded(8);
    let mut server = start(dir.path());
    let retry =
        json!({"strategy": "fixed", "baseDelayMs": 30, "maxAttempts": 1000, "jitter": "none"});
    let rule = json!({
        "id": "r",
        "name": "r",
        "conditions": {"type": "eventType", "operator": "matches", "value": "case.>"},
        "targets": [{"id": "t", "retry": retry, "concurrency": CONCURRENCY, "to": webhook(&receiver.url("/t"), 250)}],
    });
    apply(&server, dir.path(), &rule);
    for _ in 0..rounds() {
        let events: Vec<Value> = (0..PER_ROUND)
            .map(|n| {
                let stream = format!("c-{}", random.below(12));
                json!({"type": "case.noted", "aggregateType": "case", "aggregateId": stream, "payload": {"n": n}})
            })
            .collect();
        append(&server, &events);
        pause(Duration::from_millis(random.below(700)));
        server.kill();
        server = start(dir.path());
    }
    let n_events = usize::try_from(u64::from(rounds()) * PER_ROUND).unwrap();
    receiver.becomes(|_| Mood::Takes);
    until("everything has arrived", || {
        (receiver.taken("/t").len() >= n_events).then_some(())
    });
    let got = receiver.got();
    in_order(&got);
    assert_eq!(receiver.taken("/t").len(), n_events);
    let n_taken = got.iter().filter(|one| one.taken).count();
    let n_repeats = n_taken - n_events;
    let bound = usize::try_from(rounds()).unwrap() * CONCURRENCY;
    // What was under way at a death may come again, and what was answered too late to be heard.
    let n_slow = got.iter().filter(|one| one.taken).count() / 10;
    println!(
        "{} rounds, {n_events} events, {} requests, {n_repeats} repeats of what was taken",
        rounds(),
        got.len()
    );
    assert!(n_repeats <= bound + n_slow, "{n_repeats} repeats");
    let letters = server.json(&["dead-letters", "list"]);
    assert_eq!(letters["items"], json!([]));
    assert_eq!(server.stop(), 0);
}

#[test]
fn dead_letters_are_seen_tried_again_and_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| Mood::Fails);
    let server = start(dir.path());
    let retry = json!({"strategy": "fixed", "baseDelayMs": 1, "maxAttempts": 2, "jitter": "none"});
    let rule = json!({
        "id": "r",
        "name": "r",
        "conditions": {"type": "eventType", "operator": "matches", "value": "case.>"},
        "targets": [{"id": "t", "retry": retry, "to": webhook(&receiver.url("/t"), 2000)}],
    });
    apply(&server, dir.path(), &rule);
    let events: Vec<Value> = (0..5)
        .map(|n| json!({"type": "case.noted", "aggregateType": "case", "aggregateId": n.to_string(), "payload": {}}))
        .collect();
    append(&server, &events);
    let groups = until("all have died", || {
        let groups = server.json(&["dead-letters", "groups"]);
        (groups["items"][0]["pendingRetry"] == 5).then_some(groups)
    });
    let group = groups["items"][0]["group"].as_str().unwrap();
    let listed = server.json(&["dead-letters", "list", "--group", group]);
    let id = listed["items"][0]["id"].as_str().unwrap();
    let letter = server.json(&["dead-letters", "show", id]);
    assert_eq!(letter["answerStatus"], 503);
    assert_eq!(letter["delivery"]["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(letter["event"]["type"], "case.noted");
    assert_eq!(letter["rule"]["id"], "r");
    let failed = server.json(&["dead-letters", "fail", id, "--reason", "nobody wants it"]);
    assert_eq!(failed["changed"], 1);
    receiver.becomes(|_| Mood::Takes);
    let dry = server.json(&[
        "dead-letters",
        "retry",
        "--group",
        group,
        "--status",
        "pending_retry",
        "--dry-run",
    ]);
    assert_eq!((&dry["changed"], &dry["dryRun"]), (&json!(4), &json!(true)));
    server.run(&[
        "dead-letters",
        "retry",
        "--group",
        group,
        "--status",
        "pending_retry",
        "--per-second",
        "50",
    ]);
    until("they are resolved", || {
        let list = server.json(&["dead-letters", "list", "--status", "resolved"]);
        (list["items"].as_array().unwrap().len() == 4).then_some(())
    });
    assert_eq!(
        server.json(&["dead-letters", "purge", "--all"])["changed"],
        5
    );
    let page = server.raw("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    for line in [
        "factum_delivery_attempts_total{outcome=\"rejected\"} 10",
        "factum_delivery_dead_total 5",
        "factum_dead_letters_resolved_total 4",
        "factum_delivery_targets{kind=\"webhook\",breaker=\"closed\"} 1",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert_eq!(server.stop(), 0);
}

/// Ten endpoints, of which one is dead and one slow: how long the others wait.
#[test]
fn a_dead_and_a_slow_endpoint_hold_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|got| match got.path.as_str() {
        "/0" => Mood::Fails,
        "/1" => Mood::TakesAfter(Duration::from_secs(10)),
        _ => Mood::Takes,
    });
    let server = start(dir.path());
    for endpoint in 0..10 {
        let id = format!("e{endpoint}");
        let rule = json!({
            "id": id,
            "name": id,
            "conditions": {"type": "eventType", "operator": "matches", "value": "case.>"},
            "targets": [{"id": "t", "concurrency": 8, "to": webhook(&receiver.url(&format!("/{endpoint}")), 15000)}],
        });
        apply(&server, dir.path(), &rule);
    }
    let is_slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some_and(|value| value == "1");
    let n_batches: u64 = if is_slow { 600 } else { 40 };
    let begun = now();
    for batch in 0..n_batches {
        let due = begun + Duration::from_millis(50 * batch);
        pause(due.saturating_duration_since(now()));
        let events: Vec<Value> = (0..10)
            .map(|n| {
                let stream = format!("c-{}", (batch * 10 + n) % 50);
                json!({"type": "case.noted", "aggregateType": "case", "aggregateId": stream, "payload": {"n": batch * 10 + n}})
            })
            .collect();
        append(&server, &events);
    }
    let n_events = usize::try_from(n_batches * 10).unwrap();
    for endpoint in 2..10 {
        let path = format!("/{endpoint}");
        until("the healthy have everything", || {
            (receiver.taken(&path).len() >= n_events).then_some(())
        });
    }
    let page = server.raw("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    let latency = page
        .lines()
        .filter(|line| line.starts_with("factum_delivery_latency_seconds"));
    for line in latency {
        println!("{line}");
    }
    let last = receiver.got().iter().map(|one| one.after).max().unwrap();
    println!("{n_events} events to 8 healthy endpoints, the last after {last:?}");
    in_order(&receiver.got());
    assert!(receiver.got().iter().all(|one| !one.recorded.is_empty()));
    // The slow one is asked by eight at a time and waits for its answers; it is killed, not stopped.
    server.kill();
}
