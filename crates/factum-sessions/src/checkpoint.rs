//! The event that holds a checkpoint.

use factum_model::{EventId, JsonObject, NewEvent, members};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::error::SessionError;
use crate::events;
use crate::id::InstanceId;
use crate::input::text_object;
use crate::ops::CheckpointType;
use crate::sessions::Sessions;
use crate::state::SessionState;
use crate::view::raw;
use crate::wire::as_number;

/// A checkpoint to make.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) kind: CheckpointType,
    pub(crate) context_percent: f64,
    pub(crate) note: Option<String>,
    /// What the agent says of its work; the rest is taken from the state.
    pub(crate) work_state: Option<JsonObject>,
    pub(crate) cause: Option<EventId>,
}

#[derive(Serialize)]
struct Payload<'a> {
    checkpoint_id: &'a str,
    #[serde(serialize_with = "as_number")]
    context_percent: f64,
    reason: &'a str,
    checkpoint_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    at_sequence_num: u64,
    size_bytes: usize,
    state_keys: Vec<String>,
    work_state: &'a RawValue,
    state: &'a SessionState,
}

impl Sessions {
    /// Makes the event of a checkpoint, and returns its id too. The checkpoint is named after its
    /// event.
    pub(crate) fn checkpoint_event(
        &self,
        id: &InstanceId,
        state: &SessionState,
        draft: &Draft,
    ) -> Result<(String, NewEvent), SessionError> {
        let mut event = self.event(id, events::CHECKPOINT_CREATED, JsonObject::empty())?;
        let event_id = event.id.unwrap_or_else(|| self.next_id());
        let checkpoint_id = event_id.to_string();
        let (state_keys, work_state) = self.work_state(state, draft.work_state.as_ref());
        let work_state = raw(&work_state);
        let content = serde_json::to_string(state).map_err(unwritable)?;
        let payload = Payload {
            checkpoint_id: &checkpoint_id,
            context_percent: draft.context_percent,
            reason: draft.kind.as_str(),
            checkpoint_type: draft.kind.as_str(),
            note: draft.note.as_deref(),
            at_sequence_num: state.sequence_num,
            size_bytes: work_state.get().len() + content.len(),
            state_keys,
            work_state: &work_state,
            state,
        };
        event.payload = text_object(serde_json::to_string(&payload).map_err(unwritable)?)?;
        event.id = Some(event_id);
        event.causation_id = draft.cause;
        Ok((checkpoint_id, event))
    }

    /// Puts together what is known of the work: what the agent says, and else what its events do.
    fn work_state(
        &self,
        state: &SessionState,
        given: Option<&JsonObject>,
    ) -> (Vec<String>, String) {
        let commit = state.last_commit.as_ref();
        let git_status = json!({
            "branch": state.branch,
            "last_commit": commit.map(|commit| &commit.commit_hash),
        });
        let known = [
            ("current_epic", json!(state.current_epic)),
            ("files_modified", json!([])),
            ("git_status", git_status),
            ("last_commands", json!(state.last_commands)),
            ("prd_status", json!(null)),
            ("environment", json!({ "host": state.host })),
            ("snapshot_at", json!(self.now().to_string())),
        ];
        let given = given.map_or("{}", JsonObject::as_str);
        let mut parts: Vec<(String, String)> = members(given)
            .map(|(key, value)| (key.into_owned(), value.to_owned()))
            .collect();
        for (key, value) in known {
            if !parts.iter().any(|(given, _)| given == key) {
                parts.push((key.to_owned(), value.to_string()));
            }
        }
        let texts: Vec<String> = parts
            .iter()
            .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())))
            .collect();
        let keys = parts.into_iter().map(|(key, _)| key).collect();
        (keys, format!("{{{}}}", texts.join(",")))
    }
}

/// What is written is made of texts and numbers; that it cannot be written is a fault of ours.
fn unwritable(_: serde_json::Error) -> SessionError {
    SessionError::invalid("work_state", "cannot be written as JSON")
}
