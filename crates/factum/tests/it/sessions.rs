//! Agent sessions with the finished program: killed between heartbeat and detection, secrets in
//! what it writes anywhere, the commands, and the hook of a coding agent.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use factum_testkit::postgres::Database;
use memchr::memmem;
use serde_json::{Value, json};

use crate::harness::{Server, texts, until};
use crate::postgres::initialised;

const FAST: &[&str] = &["--sessions-stale-ms", "300", "--sessions-sweep-ms", "20"];

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let n_bytes = body.len();
    let answer = server.raw(&format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {{key}}\r\n\
         content-type: application/json\r\ncontent-length: {n_bytes}\r\n\r\n{body}"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
    serde_json::from_str(body).unwrap()
}

fn register(server: &Server) -> String {
    let body = json!({ "project": "shop", "instance_type": "PS" });
    let made = post(server, "/v1/sessions", &body);
    made["instance_id"].as_str().unwrap().to_owned()
}

fn n_stale(server: &Server, id: &str) -> u64 {
    let filter = format!("agent_session/{id}");
    let page = server.run(&["read", &filter, "--json"]);
    let stale = page
        .lines()
        .filter(|line| line.contains("\"instance_stale\""));
    stale.count() as u64
}

#[test]
fn a_server_killed_before_it_detects_silence_records_it_once_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let ids: Vec<String> = (0..5).map(|_| register(&server)).collect();
    for id in &ids {
        let body = json!({ "context_percent": 5 });
        post(&server, &format!("/v1/sessions/{id}/heartbeat"), &body);
    }
    server.kill();
    for _ in 0..3 {
        let server = Server::start_with(dir.path(), FAST);
        for id in &ids {
            until("the silence is recorded", || {
                (n_stale(&server, id) > 0).then_some(())
            });
        }
        server.kill();
    }
    let server = Server::start_with(dir.path(), FAST);
    for id in &ids {
        assert_eq!(n_stale(&server, id), 1, "{id}");
    }
    let list = server.json(&["sessions", "list"]);
    assert_eq!(
        (&list["total_count"], &list["stale_count"]),
        (&json!(5), &json!(5))
    );
}

fn assert_nowhere(directory: &Path, secret: &str) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere(&path, secret);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} in {}", path.display());
        }
    }
}

#[test]
fn no_secret_is_in_the_data_directory_or_in_the_log_lines() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = dir.path().join("log");
    let arguments = ["--log-level", "trace", "--log-format", "json"];
    let server = Server::start_logging(&data, &arguments, Stdio::from(File::create(&log).unwrap()));
    let id = register(&server);
    let secrets = [
        (
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "git push https://x:{}@github.example/a",
        ),
        ("sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv", "ask with {}"),
        (
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
            "AWS_SECRET_ACCESS_KEY={} make",
        ),
        (
            "hunter2-in-a-url",
            "psql postgresql://app:{}@db.example/shop",
        ),
        ("hunter2-in-a-flag", "deploy --password {}"),
        ("cookie31d4d96e407aad42", "Cookie: sid={}"),
    ];
    for (secret, text) in secrets {
        let text = text.replace("{}", secret);
        let details = json!({ "description": text, "parameters": { "line": [text] } });
        let body = json!({ "action": "run", "details": details });
        post(&server, &format!("/v1/sessions/{id}/commands"), &body);
        let event_data = json!({ "commit_hash": "c", "message": text, "token": secret });
        let body = json!({ "event_type": "commit_created", "event_data": event_data });
        post(&server, &format!("/v1/sessions/{id}/events"), &body);
        // A slip is told in other words than those of the caller.
        let slip = json!({ text: 1 }).to_string();
        let n_bytes = slip.len();
        let answer = server.raw(&format!(
            "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             authorization: Bearer {{key}}\r\ncontent-type: application/json\r\n\
             content-length: {n_bytes}\r\n\r\n{slip}"
        ));
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let metrics = server.run(&["sessions", "timeline", &id]);
    assert!(metrics.contains("[redacted:"), "{metrics}");
    assert_eq!(server.stop(), 0);
    let lines = std::fs::read_to_string(&log).unwrap();
    assert!(
        lines.contains("/v1/sessions"),
        "requests are logged at this level"
    );
    for (secret, _) in secrets {
        assert!(!lines.contains(secret), "{secret}");
        assert_nowhere(&data, secret);
    }
}

#[test]
fn sessions_are_listed_shown_and_taken_over_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), FAST);
    let (first, second) = (register(&server), register(&server));
    let data = json!({ "commit_hash": "9f3c2ab", "message": "Accept passkeys", "branch": "b" });
    let body = json!({ "event_type": "commit_created", "event_data": data });
    post(&server, &format!("/v1/sessions/{first}/events"), &body);
    until("both are stale", || {
        let list = server.json(&["sessions", "list", "--project", "shop"]);
        (list["stale_count"] == 2).then_some(())
    });
    assert!(server.run(&["sessions", "list"]).contains(&first));
    assert!(
        server
            .run(&["sessions", "show", &first])
            .contains("9f3c2ab")
    );
    assert!(
        server
            .run(&["sessions", "timeline", &first])
            .contains("commit_created")
    );
    let (out, error) = texts(&server.output(&["sessions", "resume", "shop"], b""));
    assert!(out.contains(&first) && out.contains(&second), "{out}");
    assert!(error.contains("--choose"), "{error}");
    let handoff = server.run(&["sessions", "resume", "shop", "--choose", &first]);
    assert!(handoff.starts_with("# Handoff of"), "{handoff}");
    assert!(handoff.contains("`9f3c2ab`"), "{handoff}");
    let entry = server.json(&["catalogue", "show", "commit_created"]);
    assert_eq!(entry["requiredFields"], json!(["commit_hash", "message"]));
    assert_eq!(
        server.json(&["catalogue"])["items"]
            .as_array()
            .unwrap()
            .len(),
        47
    );
    assert_eq!(server.interrupted(&["sessions", "watch"]), Some(0));
}

#[test]
fn top_prints_a_frame_where_there_is_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (first, second) = (register(&server), register(&server));
    let body = json!({ "context_percent": 85, "current_epic": "epic-7" });
    post(&server, &format!("/v1/sessions/{first}/heartbeat"), &body);
    for arguments in [
        &["top"][..],
        &["top", "--once"],
        &["top", "--project", "shop"],
    ] {
        let frame = server.run(arguments);
        assert!(frame.contains("2 active  0 stale  0 closed"), "{frame}");
        let row = frame.lines().find(|line| line.starts_with(&first)).unwrap();
        for wanted in ["active", "85% ◆", "checkpoint_created", "epic-7"] {
            assert!(row.contains(wanted), "{wanted}: {row}");
        }
        assert!(
            frame.contains(&second) && !frame.contains('\u{1b}'),
            "{frame}"
        );
    }
    let other = server.run(&["top", "--project", "bank"]);
    assert!(other.contains("0 active"), "{other}");
    assert_eq!(server.json(&["top"])["active_count"], 2);
}

#[test]
fn a_strict_catalogue_refuses_other_types() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--catalogue-strict", "true"]);
    let id = register(&server);
    let body = json!({ "action": "run", "details": { "description": "make" } });
    post(&server, &format!("/v1/sessions/{id}/commands"), &body);
    let append = |event_type: &str| {
        let event = json!({
            "type": event_type, "aggregateType": "a", "aggregateId": "b", "payload": {},
        });
        server.output(&["append"], event.to_string().as_bytes())
    };
    assert!(append("form.created").status.success());
    let refused = append("form.painted");
    let (out, error) = texts(&refused);
    assert!(
        !refused.status.success() && error.contains("form.painted"),
        "{out}{error}"
    );
}

#[test]
fn the_hook_of_a_coding_agent_registers_logs_and_closes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let run: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("data/server.json")).unwrap())
            .unwrap();
    let key = std::fs::read_to_string(dir.path().join("data/admin.key")).unwrap();
    let transcript = dir.path().join("transcript.jsonl");
    let usage = json!({ "message": { "usage": { "input_tokens": 10_000, "cache_read_input_tokens": 150_000, "output_tokens": 10_000 } } });
    std::fs::write(&transcript, format!("{{}}\n{usage}\nnot json\n")).unwrap();
    let hook = |event: &str, more: Value| {
        let mut input = json!({
            "session_id": "s-1", "hook_event_name": event, "cwd": "/srv/shop",
            "transcript_path": transcript,
        });
        let input_members = input.as_object_mut().unwrap();
        input_members.extend(more.as_object().unwrap().clone());
        let url = run["url"].as_str().unwrap();
        run_hook(&dir.path().join("state"), (url, key.trim()), &input);
    };
    hook("SessionStart", json!({}));
    let tool = json!({
        "tool_name": "Bash", "tool_input": { "command": "deploy --password hunter2-in-a-hook" },
        "tool_response": { "stdout": "done" },
    });
    hook("PostToolUse", tool);
    let list = server.json(&["sessions", "list"]);
    let instance = &list["instances"][0];
    assert_eq!(
        (&instance["project"], &instance["external_session_id"]),
        (&json!("shop"), &json!("s-1"))
    );
    assert_eq!(instance["context_percent"], 85);
    assert!(
        instance["last_checkpoint_id"].is_string(),
        "at 85 % there is a checkpoint"
    );
    let id = instance["instance_id"].as_str().unwrap().to_owned();
    let timeline = server.run(&["sessions", "timeline", &id, "--types", "command_logged"]);
    assert!(
        timeline.contains("deploy --password [redacted"),
        "{timeline}"
    );
    hook("PreCompact", json!({}));
    hook("SessionEnd", json!({ "reason": "exit" }));
    let list = server.json(&["sessions", "list"]);
    assert_eq!(list["instances"][0]["status"], "closed");
    // A hook that nobody answers harms nobody.
    server.kill();
    hook_without_server(&dir.path().join("state"));
}

fn run_hook(state: &Path, (url, key): (&str, &str), input: &Value) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../clients/agent-hook/factum_agent_hook.py"
    );
    #[expect(clippy::disallowed_methods, reason = "tests run the program")]
    let mut command = std::process::Command::new("python3");
    command
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env("FACTUM_URL", url).env("FACTUM_KEY", key);
    command.env("FACTUM_HOOK_STATE", state);
    command.env("FACTUM_HOOK_DEBUG", "1");
    command.env("FACTUM_PROJECT", "shop").env("NO_PROXY", "*");
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (out, error) = texts(&output);
    assert!(output.status.success() && error.is_empty(), "{out}{error}");
}

fn hook_without_server(state: &Path) {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../clients/agent-hook/factum_agent_hook.py"
    );
    #[expect(clippy::disallowed_methods, reason = "tests run the program")]
    let mut command = std::process::Command::new("python3");
    command
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .env("FACTUM_URL", "http://127.0.0.1:9")
        .env("FACTUM_HOOK_STATE", state);
    assert!(command.status().unwrap().success());
}

#[test]
fn an_export_brings_sessions_to_another_server_once() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [from, to] = dirs.each_ref().map(|dir| Server::start(dir.path()));
    let id = register(&from);
    let data = json!({ "commit_hash": "9f3c2ab", "message": "password=hunter2-in-an-export" });
    let body = json!({ "event_type": "commit_created", "event_data": data });
    post(&from, &format!("/v1/sessions/{id}/events"), &body);
    let lines = from.run(&["export"]);
    assert!(!lines.contains("hunter2"), "{lines}");
    for appended in [2, 0] {
        let output = to.output(&["import", "-", "--json"], lines.as_bytes());
        let (out, error) = texts(&output);
        assert!(output.status.success(), "{out}{error}");
        let summary: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(summary["appended"], appended);
    }
    assert!(to.run(&["sessions", "show", &id]).contains("9f3c2ab"));
    let body = json!({ "context_percent": 5 });
    post(&to, &format!("/v1/sessions/{id}/heartbeat"), &body);
    // With a key that only appends, neither an import nor an append writes an instance's stream.
    let made = to.json(&["keys", "create", "writer", "--scopes", "append"]);
    let key = made["secret"].as_str().unwrap();
    let event = json!({
        "type": "instance_heartbeat", "aggregateType": "agent_session", "aggregateId": id,
        "payload": { "context_percent": 5 },
    });
    for arguments in [
        vec!["import", "-", "--key", key],
        vec!["append", "--key", key],
    ] {
        let output = to.output(&arguments, event.to_string().as_bytes());
        let (out, error) = texts(&output);
        assert!(
            !output.status.success() && error.contains("agent sessions alone"),
            "{arguments:?}: {out}{error}"
        );
    }
    let list = to.json(&["sessions", "list"]);
    assert_eq!(list["instances"][0]["event_count"], 3);
}

/// Starts so many nodes on one log, all of which know the key.
fn nodes<const N: usize>(arguments: &[&str]) -> (Database, [tempfile::TempDir; N], [Server; N]) {
    let database = initialised();
    let url = database.url();
    let dirs: [tempfile::TempDir; N] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let servers = dirs.each_ref().map(|dir| {
        let arguments = [&["--postgres", url.as_str()][..], arguments].concat();
        let server = Server::start_with(dir.path(), &arguments);
        let key = dirs[0].path().join("admin.key");
        if dir.path() != dirs[0].path() {
            std::fs::copy(key, dir.path().join("admin.key")).unwrap();
        }
        server
    });
    (database, dirs, servers)
}

#[test]
fn nodes_find_a_silence_once_after_the_one_that_heard_last_was_killed() {
    let patient = ["--sessions-stale-ms", "2000", "--sessions-sweep-ms", "20"];
    let (database, dirs, [first, second, third]) = nodes(&patient);
    let ids: Vec<String> = (0..5).map(|_| register(&first)).collect();
    for id in &ids {
        let body = json!({ "context_percent": 5 });
        post(&first, &format!("/v1/sessions/{id}/heartbeat"), &body);
    }
    first.kill();
    for id in &ids {
        until("the silence is recorded", || {
            (n_stale(&second, id) > 0).then_some(())
        });
    }
    let url = database.url();
    let arguments = [&["--postgres", url.as_str()][..], &patient[..]].concat();
    let again = Server::start_with(dirs[0].path(), &arguments);
    for server in [&again, &second, &third] {
        until("all of them are seen to be stale", || {
            let list = server.json(&["sessions", "list"]);
            (list["stale_count"] == 5).then_some(())
        });
        for id in &ids {
            assert_eq!(n_stale(server, id), 1, "{id}");
        }
    }
}

#[test]
fn fifty_instances_register_at_once_over_two_nodes() {
    let (_database, _dirs, servers) = nodes::<2>(&[]);
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let registering: Vec<_> = (0..50)
            .map(|index| {
                let server = &servers[index % 2];
                scope.spawn(move || register(server))
            })
            .collect();
        let ids = registering.into_iter().map(|one| one.join().unwrap());
        ids.collect()
    });
    assert_eq!(ids.len(), 50);
    for server in &servers {
        let list = until("every one is seen", || {
            let list = server.json(&["sessions", "list"]);
            (list["total_count"] == 50).then_some(list)
        });
        assert_eq!(list["active_count"], 50);
        let instances = list["instances"].as_array().unwrap();
        for instance in instances {
            assert!(ids.contains(instance["instance_id"].as_str().unwrap()));
            assert_eq!(instance["event_count"], 1, "none is half registered");
        }
    }
}
