//! Verification and backup over HTTP, while the server works; and the backup restored.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Server, program};

fn append(client: &mut Client, numbers: std::ops::Range<u64>) {
    let events: Vec<_> = numbers
        .map(|number| {
            json!({
                "type": format!("upkeep.kind{}", number % 3),
                "aggregateType": "upkeep",
                "aggregateId": format!("s-{}", number % 7),
                "metadata": {"tags": [format!("t{}", number % 2)]},
                "payload": {"number": number, "text": "x".repeat(700)},
            })
        })
        .collect();
    for unit in events.chunks(500) {
        let (status, body) = client
            .post("/v1/events", &json!({ "events": unit }))
            .unwrap();
        assert_eq!(status, 201, "{body}");
    }
}

fn verified(client: &mut Client) -> Value {
    let (status, report) = client.post("/v1/admin/verify", &json!({})).unwrap();
    assert_eq!((status, &report["ok"]), (200, &json!(true)), "{report}");
    assert_eq!(report["findings"], json!([]));
    report
}

#[test]
fn a_backup_made_over_http_is_restored_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let [data, copy, other] = ["data", "copy", "other"].map(|name| directory.path().join(name));
    // Small segments, so that the copy has closed ones and an open one.
    let small = ["--store-segment-bytes-max", "1048576"];
    let mut server = Server::start(&data, &small);
    let mut client = server.client();
    append(&mut client, 0..4000);
    let report = verified(&mut client);
    // The engine's own event is one more.
    assert_eq!(report["events"], 4001);
    let target = json!({ "path": copy });
    let (status, backup) = client.post("/v1/admin/backup", &target).unwrap();
    assert_eq!((status, &backup["head"]), (200, &json!(4001)), "{backup}");
    let log = client.whole_log();
    append(&mut client, 4000..4500);
    let (status, problem) = client.post("/v1/admin/backup", &target).unwrap();
    assert_eq!(
        (status, &problem["pointer"]),
        (400, &json!("/path")),
        "{problem}"
    );
    let (status, problem) = client
        .post("/v1/admin/backup", &json!({"path": "copy"}))
        .unwrap();
    assert_eq!(
        (status, &problem["pointer"]),
        (400, &json!("/path")),
        "{problem}"
    );
    assert_eq!(verified(&mut client)["events"], 4501);
    server.kill();

    let restored = Command::new(program())
        .arg("--data")
        .arg(&other)
        .arg("restore")
        .arg(&copy)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(restored.success());
    let mut server = Server::start(&other, &["--new-admin-key"]);
    let mut client = server.client();
    let mut found = client.whole_log();
    // The key that was made for the restored store comes after everything else.
    assert_eq!(found.pop().unwrap()["type"], "factum.key.created");
    assert_eq!(found, log);
    verified(&mut client);
    append(&mut client, 0..10);
    server.kill();
}
