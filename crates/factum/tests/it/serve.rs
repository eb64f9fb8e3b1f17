//! The server's life: start, second start, stop, crash.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::{Server, factum, texts, until};

#[test]
fn the_first_start_makes_a_key_for_its_owner_only_and_the_second_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let file = data.join("admin.key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("fct_"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), 0);
    assert!(!data.join("server.json").exists());
    let server = Server::start(&data);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    server.run(&["read"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_second_server_on_the_directory_is_refused_and_names_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let second = factum(dir.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let (_, errors) = texts(&second);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("server.json")).unwrap()).unwrap();
    assert!(errors.contains(&run["pid"].to_string()), "{errors}");
    // The first one is still there, and still found.
    server.run(&["read"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_request_is_found_in_the_log_by_each_of_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let arguments = [
        "--log-level",
        "factum_server=debug,info",
        "--log-format",
        "json",
    ];
    let data = dir.path().join("data");
    let server = Server::start_logging(&data, &arguments, file.into());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let marks = format!(
        "Host: x\r\nConnection: close\r\nAuthorization: Bearer {{key}}\r\n\
         X-Request-Id: request-7\r\nX-Correlation-Id: case-7\r\n\
         Traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"
    );
    let answer = server.raw(&format!("GET /v1/events/none HTTP/1.1\r\n{marks}"));
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = server.raw(&format!("GET /v1/events HTTP/1.1\r\n{marks}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // What is no id, or a broken trace, does not get into the log.
    let plain =
        "Host: x\r\nConnection: close\r\nX-Correlation-Id: a\"b\r\nTraceparent: 00-1-2-3\r\n\r\n";
    let answer = server.raw(&format!("GET /healthz HTTP/1.1\r\n{plain}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.stop(), 0);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |message: &str, route: &str| {
        let mut found = lines
            .iter()
            .filter(|line| line["message"] == message && line["route"] == route);
        found
            .next()
            .unwrap_or_else(|| panic!("{message} {route}: {text}"))
    };
    let refused = said("a request was refused", "/v1/events/{id}");
    assert_eq!(refused["code"], "invalid_request");
    let answered = said("a request was answered", "/v1/events");
    assert_eq!(
        (&answered["status"], &answered["method"]),
        (&200.into(), &"GET".into())
    );
    for line in [refused, answered] {
        assert_eq!(line["request_id"], "request-7");
        assert_eq!(line["correlation_id"], "case-7");
        assert_eq!(line["trace_id"], trace);
        assert!(line["traceparent"].as_str().unwrap().contains(trace));
    }
    let plain = said("a request was answered", "/healthz");
    assert!(plain.get("correlation_id").is_none() && plain.get("trace_id").is_none());
}

#[test]
fn each_metric_is_in_the_documentation() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let head = "Host: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n";
    let page = server.raw(&format!("GET /metrics HTTP/1.1\r\n{head}"));
    assert_eq!(server.stop(), 0);
    let served: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let docs = include_str!("../../../../docs/metrics.md");
    let documented: Vec<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .collect();
    assert!(served.len() > 25, "{page}");
    for name in &served {
        let count = |names: &[&str]| names.iter().filter(|other| *other == name).count();
        assert_eq!((count(&served), count(&documented)), (1, 1), "{name}");
    }
}

#[test]
fn the_schedule_keeps_to_its_bound_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--schedule-count-max", "1"]);
    let of = ["--type", "a.b", "--stream", "a/1"];
    let add = |when: &[&'static str]| [&["schedule", "add"], when, &of].concat();
    server.run(&add(&["--at", "2001-01-01T00:00:00Z"]));
    until("it is late and fires at once", || {
        let fired = server.run(&["read", "a/1", "--json"]).lines().count() == 1;
        let waits = server.json(&["schedule", "list"])["items"] != json!([]);
        (fired && !waits).then_some(())
    });
    server.run(&add(&["--at", "2999-01-01T00:00:00Z"]));
    let refused = server.output(&add(&["--delay-ms", "1000"]), b"");
    let (_, error) = texts(&refused);
    assert!(error.contains("1 events are scheduled"), "{error}");
    let head = "Host: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n";
    let page = server.raw(&format!("GET /metrics HTTP/1.1\r\n{head}"));
    for line in [
        "factum_schedule_pending 1",
        "factum_schedule_pending_max 1",
        "factum_schedule_due 0",
        "factum_schedule_fired_total 1",
        "factum_schedule_late_total 1",
        "factum_schedule_refused_total 1",
        "factum_schedule_lateness_seconds_bucket{le=\"86400\"} 0",
        "factum_schedule_lateness_seconds_count 1",
    ] {
        assert!(page.lines().any(|one| one == line), "{line}: {page}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn tls_is_spoken_with_a_certificate_that_the_client_is_told_to_trust() {
    let dir = tempfile::tempdir().unwrap();
    let cert = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls-cert.pem");
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls-key.pem");
    let data = dir.path().join("data");
    let server = Server::start_with(&data, &["--tls-cert", cert, "--tls-key", key]);
    server.run(&[
        "append", "--type", "a.b", "--stream", "a/1", "--cacert", cert,
    ]);
    assert_eq!(
        server
            .run(&["read", "a/1", "--json", "--cacert", cert])
            .lines()
            .count(),
        1
    );
    let output = server.output(&["read"], b"");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(server.run(&["read", "a/1", "--json"]).lines().count(), 1);
    server.run(&["verify"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_backup_is_restored_elsewhere_with_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let [data, copy, other] = ["data", "copy", "other"].map(|name| dir.path().join(name));
    let server = Server::start(&data);
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    server.run(&["backup", copy.to_str().unwrap()]);
    server.run(&["append", "--type", "a.b", "--stream", "a/1"]);
    assert_eq!(server.stop(), 0);
    let run = |arguments: &[&str]| {
        let output = factum(&other).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            texts(&output).1
        );
    };
    run(&["restore", copy.to_str().unwrap()]);
    run(&["verify"]);
    // The key file is not part of a backup, so whoever owns the directory makes another key.
    let server = Server::start_with(&other, &["--new-admin-key"]);
    assert_eq!(server.run(&["read", "a/1", "--json"]).lines().count(), 1);
    assert_eq!(server.stop(), 0);
}
