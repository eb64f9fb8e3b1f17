//! One event type of the catalogue.

use factum_model::JsonObject;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::catalogue::schema::{FieldFault, ObjectSchema, UnknownSchema};

/// To what a type of the catalogue belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CatalogueGroup {
    /// What an agent reports of its work.
    AgentSession,
    /// What the engine itself records in the stream of an agent session.
    SessionRecord,
    /// Forms, submissions, plugins and requests to models.
    Platform,
}

impl CatalogueGroup {
    /// Returns the group as it stands in answers and as a directory.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentSession => "agent_session",
            Self::SessionRecord => "session_record",
            Self::Platform => "platform",
        }
    }
}

/// An event type that ships with the engine.
#[derive(Debug)]
pub struct CatalogueEntry {
    group: CatalogueGroup,
    event_type: String,
    category: String,
    description: String,
    schema_text: String,
    example: String,
    schema: ObjectSchema,
}

/// A file of the catalogue is not what it has to be.
#[derive(Debug, Error)]
pub(super) enum UnreadableEntry {
    /// It is not the JSON of an entry.
    #[error("not an entry of the catalogue")]
    Json(#[from] serde_json::Error),
    /// Its schema says something that is not checked.
    #[error(transparent)]
    Schema(#[from] UnknownSchema),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    r#type: String,
    category: String,
    description: String,
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow)]
    example: &'a RawValue,
}

impl CatalogueEntry {
    /// Reads a file of the catalogue.
    pub(super) fn read(group: CatalogueGroup, text: &str) -> Result<Self, UnreadableEntry> {
        let file: File<'_> = serde_json::from_str(text)?;
        Ok(Self {
            group,
            event_type: file.r#type,
            category: file.category,
            description: file.description,
            schema: ObjectSchema::read(file.schema.get())?,
            schema_text: file.schema.get().to_owned(),
            example: file.example.get().to_owned(),
        })
    }

    /// Returns to what the type belongs.
    #[must_use]
    pub const fn group(&self) -> CatalogueGroup {
        self.group
    }

    /// Returns the name of the type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the category, a finer division than the group.
    #[must_use]
    pub fn category(&self) -> &str {
        &self.category
    }

    /// Returns one sentence about what an event of this type says.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the JSON Schema of the payload (draft 2020-12), as text.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema_text
    }

    /// Returns a payload that the schema accepts, as text.
    #[must_use]
    pub fn example(&self) -> &str {
        &self.example
    }

    /// Returns the fields that a payload must have, in the order of the schema.
    pub fn required_fields(&self) -> impl Iterator<Item = &str> {
        self.schema.required.iter().map(String::as_str)
    }

    /// Returns the fields that the schema knows besides, in its order.
    pub fn optional_fields(&self) -> impl Iterator<Item = &str> {
        let names = self.schema.fields.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !self.schema.required.iter().any(|required| required == name))
    }

    /// Checks a payload against the schema. Fields that the schema does not know are fine.
    ///
    /// # Errors
    /// [`FieldFault`] names the first required field that is missing, in the order of the schema,
    /// or else the first field of the payload whose value breaks a rule.
    pub fn check(&self, payload: &JsonObject) -> Result<(), FieldFault> {
        self.schema.check(payload)
    }
}
