//! `/v1/admin`: verification and backup while the server runs.

use std::path::Path;

use axum::extract::{Request, State};
use axum::response::Response;
use factum_api::{BackupReportDto, BackupRequestDto, FindingDto, VerifyReportDto, parse_backup};
use factum_model::{ErrorCode, Position};
use factum_store::{Finding, VerifyReport};

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::aggregates::json;
use crate::state::AppState;

/// Verifies everything that is stored
///
/// Damage is a finding of the report, not a failure of the request.
#[utoipa::path(
    post,
    path = "/v1/admin/verify",
    tag = "administration",
    operation_id = "verifyStore",
    responses((status = 200, description = "What was found.", body = VerifyReportDto))
)]
pub(crate) async fn verify(State(state): State<AppState>) -> Result<Response, ApiError> {
    let report = state.engine.maintenance()?.verify().await?;
    json(&verified(&report))
}

/// Makes a backup
///
/// Into a directory of the server's machine that is new or empty.
#[utoipa::path(
    post,
    path = "/v1/admin/backup",
    tag = "administration",
    operation_id = "backUpStore",
    request_body = BackupRequestDto,
    responses((status = 200, description = "What the backup holds.", body = BackupReportDto))
)]
pub(crate) async fn backup(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(&state, body).await?;
    let target = parse_backup(body.bytes())?;
    let target = Path::new(&target);
    if !target.is_absolute() {
        // Relative to what, a client cannot know.
        let mut failure = ApiError::new(ErrorCode::InvalidRequest, "path must be absolute");
        failure.problem.pointer = Some("/path".to_owned());
        return Err(failure);
    }
    let report = state.engine.maintenance()?.backup(target).await?;
    json(&BackupReportDto {
        path: report.path.display().to_string(),
        head: report.head.map_or(0, Position::get),
        files: report.n_files,
        bytes: report.n_bytes,
    })
}

fn verified(report: &VerifyReport) -> VerifyReportDto {
    VerifyReportDto {
        ok: report.findings.is_empty(),
        events: report.n_events,
        streams: report.n_streams,
        files: report.n_files,
        bytes: report.n_bytes,
        findings: report.findings.iter().map(finding).collect(),
    }
}

fn finding(finding: &Finding) -> FindingDto {
    FindingDto {
        kind: finding.kind.as_str().to_owned(),
        file: finding.file.clone(),
        offset: finding.offset,
        first_position: finding.positions.map(|(first, _)| first.get()),
        last_position: finding.positions.map(|(_, last)| last.get()),
        detail: finding.detail.clone(),
    }
}
