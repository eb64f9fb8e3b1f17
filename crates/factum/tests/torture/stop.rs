//! A server that is asked to stop under load ends in time and in order, and has kept everything
//! that it acknowledged.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Server, until};

/// Event id to position.
type Acknowledged = Mutex<HashMap<String, u64>>;

/// Appends until the server says that it is stopping, or hangs up.
fn write(mut client: Client, writer: u64, acknowledged: &Acknowledged) {
    for round in 0_u64.. {
        let n_events = 1 + round % 4;
        let events: Vec<_> = (0..n_events)
            .map(|index| {
                let number = (writer << 32) + round * 10 + index;
                json!({
                    "id": format!("00000000-0000-4000-8000-{number:012x}"),
                    "type": "stop.written",
                    "aggregateType": "stop",
                    "aggregateId": format!("s-{writer}"),
                    "payload": {"number": number},
                })
            })
            .collect();
        match client.post("/v1/events", &json!({ "events": events })) {
            Ok((201, receipt)) => learn(&receipt, acknowledged),
            Ok((503, problem)) => {
                let code = problem["code"].as_str().unwrap();
                assert!(
                    matches!(code, "shutting_down" | "outcome_unknown"),
                    "{problem}"
                );
                return;
            }
            Ok((status, body)) => panic!("{status} {body}"),
            Err(_) => return,
        }
    }
}

fn learn(receipt: &Value, acknowledged: &Acknowledged) {
    let mut acknowledged = acknowledged.lock().unwrap();
    for event in receipt["events"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap().to_owned();
        acknowledged.insert(id, event["position"].as_u64().unwrap());
    }
}

fn connect(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let request = request.replace("{key}", &server.key());
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn a_server_that_is_told_to_stop_under_load_loses_nothing_and_ends_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let grace = Duration::from_secs(3);
    let mut server = Server::start(&data, &["--shutdown-ms-max", "3000"]);
    // One that waits for events, and one whose request never becomes whole.
    let mut follower = connect(
        &server,
        "GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n",
    );
    let _half = connect(
        &server,
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"type\":",
    );
    let acknowledged = Acknowledged::default();
    let (status, took) = std::thread::scope(|scope| {
        for writer in 0..8 {
            let client = server.client();
            let acknowledged = &acknowledged;
            scope.spawn(move || write(client, writer, acknowledged));
        }
        until("there is load", || {
            (acknowledged.lock().unwrap().len() > 500).then_some(())
        });
        server.terminate()
    });
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < grace + Duration::from_secs(2), "it took {took:?}");
    assert!(!data.join("server.json").exists());
    let mut followed = String::new();
    follower.read_to_string(&mut followed).unwrap();
    assert!(followed.contains("event: closed"), "it is told why");
    let mut server = Server::start(&data, &[]);
    let log = server.client().whole_log();
    let positions: HashMap<&str, u64> = log
        .iter()
        .map(|event| {
            (
                event["id"].as_str().unwrap(),
                event["position"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(positions.len(), log.len(), "no event is there twice");
    let acknowledged = acknowledged.into_inner().unwrap();
    for (id, position) in &acknowledged {
        assert_eq!(positions.get(id.as_str()), Some(position), "{id}");
    }
    eprintln!(
        "{} events acknowledged, ended in {took:?}",
        acknowledged.len()
    );
    server.kill();
}
