//! `/v1/sessions`: the operations on agent sessions, in the words of their contract.

pub(crate) mod checkpoints;
pub(crate) mod commands;
pub(crate) mod events;
pub(crate) mod instances;
mod metrics;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use factum_model::{ErrorCode, members};
use factum_sessions::SessionError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::state::AppState;

pub(crate) use self::metrics::write as write_metrics;

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let code = error.code();
        if let SessionError::EventStore(error) = error {
            return error.into();
        }
        let mut failure = Self::new(code, error.to_string());
        if let Some(field) = error.field() {
            failure.problem.pointer = Some(format!("/{}", field.replace('.', "/")));
        }
        if matches!(error, SessionError::Contended) {
            failure.problem.retry_after = Some(1);
        }
        failure
    }
}

/// The id in the path.
type Parameters = Result<RawPathParams, RawPathParamsRejection>;

/// Reads the input of an operation out of the body.
async fn input<T: DeserializeOwned>(state: &AppState, request: Request) -> Result<T, ApiError> {
    let body = text(state, request).await?;
    read(state, &body)
}

/// Reads the input of an operation on the instance that the path names. The body need not name it
/// again; if it does, it must be the same.
async fn input_about<T: DeserializeOwned>(
    state: &AppState,
    path: Parameters,
    request: Request,
) -> Result<T, ApiError> {
    let id = parameter(path, "id")?;
    let body = text(state, request).await?;
    let body = if body.trim().is_empty() {
        "{}"
    } else {
        body.trim()
    };
    let quoted = serde_json::Value::from(id).to_string();
    if let Some((_, named)) = members(body).find(|(name, _)| name == "instance_id") {
        if named != quoted {
            let mut failure = ApiError::new(
                ErrorCode::InvalidRequest,
                "instance_id is not the instance that the path names",
            );
            failure.problem.pointer = Some("/instance_id".to_owned());
            return Err(failure);
        }
        return read(state, body);
    }
    let Some(rest) = body.strip_prefix('{').map(str::trim_start) else {
        return read(state, body);
    };
    let comma = if rest == "}" { "" } else { "," };
    read(state, &format!("{{\"instance_id\":{quoted}{comma}{rest}"))
}

async fn text(state: &AppState, request: Request<Body>) -> Result<String, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(state, body).await?;
    String::from_utf8(body.bytes().to_vec())
        .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body is not UTF-8"))
}

fn read<T: DeserializeOwned>(state: &AppState, text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(|error| {
        // The message may repeat a value, and messages are logged.
        let detail = error.to_string();
        let detail = state.sessions.options().redactor.text(&detail);
        ApiError::new(ErrorCode::InvalidRequest, detail)
    })
}

/// Reads the input of an operation out of the query.
fn query<T: DeserializeOwned>(state: &AppState, uri: &Uri) -> Result<T, ApiError> {
    let read = Query::<T>::try_from_uri(uri);
    let Query(input) = read.map_err(|rejection| {
        let detail = rejection.body_text();
        let detail = state.sessions.options().redactor.text(&detail);
        ApiError::new(ErrorCode::InvalidRequest, detail)
    })?;
    Ok(input)
}

/// Answers that something was made.
fn created(value: &impl Serialize) -> Result<Response, ApiError> {
    let mut response = json(value)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}
