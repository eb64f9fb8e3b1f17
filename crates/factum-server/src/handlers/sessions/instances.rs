//! Instances: registered, heard of, listed, closed, taken over from.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use factum_sessions::{
    CloseInstance, ClosedInstance, Heartbeat, HeartbeatAnswer, InstanceDetails, InstanceList,
    ListInstances, RegisterInstance, RegisteredInstance, ResumeAnswer, ResumeInstance, StaleList,
};
use serde::Deserialize;

use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::handlers::sessions::{Parameters, created, input, input_about, query};
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfProject {
    project: Option<String>,
}

/// Registers an instance
///
/// Its id is unique, also among instances that are registered at the same time.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    tag = "sessions",
    operation_id = "registerInstance",
    request_body = RegisterInstance,
    responses((status = 201, description = "The instance.", body = RegisteredInstance))
)]
pub(crate) async fn register(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let input: RegisterInstance = input(&state, request).await?;
    created(&state.sessions.register_instance(input).await?)
}

/// Lists instances
#[utoipa::path(
    get,
    path = "/v1/sessions",
    tag = "sessions",
    operation_id = "listInstances",
    params(
        ("project" = Option<String>, Query, description = "Those of this project."),
        ("active_only" = Option<bool>, Query, description = "Those that are active."),
        ("limit" = Option<u32>, Query, description = "How many.", minimum = 1, maximum = 1000),
        ("offset" = Option<u32>, Query, description = "How many to pass over."),
    ),
    responses((status = 200, description = "The instances, those first that were heard of last.", body = InstanceList))
)]
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let input: ListInstances = query(&state, &uri)?;
    json(&state.sessions.list_instances(input).await?)
}

/// Lists stale instances
#[utoipa::path(
    get,
    path = "/v1/sessions/stale",
    tag = "sessions",
    operation_id = "listStaleInstances",
    params(("project" = Option<String>, Query, description = "Those of this project.")),
    responses((status = 200, description = "The instances, those first that were heard of last.", body = StaleList))
)]
pub(crate) async fn stale(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let input: OfProject = query(&state, &uri)?;
    let project = input.project.as_deref();
    json(&state.sessions.list_stale_instances(project).await?)
}

/// Shows an instance
///
/// By its whole id, by the six digits that end it, by its project, an epic or the beginning of its
/// id; where several fit, they are listed to choose from.
#[utoipa::path(
    get,
    path = "/v1/sessions/{id}",
    tag = "sessions",
    operation_id = "showInstance",
    params(("id" = String, Path, description = "The id, or a hint.")),
    responses((status = 200, description = "The instance, or those to choose from.", body = InstanceDetails))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Parameters,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    json(&state.sessions.instance_details(&id).await?)
}

/// Takes a heartbeat
///
/// It revives a stale instance. When the context reaches the bound, a checkpoint is made with it.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/heartbeat",
    tag = "sessions",
    operation_id = "heartbeat",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    request_body(content = Heartbeat, description = "`instance_id` may be left out: the path names it."),
    responses((status = 200, description = "How the instance was.", body = HeartbeatAnswer))
)]
pub(crate) async fn heartbeat(
    State(state): State<AppState>,
    path: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let input: Heartbeat = input_about(&state, path, request).await?;
    json(&state.sessions.heartbeat(input).await?)
}

/// Closes an instance
///
/// It takes no more events.
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/close",
    tag = "sessions",
    operation_id = "closeInstance",
    params(("id" = String, Path, description = "The id of the instance.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-(PS|MS)-[0-9a-f]{6}$")),
    request_body(content = CloseInstance, description = "`instance_id` may be left out: the path names it."),
    responses((status = 200, description = "The instance.", body = ClosedInstance))
)]
pub(crate) async fn close(
    State(state): State<AppState>,
    path: Parameters,
    request: Request,
) -> Result<Response, ApiError> {
    let input: CloseInstance = input_about(&state, path, request).await?;
    json(&state.sessions.close_instance(input).await?)
}

/// Takes over the work of an instance
///
/// Tells everything that a successor needs, and records that it was told. Where several instances
/// fit the hint, they are listed to choose from, and nothing is recorded.
#[utoipa::path(
    post,
    path = "/v1/sessions/resume",
    tag = "sessions",
    operation_id = "resumeInstance",
    request_body = ResumeInstance,
    responses((status = 200, description = "The work, or the instances to choose from.", body = ResumeAnswer))
)]
pub(crate) async fn resume(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let input: ResumeInstance = input(&state, request).await?;
    json(&state.sessions.resume_instance(input).await?)
}
