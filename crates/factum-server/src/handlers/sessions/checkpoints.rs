//! Checkpoints: made, read, listed, deleted.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use factum_sessions::{
    Checkpoint, CheckpointList, CheckpointType, CleanedCheckpoints, CleanupCheckpoints,
    CreateCheckpoint, CreatedCheckpoint, ListCheckpoints,
};
use serde::Deserialize;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::handlers::sessions::{Parameters, created, input, input_about, query};
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    checkpoint_type: Option<CheckpointType>,
    limit: Option<u32>,
    offset: Option<u32>,
}

/// Makes a checkpoint
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/checkpoints",
    tag = "sessions",
    operation_id = "createCheckpoint",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    request_body(content = CreateCheckpoint, description = "`instance_id` may be left out: the path names it."),
    responses((status = 201, description = "The checkpoint.", body = CreatedCheckpoint))
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    path: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let input: CreateCheckpoint = input_about(&state, path, request).await?;
    created(&state.sessions.create_checkpoint(input).await?)
}

/// Lists the checkpoints of an instance
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/checkpoints",
    tag = "sessions",
    operation_id = "listCheckpoints",
    params(
        ("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$"),
        ("checkpoint_type" = Option<CheckpointType>, Query, description = "Those of this type."),
        ("limit" = Option<u32>, Query, description = "How many.", minimum = 1, maximum = 1000),
        ("offset" = Option<u32>, Query, description = "How many to pass over."),
    ),
    responses((status = 200, description = "The checkpoints, the newest first.", body = CheckpointList))
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    path: Parameters,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: Asked = query(&state, &uri)?;
    let input = ListCheckpoints {
        instance_id: parameter(path, "id")?,
        checkpoint_type: asked.checkpoint_type,
        limit: asked.limit,
        offset: asked.offset,
    };
    json(&state.sessions.list_checkpoints(input).await?)
}

/// Reads a checkpoint
///
/// With instructions to go on from it, as Markdown.
#[utoipa::path(
    get,
    path = "/v1/sessions/checkpoints/{id}",
    tag = "sessions",
    operation_id = "readCheckpoint",
    params(("id" = String, Path, description = "The id of the checkpoint.")),
    responses((status = 200, description = "The checkpoint.", body = Checkpoint))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Parameters,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    json(&state.sessions.get_checkpoint(&id).await?)
}

/// Deletes old checkpoints
///
/// They are no longer offered. What the log holds of them stays, so no space is given back.
#[utoipa::path(
    post,
    path = "/v1/sessions/checkpoints/cleanup",
    tag = "sessions",
    operation_id = "cleanupCheckpoints",
    request_body = CleanupCheckpoints,
    responses((status = 200, description = "What was deleted.", body = CleanedCheckpoints))
)]
pub(crate) async fn cleanup(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let input: CleanupCheckpoints = input(&state, request).await?;
    json(&state.sessions.cleanup_checkpoints(input).await?)
}
