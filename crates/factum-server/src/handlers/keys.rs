//! `/v1/keys`.

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use factum_api::{KeyDto, KeyListDto, NewKeyDto, ScopeDto, parse_new_key, parse_revoke_query};
use factum_engine::{KeyInfo, NewKey, Revocation, Scope, Scopes};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::state::AppState;

/// Makes a key
///
/// The answer is the only place where the key itself ever stands.
#[utoipa::path(
    post,
    path = "/v1/keys",
    tag = "keys",
    operation_id = "createKey",
    request_body = NewKeyDto,
    responses((status = 201, description = "The key.", body = KeyDto))
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let input = parse_new_key(body.bytes())?;
    let scopes: Vec<Scope> = input.scopes.into_iter().map(scope).collect();
    let key = NewKey {
        name: input.name,
        scopes: Scopes::of(&scopes),
        expires_at: input.expires_at,
    };
    let created = state.keys.create(key, &principal).await?;
    let dto = KeyDto {
        secret: Some(created.secret),
        ..dto(created.info)
    };
    let mut response = json(&dto)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Lists all keys
#[utoipa::path(
    get,
    path = "/v1/keys",
    tag = "keys",
    operation_id = "listKeys",
    responses((status = 200, description = "The keys, oldest first.", body = KeyListDto))
)]
pub(crate) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let items = state.keys.list().into_iter().map(dto).collect();
    let list = KeyListDto {
        items,
        has_more: false,
    };
    std::future::ready(json(&list)).await
}

/// Revokes a key
///
/// It no longer works when this is answered, and connections opened with it end. The last key that
/// administers the server stays unless that is forced.
#[utoipa::path(
    delete,
    path = "/v1/keys/{id}",
    tag = "keys",
    operation_id = "revokeKey",
    params(
        ("id" = String, Path, description = "The id of the key."),
        ("force" = Option<bool>, Query, description = "Revoke it even if it is the last that administers the server."),
    ),
    responses((status = 200, description = "The key.", body = KeyDto))
)]
pub(crate) async fn revoke(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    let revocation = if parse_revoke_query(uri.query().unwrap_or_default())? {
        Revocation::Forced
    } else {
        Revocation::Careful
    };
    let revoked = state.keys.revoke(&id, revocation, &principal).await?;
    json(&dto(revoked))
}

const fn scope(scope: ScopeDto) -> Scope {
    match scope {
        ScopeDto::Read => Scope::Read,
        ScopeDto::Append => Scope::Append,
        ScopeDto::Admin => Scope::Admin,
    }
}

fn dto(info: KeyInfo) -> KeyDto {
    let scopes = info.scopes.iter().map(|scope| match scope {
        Scope::Read => ScopeDto::Read,
        Scope::Append => ScopeDto::Append,
        Scope::Admin => ScopeDto::Admin,
    });
    KeyDto {
        id: info.id,
        name: info.name,
        scopes: scopes.collect(),
        created_at: info.created_at.to_string(),
        expires_at: info.expires_at.map(|at| at.to_string()),
        revoked_at: info.revoked_at.map(|at| at.to_string()),
        secret: None,
    }
}
