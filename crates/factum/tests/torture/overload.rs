//! More appends than the queue takes: those that are refused are told so and leave nothing behind.

use std::collections::HashSet;

use serde_json::json;

use crate::server::Server;

const WRITERS: u64 = 24;
const ROUNDS: u64 = 40;
const EVENTS: u64 = 6;

#[test]
fn a_full_queue_refuses_whole_requests_and_says_when_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let tiny = [
        "--commit-queue-events-max",
        "6",
        "--limits-request-events-max",
        "6",
    ];
    let mut server = Server::start(&directory.path().join("data"), &tiny);
    let outcomes: Vec<(String, bool)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = server.client();
                scope.spawn(move || {
                    let unit = |round: u64| {
                        let name = format!("u-{writer}-{round}");
                        let event = json!({
                            "type": "overload.written", "aggregateType": "unit",
                            "aggregateId": name, "payload": {},
                        });
                        let events = vec![event; usize::try_from(EVENTS).unwrap()];
                        let body = json!({ "events": events });
                        let (status, answer) = client.post("/v1/events", &body).unwrap();
                        if status != 201 {
                            assert_eq!((status, &answer["code"]), (503, &json!("overloaded")));
                            assert!(answer["retryAfter"].as_u64().unwrap() >= 1);
                        }
                        (name, status == 201)
                    };
                    (0..ROUNDS).map(unit).collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let log = server.client().whole_log();
    let in_log = |name: &str| {
        let of_unit = log.iter().filter(|event| event["aggregateId"] == name);
        of_unit.count() as u64
    };
    for (name, appended) in &outcomes {
        assert_eq!(in_log(name), if *appended { EVENTS } else { 0 }, "{name}");
    }
    let names: HashSet<_> = outcomes.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len() as u64, WRITERS * ROUNDS);
    let n_refused = outcomes.iter().filter(|(_, appended)| !appended).count();
    eprintln!("{n_refused} of {} units were refused", outcomes.len());
    assert!(n_refused > 0 && n_refused < outcomes.len());
    server.kill();
}
