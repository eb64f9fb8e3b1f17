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
use crate::metrics::RouteMetrics;
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
static X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    let in_flight = counters.map(RouteMetrics::begin);
    let marks = Marks::of(request.headers());
    let mut response = match answer(door, request, handler).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        log(&error, &marks, counters);
        response = error.render(marks.request_id());
    }
    let (status, took) = (response.status().as_u16(), started.elapsed());
    log_answer(&marks, counters, status, took);
    finish(&mut response, marks.request_id, state.options.tls.is_some());
    drop(in_flight);
    if let Some(counters) = counters {
        counters.end(status, took);
    }
    response
}

/// By what a request is found again, here and in the logs of others.
struct Marks {
    request_id: HeaderValue,
    /// As the client names the whole conversation.
    correlation_id: Option<HeaderValue>,
    /// The trace that the request is part of, and the span that made it, as W3C Trace Context
    /// writes them.
    traceparent: Option<HeaderValue>,
}

impl Marks {
    fn of(headers: &HeaderMap) -> Self {
        let given = |name, is_sound: fn(&[u8]) -> bool| {
            let value: Option<&HeaderValue> = headers.get(name);
            value.filter(|value| is_sound(value.as_bytes())).cloned()
        };
        Self {
            request_id: request_id(headers),
            correlation_id: given(&X_CORRELATION_ID, is_plain),
            traceparent: given(&TRACEPARENT, is_traceparent),
        }
    }

    fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_ref()?.to_str().ok()
    }

    fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()
    }

    /// Returns the part of the trace context that all its spans share.
    fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.get(3..35)
    }
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
        Access::AnyKey => None,
        Access::Scope(scope) | Access::Handshake(scope) => Some(scope),
    };
    match state.options.authentication {
        Authentication::Required => {}
        Authentication::Off => return Ok(Some(state.everybody.clone())),
    }
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = presented.next() else {
        return match door.access {
            Access::Handshake(_) => Ok(None),
            Access::Public | Access::AnyKey | Access::Scope(_) => Err(ApiError::new(
                ErrorCode::Unauthenticated,
                "send a key as Authorization: Bearer fct_…",
            )),
        };
    };
    if presented.next().is_some() {
        // Whoever stands in between may have looked at the other one.
        let detail = "there is more than one Authorization header";
        return Err(ApiError::new(ErrorCode::Unauthenticated, detail));
    }
    let principal = authenticate(state, first)?;
    if let Some(scope) = scope.filter(|scope| !principal.allows(*scope)) {
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
    if let Some(given) = headers.get(&X_REQUEST_ID)
        && is_plain(given.as_bytes())
    {
        return given.clone();
    }
    HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Tells whether an id of a client may stand in a log and in an answer.
fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\';
    (1..=128).contains(&id.len()) && id.iter().all(plain)
}

/// Tells whether this is a `traceparent`: version, trace id, span id and flags, in hexadecimal. A
/// later version may have more behind them.
fn is_traceparent(text: &[u8]) -> bool {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let parts: Vec<&[u8]> = text.splitn(5, |byte| *byte == b'-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let well_formed = lengths
        .iter()
        .all(|(part, length)| part.len() == *length && part.iter().all(hexadecimal));
    let names_both = [trace, span]
        .iter()
        .all(|part| part.iter().any(|byte| *byte != b'0'));
    let known = *version == b"00" && rest.is_empty();
    well_formed && names_both && (known || !matches!(*version, b"00" | b"ff")) && text.len() <= 128
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

/// Logs a failure, where it is handled.
fn log(error: &ApiError, marks: &Marks, route: Option<&RouteMetrics>) {
    let problem = &error.problem;
    let cause = error
        .cause
        .as_deref()
        .map(|cause| cause as &dyn std::error::Error);
    macro_rules! record {
        ($level:ident, $words:literal) => {
            tracing::$level!(
                request_id = marks.request_id(),
                correlation_id = marks.correlation_id(),
                trace_id = marks.trace_id(),
                traceparent = marks.traceparent(),
                method = route.map(RouteMetrics::method),
                route = route.map(RouteMetrics::route),
                code = problem.code,
                detail = problem.detail,
                error = cause,
                $words
            )
        };
    }
    if problem.status >= 500 {
        record!(error, "a request failed");
    } else {
        record!(debug, "a request was refused");
    }
}

/// Logs that a request was answered, for those who want to see each.
fn log_answer(marks: &Marks, route: Option<&RouteMetrics>, status: u16, took: Duration) {
    tracing::debug!(
        request_id = marks.request_id(),
        correlation_id = marks.correlation_id(),
        trace_id = marks.trace_id(),
        traceparent = marks.traceparent(),
        method = route.map(RouteMetrics::method),
        route = route.map(RouteMetrics::route),
        status,
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "a request was answered"
    );
}

#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_taken_as_its_standard_says() {
        let check = |text: &str, expected| assert_eq!(is_traceparent(text.as_bytes()), expected);
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        check(&format!("00-{trace}-{span}-01"), true);
        check(&format!("01-{trace}-{span}-01-more"), true);
        check(&format!("00-{trace}-{span}-01-more"), false);
        check(&format!("ff-{trace}-{span}-01"), false);
        check(&format!("00-{}-{span}-01", "0".repeat(32)), false);
        check(&format!("00-{trace}-{}-01", "0".repeat(16)), false);
        check(&format!("00-{}-{span}-01", trace.to_uppercase()), false);
        check(&format!("00-{trace}-{span}"), false);
        check("", false);
    }
}
