//! What an agent reports becomes an event, and perhaps a checkpoint with it.

use factum_model::{CorrelationId, EventId, JsonObject, NewEvent, Position};
use factum_store::EventReceipt;

use crate::checkpoint::Draft;
use crate::error::SessionError;
use crate::events;
use crate::id::InstanceId;
use crate::metrics::count;
use crate::ops::CheckpointType;
use crate::sessions::{Sessions, Unless};
use crate::state::Fields;
use crate::state::{InstanceStatus, SessionState, Step};
use crate::wire::seconds_between;

/// An event that an agent reports, checked and without secrets.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) event_type: String,
    pub(crate) payload: JsonObject,
    pub(crate) metadata: JsonObject,
    pub(crate) cause: Option<EventId>,
    pub(crate) correlation_id: Option<CorrelationId>,
}

impl Report {
    pub(crate) fn of(event_type: &str, payload: JsonObject) -> Self {
        Self {
            event_type: event_type.to_owned(),
            payload,
            metadata: JsonObject::empty(),
            cause: None,
            correlation_id: None,
        }
    }
}

/// What became of a report.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub(crate) receipt: EventReceipt,
    /// How the instance was before.
    pub(crate) was: InstanceStatus,
    /// How long before its last heartbeat was.
    pub(crate) silent_seconds: u64,
    /// The checkpoint that was made with it.
    pub(crate) checkpoint_id: Option<String>,
}

/// What is decided of a report, from the state that it meets.
struct Plan {
    was: InstanceStatus,
    silent_seconds: u64,
    after: Option<Position>,
    /// The state before, where a checkpoint is due.
    checkpoint: Option<(CheckpointType, Box<SessionState>)>,
}

impl Sessions {
    /// Records a report. Whether a checkpoint is due depends on what stands before the event, so
    /// the append is refused, and decided anew, if anything came in between that matters for it.
    pub(crate) async fn report(
        &self,
        id: &InstanceId,
        report: Report,
    ) -> Result<Reported, SessionError> {
        let mut event = self.event(id, &report.event_type, report.payload)?;
        event.metadata = report.metadata;
        event.causation_id = report.cause;
        event.correlation_id = report.correlation_id.or(event.correlation_id);
        let context = tells_context(&event);
        let reaches_bound = context.is_some_and(|new| new >= self.inner.options.checkpoint_percent);
        let any_of: &[&'static str] = if reaches_bound {
            &[
                events::CLOSED,
                events::HEARTBEAT,
                events::CONTEXT_WINDOW_UPDATED,
            ]
        } else {
            &[events::CLOSED]
        };
        for _ in 0..self.inner.options.attempts_max {
            let plan = self
                .look(id, |state, after| {
                    self.plan(state, after, &event, reaches_bound)
                })
                .await??;
            let (checkpoint_id, events) = self.with_checkpoint(id, &event, &plan)?;
            let after = plan.after;
            match self.record(id, events, Unless { any_of, after }).await {
                Ok(receipts) => {
                    let receipt = receipts.first().copied();
                    let receipt = receipt.ok_or(SessionError::Contended)?;
                    if checkpoint_id.is_some() {
                        count(&self.inner.counters.checkpoints_total);
                    }
                    return Ok(Reported {
                        receipt,
                        was: plan.was,
                        silent_seconds: plan.silent_seconds,
                        checkpoint_id,
                    });
                }
                Err(error) if error.is_overtaken() => self.overtaken(id).await?,
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Contended)
    }

    fn plan(
        &self,
        state: &SessionState,
        after: Option<Position>,
        event: &NewEvent,
        reaches_bound: bool,
    ) -> Result<Plan, SessionError> {
        let now = self.now();
        check_open(state)?;
        let crosses =
            reaches_bound && state.context_percent < self.inner.options.checkpoint_percent;
        let kind = if crosses {
            Some(CheckpointType::ContextWindow)
        } else if event.event_type.as_str() == events::EPIC_COMPLETED {
            Some(CheckpointType::EpicCompletion)
        } else {
            None
        };
        Ok(Plan {
            was: self.status_at(state, now),
            silent_seconds: seconds_between(state.last_heartbeat, now),
            after,
            checkpoint: kind.map(|kind| (kind, Box::new(state.clone()))),
        })
    }

    /// Returns the events to append: the event, and the checkpoint that it brings about.
    fn with_checkpoint(
        &self,
        id: &InstanceId,
        event: &NewEvent,
        plan: &Plan,
    ) -> Result<(Option<String>, Vec<NewEvent>), SessionError> {
        let Some((kind, before)) = &plan.checkpoint else {
            return Ok((None, vec![event.clone()]));
        };
        let mut state = before.clone();
        let cause = event.id.unwrap_or_else(|| self.next_id());
        // The checkpoint holds what the event says too.
        state.apply(&Step {
            id: cause,
            event_type: event.event_type.as_str(),
            payload: event.payload.as_str(),
            sequence_num: state.sequence_num + 1,
            position: None,
            at: self.now(),
        });
        let draft = Draft {
            kind: *kind,
            context_percent: state.context_percent,
            note: None,
            work_state: None,
            cause: Some(cause),
        };
        let (checkpoint_id, checkpoint) = self.checkpoint_event(id, &state, &draft)?;
        Ok((Some(checkpoint_id), vec![event.clone(), checkpoint]))
    }
}

/// Refuses what is meant for an instance that is closed.
pub(crate) fn check_open(state: &SessionState) -> Result<(), SessionError> {
    match state.closed_at {
        None => Ok(()),
        Some(at) => Err(SessionError::InstanceClosed {
            instance_id: state.instance_id.clone(),
            closed_at: at.to_string(),
        }),
    }
}

/// Returns the share of the context that an event tells.
fn tells_context(event: &NewEvent) -> Option<f64> {
    let tells =
        [events::HEARTBEAT, events::CONTEXT_WINDOW_UPDATED].contains(&event.event_type.as_str());
    tells
        .then(|| Fields::of(event.payload.as_str()).number("context_percent"))
        .flatten()
}
