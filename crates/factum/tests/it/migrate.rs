//! The log moves between stores with the program, killed and refused on the way.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use factum_testkit::postgres::Database;
use serde_json::Value;

use crate::harness::{Server, data_files, factum, texts, until};

/// Returns a command that moves the log of a directory or a URL, in small steps.
fn migrate(from: &str, to: &str) -> Command {
    let mut command = factum(Path::new("nowhere"));
    let words = [
        "migrate",
        "--from",
        from,
        "--to",
        to,
        "--batch-events",
        "50",
    ];
    command.args(words).arg("--json");
    command
}

fn report(output: &Output) -> Value {
    let (out, error) = texts(output);
    assert!(output.status.success(), "{out}{error}");
    serde_json::from_str(&out).unwrap()
}

/// Returns what a command that must fail says.
fn refusal(command: &mut Command, exit: i32) -> String {
    let output = command.output().unwrap();
    let (out, error) = texts(&output);
    assert_eq!(output.status.code(), Some(exit), "{out}{error}");
    error
}

/// Kills a command once something is so, which must be before it ends.
fn kill_when(mut child: Child, what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before: {what}"
        );
        is_so().then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns how many bytes of log there are in a directory, but for zeros at the end.
fn written(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
    let bytes = logs.map(|entry| std::fs::read(entry.path()).unwrap_or_default());
    bytes
        .map(|bytes| {
            bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .unwrap_or_default()
        })
        .sum()
}

/// The real files go into a directory, from there to PostgreSQL and back into a directory, and
/// whoever moves them is killed twice on each way. The digests are equal, a cursor that was taken
/// before is good after, and what is counted and exported is what it was.
#[test]
fn real_files_move_there_and_back_although_the_program_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let [first, last] = ["first", "last"].map(|name| root.path().join(name));
    let server = Server::start(&first);
    let mut n_lines = 0;
    for file in data_files() {
        let summary = server.json(&["import", file.argument()]);
        n_lines += summary["appended"].as_u64().unwrap();
    }
    let page = server.run(&["read", "--json", "--limit", "5"]);
    let exported = server.run(&["export"]);
    let counted = server.json(&["count", "--by", "type", "--limit", "1000"]);
    assert_eq!(server.stop(), 0);

    let database = Database::create();
    let url = database.url();
    let to_postgres = || migrate(text(&first), &url);
    for part in 1..3 {
        let child = to_postgres()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        kill_when(child.unwrap(), "a part is copied to PostgreSQL", || {
            let head = "SELECT coalesce(max(head), 0) FROM factum.logs";
            let head = database.psql_as("postgres", head).unwrap_or_default();
            head.parse::<u64>().unwrap_or_default() > n_lines / 3 * part
        });
        // It is no store yet, and says so.
        let dir = root.path().join("node");
        let mut serve = factum(&dir);
        let refused = refusal(serve.args(["serve", "--postgres", &url]), 1);
        assert!(refused.contains("go on with `factum migrate`"), "{refused}");
    }
    let there = report(&to_postgres().output().unwrap());
    assert_eq!(there["head"], n_lines + 1);
    assert!(there["copied"].as_u64().unwrap() < n_lines);
    let refused = refusal(factum(&first).arg("serve"), 1);
    assert!(refused.contains("moved elsewhere"), "{refused}");
    let elsewhere = root.path().join("elsewhere");
    let refused = refusal(&mut migrate(text(&first), text(&elsewhere)), 1);
    assert!(refused.contains("before"), "{refused}");
    // Whoever runs the last step again is told that it is done.
    let again = report(&to_postgres().output().unwrap());
    assert_eq!(
        (&again["copied"], &again["digest"]),
        (&Value::from(0), &Value::Null)
    );

    let back = || migrate(&url, text(&last));
    for part in 1..3 {
        let child = back().stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        kill_when(child.unwrap(), "a part is copied back", || {
            written(&last) > written(&first) / 3 * part
        });
        let refused = refusal(factum(&last).arg("serve"), 1);
        assert!(refused.contains("go on with `factum migrate`"), "{refused}");
    }
    let returned = report(&back().output().unwrap());
    assert_eq!(returned["digest"], there["digest"]);
    assert_eq!(returned["head"], there["head"]);

    std::fs::copy(first.join("admin.key"), last.join("admin.key")).unwrap();
    let server = Server::start(&last);
    assert_eq!(server.run(&["export"]), exported);
    assert_eq!(
        server.json(&["count", "--by", "type", "--limit", "1000"]),
        counted
    );
    assert_eq!(server.run(&["read", "--json", "--limit", "5"]), page);
    assert_eq!(server.json(&["verify"])["ok"], true);
    assert_eq!(server.stop(), 0);
}

fn append(server: &Server, number: u64) -> Value {
    let payload = format!(r#"{{"number":{number}}}"#);
    let event = ["append", "--type", "node.worked", "--stream", "node/1"];
    server.json(&[&event[..], &["--payload", &payload]].concat())
}

/// A server is copied while it takes appends; when it was stopped the rest follows. Everything
/// that it had acknowledged is there, and a cursor that it gave goes on.
#[test]
fn a_directory_is_followed_until_its_server_is_stopped() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    let server = Server::start(&source);
    for number in 0..20 {
        append(&server, number);
    }
    let database = Database::create();
    let url = database.url();
    let refused = refusal(&mut migrate(text(&source), &url), 1);
    assert!(refused.contains("--follow"), "{refused}");
    let mut command = factum(&source);
    let words = ["migrate", "--to", &url, "--follow", "--batch-events", "3"];
    command.args(words);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    let caught_up = notes.find(|line| line.as_ref().unwrap().contains("caught up"));
    assert!(caught_up.is_some());
    let cursor = append(&server, 20)["cursor"].clone();
    for number in 21..40 {
        append(&server, number);
    }
    assert_eq!(server.stop(), 0);
    let switched = notes.find(|line| line.as_ref().unwrap().contains("the switch"));
    assert!(switched.is_some());
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    drop(notes);
    assert!(child.wait().unwrap().success(), "{out}");
    assert!(out.contains("read back and compared"), "{out}");

    let node = root.path().join("node");
    let server = Server::start_with(&node, &["--postgres", &url]);
    let key = std::fs::read_to_string(source.join("admin.key")).unwrap();
    let key = ["--key", key.trim()];
    let ask = |words: &[&str]| server.json(&[words, &key].concat());
    assert_eq!(ask(&["count", "type:node.worked"])["total"], 40);
    let after = [
        "tail",
        "--json",
        "--after",
        cursor.as_str().unwrap(),
        "--limit",
        "19",
    ];
    let seen = server.run(&[&after[..], &key].concat());
    let numbers: Vec<u64> = seen
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| event["payload"]["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (21..40).collect::<Vec<_>>());
    let next = [
        "append",
        "--type",
        "node.worked",
        "--stream",
        "node/1",
        "--payload",
        "{}",
    ];
    assert_eq!(ask(&next)["sequenceNumber"], 41);
    assert_eq!(server.stop(), 0);
}

/// A PostgreSQL is closed for appends when everything was copied, and a node says so.
#[test]
fn a_postgresql_in_use_is_closed_at_the_switch() {
    let root = tempfile::tempdir().unwrap();
    let database = Database::create();
    let url = database.url();
    let mut init = factum(root.path());
    let init = init.args(["postgres", "init", "--postgres", &url]).output();
    assert!(init.unwrap().status.success());
    let node = root.path().join("node");
    let server = Server::start_with(&node, &["--postgres", &url]);
    for number in 0..10 {
        append(&server, number);
    }
    let target = root.path().join("target");
    let moved = report(&migrate(&url, text(&target)).output().unwrap());
    assert_eq!(moved["head"], 11);
    let event = [
        "append",
        "--type",
        "a.b",
        "--stream",
        "a/1",
        "--payload",
        "{}",
    ];
    let (_, error) = texts(&server.output(&event, b""));
    assert!(error.contains("read_only"), "{error}");
    assert_eq!(server.json(&["count", "type:node.worked"])["total"], 10);
    assert_eq!(server.stop(), 0);
    let server = Server::start(&target);
    let key = std::fs::read_to_string(node.join("admin.key")).unwrap();
    let counted = server.json(&["count", "type:node.worked", "--key", key.trim()]);
    assert_eq!(counted["total"], 10);
    assert_eq!(server.stop(), 0);
}

/// A target that has a store is refused and stays as it is; so does a source that is no store.
#[test]
fn stores_are_no_targets_and_nothing_is_no_source() {
    let root = tempfile::tempdir().unwrap();
    let [one, other, nothing] = ["one", "other", "nothing"].map(|name| root.path().join(name));
    for path in [&one, &other] {
        assert_eq!(Server::start(path).stop(), 0);
    }
    let refused = refusal(&mut migrate(text(&one), text(&other)), 1);
    assert!(refused.contains("nothing was changed"), "{refused}");
    let refused = refusal(&mut migrate(text(&one), text(&one)), 2);
    assert!(refused.contains("the same directory"), "{refused}");
    refusal(&mut migrate(text(&nothing), text(&other)), 3);
    assert!(!nothing.exists());
    for path in [&one, &other] {
        assert_eq!(Server::start(path).stop(), 0);
    }
}
