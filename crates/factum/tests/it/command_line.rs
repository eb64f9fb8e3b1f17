//! Each command does what it says, and ends with the right code.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use crate::harness::{Server, factum, sample, texts};

const ORDER: [&str; 5] = ["append", "--type", "order.placed", "--stream", "order/o-1"];

#[test]
fn an_event_is_appended_read_and_found_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let receipt = server.json(
        &[
            &ORDER[..],
            &["--payload", "{\"amount\": 12.50}", "--tags", "new"],
        ]
        .concat(),
    );
    assert_eq!(receipt["sequenceNumber"], 1);
    let id = receipt["id"].as_str().unwrap();
    let event = server.json(&["get", id]);
    assert_eq!(event["type"], "order.placed");
    assert!(server.run(&["get", id]).contains("{\"amount\": 12.50}"));
    for filter in [
        &["--types", "order.*"][..],
        &["--tags", "new"],
        &["--ids", id],
        &["order/o-1"],
    ] {
        let found = server.json(&[&["read"], filter].concat());
        assert_eq!(found["id"], id, "{filter:?}");
    }
    assert_eq!(server.run(&["read", "--types", "invoice.>"]), "");
    // The same id again is the same event.
    let again = server.run(
        &[
            &ORDER[..],
            &[
                "--payload",
                "{\"amount\": 12.50}",
                "--tags",
                "new",
                "--id",
                id,
            ],
        ]
        .concat(),
    );
    assert!(again.contains("already there"), "{again}");
    assert_eq!(server.stop(), 0);
}

#[test]
fn failures_have_their_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.run(&ORDER);
    let check = |arguments: &[&str], code: i32, told: &str| {
        let output = server.output(arguments, b"");
        let (_, errors) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    };
    check(
        &["get", "0198c2f0-0000-7000-8000-000000000001"],
        3,
        "not_found",
    );
    check(
        &[&ORDER[..], &["--expected-version", "noStream"]].concat(),
        4,
        "version_conflict",
    );
    check(&["append", "--type", "x"], 2, "--stream");
    check(&[&ORDER[..], &["--payload", "[]"]].concat(), 2, "payload");
    check(&["read", "--types", "a..b"], 1, "invalid_filter");
    check(&["read", "--key", "fct_wrong"], 7, "unauthenticated");
    check(&["read", "--url", "http://127.0.0.1:1"], 5, "no answer");
    check(
        &["import", sample().argument(), "--url", "http://127.0.0.1:1"],
        5,
        "no answer",
    );
    check(&["read", "order/none"], 3, "not_found");
    check(&["read", "order/o-1", "--types", "a"], 2, "filters");
    check(&["config", "show", "--defult"], 2, "--default");
    assert_eq!(server.stop(), 0);
    let output = factum(dir.path()).arg("read").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(texts(&output).1.contains("factum serve"));
}

#[test]
fn standard_input_is_one_atomic_unit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let line = |id: &str| {
        format!(
            "{{\"type\":\"a.b\",\"aggregateType\":\"a\",\"aggregateId\":\"{id}\",\"payload\":{{}}}}\n"
        )
    };
    let good = [line("1"), line("2")].concat();
    let output = server.output(&["append"], good.as_bytes());
    assert!(output.status.success(), "{}", texts(&output).1);
    let bad = [line("3"), line("")].concat();
    assert!(!server.output(&["append"], bad.as_bytes()).status.success());
    assert_eq!(
        server
            .run(&["read", "--types", "a.b", "--json"])
            .lines()
            .count(),
        2
    );
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_tail_sees_what_is_appended_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.run(&ORDER);
    let mut tail = server.spawn(&[
        "tail",
        "--json",
        "--from-beginning",
        "--types",
        "order.*",
        "--limit",
        "2",
    ]);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["sequenceNumber"], 1);
    assert_eq!(server.stop(), 0);
    let server = Server::start(dir.path());
    server.run(&ORDER);
    assert_eq!(next()["sequenceNumber"], 2);
    assert!(tail.wait().unwrap().success());
    assert_eq!(server.stop(), 0);
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let made = server.json(&["keys", "create", "reader", "--scopes", "read"]);
    let (id, key) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    server.run(&["read", "--key", key]);
    let output = server.output(&[&ORDER[..], &["--key", key]].concat(), b"");
    assert_eq!(output.status.code(), Some(7), "{}", texts(&output).1);
    assert!(server.run(&["keys", "list"]).contains("reader"));
    // The first key is the only one that administers the server.
    let keys = server.json(&["keys", "list"]);
    let admin = keys["items"][0]["id"].as_str().unwrap();
    let output = server.output(&["keys", "revoke", admin], b"");
    assert_eq!(output.status.code(), Some(4), "{}", texts(&output).1);
    server.run(&["keys", "revoke", id]);
    let output = server.output(&["read", "--key", key], b"");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_import_takes_standard_input_and_names_the_line_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let file = sample();
    let text = format!("{}\n", file.lines().join("\n"));
    let output = server.output(&["import", "-", "--json"], text.as_bytes());
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["appended"], file.expected["events"]);
    // The packed file has the same lines, so it has the same events.
    assert_eq!(server.json(&["import", file.argument()])["appended"], 0);
    assert_eq!(
        server.json(&["import", file.argument(), "--namespace", "b"])["alreadyThere"],
        0
    );
    let broken = format!("{}\n{{\n", file.lines()[0]);
    let output = server.output(&["import", "-"], broken.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("line 2"), "{}", texts(&output).1);
    let output = server.output(&["import", "-", "--dry-run"], broken.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(server.stop(), 0);
}

#[test]
fn configuration_is_checked_and_a_slip_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| factum(dir.path()).args(arguments).output().unwrap();
    assert!(run(&["config", "check"]).status.success());
    assert!(
        texts(&run(&["config", "show", "--default"]))
            .0
            .contains("[limits]")
    );
    std::fs::write(
        dir.path().join("factum.toml"),
        "[limits]\nevent_byte_max = 1\n",
    )
    .unwrap();
    let output = run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(2));
    let (_, errors) = texts(&output);
    assert!(
        errors.contains("factum.toml:2") && errors.contains("limits.event_bytes_max"),
        "{errors}"
    );
    assert_eq!(run(&["serve"]).status.code(), Some(2));
}

#[test]
fn a_healthy_server_passes_the_doctor() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let checks = server.json(&["doctor"]);
    let found = |name: &str| {
        let checks = checks.as_array().unwrap().iter();
        let mut named = checks.filter(|check| check["check"] == name);
        named.next().unwrap()["state"].clone()
    };
    for name in ["permissions", "clock", "run file", "server", "key"] {
        assert_eq!(found(name), "good", "{name}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn completions_are_for_each_shell() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = factum(dir.path())
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(texts(&output).0.contains("import"), "{shell}");
    }
}

#[test]
fn ctrl_c_ends_a_command_that_waits_for_input() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (arguments, code) in [
        (&["import", "-"][..], 130),
        (&["append"], 130),
        (&["tail"], 0),
    ] {
        assert_eq!(server.interrupted(arguments), Some(code), "{arguments:?}");
    }
    assert_eq!(server.stop(), 0);
}
