//! Heartbeats: an instance says that it is there, and how much of its context is used.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::events;
use crate::input::{object, percent};
use crate::report::Report;
use crate::sessions::Sessions;
use crate::state::InstanceStatus;
use crate::wire::number;

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The instance.
    pub instance_id: String,
    /// The share of its context that is used, 0 to 100.
    pub context_percent: f64,
    /// The epic that it works on.
    pub current_epic: Option<String>,
}

/// What a heartbeat is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// That it is active now.
    pub status: InstanceStatus,
    /// Whether it was stale until now.
    pub stale: bool,
    /// How many seconds ago its last heartbeat before this one was.
    pub age_seconds: u64,
    /// The checkpoint that was made, since the context reached the bound.
    pub checkpoint_id: Option<String>,
}

impl Sessions {
    /// Takes a heartbeat. It revives a stale instance. The first one at which the context has
    /// reached the bound brings a checkpoint with it, in the same atomic append.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InstanceClosed`], [`SessionError::ContextOutOfRange`],
    /// [`SessionError::InvalidEvent`], [`SessionError::EventStore`].
    pub async fn heartbeat(&self, input: Heartbeat) -> Result<HeartbeatAnswer, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let context_percent = percent("context_percent", input.context_percent)?;
        let mut payload = Map::new();
        let shown = Value::Number(number(context_percent));
        payload.insert("context_percent".to_owned(), shown);
        if let Some(epic) = &input.current_epic {
            let epic = self.clean_text("current_epic", epic)?;
            payload.insert("current_epic".to_owned(), epic.into());
        }
        let report = Report::of(events::HEARTBEAT, object(&Value::from(payload))?);
        let done = self.report(&id, report).await?;
        Ok(HeartbeatAnswer {
            status: InstanceStatus::Active,
            stale: done.was == InstanceStatus::Stale,
            age_seconds: done.silent_seconds,
            checkpoint_id: done.checkpoint_id,
        })
    }
}
