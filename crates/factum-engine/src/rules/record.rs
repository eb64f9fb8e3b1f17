//! The events of a rule, as they stand in the log.

use factum_model::{
    EventType, JsonObject, NewEvent, RecordedEvent, SYSTEM_AGGREGATE_TYPE, StreamId,
};
use serde::{Deserialize, Serialize};

use super::definition::Document;
use super::error::RuleError;
use super::rule::RuleId;

pub(super) const CREATED: &str = "factum.rule.created";
pub(super) const CHANGED: &str = "factum.rule.changed";
pub(super) const ENABLED: &str = "factum.rule.enabled";
pub(super) const DISABLED: &str = "factum.rule.disabled";
pub(super) const DELETED: &str = "factum.rule.deleted";

/// Every type of event that is about a rule.
pub(super) const TYPES: [&str; 5] = [CREATED, CHANGED, ENABLED, DISABLED, DELETED];

/// What the aggregate id of the stream of a rule begins with.
const STREAM_PREFIX: &str = "rule-";

/// What happened to a rule.
#[derive(Debug)]
pub(super) enum Change {
    /// It was made, or replaced as a whole.
    Defined(Box<Document>),
    /// It was switched on or off.
    Switched { on: bool },
    /// It was deleted.
    Deleted,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    rule_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct By {
    user_id: String,
}

/// Returns the stream of a rule.
pub(super) fn stream(id: &RuleId) -> Result<StreamId, RuleError> {
    let internal = |detail: String| RuleError::Internal { detail };
    let aggregate_id = format!("{STREAM_PREFIX}{id}").parse();
    Ok(StreamId::new(
        SYSTEM_AGGREGATE_TYPE
            .parse()
            .map_err(|error| internal(format!("{error}")))?,
        aggregate_id.map_err(|error| internal(format!("{error}")))?,
    ))
}

/// Returns the rule that a stream is of.
pub(super) fn rule_of(aggregate_id: &str) -> Option<RuleId> {
    aggregate_id.strip_prefix(STREAM_PREFIX)?.parse().ok()
}

/// Writes an event of a rule.
pub(super) fn event(
    event_type: &str,
    id: &RuleId,
    change: Change,
    (by, reason): (&str, Option<&str>),
) -> Result<NewEvent, RuleError> {
    let payload = Payload {
        rule_id: id.to_string(),
        rule: match change {
            Change::Defined(document) => Some(*document),
            Change::Switched { .. } | Change::Deleted => None,
        },
        reason: reason.map(|reason| reason.chars().take(500).collect()),
    };
    let by = By {
        user_id: by.chars().take(255).collect(),
    };
    let json = |text: Result<String, serde_json::Error>| {
        let text = text.map_err(|error| RuleError::Internal {
            detail: error.to_string(),
        })?;
        JsonObject::parse(text).map_err(|error| RuleError::Internal {
            detail: error.to_string(),
        })
    };
    let event_type: EventType = event_type.parse().map_err(|error| RuleError::Internal {
        detail: format!("{error}"),
    })?;
    Ok(NewEvent {
        metadata: json(serde_json::to_string(&by))?,
        ..NewEvent::new(
            event_type,
            stream(id)?,
            json(serde_json::to_string(&payload))?,
        )
    })
}

/// What an event says of a rule.
pub(super) struct Said {
    pub(super) id: RuleId,
    pub(super) change: Change,
    pub(super) by: String,
}

/// Reads an event of a rule; `None` when it is not one.
pub(super) fn read(event: &RecordedEvent) -> Result<Option<Said>, RuleError> {
    let event_type = event.event_type();
    if !TYPES.contains(&event_type) {
        return Ok(None);
    }
    let wrong = |detail: String| RuleError::Record {
        position: event.position,
        detail,
    };
    let payload: Payload =
        serde_json::from_str(event.payload()).map_err(|error| wrong(error.to_string()))?;
    let id = payload.rule_id.parse::<RuleId>();
    let id = id.map_err(|error| wrong(error.to_string()))?;
    let change = match (event_type, payload.rule) {
        (CREATED | CHANGED, Some(document)) => Change::Defined(Box::new(document)),
        (CREATED | CHANGED, None) => return Err(wrong("it holds no rule".to_owned())),
        (DELETED, _) => Change::Deleted,
        (switched, _) => Change::Switched {
            on: switched == ENABLED,
        },
    };
    let by = serde_json::from_str::<By>(event.metadata()).map_or(String::new(), |by| by.user_id);
    Ok(Some(Said { id, change, by }))
}

/// Returns the ids of the targets that an event defines, also where the rest of it cannot be read.
/// None if not even that can be told.
pub(super) fn target_ids(event: &RecordedEvent) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Target {
        id: String,
    }
    #[derive(Deserialize)]
    struct Rule {
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Defined {
        rule: Rule,
    }
    let defined: Defined = serde_json::from_str(event.payload()).ok()?;
    let targets = defined.rule.targets.into_iter();
    Some(targets.map(|target| target.id).collect())
}
