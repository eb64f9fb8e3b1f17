//! The commands of an instance: logged and searched.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use factum_sessions::{CommandList, LogCommand, LoggedCommand, SearchCommands};
use serde::Deserialize;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::handlers::sessions::{Parameters, created, input_about, query};
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    action: Option<String>,
    tool_name: Option<String>,
    from: Option<String>,
    to: Option<String>,
    success: Option<bool>,
    limit: Option<u32>,
    offset: Option<u32>,
}

/// Logs a command
///
/// Secrets are taken out before it is recorded, and long texts are cut in the middle.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/commands",
    tag = "sessions",
    operation_id = "logCommand",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    request_body(content = LogCommand, description = "`instance_id` may be left out: the path names it."),
    responses((status = 201, description = "The command.", body = LoggedCommand))
)]
pub(crate) async fn log(
    State(state): State<AppState>,
    path: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let input: LogCommand = input_about(&state, path, request).await?;
    created(&state.sessions.log_command(input).await?)
}

/// Searches the commands of an instance
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}/commands",
    tag = "sessions",
    operation_id = "searchCommands",
    params(
        ("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$"),
        ("action" = Option<String>, Query, description = "Those with this action."),
        ("tool_name" = Option<String>, Query, description = "Those with this tool."),
        ("from" = Option<String>, Query, description = "Those from this time on, RFC 3339."),
        ("to" = Option<String>, Query, description = "Those up to this time, RFC 3339, inclusive."),
        ("success" = Option<bool>, Query, description = "Those that succeeded, or those that failed."),
        ("limit" = Option<u32>, Query, description = "How many.", minimum = 1, maximum = 1000),
        ("offset" = Option<u32>, Query, description = "How many to pass over."),
    ),
    responses((status = 200, description = "The commands, the newest first.", body = CommandList))
)]
pub(crate) async fn search(
    State(state): State<AppState>,
    path: Parameters,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: Asked = query(&state, &uri)?;
    let input = SearchCommands {
        instance_id: parameter(path, "id")?,
        action: asked.action,
        tool_name: asked.tool_name,
        from: asked.from,
        to: asked.to,
        success: asked.success,
        limit: asked.limit,
        offset: asked.offset,
        bytes_max: None,
    };
    json(&state.sessions.search_commands(input).await?)
}
