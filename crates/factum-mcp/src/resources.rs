//! Sessions and events as resources: what can be read without calling a tool.

use factum_model::ErrorCode;
use factum_sessions::{InstanceDetails, LatestEvents, ListInstances, Sessions};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::fault::Fault;
use crate::protocol::{RpcCode, RpcError};
use crate::server::Outcome;
use crate::tool::Call;
use crate::tools::event_json;

const SESSIONS: &str = "factum://sessions";
const EVENTS: &str = "factum://events";
const JSON: &str = "application/json";
/// How many resources a page has.
const PAGE: u32 = 100;

/// Lists the resources that are there: the list of sessions, and one for each session.
pub(crate) async fn list(
    sessions: Option<&Sessions>,
    cursor: Option<&str>,
) -> Result<Outcome, RpcError> {
    let Some(sessions) = sessions else {
        return Ok(Outcome::of(&json!({"resources": []})));
    };
    let unknown = || RpcError::new(RpcCode::InvalidParams, "there is no page of this cursor");
    let offset: u32 = cursor.map_or(Ok(0), str::parse).map_err(|_| unknown())?;
    let asked = ListInstances {
        limit: Some(PAGE),
        offset: Some(offset),
        ..ListInstances::default()
    };
    let page = sessions
        .list_instances(asked)
        .await
        .map_err(|error| of_fault(&error.into()))?;
    let mut resources = Vec::new();
    if offset == 0 {
        resources.push(json!({
            "uri": SESSIONS,
            "name": "sessions",
            "title": "Agent sessions",
            "description": "The newest instances and their status.",
            "mimeType": JSON,
        }));
    }
    for instance in &page.instances {
        let (id, project) = (&instance.instance_id, &instance.project);
        resources.push(json!({
            "uri": format!("{SESSIONS}/{id}"),
            "name": id,
            "title": format!("Session {id} of project {project}"),
            "mimeType": JSON,
        }));
    }
    let next = page
        .has_more
        .then(|| offset.saturating_add(PAGE).to_string());
    let mut list = json!({"resources": resources});
    if let Some(next) = next {
        list["nextCursor"] = next.into();
    }
    Ok(Outcome::fresh_for(members(&list), 0))
}

/// Lists the kinds of resources.
pub(crate) fn templates(with_sessions: bool) -> Outcome {
    let event = json!({
        "uriTemplate": format!("{EVENTS}/{{event_id}}"),
        "name": "event",
        "title": "An event",
        "description": "One event by its id.",
        "mimeType": JSON,
    });
    let session = json!({
        "uriTemplate": format!("{SESSIONS}/{{instance_id}}"),
        "name": "session",
        "title": "An agent session",
        "description": "An instance and what its events come to.",
        "mimeType": JSON,
    });
    let events = json!({
        "uriTemplate": format!("{SESSIONS}/{{instance_id}}/events"),
        "name": "session-events",
        "title": "The newest events of an agent session",
        "description": "At most 100, the newest first.",
        "mimeType": JSON,
    });
    let all = if with_sessions {
        vec![session, events, event]
    } else {
        vec![event]
    };
    Outcome::list(&json!({"resourceTemplates": all}))
}

/// Reads a resource.
pub(crate) async fn read(call: &Call, uri: &str) -> Result<Outcome, RpcError> {
    let found = find(call, uri).await.map_err(|fault| match fault.code {
        ErrorCode::NotFound
        | ErrorCode::InstanceNotFound
        | ErrorCode::InvalidInstanceId
        | ErrorCode::InvalidRequest => missing(uri),
        _ => of_fault(&fault),
    })?;
    let answer = found.ok_or_else(|| missing(uri))?;
    let text = String::from_utf8_lossy(&answer.json);
    let contents = json!({"contents": [{"uri": uri, "mimeType": JSON, "text": text}]});
    Ok(Outcome::fresh_for(members(&contents), 0))
}

async fn find(call: &Call, uri: &str) -> Result<Option<Answer>, Fault> {
    let bytes_max = call.own_bytes_max();
    if let Some(id) = below(uri, EVENTS) {
        return Ok(Some(event_json(call, id).await?));
    }
    if uri == SESSIONS {
        let list = call
            .sessions()?
            .list_instances(ListInstances::default())
            .await?;
        return Ok(Some(written(&list)?.within("instances", bytes_max)));
    }
    let Some(rest) = below(uri, SESSIONS) else {
        return Ok(None);
    };
    match rest.split_once('/') {
        None => match call.sessions()?.instance_details(rest).await? {
            InstanceDetails::Found(report) if report.instance.instance_id == rest => {
                Ok(Some(written(&report)?.within_members(bytes_max)))
            }
            InstanceDetails::Found(_) | InstanceDetails::Choose { .. } => Ok(None),
        },
        Some((id, "events")) => {
            let asked = LatestEvents {
                instance_id: id.to_owned(),
                limit: Some(100),
            };
            let events = call.sessions()?.latest_events(asked).await?;
            Ok(Some(written(&events)?.within("events", bytes_max)))
        }
        Some(_) => Ok(None),
    }
}

fn below<'a>(uri: &'a str, base: &str) -> Option<&'a str> {
    let rest = uri.strip_prefix(base)?.strip_prefix('/')?;
    (!rest.is_empty()).then_some(rest)
}

fn written(value: &impl Serialize) -> Result<Answer, Fault> {
    Answer::of(value, String::new())
}

fn members(object: &Value) -> String {
    let text = object.to_string();
    let inside = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    inside.unwrap_or_default().to_owned()
}

fn missing(uri: &str) -> RpcError {
    let uri: String = uri.chars().take(256).collect();
    RpcError {
        data: Some(json!({"uri": uri})),
        ..RpcError::new(RpcCode::ResourceNotFound, "there is no such resource")
    }
}

/// Makes an error of the protocol of a failure that has no other way out.
pub(crate) fn of_fault(fault: &Fault) -> RpcError {
    if let Some(cause) = &fault.cause {
        let cause = &**cause as &dyn std::error::Error;
        tracing::error!(
            code = fault.code.as_str(),
            error = cause,
            "a resource failed"
        );
    }
    RpcError::new(RpcCode::InternalError, fault.sentence())
}
