//! `/v1/events/counts`, `/v1/events/{id}/tree`, `/v1/correlations/{id}`.

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use factum_api::{
    CausalTreeDto, ConversationDto, CountByDto, CountQueryDto, CountsDto, GROUPS_DEFAULT, GroupDto,
    Layout, parse_count_query, parse_tree_query, write_event,
};
use factum_engine::TreeEvent;
use factum_model::{CorrelationId, Position, RecordedEvent};
use factum_store::{CountBy, CountRead};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::{json, name};
use crate::handlers::log::{event_id, parameter};
use crate::handlers::pages::typed;
use crate::state::AppState;

/// Counts events
///
/// In all, and by group. Where the index decides the filter no event is read.
#[utoipa::path(
    post,
    path = "/v1/events/counts",
    tag = "read",
    operation_id = "countEvents",
    request_body = CountQueryDto,
    responses((status = 200, description = "How many there are.", body = CountsDto))
)]
pub(crate) async fn counts(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let query = parse_count_query(body.bytes(), &state.engine.options().filter_limits)?;
    let by = query.by.map(count_by);
    let read = CountRead {
        visibility: principal.visibility(),
        by,
        groups_max: query.limit.unwrap_or(GROUPS_DEFAULT),
        ..CountRead::all(query.filter)
    };
    let counts = state.engine.count(read).await?;
    let groups = counts.groups.into_iter().map(|group| GroupDto {
        key: group.key,
        count: group.n_events,
    });
    json(&CountsDto {
        total: counts.total,
        complete: counts.complete,
        groups: by.map(|_| groups.collect()),
        group_count: by.map(|_| counts.n_groups),
        first_position: counts.first.map(Position::get),
        last_position: counts.last.map(Position::get),
        examined: counts.examined,
    })
}

const fn count_by(by: CountByDto) -> CountBy {
    match by {
        CountByDto::EventType => CountBy::EventType,
        CountByDto::AggregateType => CountBy::AggregateType,
        CountByDto::Stream => CountBy::Stream,
        CountByDto::User => CountBy::User,
        CountByDto::Tag => CountBy::Tag,
        CountByDto::Day => CountBy::Day,
        CountByDto::Hour => CountBy::Hour,
    }
}

/// Shows what led to an event and what came of it
#[utoipa::path(
    get,
    path = "/v1/events/{id}/tree",
    tag = "read",
    operation_id = "readCausalTree",
    params(
        ("id" = String, Path, description = "The id of the event.", format = "uuid"),
        ("limit" = Option<u32>, Query, description = "The largest number of events below the event.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "The causes and effects.", body = CausalTreeDto))
)]
pub(crate) async fn tree(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = event_id(&parameter(path, "id")?)?;
    let limit = parse_tree_query(request.uri().query().unwrap_or_default())?;
    let visibility = principal.visibility();
    let found = state.engine.causal_tree(id, visibility, limit).await?;
    let found = found.ok_or_else(|| ApiError::not_found(format!("there is no event {id}")))?;
    let mut out = b"{\"ancestors\":[".to_vec();
    put_list(&mut out, &found.ancestors, put_event);
    out.push(b']');
    if let Some(missing) = found.missing_cause {
        out.extend_from_slice(format!(",\"missingCause\":\"{missing}\"").as_bytes());
    }
    out.push(b',');
    put_tree(&mut out, &found.tree, found.complete);
    Ok(typed("application/json", out))
}

/// Shows a conversation
///
/// The events with a correlation id, as the trees that they form.
#[utoipa::path(
    get,
    path = "/v1/correlations/{id}",
    tag = "read",
    operation_id = "readCorrelation",
    params(
        ("id" = String, Path, description = "The correlation id.", min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("limit" = Option<u32>, Query, description = "The largest number of events.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "The events; none if there is no such conversation.", body = ConversationDto))
)]
pub(crate) async fn correlation(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id: CorrelationId = name(&parameter(path, "id")?, "id")?;
    let limit = parse_tree_query(request.uri().query().unwrap_or_default())?;
    let visibility = principal.visibility();
    let found = state.engine.conversation(id, visibility, limit).await?;
    let mut out = b"{".to_vec();
    put_tree(&mut out, &found.forest, found.complete);
    Ok(typed("application/json", out))
}

fn put_tree(out: &mut Vec<u8>, tree: &[TreeEvent], complete: bool) {
    out.extend_from_slice(b"\"tree\":[");
    put_list(out, tree, |out, node| {
        out.extend_from_slice(format!("{{\"depth\":{},\"event\":", node.depth).as_bytes());
        put_event(out, &node.event);
        out.push(b'}');
    });
    out.extend_from_slice(format!("],\"complete\":{complete}}}").as_bytes());
}

fn put_event(out: &mut Vec<u8>, event: &RecordedEvent) {
    write_event(out, event, Layout::Verbatim);
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, item);
    }
}
