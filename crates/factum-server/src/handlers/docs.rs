//! The OpenAPI document and the page that shows it, which works without a network.

mod error_pages;

use std::sync::OnceLock;

use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use factum_model::ErrorCode;

use crate::error::ApiError;
use crate::handlers::log::parameter;
use crate::handlers::pages::typed;
use crate::{openapi, table};

const SCRIPT: &[u8] = include_bytes!("../../vendor/rapidoc-9.3.8.min.js");

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Factum: HTTP reference</title>
<script type="module" src="/docs/rapidoc.js"></script>
</head>
<body>
<rapi-doc spec-url="/openapi.json" render-style="read" show-header="false" load-fonts="false"
  schema-style="table" theme="light" primary-color="#0b5cad" allow-spec-url-load="false"
  allow-spec-file-load="false" persist-auth="false"></rapi-doc>
</body>
</html>
"##;

/// Scripts from here only; the element that shows the document styles itself.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
    style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Gives this document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    operation_id = "openApiDocument",
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json"))
)]
pub(crate) async fn document() -> Result<Response, ApiError> {
    static DOCUMENT: OnceLock<Result<Bytes, String>> = OnceLock::new();
    let made = DOCUMENT.get_or_init(|| {
        let document = openapi::render(&table::document());
        let document = document.map_err(|error| error.to_string())?;
        Ok(Bytes::from(document.to_string()))
    });
    let document = made.clone().map_err(|reason| {
        tracing::error!(reason, "the OpenAPI document could not be written");
        ApiError::new(ErrorCode::Internal, "the document could not be written")
    })?;
    std::future::ready(Ok(typed("application/json", document))).await
}

/// Shows the HTTP reference
#[utoipa::path(
    get,
    path = "/docs",
    tag = "operations",
    operation_id = "referencePage",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> Response {
    let mut response = typed("text/html; charset=utf-8", PAGE);
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    std::future::ready(response).await
}

/// Gives the script of the reference page
#[utoipa::path(
    get,
    path = "/docs/rapidoc.js",
    tag = "operations",
    operation_id = "referenceScript",
    responses((status = 200, description = "The script.", body = String, content_type = "text/javascript"))
)]
pub(crate) async fn script() -> Response {
    let mut response = typed("text/javascript; charset=utf-8", SCRIPT);
    let day = HeaderValue::from_static("public, max-age=86400");
    response.headers_mut().insert(header::CACHE_CONTROL, day);
    std::future::ready(response).await
}

/// Says what an error code means
///
/// Its page of the documentation, as Markdown.
#[utoipa::path(
    get,
    path = "/docs/errors/{code}",
    tag = "operations",
    operation_id = "errorPage",
    params(("code" = String, Path, description = "The code of a problem document.")),
    responses(
        (status = 200, description = "What it means.", body = String, content_type = "text/plain"),
        (status = 404, description = "not_found", body = factum_api::Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn error_page(
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let wanted = parameter(path, "code")?;
    let known = ErrorCode::ALL.iter().find(|code| code.as_str() == wanted);
    let code = *known.ok_or_else(|| ApiError::not_found("there is no such error code"))?;
    let text = error_pages::of(code);
    std::future::ready(Ok(typed("text/plain; charset=utf-8", text))).await
}
