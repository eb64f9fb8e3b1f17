//! Disks that fail and disks that are full, and a second process on the same directory.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::{Server, command, until};

fn has(program: &str) -> bool {
    let probe = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

fn event(number: u64, text: &str) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{number:012x}"),
        "type": "disk.written",
        "aggregateType": "disk",
        "aggregateId": format!("d-{}", number % 3),
        "payload": {"number": number, "text": text},
    })
}

/// Appends until something else than success is answered; returns what was acknowledged, and the
/// other answer.
fn append_until_refused(
    client: &mut Client,
    numbers: std::ops::Range<u64>,
    text: &str,
) -> (Vec<u64>, u16, Value) {
    let mut acknowledged = Vec::new();
    for number in numbers {
        let (status, body) = client.post("/v1/events", &event(number, text)).unwrap();
        if status != 201 {
            return (acknowledged, status, body);
        }
        acknowledged.push(number);
    }
    panic!("nothing was refused");
}

fn numbers_in(client: &mut Client) -> Vec<u64> {
    let log = client.whole_log();
    let own = log.iter().filter(|event| event["aggregateType"] == "disk");
    own.map(|event| event["payload"]["number"].as_u64().unwrap())
        .collect()
}

fn assert_all_there(found: &[u64], acknowledged: &[u64]) {
    for number in acknowledged {
        assert_eq!(
            found.iter().filter(|found| *found == number).count(),
            1,
            "event {number}"
        );
    }
}

#[test]
fn a_failed_sync_stops_writing_and_loses_nothing() {
    if !has("strace") {
        eprintln!("skipped: strace is not installed, so no sync can be made to fail");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The first start makes the store; the second meets the failing disk.
    Server::start(&data, &[]).kill();
    let inject = "inject=fsync,fdatasync:error=EIO:when=40+";
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        inject,
    ];
    let mut server = Server::start_under(&strace, &data, &[]);
    let mut client = server.client();
    let (acknowledged, status, body) = append_until_refused(&mut client, 1..1000, "x");
    assert_eq!(
        (status, &body["code"]),
        (503, &json!("outcome_unknown")),
        "{body}"
    );
    assert!(!acknowledged.is_empty());
    let (status, body) = client.post("/v1/events", &event(5000, "x")).unwrap();
    assert_eq!(
        (status, &body["code"]),
        (503, &json!("store_failed")),
        "{body}"
    );
    let (status, _) = client.get("/readyz").unwrap();
    assert_eq!(status, 503);
    assert_eq!(
        numbers_in(&mut client),
        acknowledged,
        "reads go on, and show what is durable"
    );
    server.kill();
    let mut server = Server::start(&data, &[]);
    let mut client = server.client();
    assert_all_there(&numbers_in(&mut client), &acknowledged);
    let unknown = acknowledged.last().unwrap() + 1;
    let (status, body) = client.post("/v1/events", &event(unknown, "x")).unwrap();
    assert!(
        matches!(status, 200 | 201),
        "a retry tells: {status} {body}"
    );
    assert_eq!(
        numbers_in(&mut client)
            .iter()
            .filter(|number| **number == unknown)
            .count(),
        1
    );
    server.kill();
}

/// Unmounts when the test ends, however it ends.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn a_full_disk_is_told_and_writing_resumes_with_space() {
    let directory = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
        .arg(directory.path())
        .stderr(Stdio::null())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a small file system can be mounted only by the super-user");
        return;
    }
    let _mounted = Mounted(directory.path());
    let ballast = directory.path().join("ballast");
    std::fs::write(&ballast, vec![7; 12 << 20]).unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data, &[]);
    let mut client = server.client();
    let text = "y".repeat(100_000);
    let (mut acknowledged, status, body) = append_until_refused(&mut client, 1..1000, &text);
    assert_eq!(
        (status, &body["code"]),
        (507, &json!("storage_full")),
        "{body}"
    );
    assert!(
        acknowledged.len() > 100,
        "most of the space was used: {}",
        acknowledged.len()
    );
    assert_eq!(numbers_in(&mut client), acknowledged, "reads go on");
    assert_eq!(client.get("/readyz").unwrap().0, 503);
    assert_eq!(client.get("/healthz").unwrap().0, 200);
    std::fs::remove_file(&ballast).unwrap();
    until("the server is ready again", || {
        (client.get("/readyz").unwrap().0 == 200).then_some(())
    });
    let (status, body) = client.post("/v1/events", &event(9000, &text)).unwrap();
    assert_eq!(status, 201, "{body}");
    acknowledged.push(9000);
    assert_eq!(numbers_in(&mut client), acknowledged);
    server.kill();
    let mut server = Server::start(&data, &[]);
    assert_eq!(
        numbers_in(&mut server.client()),
        acknowledged,
        "after a restart too"
    );
    server.kill();
}

#[test]
fn a_second_process_on_the_directory_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data, &[]);
    let pid = std::fs::read_to_string(data.join("LOCK")).unwrap();
    let second = command(&[], &data, &[])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    let pid = pid.split_whitespace().nth(1).unwrap();
    assert!(said.contains(pid), "it names process {pid}: {said}");
    let (status, _) = server.client().post("/v1/events", &event(1, "x")).unwrap();
    assert_eq!(status, 201, "the first goes on");
    server.kill();
}
