//! Events and instances as they stand in answers.

use factum_model::{RecordedEvent, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::id::InstanceType;
use crate::sessions::Sessions;
use crate::state::{InstanceStatus, SessionState};
use crate::wire::{as_number, seconds_between};

/// An event of an instance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventView {
    /// Its id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Its place among the events of the instance.
    pub sequence_num: u64,
    /// When it was recorded.
    pub timestamp: String,
    /// The instance.
    pub instance_id: String,
    /// The event that caused it.
    pub parent_event_id: Option<String>,
    /// What it says.
    #[schema(value_type = Object)]
    pub event_data: Box<RawValue>,
    /// What else is known.
    #[schema(value_type = Object)]
    pub metadata: Box<RawValue>,
}

impl EventView {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        Self {
            event_id: event.id.to_string(),
            event_type: event.event_type().to_owned(),
            sequence_num: event.sequence_number.get(),
            timestamp: event.recorded_at.to_string(),
            instance_id: event.aggregate_id().to_owned(),
            parent_event_id: event.causation_id.map(|cause| cause.to_string()),
            event_data: raw(event.payload()),
            metadata: raw(event.metadata()),
        }
    }

    pub(crate) fn all(events: &[RecordedEvent]) -> Vec<Self> {
        events.iter().map(Self::of).collect()
    }
}

/// Takes over a JSON text that the store has checked.
pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// An instance, in short.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InstanceView {
    /// Its id.
    pub instance_id: String,
    /// Its project.
    pub project: String,
    /// What it does.
    pub instance_type: InstanceType,
    /// Whether it is at work.
    pub status: InstanceStatus,
    /// The share of its context that is used, in per cent.
    #[serde(serialize_with = "as_number")]
    pub context_percent: f64,
    /// The epic that it works on.
    pub current_epic: Option<String>,
    /// When its last heartbeat was.
    pub last_heartbeat: String,
    /// How many seconds ago that was.
    pub age_seconds: u64,
    /// When it was registered.
    pub created_at: String,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// The machine that it runs on.
    pub host: Option<String>,
    /// The session in the program that runs it.
    pub external_session_id: Option<String>,
    /// When its last event was recorded.
    pub last_event_at: String,
    /// The type of its last event.
    pub last_event_type: String,
    /// How many events it has.
    pub event_count: u64,
    /// Its newest checkpoint.
    pub last_checkpoint_id: Option<String>,
}

impl InstanceView {
    pub(crate) fn of(sessions: &Sessions, state: &SessionState, now: Timestamp) -> Self {
        let checkpoint = state.last_checkpoint.as_ref();
        Self {
            instance_id: state.instance_id.clone(),
            project: state.project.clone(),
            instance_type: state.instance_type,
            status: sessions.status_at(state, now),
            context_percent: state.context_percent,
            current_epic: state.current_epic.clone(),
            last_heartbeat: state.last_heartbeat.to_string(),
            age_seconds: seconds_between(state.last_heartbeat, now),
            created_at: state.created_at.to_string(),
            closed_at: state.closed_at.map(|at| at.to_string()),
            host: state.host.clone(),
            external_session_id: state.external_session_id.clone(),
            last_event_at: state.last_event_at.to_string(),
            last_event_type: state.last_event_type.clone(),
            event_count: state.event_count,
            last_checkpoint_id: checkpoint.map(|last| last.checkpoint_id.clone()),
        }
    }
}
