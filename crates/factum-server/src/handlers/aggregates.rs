//! `/v1/aggregates`.

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use factum_api::{AggregateDto, LIMIT_DEFAULT, ReadDirection, StreamPageDto, parse_stream_query};
use factum_engine::Principal;
use factum_model::{AggregateId, AggregateType, ErrorCode, InvalidName, StreamId};
use factum_store::{Direction, StreamInfo, StreamRead};

use crate::accept::form;
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::log::parameter;
use crate::handlers::pages::{Beside, page, typed};
use crate::state::{AppState, Shared};

/// Describes the one aggregate with an id
///
/// For ids that stand under one aggregate type only.
#[utoipa::path(
    get,
    path = "/v1/aggregates/{id}",
    tag = "read",
    operation_id = "resolveAggregate",
    params(("id" = String, Path, description = "The aggregate id.", min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")),
    responses((status = 200, description = "What is known of it.", body = AggregateDto))
)]
pub(crate) async fn resolve(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let id: AggregateId = name(&parameter(path, "id")?, "id")?;
    let stream = state
        .engine
        .resolve(id.clone(), principal.visibility())
        .await?;
    let missing = || ApiError::not_found(format!("there is no aggregate {id:?}"));
    describe(&state, &principal, stream.ok_or_else(missing)?).await
}

/// Describes an aggregate
#[utoipa::path(
    get,
    path = "/v1/aggregates/{type}/{id}",
    tag = "read",
    operation_id = "readAggregate",
    params(
        ("type" = String, Path, description = "The aggregate type.", min_length = 1, max_length = 50, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("id" = String, Path, description = "The aggregate id.", min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
    ),
    responses((status = 200, description = "What is known of it.", body = AggregateDto))
)]
pub(crate) async fn info(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    describe(&state, &principal, stream_of(path)?).await
}

/// Reads the events of an aggregate
#[utoipa::path(
    get,
    path = "/v1/aggregates/{type}/{id}/events",
    tag = "read",
    operation_id = "readAggregateEvents",
    params(
        ("type" = String, Path, description = "The aggregate type.", min_length = 1, max_length = 50, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("id" = String, Path, description = "The aggregate id.", min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"),
        ("from" = Option<u64>, Query, description = "The smallest sequence number, inclusive.", minimum = 1),
        ("to" = Option<u64>, Query, description = "The largest sequence number, inclusive.", minimum = 1),
        ("limit" = Option<u32>, Query, description = "The largest number of events.", minimum = 1, maximum = 1000),
        ("direction" = Option<factum_api::DirectionDto>, Query, description = "Which way."),
    ),
    responses((status = 200, description = "A page of the stream.", content(
        (StreamPageDto = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )))
)]
pub(crate) async fn events(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let form = form(request.headers())?;
    let query = parse_stream_query(request.uri().query().unwrap_or_default())?;
    let stream = stream_of(path)?;
    let read = StreamRead {
        direction: match query.direction {
            ReadDirection::Forwards => Direction::Forwards,
            ReadDirection::Backwards => Direction::Backwards,
        },
        from: query.from,
        to: query.to,
        limit: query.limit.unwrap_or(LIMIT_DEFAULT),
        ..StreamRead::forwards(stream.clone())
    };
    let found = state
        .engine
        .read_stream(read, principal.visibility())
        .await?;
    let version = found.version.ok_or_else(|| missing(&stream))?;
    let has_more = found.has_more;
    Ok(page(
        &state,
        &found.events,
        form,
        &Beside {
            members: format!("\"hasMore\":{has_more},\"version\":{version}"),
            cursor: None,
            has_more,
        },
    ))
}

async fn describe(
    state: &Shared,
    principal: &Principal,
    stream: StreamId,
) -> Result<Response, ApiError> {
    let info = state
        .engine
        .stream_info(stream.clone(), principal.visibility())
        .await?;
    let info = dto(&info.ok_or_else(|| missing(&stream))?);
    json(&info)
}

/// Makes an answer out of what serde can write.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        ApiError::hidden(
            ErrorCode::Internal,
            "the answer could not be written",
            error,
        )
    })?;
    Ok(typed("application/json", body))
}

fn missing(stream: &StreamId) -> ApiError {
    ApiError::not_found(format!("there is no aggregate {stream}"))
}

fn stream_of(path: Result<RawPathParams, RawPathParamsRejection>) -> Result<StreamId, ApiError> {
    let path =
        path.map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the path is not UTF-8"))?;
    let part = |wanted: &str| {
        let found = path.iter().find(|(known, _)| *known == wanted);
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let aggregate_type: AggregateType = name(&part("type"), "type")?;
    let aggregate_id: AggregateId = name(&part("id"), "id")?;
    Ok(StreamId::new(aggregate_type, aggregate_id))
}

pub(crate) fn name<T: std::str::FromStr<Err = InvalidName>>(
    text: &str,
    parameter: &str,
) -> Result<T, ApiError> {
    text.parse().map_err(|error: InvalidName| {
        let mut failure = ApiError::new(ErrorCode::InvalidRequest, error.to_string());
        failure.problem.parameter = Some(parameter.to_owned());
        failure
    })
}

fn dto(info: &StreamInfo) -> AggregateDto {
    AggregateDto {
        aggregate_type: info.stream.aggregate_type.to_string(),
        aggregate_id: info.stream.aggregate_id.to_string(),
        version: info.version.get(),
        event_count: info.n_events,
        first_timestamp: info.first_timestamp.to_string(),
        last_timestamp: info.last_timestamp.to_string(),
        first_position: info.first_position.get(),
        last_position: info.last_position.get(),
    }
}
