//! `/v1/deliveries`.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::Uri;
use axum::response::Response;
use factum_api::{
    AttemptDto, DeliveryDto, DeliveryListDto, EndpointStatusDto, InputError, InputFault,
    TargetStatusDto, TargetStatusListDto, parse_plain_query,
};
use factum_engine::{
    Attempt, Deliveries, DeliveriesError, DeliveryFilter, DeliveryKey, DeliveryRecord,
    DeliveryStatus, EndpointState, SubscriptionError,
};
use factum_model::{ErrorCode, Timestamp};

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::state::AppState;

/// How many items a page has where nobody says.
const LIMIT_DEFAULT: usize = 100;
/// How many it has at most.
const LIMIT_MAX: usize = 1000;

/// Returns the deliveries of this node.
pub(crate) fn deliveries(state: &AppState) -> Result<&Deliveries, ApiError> {
    state.services.deliveries.as_ref().ok_or_else(|| {
        ApiError::new(
            ErrorCode::InvalidRequest,
            "this server has no rules: it was started without its bookkeeping",
        )
    })
}

/// Lists deliveries
///
/// What rules have sent, the newest events first, with every attempt. Of very many the oldest are no
/// longer kept.
#[utoipa::path(
    get,
    path = "/v1/deliveries",
    tag = "deliveries",
    operation_id = "listDeliveries",
    params(
        ("rule" = Option<String>, Query, description = "Those of a rule."),
        ("target" = Option<String>, Query, description = "Those of a target."),
        ("event" = Option<String>, Query, description = "Those of an event, by its id."),
        ("status" = inline(Option<factum_api::DeliveryStatusDto>), Query, description = "Those that stand so: delivered, retrying or dead."),
        ("after" = Option<String>, Query, description = "The cursor of the page before."),
        ("limit" = Option<u32>, Query, description = "How many at most, up to 1000; 100 by default."),
    ),
    responses((status = 200, description = "The deliveries.", body = DeliveryListDto))
)]
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let deliveries = deliveries(&state)?;
    let names = ["rule", "target", "event", "status", "after", "limit"];
    let query = uri.query().unwrap_or_default();
    let [rule, target, event, status, after, limit] = parse_plain_query(query, names)?;
    let status = status.map(|status| {
        let known = DeliveryStatus::ALL.into_iter();
        let found = { known }.find(|known| known.as_str() == status);
        found.ok_or_else(|| wrong("status", "delivered, retrying or dead", &status))
    });
    let filter = DeliveryFilter {
        rule,
        target,
        event,
        status: status.transpose()?,
    };
    let page = deliveries
        .list(&filter, after_of(after)?, limit_of(limit)?)
        .await?;
    json(&DeliveryListDto {
        items: page.deliveries.into_iter().map(dto).collect(),
        has_more: page.next.is_some(),
        cursor: page.next.map(|next| next.to_string()),
    })
}

/// Shows a delivery
#[utoipa::path(
    get,
    path = "/v1/deliveries/{id}",
    tag = "deliveries",
    operation_id = "showDelivery",
    params(("id" = String, Path, description = "The id of the delivery.")),
    responses((status = 200, description = "The delivery.", body = DeliveryDto))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let key = key(&parameter(path, "id")?)?;
    let record = deliveries(&state)?.get(key).await?;
    json(&dto(record))
}

/// Says how targets are
///
/// Of every rule that is switched on, from the node that answers.
#[utoipa::path(
    get,
    path = "/v1/deliveries/targets",
    tag = "deliveries",
    operation_id = "listTargets",
    responses((status = 200, description = "The targets.", body = TargetStatusListDto))
)]
pub(crate) async fn targets(State(state): State<AppState>) -> Result<Response, ApiError> {
    let deliveries = deliveries(&state)?;
    let meters = deliveries.meters().targets();
    let mut items = Vec::new();
    for report in deliveries.targets().await? {
        let mut known = meters.iter();
        let counted =
            known.find(|((rule, target), _)| (rule, target) == (&report.rule, &report.target));
        let counted = counted.map(|(_, meters)| meters);
        let millis = report.feed.lag.as_millis();
        items.push(TargetStatusDto {
            rule: report.rule,
            target: report.target,
            kind: Some(report.state.kind.to_owned()),
            breaker: Some(report.state.breaker.as_str().to_owned()),
            in_flight: report.state.in_flight,
            endpoint: report.state.endpoint.map(endpoint),
            ready: report.feed.n_ready,
            waiting: report.feed.n_waiting,
            lag_events: report.feed.lag_events,
            lag_ms: u64::try_from(millis).unwrap_or(u64::MAX),
            delivered: counted.map_or(0, |meters| meters.n_delivered()),
            failed: counted.map_or(0, |meters| meters.n_failed().values().sum()),
            dead: counted.map_or(0, |meters| meters.n_dead()),
        });
    }
    for (rule, target) in deliveries.broken() {
        items.push(TargetStatusDto {
            rule,
            target,
            kind: None,
            breaker: None,
            in_flight: 0,
            endpoint: None,
            ready: 0,
            waiting: 0,
            lag_events: 0,
            lag_ms: 0,
            delivered: 0,
            failed: 0,
            dead: 0,
        });
    }
    json(&TargetStatusListDto {
        items,
        has_more: false,
    })
}

fn endpoint(state: EndpointState) -> EndpointStatusDto {
    EndpointStatusDto {
        number: state.number,
        name: state.name,
        breaker: state.breaker.as_str().to_owned(),
        in_flight: state.in_flight,
        in_flight_max: state.in_flight_max,
        targets: state.n_targets,
    }
}

pub(crate) fn wrong(name: &'static str, expected: &'static str, found: &str) -> ApiError {
    let found = found.chars().take(100).collect();
    InputError::of_parameter(name, InputFault::Value { expected, found }).into()
}

pub(crate) fn after_of(after: Option<String>) -> Result<Option<DeliveryKey>, ApiError> {
    let read = |text: String| {
        let key = text.parse().ok();
        key.ok_or_else(|| wrong("after", "the cursor of a page before", &text))
    };
    after.map(read).transpose()
}

pub(crate) fn limit_of(limit: Option<String>) -> Result<usize, ApiError> {
    let Some(text) = limit else {
        return Ok(LIMIT_DEFAULT);
    };
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=LIMIT_MAX).contains(number));
    number.ok_or_else(|| wrong("limit", "a number from 1 to 1000", &text))
}

pub(crate) fn key(text: &str) -> Result<DeliveryKey, ApiError> {
    let id: String = text.chars().take(100).collect();
    let nothing = || ApiError::not_found(format!("there is no delivery {id:?}"));
    text.parse().map_err(|_| nothing())
}

pub(crate) fn instant(micros: i64) -> String {
    Timestamp::from_micros(micros)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

pub(crate) fn dto(record: DeliveryRecord) -> DeliveryDto {
    let id = record.key().map_or_else(String::new, |key| key.to_string());
    DeliveryDto {
        id,
        delivery_id: record.delivery_id,
        event_id: record.event_id,
        position: record.position,
        event_type: record.event_type,
        aggregate_type: record.aggregate_type,
        aggregate_id: record.aggregate_id,
        rule: record.rule,
        target: record.target,
        status: record.status.as_str().to_owned(),
        attempts_made: record.attempts_made,
        attempts: record.attempts.into_iter().map(attempt).collect(),
        next_attempt_at: record.next_attempt_micros.map(instant),
    }
}

fn attempt(attempt: Attempt) -> AttemptDto {
    AttemptDto {
        number: attempt.number,
        at: instant(attempt.at_micros),
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error_class: attempt.error_class,
        error: attempt.error,
        excerpt: attempt.excerpt,
    }
}

impl From<DeliveriesError> for ApiError {
    fn from(error: DeliveriesError) -> Self {
        match error {
            DeliveriesError::Engine(error) => error.into(),
            DeliveriesError::Rule(error) => error.into(),
            DeliveriesError::Subscription(SubscriptionError::Engine(error)) => error.into(),
            DeliveriesError::Subscription(SubscriptionError::Read(error)) => error.into(),
            DeliveriesError::NotFound { .. } | DeliveriesError::Invalid { .. } => {
                Self::new(error.code(), error.to_string())
            }
            DeliveriesError::State(_)
            | DeliveriesError::Subscription(_)
            | DeliveriesError::Name(_)
            | DeliveriesError::Record(_)
            | DeliveriesError::NoBookkeeping => {
                Self::hidden(error.code(), "the bookkeeping of deliveries failed", error)
            }
        }
    }
}
