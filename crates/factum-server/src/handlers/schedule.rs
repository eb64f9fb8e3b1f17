//! `/v1/schedule`: events that are appended at a time.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use factum_api::{
    FiringDto, InputError, InputFault, MissedDto, NewScheduledEventDto, ScheduledEventDto,
    ScheduledEventListDto, WhenInput, parse_plain_query, parse_schedule,
};
use factum_engine::{
    Calendar, Missed, NewScheduled, Schedule, ScheduleError, ScheduleId, ScheduleScan, Scheduled,
    When,
};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::append::input_limits;
use crate::handlers::log::parameter;
use crate::state::AppState;

/// How many items a page has where nobody says.
const LIMIT_DEFAULT: usize = 100;
/// How many it has at most.
const LIMIT_MAX: usize = 1000;

fn of(state: &AppState) -> Result<&Schedule, ApiError> {
    let schedule = state.services.schedule.as_ref();
    schedule.ok_or_else(|| ScheduleError::NoBookkeeping.into())
}

/// Schedules an event
///
/// It is appended at its time, once, through restarts and on any number of nodes; if nobody ran then,
/// late, with the time that it was for. Its id and its timestamp follow from the firing.
#[utoipa::path(
    post,
    path = "/v1/schedule",
    tag = "schedule",
    operation_id = "scheduleEvent",
    request_body = NewScheduledEventDto,
    responses((status = 201, description = "The scheduled event.", body = ScheduledEventDto))
)]
pub(crate) async fn add(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let schedule = of(&state)?;
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let input = parse_schedule(body.bytes(), &input_limits(&state))?;
    let id = input.id.map(|id| id.parse()).transpose();
    let new = NewScheduled {
        id: id.map_err(ScheduleError::Id)?,
        when: when(input.when)?,
        event: input.event,
    };
    let scheduled = schedule.add(new, principal.name()).await?;
    let mut response = json(&dto(scheduled))?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Lists scheduled events
#[utoipa::path(
    get,
    path = "/v1/schedule",
    tag = "schedule",
    operation_id = "listSchedule",
    params(
        ("after" = Option<String>, Query, description = "The cursor of the page before."),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "How many at most; 100 where it is absent.")
    ),
    responses((status = 200, description = "The scheduled events, by name.", body = ScheduledEventListDto))
)]
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let query = uri.query().unwrap_or_default();
    let [after, limit] = parse_plain_query(query, ["after", "limit"])?;
    let after: Option<ScheduleId> = after
        .map(|text| {
            let id = text.parse();
            id.map_err(|_| wrong("after", "the cursor of a page before", &text))
        })
        .transpose()?;
    let limit = match limit {
        None => LIMIT_DEFAULT,
        Some(text) => {
            let limit = text.parse().ok();
            let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| wrong("limit", "an integer of 1 to 1000", &text))?
        }
    };
    let page = of(&state)?.list(ScheduleScan { after, limit }).await?;
    let last = page.items.last().map(|item| item.id.to_string());
    json(&ScheduledEventListDto {
        items: page.items.into_iter().map(dto).collect(),
        cursor: last.filter(|_| page.has_more),
        has_more: page.has_more,
    })
}

/// Shows a scheduled event
///
/// One that fired is not there any more, unless it fires again.
#[utoipa::path(
    get,
    path = "/v1/schedule/{id}",
    tag = "schedule",
    operation_id = "showScheduled",
    params(("id" = String, Path, description = "The name of the scheduled event.")),
    responses((status = 200, description = "The scheduled event.", body = ScheduledEventDto))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let id = id(path)?;
    json(&dto(of(&state)?.get(&id).await?))
}

/// Cancels a scheduled event
///
/// A firing that has begun is not called back.
#[utoipa::path(
    delete,
    path = "/v1/schedule/{id}",
    tag = "schedule",
    operation_id = "cancelScheduled",
    params(("id" = String, Path, description = "The name of the scheduled event.")),
    responses((status = 200, description = "What it was.", body = ScheduledEventDto))
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let id = id(path)?;
    json(&dto(of(&state)?.cancel(&id).await?))
}

fn id(path: Result<RawPathParams, RawPathParamsRejection>) -> Result<ScheduleId, ApiError> {
    let id = parameter(path, "id")?.parse();
    Ok(id.map_err(ScheduleError::Id)?)
}

fn wrong(name: &'static str, expected: &'static str, found: &str) -> ApiError {
    let found = found.chars().take(64).collect();
    InputError::of_parameter(name, InputFault::Value { expected, found }).into()
}

fn when(input: WhenInput) -> Result<When, ApiError> {
    Ok(match input {
        WhenInput::At(at) => When::At(at),
        WhenInput::AfterMs(delay) => When::After(Duration::from_millis(delay)),
        WhenInput::Cron {
            pattern,
            zone,
            missed,
        } => {
            let missed = match missed {
                None => Missed::default(),
                Some(name) => Missed::from_name(&name).ok_or_else(|| {
                    let code = factum_model::ErrorCode::InvalidRequest;
                    let mut failure = ApiError::new(code, "missed must be all or latest");
                    failure.problem.pointer = Some("/missed".to_owned());
                    failure
                })?,
            };
            When::Calendar(Calendar::new(
                &pattern,
                zone.as_deref().unwrap_or("UTC"),
                missed,
            )?)
        }
    })
}

fn dto(scheduled: Scheduled) -> ScheduledEventDto {
    let calendar = scheduled.calendar.as_ref();
    ScheduledEventDto {
        id: scheduled.id.to_string(),
        event_type: scheduled.event.event_type.to_string(),
        aggregate_type: scheduled.event.stream.aggregate_type.to_string(),
        aggregate_id: scheduled.event.stream.aggregate_id.to_string(),
        due_at: scheduled.due_at.to_string(),
        cron: calendar.map(|calendar| calendar.pattern().to_owned()),
        time_zone: calendar.map(|calendar| calendar.zone().to_owned()),
        missed: calendar.map(|calendar| match calendar.missed() {
            Missed::All => MissedDto::All,
            Missed::Latest => MissedDto::Latest,
        }),
        created_at: scheduled.created_at.to_string(),
        created_by: scheduled.created_by,
        fired: scheduled.n_fired,
        last: scheduled.last.map(|last| FiringDto {
            due_at: last.due_at.to_string(),
            recorded_at: last.recorded_at.to_string(),
            event_id: last.event_id.to_string(),
        }),
        failure: scheduled.failure,
    }
}
