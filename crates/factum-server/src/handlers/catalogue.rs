//! `/v1/catalogue`.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use factum_api::{CatalogueEntryDto, CatalogueListDto};
use factum_engine::{Catalogue, CatalogueEntry};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::state::AppState;

/// Lists the event types of the catalogue
#[utoipa::path(
    get,
    path = "/v1/catalogue",
    tag = "catalogue",
    operation_id = "listCatalogue",
    responses((status = 200, description = "The event types.", body = CatalogueListDto))
)]
pub(crate) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let list = CatalogueListDto {
        items: Catalogue::shipped().entries().map(dto).collect(),
        strict: state.engine.options().strict_catalogue,
        has_more: false,
    };
    std::future::ready(json(&list)).await
}

/// Shows an event type of the catalogue
#[utoipa::path(
    get,
    path = "/v1/catalogue/{type}",
    tag = "catalogue",
    operation_id = "showCatalogueEntry",
    params(("type" = String, Path, description = "The event type.")),
    responses((status = 200, description = "The event type.", body = CatalogueEntryDto))
)]
pub(crate) async fn show(
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let name = parameter(path, "type")?;
    let entry = Catalogue::shipped().entry(&name);
    let missing = || ApiError::not_found("the catalogue has no such event type");
    let entry = dto(entry.ok_or_else(missing)?);
    std::future::ready(json(&entry)).await
}

fn dto(entry: &CatalogueEntry) -> CatalogueEntryDto {
    let text = |text: &str| {
        // The texts were read as JSON before.
        RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    };
    CatalogueEntryDto {
        event_type: entry.event_type().to_owned(),
        group: entry.group().as_str().to_owned(),
        category: entry.category().to_owned(),
        description: entry.description().to_owned(),
        required_fields: entry.required_fields().map(str::to_owned).collect(),
        optional_fields: entry.optional_fields().map(str::to_owned).collect(),
        schema: text(entry.schema()),
        example: text(entry.example()),
    }
}
