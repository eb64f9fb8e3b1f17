//! `/v1/stream`, `/v1/events/stream`, `/v1/streams`: the HTTP side of live delivery.

use std::net::SocketAddr;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, Extension, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use factum_engine::Principal;

use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::live::{ConnectionListDto, LiveError, TicketDto};
use crate::state::AppState;

impl From<LiveError> for ApiError {
    fn from(error: LiveError) -> Self {
        let (code, retry_after) = (error.code(), error.retry_after());
        let mut failure = match error {
            LiveError::Input(error) => error.into(),
            LiveError::Engine(error) => error.into(),
            LiveError::Handshake { .. }
            | LiveError::Origin
            | LiveError::Full { .. }
            | LiveError::Tickets { .. }
            | LiveError::Ticket
            | LiveError::Scope
            | LiveError::Contradiction { .. }
            | LiveError::NotFound { .. }
            | LiveError::Random => Self::new(code, error.to_string()),
        };
        if let Some(after) = retry_after {
            failure.problem.retry_after = Some(after.as_secs().max(1));
        }
        failure
    }
}

/// Follows the log by Server-Sent Events
///
/// What matches the filter: from `after` or `Last-Event-ID` on, or from `start`, then live.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    tag = "live",
    operation_id = "followEvents",
    params(
        ("q" = Option<String>, Query, description = "A filter as people write it, as in `type:submission.* payload.country=DE payload.amount>10000 user:ann`; docs/query.md describes it."),
        ("types" = Option<String>, Query, description = "Event types or patterns, separated by commas.", pattern = r"^(>|([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?)(,(>|([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?))*$"),
        ("aggregateTypes" = Option<String>, Query, description = "Aggregate types, separated by commas.", pattern = r"^[^\x00-\x1f\x7f-\x9f,]{1,50}(,[^\x00-\x1f\x7f-\x9f,]{1,50})*$"),
        ("aggregateIds" = Option<String>, Query, description = "Aggregate ids, separated by commas.", pattern = r"^[^\x00-\x1f\x7f-\x9f,]{1,255}(,[^\x00-\x1f\x7f-\x9f,]{1,255})*$"),
        ("tags" = Option<String>, Query, description = "Tags, separated by commas; an event has all of them."),
        ("correlationId" = Option<String>, Query, description = "The conversation.", pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"),
        ("userId" = Option<String>, Query, description = "The user."),
        ("after" = Option<String>, Query, description = "A cursor, or the number of a position."),
        ("start" = Option<String>, Query, description = "`beginning` or `end`, which is the default.", pattern = "^(beginning|end)$"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that the client saw."),
    ),
    responses((status = 200, description = "The events.", body = factum_api::ServerSentEventDto, content_type = "text/event-stream"))
)]
pub(crate) async fn event_source(
    State(state): State<AppState>,
    Extension(principal): Caller,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let response = state.live.open_event_source(&parts, client, &principal)?;
    std::future::ready(Ok(response)).await
}

/// Opens a WebSocket
///
/// The key comes as a header, in the first message, or as a ticket in the query.
#[utoipa::path(
    get,
    path = "/v1/stream",
    tag = "live",
    operation_id = "openStream",
    params(("ticket" = Option<String>, Query, description = "A ticket, for browsers.")),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on."),
    )
)]
pub(crate) async fn web_socket(
    State(state): State<AppState>,
    principal: Option<Extension<Principal>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let principal = principal.map(|Extension(principal)| principal);
    let response = state.live.open_web_socket(parts, client, principal)?;
    std::future::ready(Ok(response)).await
}

/// Gives out a ticket with which a browser opens a WebSocket
#[utoipa::path(
    post,
    path = "/v1/stream/tickets",
    tag = "live",
    operation_id = "createStreamTicket",
    responses((status = 201, description = "The ticket.", body = TicketDto))
)]
pub(crate) async fn ticket(
    State(state): State<AppState>,
    Extension(principal): Caller,
) -> Result<Response, ApiError> {
    let mut response = json(&state.live.issue_ticket(principal)?)?;
    *response.status_mut() = StatusCode::CREATED;
    std::future::ready(Ok(response)).await
}

/// Lists the live connections
#[utoipa::path(
    get,
    path = "/v1/streams",
    tag = "live",
    operation_id = "listStreams",
    responses((status = 200, description = "The connections.", body = ConnectionListDto))
)]
pub(crate) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    std::future::ready(json(&state.live.list())).await
}

/// Ends a live connection
#[utoipa::path(
    delete,
    path = "/v1/streams/{id}",
    tag = "live",
    operation_id = "closeStream",
    params(("id" = String, Path, description = "The id of the connection.")),
    responses((status = 204, description = "It was told to end."))
)]
pub(crate) async fn close(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    state.live.close(&parameter(path, "id")?)?;
    std::future::ready(Ok(StatusCode::NO_CONTENT.into_response())).await
}
