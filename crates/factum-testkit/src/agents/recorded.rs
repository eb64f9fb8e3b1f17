//! Sessions of real agents, told again through the tools.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;

/// One recorded session.
#[derive(Debug, Clone)]
pub struct RecordedSession {
    lines: Vec<Line>,
}

/// A file of recorded sessions.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The sessions.
    pub sessions: Vec<RecordedSession>,
    /// How many events of each type they have, as it was counted elsewhere too.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    r#type: String,
    aggregate_type: String,
    aggregate_id: String,
    payload: Value,
}

impl Recorded {
    /// Reads the sessions: those at hand, or the sample of the repository.
    #[must_use]
    pub fn read() -> Self {
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
        let recorded = Self::of(&text);
        if let Ok(expected) = std::fs::read(data.join("agent-sessions.expected.json")) {
            let expected: Value = serde_json::from_slice(&expected).unwrap();
            assert_eq!(json!(recorded.counts), expected["byType"]);
            assert_eq!(json!(recorded.sessions.len()), expected["aggregates"]);
        }
        recorded
    }

    fn of(text: &str) -> Self {
        let mut recorded = Self {
            sessions: Vec::new(),
            counts: BTreeMap::new(),
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            if line.aggregate_type != "agent_session" {
                continue;
            }
            *recorded.counts.entry(line.r#type.clone()).or_default() += 1;
            let n_sessions = recorded.sessions.len();
            let place = *places
                .entry(line.aggregate_id.clone())
                .or_insert(n_sessions);
            if place == n_sessions {
                recorded
                    .sessions
                    .push(RecordedSession { lines: Vec::new() });
            }
            recorded.sessions[place].lines.push(line);
        }
        recorded
    }

    /// Checks what instances were told, by the sum of their counts, against what was recorded.
    ///
    /// # Panics
    /// Where they differ.
    pub fn check(&self, told: &BTreeMap<String, u64>) {
        for (name, recorded) in [
            ("task_spawned", "session.action_requested"),
            ("command_logged", "session.observation_received"),
            ("instance_closed", "session.finished"),
        ] {
            let expected = self.counts.get(recorded).copied().unwrap_or(0);
            assert_eq!(told.get(name).copied().unwrap_or(0), expected, "{recorded}");
        }
    }
}

impl RecordedSession {
    /// Registers an instance for the session.
    #[must_use]
    pub fn registration(&self) -> Call {
        let first = &self.lines[0];
        let context =
            json!({ "external_session_id": first.aggregate_id, "began_with": first.payload });
        Call::new(
            "mcp_meta_register_instance",
            json!({ "project": "swe-agent", "instance_type": "PS", "initial_context": context }),
        )
    }

    /// Tells what the agent did. The end of the session comes last, where it has one.
    #[must_use]
    pub fn calls(&self, id: &str) -> Vec<Call> {
        self.lines
            .iter()
            .filter_map(|line| call(id, line))
            .collect()
    }
}

fn call(id: &str, line: &Line) -> Option<Call> {
    let payload = &line.payload;
    let call = match line.r#type.as_str() {
        "session.action_requested" => {
            let tool = payload["tool"].as_str().filter(|tool| !tool.is_empty());
            let data = json!({
                "task_type": tool.unwrap_or("none"), "subagent_type": "tool",
                "step": payload["step"], "action": payload["action"], "thought": payload["thought"],
            });
            Call::emit(id, "task_spawned", &data)
        }
        "session.observation_received" => {
            let details = json!({ "description": "observation", "result": payload });
            Call::new(
                "mcp_meta_log_command",
                json!({ "instance_id": id, "action": "observe", "details": details }),
            )
        }
        "session.finished" => Call::new(
            "mcp_meta_close_instance",
            json!({ "instance_id": id, "reason": payload["exitStatus"].as_str() }),
        ),
        "session.started" => return None,
        other => panic!("{other}"),
    };
    Some(call)
}
