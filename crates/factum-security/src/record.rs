//! The two events of a key, as they stand in the log.

use factum_engine::{KeyInfo, Scope, Scopes};
use factum_model::{
    AggregateId, EventType, InvalidName, JsonFault, JsonObject, NewEvent, RecordedEvent,
    SYSTEM_AGGREGATE_TYPE, StreamId, Timestamp,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::SecretHash;

pub(crate) const CREATED: &str = "factum.key.created";
pub(crate) const REVOKED: &str = "factum.key.revoked";

/// An event of a key cannot be written or read.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Payload(#[from] JsonFault),
    #[error("{field} of a key event is not what the engine writes")]
    Field { field: &'static str },
}

/// What an event says about a key.
pub(crate) enum KeyEvent {
    Created { info: KeyInfo, hash: SecretHash },
    Revoked { id: String, at: Timestamp },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    key_id: String,
    name: String,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    secret_sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    key_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct By<'a> {
    user_id: &'a str,
}

/// Returns the stream of a key.
pub(crate) fn stream(id: &str) -> Result<StreamId, InvalidName> {
    let aggregate_id: AggregateId = format!("key-{id}").parse()?;
    Ok(StreamId::new(SYSTEM_AGGREGATE_TYPE.parse()?, aggregate_id))
}

/// Writes the event of a key that was made.
pub(crate) fn created(info: &KeyInfo, hash: SecretHash, by: &str) -> Result<NewEvent, RecordError> {
    let payload = Created {
        key_id: info.id.clone(),
        name: info.name.clone(),
        scopes: info
            .scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        expires_at: info.expires_at.map(|at| at.to_string()),
        secret_sha256: hash.to_hex(),
    };
    event(CREATED, &info.id, serde_json::to_string(&payload)?, by)
}

/// Writes the event of a key that was revoked.
pub(crate) fn revoked(id: &str, by: &str) -> Result<NewEvent, RecordError> {
    let payload = Revoked {
        key_id: id.to_owned(),
    };
    event(REVOKED, id, serde_json::to_string(&payload)?, by)
}

fn event(event_type: &str, id: &str, payload: String, by: &str) -> Result<NewEvent, RecordError> {
    let event_type: EventType = event_type.parse()?;
    Ok(NewEvent {
        metadata: JsonObject::parse(serde_json::to_string(&By { user_id: by })?)?,
        ..NewEvent::new(event_type, stream(id)?, JsonObject::parse(payload)?)
    })
}

/// Reads an event; `None` when it is not one of a key.
pub(crate) fn read(event: &RecordedEvent) -> Result<Option<KeyEvent>, RecordError> {
    match event.event_type() {
        CREATED => {
            let payload: Created = serde_json::from_str(event.payload())?;
            let hash = SecretHash::from_hex(&payload.secret_sha256).ok_or(RecordError::Field {
                field: "secretSha256",
            })?;
            Ok(Some(KeyEvent::Created {
                info: info(payload, event.recorded_at)?,
                hash,
            }))
        }
        REVOKED => {
            let payload: Revoked = serde_json::from_str(event.payload())?;
            Ok(Some(KeyEvent::Revoked {
                id: payload.key_id,
                at: event.recorded_at,
            }))
        }
        _ => Ok(None),
    }
}

fn info(payload: Created, created_at: Timestamp) -> Result<KeyInfo, RecordError> {
    let scopes: Option<Vec<Scope>> = payload
        .scopes
        .iter()
        .map(|name| Scope::from_name(name))
        .collect();
    let scopes = scopes.ok_or(RecordError::Field { field: "scopes" })?;
    let expires_at = payload
        .expires_at
        .map(|at| at.parse())
        .transpose()
        .map_err(|_| RecordError::Field { field: "expiresAt" })?;
    Ok(KeyInfo {
        id: payload.key_id,
        name: payload.name,
        scopes: Scopes::of(&scopes),
        created_at,
        expires_at,
        revoked_at: None,
    })
}
