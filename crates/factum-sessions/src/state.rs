//! The state of an instance: what its events come to, one after the other.
//!
//! The same fold makes the instances that are kept in memory, the answer to a replay, and what a
//! checkpoint holds. It takes whatever stands in a stream, also what no door would let in today,
//! and it keeps to bounds: a state does not grow with its stream.

mod fields;
mod fold;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use factum_model::{EventId, Position, RecordedEvent, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::events;
use crate::id::InstanceType;
use crate::wire::{as_number, as_optional_text, as_text};

pub(crate) use self::fields::Fields;
pub use self::parts::{
    CheckpointSummary, CommandSummary, Commit, Deployment, DeploymentStatus, Epic, EpicStatus,
    PullRequest, TestRun, TestTotals, ValidationTotals,
};

/// Whether an instance is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// It sends heartbeats.
    Active,
    /// It has been silent for too long.
    Stale,
    /// It is closed for ever.
    Closed,
}

impl InstanceStatus {
    /// Returns the status as it stands in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Closed => "closed",
        }
    }
}

/// What the events of an instance come to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SessionState {
    /// The instance.
    pub instance_id: String,
    /// Its project.
    pub project: String,
    /// What it does.
    pub instance_type: InstanceType,
    /// Whether it is at work, by its events.
    pub status: InstanceStatus,
    /// The share of its context that is used, in per cent.
    #[serde(serialize_with = "as_number")]
    pub context_percent: f64,
    /// The epic that it works on.
    pub current_epic: Option<String>,
    /// The epic that it worked on last, with its status.
    pub last_epic: Option<Epic>,
    /// Epics that are planned and not begun, the oldest first; at most 20.
    pub planned_epics: Vec<Epic>,
    /// Its tests.
    pub tests: TestTotals,
    /// Its validations.
    pub validations: ValidationTotals,
    /// Its last commit.
    pub last_commit: Option<Commit>,
    /// The branch that was named last.
    pub branch: Option<String>,
    /// Pull requests that are not merged, the oldest first; at most 100.
    pub open_prs: Vec<PullRequest>,
    /// How many pull requests were merged.
    pub merged_prs: u64,
    /// The last deployment of each service; at most 100 services.
    pub deployments: BTreeMap<String, Deployment>,
    /// The newest checkpoint.
    pub last_checkpoint: Option<CheckpointSummary>,
    /// The last commands, the oldest first; at most 20.
    pub last_commands: Vec<CommandSummary>,
    /// How many commands were logged.
    pub command_count: u64,
    /// How many events there are of each type; types after the first 200 count as `other`.
    pub event_counts: BTreeMap<String, u64>,
    /// How many events there are.
    pub event_count: u64,
    /// The type of the last event.
    pub last_event_type: String,
    /// When the last event was recorded.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub last_event_at: Timestamp,
    /// When the agent itself was last heard of.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub last_activity_at: Timestamp,
    /// When its last heartbeat was; its registration counts as one.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub last_heartbeat: Timestamp,
    /// When it was registered.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was closed.
    #[serde(serialize_with = "as_optional_text")]
    #[schema(value_type = Option<String>)]
    pub closed_at: Option<Timestamp>,
    /// When its work was last taken up by another.
    #[serde(serialize_with = "as_optional_text")]
    #[schema(value_type = Option<String>)]
    pub last_resumed_at: Option<Timestamp>,
    /// The machine that it runs on, as it said.
    pub host: Option<String>,
    /// The session in the program that runs it, as it said.
    pub external_session_id: Option<String>,
    /// The sequence number of its last event.
    pub sequence_num: u64,
    /// Where its registration is in the log.
    #[serde(skip)]
    pub(crate) registered_position: Option<Position>,
    /// The last heartbeat's event, which the end of a silence refers to.
    #[serde(skip)]
    pub(crate) heartbeat_event: EventId,
    /// The last event.
    #[serde(skip)]
    pub(crate) last_event: EventId,
    /// Where the last event stands in the log; `None` for one that is not recorded yet.
    #[serde(skip)]
    pub(crate) position: Option<Position>,
}

/// An event on its way into a state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) id: EventId,
    pub(crate) event_type: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) sequence_num: u64,
    pub(crate) position: Option<Position>,
    pub(crate) at: Timestamp,
}

impl<'a> Step<'a> {
    pub(crate) fn of(event: &'a RecordedEvent) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type(),
            payload: event.payload(),
            sequence_num: event.sequence_number.get(),
            position: Some(event.position),
            at: event.recorded_at,
        }
    }

    /// Tells whether an instance begins with this event.
    pub(crate) fn registers(&self) -> bool {
        self.event_type == events::REGISTERED && self.sequence_num == 1
    }
}
