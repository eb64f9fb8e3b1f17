//! `/v1/dead-letters`.

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::Uri;
use axum::response::Response;
use factum_api::{
    DeadLetterActDto, DeadLetterDto, DeadLetterGroupDto, DeadLetterGroupListDto, DeadLetterListDto,
    DeadLetterMovedDto, Layout, parse_dead_letter_act, parse_plain_query, write_event,
};
use factum_engine::{
    DeadLetter, DeadLetterChoice, DeadLetterFilter, DeadLetterGroup, DeadLetterStatus, Moved,
    RedriveRate,
};
use factum_model::ErrorCode;
use factum_store::Visibility;
use serde_json::value::RawValue;

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::deliveries::{after_of, deliveries, dto, instant, key, limit_of, wrong};
use crate::handlers::log::parameter;
use crate::state::AppState;

const STATUSES: &str = "pending_retry, retrying, resolved or permanent_failure";

/// Lists dead letters
///
/// What could not be delivered, the newest events first.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    tag = "dead letters",
    operation_id = "listDeadLetters",
    params(
        ("rule" = Option<String>, Query, description = "Those of a rule."),
        ("target" = Option<String>, Query, description = "Those of a target."),
        ("errorClass" = Option<String>, Query, description = "Those that failed in a way."),
        ("group" = Option<String>, Query, description = "Those of a group."),
        ("event" = Option<String>, Query, description = "Those of an event, by its id."),
        ("eventType" = Option<String>, Query, description = "Those of events of a type."),
        ("status" = inline(Option<factum_api::DeadLetterStatusDto>), Query, description = "Those that stand so: pending_retry, retrying, resolved or permanent_failure."),
        ("after" = Option<String>, Query, description = "The cursor of the page before."),
        ("limit" = Option<u32>, Query, description = "How many at most, up to 1000; 100 by default."),
    ),
    responses((status = 200, description = "The dead letters.", body = DeadLetterListDto))
)]
pub(crate) async fn list(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let (filter, after, limit) = asked(&uri)?;
    let deliveries = deliveries(&state)?;
    let page = deliveries
        .dead_letters(&filter, after_of(after)?, limit_of(limit)?)
        .await?;
    json(&DeadLetterListDto {
        items: page.letters.into_iter().map(letter_dto).collect(),
        has_more: page.next.is_some(),
        cursor: page.next.map(|next| next.to_string()),
    })
}

/// Counts dead letters by what they died of
#[utoipa::path(
    get,
    path = "/v1/dead-letters/groups",
    tag = "dead letters",
    operation_id = "listDeadLetterGroups",
    params(
        ("rule" = Option<String>, Query, description = "Those of a rule."),
        ("target" = Option<String>, Query, description = "Those of a target."),
        ("errorClass" = Option<String>, Query, description = "Those that failed in a way."),
        ("group" = Option<String>, Query, description = "One group."),
        ("event" = Option<String>, Query, description = "Those of an event, by its id."),
        ("eventType" = Option<String>, Query, description = "Those of events of a type."),
        ("status" = inline(Option<factum_api::DeadLetterStatusDto>), Query, description = "Those that stand so: pending_retry, retrying, resolved or permanent_failure."),
    ),
    responses((status = 200, description = "The groups.", body = DeadLetterGroupListDto))
)]
pub(crate) async fn groups(State(state): State<AppState>, uri: Uri) -> Result<Response, ApiError> {
    let (filter, after, limit) = asked(&uri)?;
    if let Some((name, value)) = [("after", after), ("limit", limit)]
        .into_iter()
        .find_map(|(name, value)| Some((name, value?)))
    {
        return Err(wrong(
            name,
            "a parameter of this list, which has one page",
            &value,
        ));
    }
    let groups = deliveries(&state)?.dead_letter_groups(&filter).await?;
    json(&DeadLetterGroupListDto {
        items: groups.into_iter().map(group_dto).collect(),
        has_more: false,
    })
}

/// Shows a dead letter
///
/// With its event, its attempts, and its rule as it is now.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    tag = "dead letters",
    operation_id = "showDeadLetter",
    params(("id" = String, Path, description = "The id of the dead letter.")),
    responses((status = 200, description = "The dead letter.", body = DeadLetterDto))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let deliveries = deliveries(&state)?;
    let letter = deliveries
        .dead_letter(key(&parameter(path, "id")?)?)
        .await?;
    let event = match letter.delivery.event() {
        Some(id) => state.engine.event(id, Visibility::Everything).await?,
        None => None,
    };
    let raw = |text: String| {
        RawValue::from_string(text).map_err(|error| {
            ApiError::hidden(
                ErrorCode::Internal,
                "the answer could not be written",
                error,
            )
        })
    };
    let event = event.map(|event| {
        let mut text = Vec::new();
        write_event(&mut text, &event, Layout::Verbatim);
        raw(String::from_utf8_lossy(&text).into_owned())
    });
    let rules = deliveries.rules();
    let rule = match rules.get(&letter.delivery.rule) {
        Ok(rule) => Some(raw(rules.show(&rule)?)?),
        // It was deleted since.
        Err(_) => None,
    };
    json(&DeadLetterDto {
        event: event.transpose()?,
        rule,
        ..letter_dto(letter)
    })
}

/// Has dead letters tried again
///
/// Those that wait for somebody to decide, and those that were given up. Events of one stream that
/// were delivered meanwhile stay before them.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/retry",
    tag = "dead letters",
    operation_id = "retryDeadLetters",
    request_body = DeadLetterActDto,
    responses((status = 200, description = "How many.", body = DeadLetterMovedDto))
)]
pub(crate) async fn retry(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let act = act(&state, request).await?;
    misplaced(act.reason.as_ref(), "/reason")?;
    let rate = act
        .per_second
        .map_or(RedriveRate::UNBOUNDED, RedriveRate::per_second_of);
    let dry_run = act.dry_run.unwrap_or_default();
    let by = (principal.name(), dry_run);
    let moved = deliveries(&state)?.retry(&choice(act)?, rate, by).await?;
    json(&moved_dto(moved, dry_run))
}

/// Decides that dead letters will not be delivered
#[utoipa::path(
    post,
    path = "/v1/dead-letters/fail",
    tag = "dead letters",
    operation_id = "failDeadLetters",
    request_body = DeadLetterActDto,
    responses((status = 200, description = "How many.", body = DeadLetterMovedDto))
)]
pub(crate) async fn fail(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let act = act(&state, request).await?;
    misplaced(act.per_second.as_ref(), "/perSecond")?;
    let reason = act.reason.clone().unwrap_or_default();
    let dry_run = act.dry_run.unwrap_or_default();
    let by = (principal.name(), dry_run);
    let deliveries = deliveries(&state)?;
    let moved = deliveries.give_up(&choice(act)?, &reason, by).await?;
    json(&moved_dto(moved, dry_run))
}

/// Deletes dead letters that are settled
///
/// Those that were delivered after all, and those that were given up.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/purge",
    tag = "dead letters",
    operation_id = "purgeDeadLetters",
    request_body = DeadLetterActDto,
    responses((status = 200, description = "How many.", body = DeadLetterMovedDto))
)]
pub(crate) async fn purge(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let act = act(&state, request).await?;
    misplaced(act.per_second.as_ref(), "/perSecond")?;
    misplaced(act.reason.as_ref(), "/reason")?;
    let dry_run = act.dry_run.unwrap_or_default();
    let moved = deliveries(&state)?.purge(&choice(act)?, dry_run).await?;
    let (by, changed) = (principal.name(), moved.changed);
    tracing::info!(by, changed, dry_run, "dead letters were purged");
    json(&moved_dto(moved, dry_run))
}

async fn act(state: &AppState, request: Request) -> Result<DeadLetterActDto, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(state, body).await?;
    Ok(parse_dead_letter_act(body.bytes())?)
}

fn misplaced<T>(value: Option<&T>, pointer: &str) -> Result<(), ApiError> {
    if value.is_none() {
        return Ok(());
    }
    let detail = "the field has no meaning for this act";
    let mut failure = ApiError::new(ErrorCode::InvalidRequest, detail);
    failure.problem.pointer = Some(pointer.to_owned());
    Err(failure)
}

fn choice(act: DeadLetterActDto) -> Result<DeadLetterChoice, ApiError> {
    if let Some(ids) = act.ids {
        let keys: Result<Vec<_>, ApiError> = ids.iter().map(|id| key(id)).collect();
        return Ok(DeadLetterChoice::Keys(keys?));
    }
    let status = act.status.map(|status| {
        DeadLetterStatus::from_name(&status).ok_or_else(|| {
            let detail = format!("{status:?} is not {STATUSES}");
            let mut failure = ApiError::new(ErrorCode::InvalidRequest, detail);
            failure.problem.pointer = Some("/status".to_owned());
            failure
        })
    });
    Ok(DeadLetterChoice::Matching(DeadLetterFilter {
        rule: act.rule,
        target: act.target,
        class: act.error_class,
        group: act.group,
        event: None,
        event_type: act.event_type,
        status: status.transpose()?,
    }))
}

type Asked = (DeadLetterFilter, Option<String>, Option<String>);

fn asked(uri: &Uri) -> Result<Asked, ApiError> {
    let names = [
        "rule",
        "target",
        "errorClass",
        "group",
        "event",
        "eventType",
        "status",
        "after",
        "limit",
    ];
    let query = uri.query().unwrap_or_default();
    let [
        rule,
        target,
        class,
        group,
        event,
        event_type,
        status,
        after,
        limit,
    ] = parse_plain_query(query, names)?;
    let status = status.map(|status| {
        let known = DeadLetterStatus::from_name(&status);
        known.ok_or_else(|| wrong("status", STATUSES, &status))
    });
    let filter = DeadLetterFilter {
        rule,
        target,
        class,
        group,
        event,
        event_type,
        status: status.transpose()?,
    };
    Ok((filter, after, limit))
}

fn letter_dto(letter: DeadLetter) -> DeadLetterDto {
    let id = letter.key().map_or_else(String::new, |key| key.to_string());
    DeadLetterDto {
        id,
        status: letter.status.as_str().to_owned(),
        group: letter.group,
        error_class: letter.cause.class,
        error: letter.cause.message,
        answer_status: letter.cause.status,
        excerpt: letter.cause.excerpt,
        first_attempt_at: instant(letter.first_micros),
        last_attempt_at: instant(letter.last_micros),
        dead_at: instant(letter.dead_micros),
        reason: letter.reason,
        changed_by: letter.changed_by,
        delivery: dto(letter.delivery),
        event: None,
        rule: None,
    }
}

fn group_dto(group: DeadLetterGroup) -> DeadLetterGroupDto {
    DeadLetterGroupDto {
        example: group.example.to_string(),
        group: group.group,
        rule: group.rule,
        target: group.target,
        error_class: group.class,
        error: group.message,
        pending_retry: group.pending_retry,
        retrying: group.retrying,
        resolved: group.resolved,
        permanent_failure: group.permanent_failure,
        first_at: instant(group.first_micros),
        last_at: instant(group.last_micros),
    }
}

const fn moved_dto(moved: Moved, dry_run: bool) -> DeadLetterMovedDto {
    DeadLetterMovedDto {
        matched: moved.matched,
        changed: moved.changed,
        dry_run,
    }
}
