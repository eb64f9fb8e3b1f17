//! Recorded sessions of real agents as concurrent instances, each killed at a random event and
//! taken over by another client.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use factum_sessions::{CloseInstance, ResumeAnswer, ResumeInstance, ResumedInstance, Sessions};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Node, command, emit, node};

#[derive(Debug, Clone, Deserialize)]
struct Line {
    r#type: String,
    #[serde(rename = "aggregateType")]
    aggregate_type: String,
    #[serde(rename = "aggregateId")]
    aggregate_id: String,
    payload: Value,
}

/// Returns the recorded sessions, and how many events of each type are in them: those at hand, or
/// the sample of the repository.
fn recorded() -> (Vec<Vec<Line>>, BTreeMap<String, u64>) {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = shared
        .unwrap_or_else(|| own.join("../../../shared"))
        .join("data");
    let real = data.join("agent-sessions.jsonl.gz");
    let sample = own.join("../factum/tests/data/sample.jsonl.gz");
    let file = File::open(&real).or_else(|_| File::open(sample)).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut sessions: Vec<Vec<Line>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        if line.aggregate_type != "agent_session" {
            continue;
        }
        *counts.entry(line.r#type.clone()).or_default() += 1;
        let place = *places
            .entry(line.aggregate_id.clone())
            .or_insert(sessions.len());
        if place == sessions.len() {
            sessions.push(Vec::new());
        }
        sessions[place].push(line);
    }
    if let Ok(expected) = std::fs::read(data.join("agent-sessions.expected.json")) {
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        assert_eq!(
            json!(counts),
            expected["byType"],
            "as it was counted elsewhere"
        );
        assert_eq!(json!(sessions.len()), expected["aggregates"]);
    }
    (sessions, counts)
}

/// Tells a server what an agent did.
async fn tell(sessions: &Sessions, id: &str, line: &Line) {
    let payload = &line.payload;
    match line.r#type.as_str() {
        "session.action_requested" => {
            let data = json!({
                "task_type": payload["tool"].as_str().filter(|tool| !tool.is_empty()).unwrap_or("none"),
                "subagent_type": "tool",
                "step": payload["step"], "action": payload["action"], "thought": payload["thought"],
            });
            sessions
                .emit_event(emit(id, "task_spawned", &data))
                .await
                .unwrap();
        }
        "session.observation_received" => {
            let details = json!({ "description": "observation", "result": payload });
            sessions
                .log_command(command(id, "observe", &details))
                .await
                .unwrap();
        }
        "session.finished" => {
            let close = CloseInstance {
                instance_id: id.to_owned(),
                reason: payload["exitStatus"].as_str().map(str::to_owned),
            };
            sessions.close_instance(close).await.unwrap();
        }
        "session.started" => {}
        other => panic!("{other}"),
    }
}

async fn register(sessions: &Sessions, first: &Line) -> String {
    let input = json!({
        "project": "swe-agent", "instance_type": "PS",
        "initial_context": { "external_session_id": first.aggregate_id, "began_with": first.payload },
    });
    let input = serde_json::from_value(input).unwrap();
    sessions.register_instance(input).await.unwrap().instance_id
}

async fn take_over(sessions: &Sessions, id: &str) -> ResumedInstance {
    let input = ResumeInstance {
        instance_id_hint: Some(id.to_owned()),
        ..ResumeInstance::default()
    };
    match sessions.resume_instance(input).await.unwrap() {
        ResumeAnswer::Resumed(work) => *work,
        ResumeAnswer::Choose { matches, .. } => panic!("an id is not ambiguous: {matches:?}"),
    }
}

/// Draws a number under a bound, another one each time.
fn draw(bound: usize) -> usize {
    let number = RandomState::new().hash_one(bound);
    usize::try_from(number % u64::try_from(bound).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_sessions_are_killed_and_taken_over_and_nothing_is_lost() {
    let (recorded, counts) = recorded();
    let (node, directory) = node();
    let mut working = JoinSet::new();
    for lines in recorded {
        let sessions = node.sessions.clone();
        working.spawn(async move {
            let id = register(&sessions, &lines[0]).await;
            // A session that is finished is not taken over.
            let open = lines
                .iter()
                .filter(|line| line.r#type != "session.finished");
            let told = draw(open.count() + 1);
            for line in &lines[..told] {
                tell(&sessions, &id, line).await;
            }
            (id, lines, told)
        });
    }
    let killed = working.join_all().await;
    let at = node.kill().await;

    let node = Node::open(directory.path(), at);
    node.advance(130);
    node.sessions
        .list_instances(Default::default())
        .await
        .unwrap();
    assert_eq!(node.sessions.sweep().await.unwrap(), killed.len());
    let mut working = JoinSet::new();
    for (id, lines, told) in killed {
        let before = node.replay(&id).await;
        let sessions = node.sessions.clone();
        working.spawn(async move {
            let work = take_over(&sessions, &id).await;
            assert_eq!(work.state, before, "killed after {told} events");
            for line in &lines[told..] {
                tell(&sessions, &id, line).await;
            }
            id
        });
    }
    let ids = working.join_all().await;
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    for id in &ids {
        let state = node.replay(id).await;
        assert_eq!(node.report(id).await.state, state);
        assert_eq!(
            node.sessions.event_aggregates(id).await.unwrap().counts,
            state.event_counts
        );
        for (name, what) in [
            ("task_spawned", "session.action_requested"),
            ("command_logged", "session.observation_received"),
            ("instance_closed", "session.finished"),
        ] {
            let count = state.event_counts.get(name).copied().unwrap_or(0);
            *found.entry(what).or_default() += count;
        }
        assert_eq!(state.event_counts["instance_registered"], 1);
        assert_eq!(state.event_counts["instance_stale"], 1);
        assert_eq!(state.event_counts["instance_resumed"], 1);
    }
    for (what, count) in found {
        assert_eq!(Some(&count), counts.get(what).or(Some(&0)), "{what}");
    }
}
