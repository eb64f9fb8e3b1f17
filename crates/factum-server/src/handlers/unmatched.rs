//! What is no endpoint, or not with that method.

use axum::extract::Request;
use axum::http::Method;
use factum_model::ErrorCode;

use crate::error::ApiError;

/// Answers a path that no endpoint has.
pub(crate) async fn not_found(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    std::future::ready(ApiError::not_found(format!("there is no endpoint {path}"))).await
}

/// Answers a method that the endpoint does not know. The router adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> ApiError {
    let method: String = method.as_str().chars().take(32).collect();
    let detail = format!("the endpoint does not know the method {method}");
    std::future::ready(ApiError::new(ErrorCode::MethodNotAllowed, detail)).await
}
