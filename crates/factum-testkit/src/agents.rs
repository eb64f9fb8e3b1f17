//! What agents say, as calls of the session tools: recorded sessions of real ones, the work of a
//! made-up one, secrets of many kinds, and the tables of the contract. Whoever offers the tools
//! (functions, messages, a server) is tested with the same calls.

pub mod recorded;
pub mod secrets;

use serde_json::{Value, json};

/// A call of a tool.
#[derive(Debug, Clone)]
pub struct Call {
    /// The tool.
    pub tool: &'static str,
    /// What it is given.
    pub arguments: Value,
}

impl Call {
    /// Makes a call.
    #[must_use]
    pub const fn new(tool: &'static str, arguments: Value) -> Self {
        Self { tool, arguments }
    }

    /// Reports an event.
    #[must_use]
    pub fn emit(id: &str, event_type: &str, data: &Value) -> Self {
        Self::new(
            "mcp_meta_emit_event",
            json!({ "instance_id": id, "event_type": event_type, "event_data": data }),
        )
    }

    /// Sends a heartbeat.
    #[must_use]
    pub fn heartbeat(id: &str, context_percent: u32) -> Self {
        Self::new(
            "mcp_meta_heartbeat",
            json!({ "instance_id": id, "context_percent": context_percent }),
        )
    }

    /// Registers an instance.
    #[must_use]
    pub fn register(project: &str) -> Self {
        Self::new(
            "mcp_meta_register_instance",
            json!({ "project": project, "instance_type": "PS" }),
        )
    }

    /// Takes over.
    #[must_use]
    pub fn resume(hint: Option<&str>) -> Self {
        let arguments = match hint {
            Some(hint) => json!({ "instance_id_hint": hint }),
            None => json!({}),
        };
        Self::new("mcp_meta_resume_instance", arguments)
    }

    /// Replays all events.
    #[must_use]
    pub fn replay(id: &str) -> Self {
        Self::new("mcp_meta_replay_events", json!({ "instance_id": id }))
    }
}

/// Returns what an instance does that has worked for a while: an epic, a commit, a failed test, a
/// command, and a heartbeat that brings about a checkpoint.
#[must_use]
pub fn worked(id: &str) -> Vec<Call> {
    let command = json!({ "description": "cargo nextest run" });
    vec![
        Call::emit(
            id,
            "epic_started",
            &json!({"epic_id": "epic-003", "feature_name": "passkeys", "estimated_hours": 4, "spawned_by": "ann"}),
        ),
        Call::emit(
            id,
            "commit_created",
            &json!({"commit_hash": "9f3c2ab", "message": "Accept passkeys", "branch": "feature/passkeys"}),
        ),
        Call::emit(
            id,
            "test_failed",
            &json!({"test_type": "unit", "failed_count": 3, "duration_seconds": 1, "error_summary": "sign_in"}),
        ),
        Call::new(
            "mcp_meta_log_command",
            json!({ "instance_id": id, "action": "run_tests", "details": command }),
        ),
        Call::heartbeat(id, 95),
    ]
}

/// How sure a successor may be of an instance that has [`worked`].
#[derive(Debug, Clone, Copy)]
pub struct Confidence {
    /// How many minutes after its last word.
    pub minutes: i64,
    /// The score.
    pub score: u64,
    /// On what the account rests.
    pub source: &'static str,
    /// Whether there is a warning.
    pub warned: bool,
}

/// The confidence table of the contract, case by case.
pub const CONFIDENCE: &[Confidence] = &[
    confidence(4, 100, "checkpoint"),
    confidence(6, 90, "checkpoint"),
    confidence(31, 85, "checkpoint"),
    confidence(59, 85, "checkpoint"),
    confidence(61, 60, "events"),
    confidence(23 * 60, 50, "events"),
    confidence(48 * 60, 50, "events"),
];

const fn confidence(minutes: i64, score: u64, source: &'static str) -> Confidence {
    Confidence {
        minutes,
        score,
        source,
        warned: score < 80,
    }
}
