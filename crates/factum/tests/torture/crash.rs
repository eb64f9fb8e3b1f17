//! The server is killed again and again under load. What it acknowledged is there exactly once,
//! what it did not is there whole or not at all, and what a reader saw stays.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;

const WRITERS: u64 = 4;

/// What the clients know, over all rounds.
#[derive(Default)]
pub(crate) struct Knowledge {
    /// Event id to position.
    pub(crate) acknowledged: HashMap<String, u64>,
    /// Requests without an answer.
    open: Vec<Value>,
    /// All requests that were ever sent, as their ids in order.
    pub(crate) sent: Vec<Vec<String>>,
    /// Position to event id, as a reader saw it.
    pub(crate) seen: HashMap<u64, String>,
}

pub(crate) type Shared = Arc<Mutex<Knowledge>>;

fn rounds() -> u64 {
    std::env::var("FACTUM_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20)
}

#[test]
fn a_killed_server_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let knowledge = Shared::default();
    let numbers = AtomicU64::new(1);
    let rounds = rounds();
    // Small segments, so that kills meet the change of segments, the writing of indexes and the
    // compression of logs too.
    let small = [
        "--store-cold",
        "true",
        "--store-cold-after-segments",
        "1",
        "--store-segment-bytes-max",
        "524288",
        "--store-index-run-events",
        "128",
    ];
    for round in 0..rounds {
        let mut server = Server::start(&data, &small);
        ask_again(&mut server.client(), &knowledge);
        if round % 20 == 19 || round + 1 == rounds {
            check(&mut server.client(), &knowledge);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let client = server.client();
                let (knowledge, numbers, stop) = (&knowledge, &numbers, &stop);
                scope.spawn(move || write(client, writer, (knowledge, numbers, stop)));
            }
            let reader = server.client();
            scope.spawn(|| read(reader, &knowledge, &stop));
            // Spread over the start, the load and the change of segments.
            let millis = 20 + (round * 7919) % 400;
            std::thread::park_timeout(Duration::from_millis(millis));
            server.kill();
            stop.store(true, Ordering::SeqCst);
        });
    }
    let mut server = Server::start(&data, &small);
    ask_again(&mut server.client(), &knowledge);
    check(&mut server.client(), &knowledge);
    server.kill();
    let known = knowledge.lock().unwrap();
    eprintln!(
        "{rounds} kills, {} events acknowledged",
        known.acknowledged.len()
    );
    assert!(known.acknowledged.len() as u64 > rounds);
}

fn event(number: u64, stream: u64) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{number:012x}"),
        "type": format!("torture.kind{}", number % 3),
        "aggregateType": "torture",
        "aggregateId": format!("s-{stream}"),
        "metadata": {"userId": format!("u{}", number % 5), "tags": [format!("t{}", number % 2)]},
        "payload": {"number": number, "kind": number % 7, "text": "x".repeat(usize::try_from(number % 700).unwrap())},
    })
}

/// One event, or a unit over two streams.
pub(crate) fn request(writer: u64, numbers: &AtomicU64) -> Value {
    let first = numbers.fetch_add(10, Ordering::SeqCst);
    let n_events = if first % 30 == 1 { 1 + first % 7 } else { 1 };
    let events: Vec<_> = (0..n_events)
        .map(|index| {
            event(
                first + index,
                if index % 2 == 0 {
                    writer
                } else {
                    100 + first % 10
                },
            )
        })
        .collect();
    json!({ "events": events })
}

pub(crate) fn ids(request: &Value) -> Vec<String> {
    let events = request["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

fn write(
    mut client: Client,
    writer: u64,
    (knowledge, numbers, stop): (&Shared, &AtomicU64, &AtomicBool),
) {
    while !stop.load(Ordering::SeqCst) {
        let request = request(writer, numbers);
        knowledge.lock().unwrap().sent.push(ids(&request));
        let answer = client.post("/v1/events", &request);
        let mut knowledge = knowledge.lock().unwrap();
        match answer {
            Ok((201, receipt)) => learn(&mut knowledge, &receipt),
            Ok((503, _)) => knowledge.open.push(request),
            Ok((status, body)) => panic!("{status} {body}"),
            Err(_) => {
                knowledge.open.push(request);
                return;
            }
        }
    }
}

pub(crate) fn learn(knowledge: &mut Knowledge, receipt: &Value) {
    for event in receipt["events"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap().to_owned();
        let position = event["position"].as_u64().unwrap();
        let before = knowledge.acknowledged.insert(id, position);
        assert!(
            before.is_none_or(|before| before == position),
            "a receipt has changed"
        );
    }
}

fn read(mut client: Client, knowledge: &Shared, stop: &AtomicBool) {
    let mut after = knowledge
        .lock()
        .unwrap()
        .seen
        .keys()
        .max()
        .copied()
        .unwrap_or(0);
    while !stop.load(Ordering::SeqCst) {
        let Ok((200, page)) = client.get(&format!("/v1/events?after={after}&limit=1000")) else {
            return;
        };
        for event in page["events"].as_array().unwrap() {
            let position = event["position"].as_u64().unwrap();
            assert_eq!(position, after + 1, "a position is missing");
            after = position;
            let id = event["id"].as_str().unwrap().to_owned();
            knowledge.lock().unwrap().seen.insert(position, id);
        }
    }
}

/// A request whose outcome is not known is sent again with the same ids, and then it is known.
fn ask_again(client: &mut Client, knowledge: &Shared) {
    let open = std::mem::take(&mut knowledge.lock().unwrap().open);
    for request in open {
        let (status, receipt) = client.post("/v1/events", &request).unwrap();
        assert!(matches!(status, 200 | 201), "{status} {receipt}");
        learn(&mut knowledge.lock().unwrap(), &receipt);
    }
}

/// The indexes, however far they were when the server was killed, say what the log says.
fn check_index(client: &mut Client, log: &[Value]) {
    for kind in 0..7 {
        let is_of_kind = |event: &&Value| event["payload"]["kind"] == kind;
        let events: Vec<_> = log.iter().filter(is_of_kind).collect();
        let of_type = |event: &&&Value| event["type"] == "torture.kind1";
        let condition = json!({"path": "$.kind", "operator": "equals", "value": kind});
        let query = json!({"payloadQuery": condition, "by": "eventType"});
        let (status, counts) = client.post("/v1/events/counts", &query).unwrap();
        assert_eq!(status, 200, "{counts}");
        assert_eq!(counts["total"], events.len(), "kind {kind}");
        let groups = counts["groups"].as_array().unwrap();
        let group = groups.iter().find(|group| group["key"] == "torture.kind1");
        let n_events = group.map_or(0, |group| group["count"].as_u64().unwrap());
        assert_eq!(n_events, events.iter().filter(of_type).count() as u64);
    }
}

pub(crate) fn check(client: &mut Client, knowledge: &Shared) {
    let log = client.whole_log();
    check_index(client, &log);
    let knowledge = knowledge.lock().unwrap();
    let mut positions = HashMap::new();
    let mut sequences: HashMap<String, u64> = HashMap::new();
    for (index, event) in log.iter().enumerate() {
        let position = event["position"].as_u64().unwrap();
        assert_eq!(position, index as u64 + 1, "positions are dense");
        let id = event["id"].as_str().unwrap().to_owned();
        assert!(
            positions.insert(id.clone(), position).is_none(),
            "{id} is there twice"
        );
        let stream = format!("{}/{}", event["aggregateType"], event["aggregateId"]);
        let sequence = sequences.entry(stream).or_default();
        *sequence += 1;
        assert_eq!(
            event["sequenceNumber"].as_u64(),
            Some(*sequence),
            "sequences are dense"
        );
        if event["aggregateType"] == "torture" {
            let number = event["payload"]["number"].as_u64().unwrap();
            assert_eq!(
                id,
                format!("00000000-0000-4000-8000-{number:012x}"),
                "its own payload"
            );
        }
    }
    for (id, position) in &knowledge.acknowledged {
        assert_eq!(positions.get(id), Some(position), "{id} was acknowledged");
    }
    for (position, id) in &knowledge.seen {
        assert_eq!(positions.get(id), Some(position), "{id} was seen");
    }
    let mut sent = HashSet::new();
    for ids in &knowledge.sent {
        let found: Vec<_> = ids.iter().filter_map(|id| positions.get(id)).collect();
        assert!(
            found.is_empty() || found.len() == ids.len(),
            "half of a request is there"
        );
        assert!(
            found.windows(2).all(|pair| *pair[1] == pair[0] + 1),
            "a request is contiguous"
        );
        sent.extend(ids);
    }
    let strange = positions
        .keys()
        .filter(|id| id.starts_with("00000000-") && !sent.contains(id));
    assert_eq!(strange.count(), 0, "nobody sent these");
}
