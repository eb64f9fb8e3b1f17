//! `POST /v1/events`.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use factum_api::{AppendAnswerDto, AppendBodyDto, AppendInput, InputLimits, parse_append};
use factum_model::{EventId, Position, StreamId};
use factum_store::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, EventReceipt, PartialRepeat,
    StreamExpectation,
};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::receipts;
use crate::state::{AppState, Shared};

/// Appends one event, or many as one atomic unit
///
/// Durable when answered. Repeating a request with the same event ids changes nothing and answers
/// with the original receipts.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "append",
    operation_id = "appendEvents",
    request_body = AppendBodyDto,
    responses(
        (status = 201, description = "Appended.", body = AppendAnswerDto),
        (status = 200, description = "Everything was there already.", body = AppendAnswerDto),
    )
)]
pub(crate) async fn append(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let limits = input_limits(&state);
    let input = parse_append(body.bytes(), &limits)?;
    let single = input.single;
    let streams: Vec<StreamId> = input
        .events
        .iter()
        .map(|event| event.stream.clone())
        .collect();
    let receipt = append_within(&state, request_of(&state, input)?).await?;
    drop(body);
    let cursor = state.engine.cursor(last_position(&receipt));
    let rendered = match (single, streams.as_slice(), receipt.events.as_slice()) {
        (true, [stream], [event]) => receipts::single(stream, event, &cursor),
        (_, streams, _) => receipts::many(streams, &receipt, &cursor),
    };
    let mut response = Response::new(Body::from(rendered));
    let all_there = count(&state, &receipt.events);
    *response.status_mut() = if all_there {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Returns the bounds on what a body may bring.
pub(crate) fn input_limits(state: &Shared) -> InputLimits {
    let options = state.engine.options();
    InputLimits {
        events: options.limits,
        filter: options.filter_limits,
    }
}

/// Counts what was appended and tells whether all of it was there already.
pub(crate) fn count(state: &Shared, receipts: &[EventReceipt]) -> bool {
    let n_repeats = receipts.iter().filter(|event| event.deduplicated).count();
    let metrics = &state.metrics;
    let n = |number: usize| u64::try_from(number).unwrap_or(0);
    metrics
        .events_appended_total
        .fetch_add(n(receipts.len() - n_repeats), Ordering::Relaxed);
    if n_repeats > 0 {
        metrics
            .events_deduplicated_total
            .fetch_add(n(n_repeats), Ordering::Relaxed);
    }
    n_repeats == receipts.len()
}

/// Returns the last position of what was appended.
pub(crate) fn last_position(receipt: &AppendReceipt) -> Option<Position> {
    receipt.events.iter().map(|event| event.position).max()
}

fn request_of(state: &Shared, input: AppendInput) -> Result<AppendRequest, ApiError> {
    let condition = match input.condition {
        None => None,
        Some(condition) => {
            let after = condition
                .after
                .map(|after| state.engine.resolve_after(&after));
            let after = after.transpose().map_err(|error| {
                let mut failure = ApiError::from(error);
                failure.problem.parameter = None;
                failure.problem.pointer = Some("/condition/after".to_owned());
                failure
            })?;
            Some(AppendCondition {
                filter: condition.filter,
                after: after.flatten(),
            })
        }
    };
    let expected = input.expected.into_iter();
    Ok(AppendRequest {
        events: input.events,
        expected: expected
            .map(|(stream, version)| StreamExpectation { stream, version })
            .collect(),
        condition,
        partial_repeat: PartialRepeat::Refuse,
    })
}

/// Appends within the time that a request may take. An append that takes longer may still become
/// durable, so its outcome is not known.
async fn append_within(state: &Shared, request: AppendRequest) -> Result<AppendReceipt, ApiError> {
    let ids: Vec<EventId> = request.events.iter().filter_map(|event| event.id).collect();
    let limit = state.options.request_time_max;
    match tokio::time::timeout(limit, state.engine.append(request)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(AppendError::OutcomeUnknown { ids }.into()),
    }
}
