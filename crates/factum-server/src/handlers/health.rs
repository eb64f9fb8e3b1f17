//! Whether the server lives, takes requests, and how its parts are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use factum_api::{HealthComponentDto, HealthDto, HealthStatusDto, LivenessDto};
use factum_model::Position;
use factum_store::WriteState;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::state::{AppState, Shared};

/// Tells that the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    operation_id = "alive",
    responses((status = 200, description = "It does.", body = LivenessDto))
)]
pub(crate) async fn alive() -> Result<Response, ApiError> {
    let status = HealthStatusDto::Ok;
    std::future::ready(json(&LivenessDto { status })).await
}

/// Tells whether requests are welcome
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    operation_id = "ready",
    responses(
        (status = 200, description = "They are.", body = LivenessDto),
        (status = 503, description = "Not now.", body = LivenessDto),
    )
)]
pub(crate) async fn ready(State(state): State<AppState>) -> Result<Response, ApiError> {
    // A store that is open for reading only is as ready as it was meant to be; one that ought to
    // take appends and does not is for its operator to see.
    let unready = state.shutdown.is_cancelled()
        || match state.engine.store().health().writes {
            WriteState::Open | WriteState::ReadOnly => false,
            WriteState::Full | WriteState::Failed { .. } | WriteState::Closed => true,
        };
    let status = if unready {
        HealthStatusDto::Failed
    } else {
        HealthStatusDto::Ok
    };
    let mut response = json(&LivenessDto { status })?;
    if unready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    std::future::ready(Ok(response)).await
}

/// Reports how the server and its parts are
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "operations",
    operation_id = "health",
    responses((status = 200, description = "How it is.", body = HealthDto))
)]
pub(crate) async fn report(State(state): State<AppState>) -> Result<Response, ApiError> {
    let components = components(&state);
    let health = HealthDto {
        status: components
            .iter()
            .map(|component| component.status)
            .max_by_key(|status| severity(*status))
            .unwrap_or(HealthStatusDto::Ok),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        head: state.engine.head().map_or(0, Position::get),
        uptime_seconds: state.started.elapsed().as_secs(),
        components,
    };
    std::future::ready(json(&health)).await
}

const fn severity(status: HealthStatusDto) -> u8 {
    match status {
        HealthStatusDto::Ok => 0,
        HealthStatusDto::Degraded => 1,
        HealthStatusDto::Failed => 2,
    }
}

fn components(state: &Shared) -> Vec<HealthComponentDto> {
    let health = state.engine.store().health();
    let reads = match health.damaged.first() {
        None => (HealthStatusDto::Ok, None),
        Some((first, last)) => {
            let n_ranges = health.damaged.len();
            let detail = format!("{n_ranges} damaged ranges, first {first} to {last}");
            (HealthStatusDto::Degraded, Some(detail))
        }
    };
    let component =
        |name: &str, (status, detail): (HealthStatusDto, Option<String>)| HealthComponentDto {
            name: name.to_owned(),
            status,
            detail,
        };
    let mut components = vec![
        component("writes", of_writes(&health.writes)),
        component("reads", reads),
    ];
    if let Some(bookkeeping) = state.engine.state() {
        let writes = bookkeeping.health().writes;
        components.push(component("bookkeeping", of_writes(&writes)));
    }
    components
}

fn of_writes(writes: &WriteState) -> (HealthStatusDto, Option<String>) {
    let (status, detail) = match writes {
        WriteState::Open => return (HealthStatusDto::Ok, None),
        WriteState::Full => (HealthStatusDto::Failed, "the disk is full"),
        WriteState::Failed { .. } => (
            HealthStatusDto::Failed,
            "a write or a sync failed; the log says which",
        ),
        WriteState::ReadOnly => (HealthStatusDto::Degraded, "open for reading only"),
        WriteState::Closed => (HealthStatusDto::Failed, "closed"),
    };
    (status, Some(detail.to_owned()))
}
