//! Request bodies: read whole within bounds, or refused before they are read.

use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use factum_model::{ErrorCode, LimitExceeded};
use http_body_util::BodyExt as _;

use crate::error::ApiError;
use crate::state::{AppState, Shared};

/// A body in memory; its bytes count until it is dropped.
#[derive(Debug)]
pub(crate) struct WholeBody {
    pub(crate) bytes: Bytes,
    counted: Counted,
}

#[derive(Debug)]
struct Counted {
    state: AppState,
    n_bytes: usize,
}

impl Counted {
    fn add(&mut self, n_bytes: usize) -> Result<(), ApiError> {
        let shared: &Shared = &self.state;
        let before = shared.bodies_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        self.n_bytes += n_bytes;
        if before + n_bytes > shared.options.bodies_in_flight_bytes_max {
            let detail = "too many request bodies are in memory";
            let mut error = ApiError::new(ErrorCode::Overloaded, detail);
            error.problem.retry_after = Some(1);
            return Err(error);
        }
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.state
            .bodies_bytes
            .fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

/// Reads a body into memory, within the time for a request. One that comes in one piece is not
/// copied.
pub(crate) async fn whole(state: &AppState, body: Body) -> Result<WholeBody, ApiError> {
    let limit = state.options.request_time_max;
    match tokio::time::timeout(limit, collect(state, body)).await {
        Ok(result) => result,
        Err(_) => {
            let detail = format!("the body took longer than {} s", limit.as_secs());
            Err(ApiError::new(ErrorCode::Timeout, detail))
        }
    }
}

async fn collect(state: &AppState, mut body: Body) -> Result<WholeBody, ApiError> {
    let limit = state.options.body_bytes_max;
    // What says beforehand that it is too long is not waited for.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_long(limit, announced));
    }
    let mut counted = Counted {
        state: state.clone(),
        n_bytes: 0,
    };
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::hidden(
                ErrorCode::InvalidRequest,
                "the body could not be read",
                error,
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let actual = counted.n_bytes + data.len();
        if actual > limit {
            return Err(too_long(limit, actual));
        }
        counted.add(data.len())?;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if rest.is_empty() {
        first
    } else {
        rest.freeze()
    };
    Ok(WholeBody { bytes, counted })
}

fn too_long(limit: usize, actual: usize) -> ApiError {
    let what = "request body in bytes";
    let error = LimitExceeded {
        what,
        limit,
        actual,
    };
    error.into()
}

impl WholeBody {
    /// Gives the bytes out, with what counts them.
    pub(crate) fn bytes(&self) -> &Bytes {
        debug_assert!(self.counted.n_bytes >= self.bytes.len());
        &self.bytes
    }
}

/// Refuses a body that is not of one of these media types, or is encoded. A body without a type
/// is taken for the first.
pub(crate) fn expect_type(headers: &HeaderMap, types: &[&str]) -> Result<(), ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        let detail = "this endpoint reads bodies without Content-Encoding";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail));
    }
    expect_media_type(headers, types)
}

/// Refuses a body that is not of one of these media types.
pub(crate) fn expect_media_type(headers: &HeaderMap, types: &[&str]) -> Result<(), ApiError> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if types
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    let detail = format!("this endpoint reads {}", types.join(" or "));
    Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
}
