//! Files of real events go in and come out again, byte for byte, while somebody watches.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{DataFile, Server, data_files};
use crate::postgres::initialised;

#[test]
fn real_files_are_imported_counted_exported_and_imported_again() {
    for file in data_files() {
        let dir = tempfile::tempdir().unwrap();
        check_file(&file, dir.path(), &[]);
    }
}

#[test]
fn real_files_are_the_same_on_postgresql() {
    for file in data_files() {
        let dir = tempfile::tempdir().unwrap();
        let database = initialised();
        check_file(&file, dir.path(), &["--postgres", &database.url()]);
    }
}

fn check_file(file: &DataFile, dir: &Path, arguments: &[&str]) {
    let server = Server::start_with(dir, arguments);
    let lines = file.lines();
    let n_lines = lines.len();
    let limit = n_lines.to_string();
    let mut tail = server.spawn(&[
        "tail",
        "--json",
        "--from-beginning",
        "--types",
        "github.>,permit.>,session.>",
        "--limit",
        &limit,
    ]);
    let summary = server.json(&["import", file.argument()]);
    assert_eq!(
        summary,
        json!({"lines": n_lines, "appended": n_lines, "alreadyThere": 0})
    );
    check_counts(&server, file);
    check_queries(&server, file);
    check_export(&server, dir, &lines);
    let seen = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let seen: Vec<u64> = seen
        .map(|line| parse(&line)["position"].as_u64().unwrap())
        .collect();
    assert_eq!(seen.len(), n_lines);
    assert!(seen.is_sorted());
    assert!(tail.wait().unwrap().success());
    let again = server.json(&["import", file.argument()]);
    assert_eq!(
        again,
        json!({"lines": n_lines, "appended": 0, "alreadyThere": n_lines})
    );
    assert_eq!(server.stop(), 0);
}

/// Every value, word, month, type and user that was counted without Factum is found as often.
fn check_queries(server: &Server, file: &DataFile) {
    let expected = &file.expected;
    let total = |filter: &str| server.json(&["count", filter])["total"].clone();
    for (member, values) in expected["payloadEquals"].as_object().unwrap() {
        for (value, n_events) in values.as_object().unwrap() {
            assert_eq!(
                total(&format!("payload.{member}={value}")),
                *n_events,
                "{member} {value}"
            );
        }
    }
    for (word, n_events) in expected["eventsWithWord"].as_object().unwrap() {
        assert_eq!(total(word), *n_events, "{word}");
    }
    for (month, n_events) in expected["byMonth"].as_object().unwrap() {
        let (year, number) = month.split_once('-').unwrap();
        let (year, number): (u32, u32) = (year.parse().unwrap(), number.parse().unwrap());
        let (next_year, next) = if number == 12 {
            (year + 1, 1)
        } else {
            (year, number + 1)
        };
        let span = format!("since:{month}-01 until:{next_year}-{next:02}-01 -aggregate:factum");
        assert_eq!(total(&span), *n_events, "{month}");
    }
    let by = |what: &str| {
        let all = "-aggregate:factum";
        server.json(&[
            "count",
            "--by",
            what,
            "--limit",
            "1000",
            &[" ", all].concat(),
        ])
    };
    assert_eq!(by("user")["groupCount"], expected["users"]);
    assert_eq!(by("stream")["groupCount"], expected["aggregates"]);
    for (name, n_events) in expected["byType"].as_object().unwrap() {
        let groups = by("type");
        let group = groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .find(|group| group["key"] == **name);
        assert_eq!(group.unwrap()["count"], *n_events, "{name}");
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn events(server: &Server) -> Vec<Value> {
    let text = server.run(&["read", "--json", "--limit", "1000000"]);
    let events = text.lines().map(parse);
    events
        .filter(|event| event["aggregateType"] != "factum")
        .collect()
}

fn count(events: &[Value], key: impl Fn(&Value) -> String) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(key(event)).or_default() += 1;
    }
    counts
}

fn check_counts(server: &Server, file: &DataFile) {
    let events = events(server);
    let expected = &file.expected;
    assert_eq!(expected["events"], events.len());
    let text = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let by_type = count(&events, |event| text(event, "type"));
    assert_eq!(expected["byType"], json!(by_type));
    let by_aggregate_type = count(&events, |event| text(event, "aggregateType"));
    assert_eq!(expected["aggregateTypes"], json!(by_aggregate_type));
    let streams = count(&events, |event| {
        format!(
            "{}/{}",
            text(event, "aggregateType"),
            text(event, "aggregateId")
        )
    });
    assert_eq!(expected["aggregates"], streams.len());
    let second = |text: &str| text[..19].to_owned();
    let mut times: Vec<String> = events
        .iter()
        .map(|event| second(&text(event, "timestamp")))
        .collect();
    times.sort();
    assert_eq!(second(expected["first"].as_str().unwrap()), times[0]);
    assert_eq!(
        &second(expected["last"].as_str().unwrap()),
        times.last().unwrap()
    );
    let (stream, n_events) = streams
        .iter()
        .max_by_key(|(_, n_events)| **n_events)
        .unwrap();
    let read = server.run(&["read", stream, "--json", "--limit", "1000000"]);
    let numbers: Vec<u64> = read
        .lines()
        .map(|line| parse(line)["sequenceNumber"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=*n_events).collect::<Vec<_>>());
}

/// What comes after this name is the payload, to the end of the line but for one brace.
fn payload(line: &str) -> &str {
    let (_, payload) = line.split_once(",\"payload\":").unwrap();
    payload.strip_suffix('}').unwrap()
}

fn metadata(line: &str) -> &str {
    let (_, rest) = line.split_once(",\"metadata\":").unwrap();
    rest.split_once(",\"payload\":").unwrap().0
}

fn check_export(server: &Server, dir: &Path, lines: &[String]) {
    let out = dir.join("export.jsonl.zst");
    let out = out.to_str().unwrap();
    let summary = server.json(&["export", "--out", out]);
    assert_eq!(summary["events"], lines.len());
    let exported = server.run(&["export"]);
    let exported: Vec<&str> = exported.lines().collect();
    assert_eq!(exported.len(), lines.len());
    for (exported, line) in exported.iter().zip(lines) {
        assert_eq!(payload(exported), payload(line));
        assert_eq!(metadata(exported), metadata(line));
    }
    // Another store takes the lines with their ids, and has the same log then.
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(other.path());
    let imported = second.json(&["import", out]);
    assert_eq!(imported["appended"], lines.len());
    let kept = |line: &str| {
        let mut event = parse(line);
        for assigned in ["position", "recordedAt"] {
            event.as_object_mut().unwrap().remove(assigned);
        }
        event
    };
    let theirs = second.run(&["export"]);
    let theirs: Vec<Value> = theirs.lines().map(kept).collect();
    let ours: Vec<Value> = exported.iter().map(|line| kept(line)).collect();
    assert_eq!(theirs, ours);
    assert_eq!(second.stop(), 0);
}
