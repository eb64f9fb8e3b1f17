//! The events of an instance: emitted, queried, replayed, counted, and their causes.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use factum_sessions::{
    EmitEvent, EmittedEvent, EventAggregates, EventFilters, EventList, EventTree, EventTypeList,
    EventTypes, LatestEvents, ParentChain, QueryEvents, ReplayEvents, ReplayedState, Sessions,
};
use serde::Deserialize;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::handlers::sessions::{Parameters, created, input_about, query};
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    event_type: Option<String>,
    start_date: Option<String>,
    end_date: Option<String>,
    keyword: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latest {
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpTo {
    to_sequence_num: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCategory {
    category: Option<String>,
}

/// Emits an event
///
/// Of one of the 23 types of the catalogue. Secrets are taken out before it is recorded.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/events",
    tag = "sessions",
    operation_id = "emitEvent",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    request_body(content = EmitEvent, description = "`instance_id` may be left out: the path names it."),
    responses((status = 201, description = "The event.", body = EmittedEvent))
)]
pub(crate) async fn emit(
    State(state): State<AppState>,
    path: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let input: EmitEvent = input_about(&state, path, request).await?;
    created(&state.sessions.emit_event(input).await?)
}

/// Queries the events of an instance
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/events",
    tag = "sessions",
    operation_id = "queryInstanceEvents",
    params(
        ("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$"),
        ("event_type" = Option<String>, Query, description = "Those of these types, separated by commas."),
        ("start_date" = Option<String>, Query, description = "Those from this time on, RFC 3339."),
        ("end_date" = Option<String>, Query, description = "Those up to this time, RFC 3339, inclusive."),
        ("keyword" = Option<String>, Query, description = "Those with all of these words in their data."),
        ("limit" = Option<u32>, Query, description = "How many.", minimum = 1, maximum = 1000),
        ("offset" = Option<u32>, Query, description = "How many to pass over."),
    ),
    responses((status = 200, description = "The events, the oldest first.", body = EventList))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    path: Parameters,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: Filters = query(&state, &uri)?;
    let types = asked.event_type.map(|names| {
        let names = names.split(',').map(str::trim).map(str::to_owned);
        EventTypes::Several(names.collect())
    });
    let input = QueryEvents {
        instance_id: parameter(path, "id")?,
        filters: Some(EventFilters {
            event_type: types,
            start_date: asked.start_date,
            end_date: asked.end_date,
            keyword: asked.keyword,
        }),
        limit: asked.limit,
        offset: asked.offset,
        bytes_max: None,
    };
    json(&state.sessions.query_events(input).await?)
}

/// Reads the newest events of an instance
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/events/latest",
    tag = "sessions",
    operation_id = "latestInstanceEvents",
    params(
        ("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$"),
        ("limit" = Option<u32>, Query, description = "How many.", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "The events, the newest first.", body = EventList))
)]
pub(crate) async fn latest(
    State(state): State<AppState>,
    path: Parameters,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: Latest = query(&state, &uri)?;
    let input = LatestEvents {
        instance_id: parameter(path, "id")?,
        limit: asked.limit,
    };
    json(&state.sessions.latest_events(input).await?)
}

/// Replays the events of an instance to a state
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/state",
    tag = "sessions",
    operation_id = "replayInstance",
    params(
        ("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$"),
        ("to_sequence_num" = Option<u64>, Query, description = "The last event to replay.", minimum = 1),
    ),
    responses((status = 200, description = "The state.", body = ReplayedState))
)]
pub(crate) async fn replay(
    State(state): State<AppState>,
    path: Parameters,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: UpTo = query(&state, &uri)?;
    let input = ReplayEvents {
        instance_id: parameter(path, "id")?,
        to_sequence_num: asked.to_sequence_num,
    };
    json(&state.sessions.replay_events(input).await?)
}

/// Counts the events of an instance by type
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/counts",
    tag = "sessions",
    operation_id = "countInstanceEvents",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    responses((status = 200, description = "The counts.", body = EventAggregates))
)]
pub(crate) async fn counts(
    State(state): State<AppState>,
    path: Parameters,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    json(&state.sessions.event_aggregates(&id).await?)
}

/// Shows what came of an event
#[utoipa::path(
    get,
    path = "/v1/sessions/events/{id}/tree",
    tag = "sessions",
    operation_id = "instanceEventTree",
    params(("id" = String, Path, description = "The id of the event.")),
    responses((status = 200, description = "The event and its effects.", body = EventTree))
)]
pub(crate) async fn tree(
    State(state): State<AppState>,
    path: Parameters,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    json(&state.sessions.event_tree(&id).await?)
}

/// Shows what led to an event
#[utoipa::path(
    get,
    path = "/v1/sessions/events/{id}/parents",
    tag = "sessions",
    operation_id = "instanceEventParents",
    params(("id" = String, Path, description = "The id of the event.")),
    responses((status = 200, description = "The event and its causes.", body = ParentChain))
)]
pub(crate) async fn parents(
    State(state): State<AppState>,
    path: Parameters,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    json(&state.sessions.parent_chain(&id).await?)
}

/// Lists the event types that an agent can emit
#[utoipa::path(
    get,
    path = "/v1/sessions/event-types",
    tag = "sessions",
    operation_id = "listEventTypes",
    params(("category" = inline(Option<factum_api::SessionCategoryDto>), Query, description = "Those of this category.")),
    responses((status = 200, description = "The types.", body = EventTypeList))
)]
pub(crate) async fn types(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let asked: OfCategory = query(&state, &uri)?;
    let types = Sessions::list_event_types(asked.category.as_deref())?;
    std::future::ready(json(&types)).await
}
