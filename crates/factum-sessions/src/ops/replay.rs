//! The state of an instance at any point of its history.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::id::excerpt;
use crate::sessions::Sessions;
use crate::state::SessionState;
use crate::wire::as_number;

/// What to replay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayEvents {
    /// The instance.
    pub instance_id: String,
    /// The last event to replay; the newest by default.
    pub to_sequence_num: Option<u64>,
}

/// What the events came to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReplayedState {
    /// The state after the last event.
    pub final_state: SessionState,
    /// How many events were replayed.
    pub events_replayed: u64,
    /// How long that took.
    #[serde(serialize_with = "as_number")]
    pub duration_ms: f64,
}

impl Sessions {
    /// Reads the events of an instance from the first one on and folds them. It uses nothing that
    /// is in memory.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InvalidEvent`] for a number of 0, [`SessionError::TimedOut`],
    /// [`SessionError::EventStore`].
    pub async fn replay_events(&self, input: ReplayEvents) -> Result<ReplayedState, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        if input.to_sequence_num == Some(0) {
            let rule = "must be at least 1, the number of the first event";
            return Err(SessionError::invalid("to_sequence_num", rule));
        }
        let last = input.to_sequence_num.unwrap_or(u64::MAX);
        let started = Instant::now();
        let limit = self.inner.options.replay_time_max;
        let mut state: Option<SessionState> = None;
        let mut fold = |step: &crate::state::Step<'_>| match &mut state {
            Some(state) => state.apply(step),
            None => {
                state = SessionState::begin(&id, step);
                state.is_some()
            }
        };
        let walk = tokio::time::timeout(limit, self.walk(&id, 1..=last, &mut fold));
        walk.await.map_err(|_| SessionError::TimedOut {
            limit_ms: limit.as_millis(),
        })??;
        let final_state = state.ok_or_else(|| SessionError::InstanceNotFound {
            given: excerpt(id.as_str()),
        })?;
        Ok(ReplayedState {
            events_replayed: final_state.event_count,
            final_state,
            duration_ms: started.elapsed().as_secs_f64() * 1000.0,
        })
    }
}
