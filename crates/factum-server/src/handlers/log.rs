//! `GET /v1/events`, `POST /v1/events/query`, `GET /v1/events/{id}`.

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use factum_api::{
    EventDto, EventPageDto, ExplanationDto, LIMIT_DEFAULT, LogQuery, QueryDto, ReadDirection,
    parse_event_query, parse_log_query,
};
use factum_engine::Principal;
use factum_model::{ErrorCode, EventId};
use factum_query::narrowing;
use factum_store::{Direction, LogRead};

use crate::accept::{Form, form};
use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::pages::{Beside, all, one, page};
use crate::state::{AppState, Shared};

/// Reads the log
///
/// A page as JSON, CloudEvents or NDJSON. As NDJSON without a limit it is everything up to the
/// head of the moment in which the answer begins.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "read",
    operation_id = "readEvents",
    params(
        ("q" = Option<String>, Query, description = "A filter as people write it, as in `type:submission.* payload.country=DE payload.amount>10000 user:ann`; docs/query.md describes it."),
        ("types" = Option<String>, Query, description = "Event types or patterns, separated by commas.", pattern = r"^(>|([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?)(,(>|([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?))*$"),
        ("aggregateTypes" = Option<String>, Query, description = "Aggregate types, separated by commas.", pattern = r"^[^\x00-\x1f\x7f-\x9f,]{1,50}(,[^\x00-\x1f\x7f-\x9f,]{1,50})*$"),
        ("aggregateIds" = Option<String>, Query, description = "Aggregate ids, separated by commas.", pattern = r"^[^\x00-\x1f\x7f-\x9f,]{1,255}(,[^\x00-\x1f\x7f-\x9f,]{1,255})*$"),
        ("ids" = Option<String>, Query, description = "Event ids, separated by commas.", pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(,[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})*$"),
        ("tags" = Option<String>, Query, description = "Tags, separated by commas; an event has all of them."),
        ("correlationId" = Option<String>, Query, description = "The conversation.", pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"),
        ("causationId" = Option<String>, Query, description = "The causing event.", format = "uuid"),
        ("userId" = Option<String>, Query, description = "The user."),
        ("from" = Option<String>, Query, description = "Happened at or after.", format = "date-time"),
        ("to" = Option<String>, Query, description = "Happened before.", format = "date-time"),
        ("recordedFrom" = Option<String>, Query, description = "Recorded at or after.", format = "date-time"),
        ("recordedTo" = Option<String>, Query, description = "Recorded before.", format = "date-time"),
        ("after" = Option<String>, Query, description = "A cursor, or the number of a position."),
        ("limit" = Option<u32>, Query, description = "The largest number of events.", minimum = 1, maximum = 1000),
        ("direction" = Option<factum_api::DirectionDto>, Query, description = "Which way."),
    ),
    responses((status = 200, description = "A page of the log.", content(
        (EventPageDto = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )))
)]
pub(crate) async fn read(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let form = form(request.headers())?;
    let query = request.uri().query().unwrap_or_default();
    let query = parse_log_query(query, &state.engine.options().filter_limits)?;
    answer(&state, &principal, query, form, Asked::default()).await
}

/// What is asked beside the events.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    total: bool,
    explain: bool,
}

/// Queries the log
///
/// What `GET /v1/events` does, with a whole filter, a total, and how it was found.
#[utoipa::path(
    post,
    path = "/v1/events/query",
    tag = "read",
    operation_id = "queryEvents",
    request_body = QueryDto,
    responses((status = 200, description = "A page of the log.", content(
        (EventPageDto = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )))
)]
pub(crate) async fn query(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let form = form(&parts.headers)?;
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let query = parse_event_query(body.bytes(), &state.engine.options().filter_limits)?;
    let read = LogQuery {
        filter: query.filter,
        direction: query.direction,
        after: query.after,
        limit: query.limit,
    };
    if (query.total_count || query.explain) && form != Form::Json {
        let detail = "totalCount and explain are given as application/json only";
        return Err(ApiError::new(ErrorCode::NotAcceptable, detail));
    }
    let asked = Asked {
        total: query.total_count,
        explain: query.explain,
    };
    answer(&state, &principal, read, form, asked).await
}

/// Reads one event
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    tag = "read",
    operation_id = "readEvent",
    params(("id" = String, Path, description = "The id of the event.", format = "uuid")),
    responses((status = 200, description = "The event.", content(
        (EventDto = "application/json"),
        (EventDto = "application/x-ndjson"),
        (Object = "application/cloudevents+json"),
    )))
)]
pub(crate) async fn event(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let form = form(request.headers())?;
    let id = event_id(&parameter(path, "id")?)?;
    let found = state.engine.event(id, principal.visibility()).await?;
    let event = found.ok_or_else(|| ApiError::not_found(format!("there is no event {id}")))?;
    Ok(one(&state, &event, form))
}

/// Reads the id of an event out of the path.
pub(crate) fn event_id(text: &str) -> Result<EventId, ApiError> {
    text.parse().map_err(|error: factum_model::InvalidEventId| {
        let mut failure = ApiError::new(ErrorCode::InvalidRequest, error.to_string());
        failure.problem.parameter = Some("id".to_owned());
        failure
    })
}

/// Returns a parameter of the path, decoded.
pub(crate) fn parameter(
    path: Result<RawPathParams, RawPathParamsRejection>,
    name: &str,
) -> Result<String, ApiError> {
    let invalid = || {
        let detail = "the path is not UTF-8";
        ApiError::new(ErrorCode::InvalidRequest, detail)
    };
    let path = path.map_err(|_| invalid())?;
    let found = path.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.to_owned()).ok_or_else(invalid)
}

async fn answer(
    state: &AppState,
    principal: &Principal,
    query: LogQuery,
    form: Form,
    asked: Asked,
) -> Result<Response, ApiError> {
    let limit = query.limit;
    let read = log_read(state, principal, query)?;
    if form == Form::Lines && limit.is_none() {
        let end = match read.direction {
            Direction::Forwards => state.engine.head(),
            Direction::Backwards => None,
        };
        if read.direction == Direction::Forwards && end <= read.after {
            // Nothing is there, and a read without an end would wait for what comes.
            return Ok(page(
                state,
                &[],
                form,
                &Beside {
                    members: String::new(),
                    cursor: None,
                    has_more: false,
                },
            ));
        }
        return Ok(all(
            state.clone(),
            LogRead {
                until: end,
                limit: state.options.stream_page_events,
                page_bytes_max: state.options.stream_page_bytes,
                ..read
            },
        ));
    }
    let undecided = narrowing(&read.filter).first_undecided();
    let (found, counts) = state.engine.query(read, asked.total).await?;
    let cursor = state.engine.cursor(found.scanned_to);
    let has_more = found.has_more;
    let mut members = format!("\"cursor\":\"{cursor}\",\"hasMore\":{has_more}");
    if let Some(counts) = &counts {
        let (total, complete) = (counts.total, counts.complete);
        let total = format!(",\"totalCount\":{total},\"totalCountComplete\":{complete}");
        members.push_str(&total);
    }
    if asked.explain {
        let explanation = ExplanationDto {
            decided_by_index: undecided.is_none(),
            undecided: undecided.map(str::to_owned),
            examined: found.examined,
            examined_for_total: counts.map(|counts| counts.examined),
        };
        members.push_str(",\"explain\":");
        members.push_str(&serde_json::to_string(&explanation).unwrap_or_default());
    }
    Ok(page(
        state,
        &found.events,
        form,
        &Beside {
            members,
            cursor: Some(&cursor),
            has_more,
        },
    ))
}

fn log_read(state: &Shared, principal: &Principal, query: LogQuery) -> Result<LogRead, ApiError> {
    let after = query.after.map(|after| state.engine.resolve_after(&after));
    let (direction, base) = match query.direction {
        ReadDirection::Forwards => (Direction::Forwards, LogRead::forwards()),
        ReadDirection::Backwards => (Direction::Backwards, LogRead::backwards()),
    };
    Ok(LogRead {
        filter: query.filter,
        visibility: principal.visibility(),
        direction,
        after: after.transpose()?.flatten(),
        limit: query.limit.unwrap_or(LIMIT_DEFAULT),
        ..base
    })
}
