//! `POST /mcp`: the Model Context Protocol over HTTP, a message and an answer at a time.
//!
//! There are no sessions and no streams, so `GET` and `DELETE` are not known here, which the
//! protocol allows. What a key may do is decided tool by tool.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use factum_api::Problem;
use factum_mcp::{Access, Caller as McpCaller, Reply, Stated, Verdict};
use factum_model::ErrorCode;

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::pages::typed;
use crate::live::origin;
use crate::options::Authentication;
use crate::state::{AppState, Shared};

/// Takes a message of the Model Context Protocol
///
/// Tools, resources and prompts for AI agents, in the revisions 2026-07-28, 2025-11-25 and
/// 2025-06-18. Which tools are offered depends on the scopes of the key; `access=read` offers those
/// that change nothing only.
#[utoipa::path(
    post,
    path = "/mcp",
    tag = "agents",
    operation_id = "mcp",
    params(
        ("access" = Option<String>, Query, description = "`read` offers the tools that change nothing only.", pattern = "^(all|read)$"),
    ),
    request_body(content = Object, description = "A message of JSON-RPC 2.0."),
    responses(
        (status = 200, description = "The answer, which may be an error of the method.", body = Object),
        (status = 202, description = "A notification was taken."),
        (status = 400, description = "The message is not as the protocol asks.", content(
            (Object = "application/json"),
            (Problem = "application/problem+json"),
        )),
        (status = 404, description = "There is no such method.", content(
            (Object = "application/json"),
            (Problem = "application/problem+json"),
        )),
    )
)]
pub(crate) async fn message(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    check_place(&state, &parts.headers, &parts.uri)?;
    let access = access(parts.uri.query().unwrap_or_default())?;
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let stated = Stated {
        protocol_version: text("mcp-protocol-version"),
        method: text("mcp-method"),
        name: text("mcp-name"),
    };
    let caller = McpCaller { principal, access };
    match state.mcp.answer(body.bytes(), Some(stated), &caller).await {
        Reply::Accepted => {
            let mut response = Response::new(axum::body::Body::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        Reply::Message { body, verdict } => {
            let mut response = typed("application/json", body);
            *response.status_mut() = match verdict {
                Verdict::Answered => StatusCode::OK,
                Verdict::Malformed => StatusCode::BAD_REQUEST,
                Verdict::UnknownMethod => StatusCode::NOT_FOUND,
            };
            Ok(response)
        }
    }
}

fn access(query: &str) -> Result<Access, ApiError> {
    match query {
        "" | "access=all" => Ok(Access::All),
        "access=read" => Ok(Access::ReadOnly),
        _ => {
            let detail = "the only parameter is access, which is all or read";
            let mut error = ApiError::new(ErrorCode::InvalidRequest, detail);
            error.problem.parameter = Some("access".to_owned());
            Err(error)
        }
    }
}

/// Refuses a page of another site, and a name that was made to mean this machine: a browser on it
/// must not be led here.
fn check_place(state: &Shared, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let authority = uri
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or_else(|| headers.get(header::HOST).map(HeaderValue::to_str)?.ok());
    let options = &state.options;
    if !origin::is_allowed(headers, authority, &options.cors_allowed_origins) {
        let detail = "pages of this origin may not call; cors.allowed_origins lists those that may";
        return Err(ApiError::new(ErrorCode::Forbidden, detail));
    }
    let open_to_all = !options.listen.ip().is_loopback()
        && options.authentication == Authentication::Required
        && options.mcp_allowed_hosts.is_empty();
    if open_to_all || authority.is_some_and(|host| is_host(host, &options.mcp_allowed_hosts)) {
        return Ok(());
    }
    let detail = "the header Host names no host of this server; mcp.allowed_hosts lists others";
    Err(ApiError::new(ErrorCode::Forbidden, detail))
}

/// Tells whether an authority is this machine or one of the listed hosts, with or without a port.
fn is_host(authority: &str, listed: &[String]) -> bool {
    let host = without_port(authority);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = address
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    is_loopback
        || host.eq_ignore_ascii_case("localhost")
        || listed
            .iter()
            .any(|known| known.eq_ignore_ascii_case(authority) || known.eq_ignore_ascii_case(host))
}

fn without_port(authority: &str) -> &str {
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    let (_, rest) = authority.split_at(after_host);
    match rest.rfind(':') {
        Some(colon) => authority.get(..after_host + colon).unwrap_or(authority),
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_this_machine_or_listed() {
        let listed = [
            "factum.example".to_owned(),
            "agents.example:8443".to_owned(),
        ];
        let check = |authority, expected| {
            assert_eq!(is_host(authority, &listed), expected, "{authority}");
        };
        check("127.0.0.1:7766", true);
        check("127.0.0.1", true);
        check("[::1]:7766", true);
        check("LOCALHOST:1", true);
        check("Factum.example", true);
        check("factum.example:443", true);
        check("agents.example:8443", true);
        check("agents.example", false);
        check("evil.example", false);
        check("localhost.evil.example", false);
        check("10.0.0.1:7766", false);
    }
}
