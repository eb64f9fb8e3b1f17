//! The door: what happens to every request before and after its handler.
//!
//! One layer does it all (identity, authentication, time limit, faults, headers, counters), since
//! each further layer costs every request an allocation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use factum_engine::Principal;
use factum_model::ErrorCode;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::options::Authentication;
use crate::state::AppState;
use crate::table::{Access, TimeLimit};

/// What the door knows of an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) state: AppState,
    pub(crate) access: Access,
    pub(crate) time_limit: TimeLimit,
    /// The place of the endpoint's counters.
    pub(crate) index: usize,
}

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Lets a request through to the handler that the router found, and its answer out.
pub(crate) async fn pass(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    through(&door, request, |request| next.run(request)).await
}

/// Lets a request through to a handler, and its answer out.
pub(crate) async fn through<F: Future<Output = Response>>(
    door: &Door,
    request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let state = &door.state;
    let counters = state.metrics.routes.get(door.index);
    let in_flight = counters.map(crate::metrics::RouteMetrics::begin);
    let request_id = request_id(request.headers());
    let mut response = match answer(door, request, handler).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        log(&error, &request_id, counters.map(|_| door.index));
        response = error.render(request_id.to_str().unwrap_or_default());
    }
    finish(&mut response, request_id, state.options.tls.is_some());
    drop(in_flight);
    if let Some(counters) = counters {
        counters.end(response.status().as_u16(), started.elapsed());
    }
    response
}

async fn answer<F: Future<Output = Response>>(
    door: &Door,
    mut request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Result<Response, ApiError> {
    if let Some(principal) = admit(door, request.headers())? {
        request.extensions_mut().insert(principal);
    }
    let limit = door.time_max();
    let run = AssertUnwindSafe(handler(request)).catch_unwind();
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(panic)) => {
            door.state
                .metrics
                .panics_total
                .fetch_add(1, Ordering::Relaxed);
            Err(ApiError::hidden(
                ErrorCode::Internal,
                "a fault of the server; the log says more under this request id",
                Panicked(words(&*panic)),
            ))
        }
        Err(_) => {
            let detail = format!("the request took longer than {} s", limit.as_secs());
            Err(ApiError::new(ErrorCode::Timeout, detail))
        }
    }
}

impl Door {
    fn time_max(&self) -> Duration {
        let options = &self.state.options;
        match self.time_limit {
            TimeLimit::Request => options.request_time_max,
            TimeLimit::Append => options.request_time_max.saturating_mul(3),
            TimeLimit::Maintenance => options.maintenance_time_max,
        }
    }
}

/// Says who makes the request, if the endpoint wants to know.
fn admit(door: &Door, headers: &HeaderMap) -> Result<Option<Principal>, ApiError> {
    let state = &door.state;
    let scope = match door.access {
        Access::Public => return Ok(None),
        Access::Scope(scope) | Access::Handshake(scope) => scope,
    };
    match state.options.authentication {
        Authentication::Required => {}
        Authentication::Off => return Ok(Some(state.everybody.clone())),
    }
    let Some(presented) = headers.get(header::AUTHORIZATION) else {
        return match door.access {
            Access::Handshake(_) => Ok(None),
            Access::Public | Access::Scope(_) => Err(ApiError::new(
                ErrorCode::Unauthenticated,
                "send a key as Authorization: Bearer fct_…",
            )),
        };
    };
    let principal = authenticate(state, presented)?;
    if !principal.allows(scope) {
        let detail = format!(
            "the key {:?} does not have the scope {scope}",
            principal.name()
        );
        return Err(ApiError::new(ErrorCode::Forbidden, detail));
    }
    Ok(Some(principal))
}

fn authenticate(state: &AppState, presented: &HeaderValue) -> Result<Principal, ApiError> {
    let invalid = || ApiError::new(ErrorCode::Unauthenticated, "the key is not valid");
    let text = presented.to_str().map_err(|_| invalid())?;
    let (scheme, key) = text.split_once(' ').ok_or_else(invalid)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(invalid());
    }
    // Which of the reasons it was is for the log; whoever has no key learns nothing from us.
    state.keys.authenticate(key.trim()).map_err(|error| {
        ApiError::hidden(ErrorCode::Unauthenticated, "the key is not valid", error)
    })
}

/// The request's own id, or one that this process has not used.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if let Some(given) = headers.get(&X_REQUEST_ID) {
        let bytes = given.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\';
        if (1..=128).contains(&bytes.len()) && bytes.iter().all(plain) {
            return given.clone();
        }
    }
    HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn finish(response: &mut Response, request_id: HeaderValue, tls: bool) {
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID.clone(), request_id);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    if tls {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
}

fn log(error: &ApiError, request_id: &HeaderValue, route: Option<usize>) {
    let problem = &error.problem;
    let request_id = request_id.to_str().unwrap_or_default();
    let cause = error
        .cause
        .as_deref()
        .map(|cause| cause as &dyn std::error::Error);
    if problem.status >= 500 {
        tracing::error!(
            request_id,
            route,
            code = problem.code,
            detail = problem.detail,
            error = cause,
            "a request failed"
        );
    } else {
        tracing::debug!(
            request_id,
            route,
            code = problem.code,
            detail = problem.detail,
            error = cause,
            "a request was refused"
        );
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}
