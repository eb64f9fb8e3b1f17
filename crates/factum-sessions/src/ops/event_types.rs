//! The event types that an agent can emit.

use factum_engine::{CatalogueEntry, CatalogueGroup};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::sessions::Sessions;
use crate::view::raw;

/// An event type.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventTypeView {
    /// Its name.
    pub r#type: String,
    /// What its events say.
    pub description: String,
    /// To what it belongs.
    pub category: String,
    /// The fields that an event must have.
    pub required_fields: Vec<String>,
    /// The fields that are known besides; others are kept too.
    pub optional_fields: Vec<String>,
    /// An example.
    #[schema(value_type = Object)]
    pub example: Box<RawValue>,
}

impl EventTypeView {
    fn of(entry: &CatalogueEntry) -> Self {
        Self {
            r#type: entry.event_type().to_owned(),
            description: entry.description().to_owned(),
            category: entry.category().to_owned(),
            required_fields: entry.required_fields().map(str::to_owned).collect(),
            optional_fields: entry.optional_fields().map(str::to_owned).collect(),
            example: raw(entry.example()),
        }
    }
}

/// Event types.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventTypeList {
    /// The types, by category.
    pub event_types: Vec<EventTypeView>,
    /// How many there are.
    pub total_count: u64,
}

impl Sessions {
    /// Lists the event types that an agent can emit, all or those of a category.
    ///
    /// # Errors
    /// [`SessionError::InvalidEvent`] when there is no such category.
    pub fn list_event_types(category: Option<&str>) -> Result<EventTypeList, SessionError> {
        let all = Self::catalogue().entries();
        let emittable = all.filter(|entry| entry.group() == CatalogueGroup::AgentSession);
        let event_types: Vec<EventTypeView> = emittable
            .filter(|entry| category.is_none_or(|category| entry.category() == category))
            .map(EventTypeView::of)
            .collect();
        if event_types.is_empty() {
            let rule =
                "must be one of instance, epic, testing, git, deployment, work_state, planning";
            return Err(SessionError::invalid("category", rule));
        }
        Ok(EventTypeList {
            total_count: u64::try_from(event_types.len()).unwrap_or(u64::MAX),
            event_types,
        })
    }
}
