//! `/v1/subscriptions`: made, changed, looked at.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use factum_api::{
    DurableSubscriptionDto, DurableSubscriptionListDto, NewSubscriptionDto, OrderDto, RetryDto,
    SettingsInput, StartDto, StartInput, SubscriptionDefinitionDto, SubscriptionStatusDto,
    filter_json, parse_new_subscription, parse_reset, parse_subscription,
};
use factum_engine::{
    Backoff, Definition, FeedSettings, FeedStatus, NewSubscription, Order, Start,
    SubscriptionError, SubscriptionInfo, Subscriptions,
};
use factum_model::{ErrorCode, Position};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::state::{AppState, Shared};

/// Returns the named subscriptions, where the server has any.
pub(crate) fn of(state: &Shared) -> Result<&Subscriptions, ApiError> {
    let subscriptions = state.services.subscriptions.as_ref();
    subscriptions.ok_or_else(|| SubscriptionError::NoBookkeeping.into())
}

/// Makes a subscription
///
/// It hands out every event that its filter means, at least once, those of one aggregate in order
/// and to one consumer at a time.
#[utoipa::path(
    post,
    path = "/v1/subscriptions",
    tag = "subscriptions",
    operation_id = "createSubscription",
    request_body = NewSubscriptionDto,
    responses((status = 201, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let limits = &state.engine.options().filter_limits;
    let (name, input, start) = parse_new_subscription(body.bytes(), limits)?;
    let new = NewSubscription {
        name,
        definition: Definition {
            filter: input.filter,
            settings: settings(input.settings),
        },
        start: self::start(&state, start)?,
    };
    let info = of(&state)?.create(new, principal.name()).await?;
    let mut response = json(&dto(info, None)?)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Lists the subscriptions
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    tag = "subscriptions",
    operation_id = "listSubscriptions",
    responses((status = 200, description = "The subscriptions, by name, with how they are.", body = DurableSubscriptionListDto))
)]
pub(crate) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let mut items = Vec::new();
    for info in of(&state)?.list() {
        items.push(shown(&state, info).await?);
    }
    json(&DurableSubscriptionListDto {
        items,
        has_more: false,
    })
}

/// Gives a subscription, with how it is
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{name}",
    tag = "subscriptions",
    operation_id = "getSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    responses((status = 200, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let info = of(&state)?.get(&name)?;
    json(&shown(&state, info).await?)
}

/// Changes what a subscription hands out from now on, and how
///
/// What is left out is as it is by default, not as it was. What is queued stays so.
#[utoipa::path(
    put,
    path = "/v1/subscriptions/{name}",
    tag = "subscriptions",
    operation_id = "changeSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = SubscriptionDefinitionDto,
    responses((status = 200, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn change(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let limits = &state.engine.options().filter_limits;
    let input = parse_subscription(body.bytes(), limits)?;
    let definition = Definition {
        filter: input.filter,
        settings: settings(input.settings),
    };
    let subscriptions = of(&state)?;
    let info = subscriptions
        .change(&name, definition, principal.name())
        .await?;
    json(&dto(info, None)?)
}

/// Deletes a subscription, with what is parked
#[utoipa::path(
    delete,
    path = "/v1/subscriptions/{name}",
    tag = "subscriptions",
    operation_id = "deleteSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    responses((status = 200, description = "What it was.", body = DurableSubscriptionDto))
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let info = of(&state)?.delete(&name, principal.name()).await?;
    json(&dto(info, None)?)
}

/// Stops handing out events
///
/// What consumers have may still be settled.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/pause",
    tag = "subscriptions",
    operation_id = "pauseSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    responses((status = 200, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn pause(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let info = of(&state)?.pause(&name, principal.name()).await?;
    json(&dto(info, None)?)
}

/// Goes on handing out events
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/resume",
    tag = "subscriptions",
    operation_id = "resumeSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    responses((status = 200, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn resume(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let info = of(&state)?.resume(&name, principal.name()).await?;
    json(&dto(info, None)?)
}

/// Begins another pass over the log
///
/// What is ready, in flight or waiting is forgotten; what is parked stays. Tokens from before are
/// stale.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/reset",
    tag = "subscriptions",
    operation_id = "resetSubscription",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = StartDto,
    responses((status = 200, description = "The subscription.", body = DurableSubscriptionDto))
)]
pub(crate) async fn reset(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let start = start(&state, parse_reset(body.bytes())?)?;
    let info = of(&state)?.reset(&name, start, principal.name()).await?;
    json(&dto(info, None)?)
}

fn start(state: &Shared, input: StartInput) -> Result<Start, ApiError> {
    Ok(match input {
        StartInput::Beginning => Start::Beginning,
        StartInput::End => Start::End,
        StartInput::Since(at) => Start::At(at),
        StartInput::After(text) => match state.engine.resolve_after(&text)? {
            Some(position) => Start::After(position),
            None => Start::Beginning,
        },
    })
}

fn settings(input: SettingsInput) -> FeedSettings {
    let defaults = FeedSettings::default();
    let size = |given: Option<u64>, default| {
        given.map_or(default, |number| {
            usize::try_from(number).unwrap_or(usize::MAX)
        })
    };
    let narrow = |given: Option<u64>, default| {
        given.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    let time = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
    FeedSettings {
        order: match input.order {
            Some(OrderDto::Strict) => Order::Strict,
            Some(OrderDto::Relaxed) => Order::Relaxed,
            None => defaults.order,
        },
        ack_deadline: time(input.ack_deadline_ms, defaults.ack_deadline),
        attempts_max: narrow(input.attempts_max, defaults.attempts_max),
        window_max: size(input.in_flight_max, defaults.window_max),
        retries_max: size(input.retries_max, defaults.retries_max),
        parked_max: size(input.parked_max, defaults.parked_max),
        backoff: Backoff {
            first: time(input.retry_first_ms, defaults.backoff.first),
            factor: narrow(input.retry_factor, defaults.backoff.factor),
            max: time(input.retry_max_ms, defaults.backoff.max),
        },
    }
}

async fn shown(state: &Shared, info: SubscriptionInfo) -> Result<DurableSubscriptionDto, ApiError> {
    let status = match of(state)?.feed(&info.name) {
        Ok(feed) => Some(feed.status().await?),
        Err(SubscriptionError::Unusable { .. } | SubscriptionError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    dto(info, status)
}

fn dto(
    info: SubscriptionInfo,
    status: Option<FeedStatus>,
) -> Result<DurableSubscriptionDto, ApiError> {
    let Definition { filter, settings } = info.definition;
    let filter = serde_json::from_str(&filter_json(&filter)).map_err(|error| {
        let detail = "the filter could not be written";
        ApiError::hidden(ErrorCode::Internal, detail, error)
    })?;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    Ok(DurableSubscriptionDto {
        name: info.name,
        filter,
        order: match settings.order {
            Order::Strict => OrderDto::Strict,
            Order::Relaxed => OrderDto::Relaxed,
        },
        ack_deadline_ms: millis(settings.ack_deadline),
        attempts_max: settings.attempts_max,
        in_flight_max: settings.window_max as u64,
        retries_max: settings.retries_max as u64,
        parked_max: settings.parked_max as u64,
        retry: RetryDto {
            first_ms: Some(millis(settings.backoff.first)),
            factor: Some(settings.backoff.factor),
            max_ms: Some(millis(settings.backoff.max)),
        },
        paused: info.is_paused,
        started_after: number(info.after),
        created_at: info.created_at.to_string(),
        changed_at: info.changed_at.to_string(),
        fault: info.fault,
        status: status.map(|status| SubscriptionStatusDto {
            position: number(status.position),
            ready: status.n_ready,
            in_flight: status.n_out,
            waiting: status.n_waiting,
            parked: status.n_parked,
            lag_events: status.lag_events,
            lag_seconds: status.lag.as_secs_f64(),
        }),
    })
}
