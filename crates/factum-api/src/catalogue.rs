//! The catalogue of event types in answers.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event type of the catalogue.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CatalogueEntry)]
pub struct CatalogueEntryDto {
    /// Its name.
    #[serde(rename = "type")]
    pub event_type: String,
    /// To what it belongs: `agent_session`, `session_record` or `platform`.
    pub group: String,
    /// A finer division than the group.
    pub category: String,
    /// What its events say.
    pub description: String,
    /// The fields that a payload must have.
    pub required_fields: Vec<String>,
    /// The fields that are known besides.
    pub optional_fields: Vec<String>,
    /// The JSON Schema of the payload (draft 2020-12).
    #[schema(value_type = Object)]
    pub schema: Box<RawValue>,
    /// A payload.
    #[schema(value_type = Object)]
    pub example: Box<RawValue>,
}

/// The event types of the catalogue.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CatalogueList)]
pub struct CatalogueListDto {
    /// The types.
    pub items: Vec<CatalogueEntryDto>,
    /// Events of other types are refused.
    pub strict: bool,
    /// There are more; never.
    pub has_more: bool,
}
