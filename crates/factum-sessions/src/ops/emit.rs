//! Events that an agent emits, checked against the catalogue.

use factum_engine::{CatalogueEntry, CatalogueGroup, FieldFault, FieldRule};
use factum_model::{CorrelationId, EventId, JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::id::excerpt;
use crate::report::Report;
use crate::sessions::Sessions;
use crate::state::Fields;

/// An event to emit.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmitEvent {
    /// The instance.
    pub instance_id: String,
    /// One of the 23 types of the catalogue.
    pub event_type: String,
    /// What it says, as the type asks for. Further fields are kept.
    #[schema(value_type = Object)]
    pub event_data: Box<RawValue>,
    /// What else is known. `parent_event_id` is the event that caused this one, `correlation_id`
    /// the conversation that it belongs to, by default that of the instance.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
}

/// An emitted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmittedEvent {
    /// Its id.
    pub event_id: String,
    /// Its place among the events of the instance.
    pub sequence_num: u64,
    /// When it was recorded.
    pub timestamp: String,
    /// The checkpoint that was made with it.
    pub checkpoint_id: Option<String>,
}

impl Sessions {
    /// Emits an event. Secrets are taken out of it first. An `epic_completed`, and a
    /// `context_window_updated` or `instance_heartbeat` at which the context reaches the bound,
    /// bring a checkpoint with them.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::UnknownEventType`],
    /// [`SessionError::InvalidEvent`], [`SessionError::ContextOutOfRange`],
    /// [`SessionError::InstanceNotFound`], [`SessionError::InstanceClosed`],
    /// [`SessionError::EventStore`].
    pub async fn emit_event(&self, input: EmitEvent) -> Result<EmittedEvent, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let entry = emittable(&input.event_type)?;
        let payload = self.parse_object("event_data", &input.event_data)?;
        entry.check(&payload).map_err(fault)?;
        let payload = self.clean_object("event_data", &payload)?;
        let mut report = Report::of(entry.event_type(), payload);
        if let Some(metadata) = &input.metadata {
            report.metadata = self.read_object("metadata", metadata)?;
            report.cause = cause(&report.metadata)?;
            report.correlation_id = correlation(&report.metadata)?;
        }
        let done = self.report(&id, report).await?;
        Ok(EmittedEvent {
            event_id: done.receipt.id.to_string(),
            sequence_num: done.receipt.sequence_number.get(),
            timestamp: done.receipt.recorded_at.to_string(),
            checkpoint_id: done.checkpoint_id,
        })
    }
}

fn emittable(event_type: &str) -> Result<&'static CatalogueEntry, SessionError> {
    let entry = Sessions::catalogue().entry(event_type);
    let entry = entry.filter(|entry| entry.group() == CatalogueGroup::AgentSession);
    entry.ok_or_else(|| SessionError::UnknownEventType {
        event_type: excerpt(event_type),
    })
}

fn fault(fault: FieldFault) -> SessionError {
    let out_of_range = matches!(fault.rule, FieldRule::Minimum(_) | FieldRule::Maximum(_));
    if out_of_range && fault.field == "context_percent" {
        return SessionError::ContextOutOfRange { field: fault.field };
    }
    SessionError::invalid(fault.field, fault.rule.to_string())
}

fn cause(metadata: &JsonObject) -> Result<Option<EventId>, SessionError> {
    let field = "metadata.parent_event_id";
    let fields = Fields::of(metadata.as_str());
    let Some(raw) = fields.raw("parent_event_id").filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let text: Option<String> = serde_json::from_str(raw).ok();
    let id = text.and_then(|text| text.parse().ok());
    id.map(Some)
        .ok_or_else(|| SessionError::invalid(field, "must be the id of an event, a UUID"))
}

fn correlation(metadata: &JsonObject) -> Result<Option<CorrelationId>, SessionError> {
    let fields = Fields::of(metadata.as_str());
    let Some(raw) = fields.raw("correlation_id").filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let text: Option<String> = serde_json::from_str(raw).ok();
    let id = text.and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        SessionError::invalid(
            "metadata.correlation_id",
            "must be a text of 1 to 128 characters",
        )
    })
}
