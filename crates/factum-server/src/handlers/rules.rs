//! `/v1/rules`.

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use factum_api::{
    RuleDefinitionDto, RuleDto, RuleListDto, RuleOutcomeDto, RuleOutcomeName, RuleTestDto,
    RuleTestInput, RuleTestResultDto, TestedEventDto, parse_rule_test,
};
use factum_engine::{DryRun, Rule, RuleError, RuleOutcome, Rules, TestedEvent};
use factum_model::ErrorCode;
use factum_query::Explanation;
use serde_json::value::RawValue;

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::deliveries::deliveries;
use crate::handlers::log::parameter;
use crate::state::AppState;

/// How many events a dry run looks at where nobody says.
const LAST_DEFAULT: usize = 10;

fn rules(state: &AppState) -> Result<&Rules, ApiError> {
    deliveries(state).map(factum_engine::Deliveries::rules)
}

/// Lists all rules
#[utoipa::path(
    get,
    path = "/v1/rules",
    tag = "rules",
    operation_id = "listRules",
    responses((status = 200, description = "The rules.", body = RuleListDto))
)]
pub(crate) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let items: Result<Vec<RuleDto>, ApiError> =
        rules.list().iter().map(|rule| dto(rules, rule)).collect();
    let list = RuleListDto {
        items: items?,
        has_more: false,
    };
    std::future::ready(json(&list)).await
}

/// Makes a rule
///
/// The definition is checked whole. Targets begin where `start` says, after this change by default.
#[utoipa::path(
    post,
    path = "/v1/rules",
    tag = "rules",
    operation_id = "createRule",
    request_body = RuleDefinitionDto,
    responses((status = 201, description = "The rule.", body = RuleDto))
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let text = definition(&state, request).await?;
    let rule = rules.create(&text, principal.name()).await?;
    let mut response = json(&dto(rules, &rule)?)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Shows a rule
#[utoipa::path(
    get,
    path = "/v1/rules/{id}",
    tag = "rules",
    operation_id = "showRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    responses((status = 200, description = "The rule.", body = RuleDto))
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let rule = rules.get(&parameter(path, "id")?)?;
    std::future::ready(json(&dto(rules, &rule)?)).await
}

/// Replaces a rule
///
/// Targets that keep their id go on where they are; secrets that are not given anew stay.
#[utoipa::path(
    put,
    path = "/v1/rules/{id}",
    tag = "rules",
    operation_id = "replaceRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    request_body = RuleDefinitionDto,
    responses((status = 200, description = "The rule.", body = RuleDto))
)]
pub(crate) async fn replace(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let id = parameter(path, "id")?;
    let text = definition(&state, request).await?;
    let rule = rules.replace(&id, &text, principal.name()).await?;
    json(&dto(rules, &rule)?)
}

/// Deletes a rule
///
/// What it was about to send is not sent. Its dead letters stay.
#[utoipa::path(
    delete,
    path = "/v1/rules/{id}",
    tag = "rules",
    operation_id = "deleteRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    responses((status = 204, description = "It is deleted."))
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let id = parameter(path, "id")?;
    rules(&state)?.delete(&id, principal.name()).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Switches a rule on
///
/// It sends first what came while it was off.
#[utoipa::path(
    post,
    path = "/v1/rules/{id}/enable",
    tag = "rules",
    operation_id = "enableRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    responses((status = 200, description = "The rule.", body = RuleDto))
)]
pub(crate) async fn enable(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let id = parameter(path, "id")?;
    let rule = rules.switch(&id, true, (principal.name(), None)).await?;
    json(&dto(rules, &rule)?)
}

/// Switches a rule off
///
/// What comes while it is off waits.
#[utoipa::path(
    post,
    path = "/v1/rules/{id}/disable",
    tag = "rules",
    operation_id = "disableRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    responses((status = 200, description = "The rule.", body = RuleDto))
)]
pub(crate) async fn disable(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let id = parameter(path, "id")?;
    let rule = rules.switch(&id, false, (principal.name(), None)).await?;
    json(&dto(rules, &rule)?)
}

/// Says which rules events would be for
///
/// Nothing is sent. For each rule that is not for an event it says which condition decided it.
#[utoipa::path(
    post,
    path = "/v1/rules/test",
    tag = "rules",
    operation_id = "testRules",
    request_body = Option<RuleTestDto>,
    responses((status = 200, description = "What rules say.", body = RuleTestResultDto))
)]
pub(crate) async fn test(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let input = test_input(&state, request).await?;
    let run = dry_run(&input);
    let tested = match &input.definition {
        Some(definition) => {
            let tested = rules.dry_run_definition(definition, &run).await;
            tested.map_err(|error| under("/definition", error))?
        }
        None => rules.dry_run(&run).await?,
    };
    json(&result(tested))
}

/// Says which events a rule would be for
#[utoipa::path(
    post,
    path = "/v1/rules/{id}/test",
    tag = "rules",
    operation_id = "testRule",
    params(("id" = String, Path, description = "The id of the rule.")),
    request_body = RuleTestDto,
    responses((status = 200, description = "What the rule says.", body = RuleTestResultDto))
)]
pub(crate) async fn test_one(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let rules = rules(&state)?;
    let id = parameter(path, "id")?;
    let input = test_input(&state, request).await?;
    if input.definition.is_some() {
        let mut failure = ApiError::new(
            ErrorCode::InvalidRequest,
            "definition stands in a request to /v1/rules/test only",
        );
        failure.problem.pointer = Some("/definition".to_owned());
        return Err(failure);
    }
    let tested = rules.dry_run_of(&id, &dry_run(&input)).await?;
    json(&result(tested))
}

async fn definition(state: &AppState, request: Request) -> Result<String, ApiError> {
    let (parts, body) = request.into_parts();
    expect_type(&parts.headers, &["application/json"])?;
    let body = whole(state, body).await?;
    String::from_utf8(body.bytes().to_vec())
        .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the text is not UTF-8"))
}

async fn test_input(state: &AppState, request: Request) -> Result<RuleTestInput, ApiError> {
    let (parts, body) = request.into_parts();
    let body = whole(state, body).await?;
    if !body.bytes().is_empty() {
        expect_type(&parts.headers, &["application/json"])?;
    }
    Ok(parse_rule_test(body.bytes())?)
}

fn dry_run(input: &RuleTestInput) -> DryRun {
    match input.event {
        Some(id) => DryRun::Event(id),
        None => DryRun::Last(input.last.unwrap_or(LAST_DEFAULT)),
    }
}

fn under(pointer: &str, error: RuleError) -> ApiError {
    let mut failure = ApiError::from(error);
    if let Some(inner) = &mut failure.problem.pointer {
        inner.insert_str(0, pointer);
    }
    failure
}

fn dto(rules: &Rules, rule: &Rule) -> Result<RuleDto, ApiError> {
    let definition = RawValue::from_string(rules.show(rule)?).map_err(|error| {
        ApiError::hidden(ErrorCode::Internal, "the rule could not be written", error)
    })?;
    Ok(RuleDto {
        id: rule.id.to_string(),
        definition,
        revision: rule.revision.get(),
        created_at: rule.created_at.to_string(),
        changed_at: rule.changed_at.to_string(),
        changed_by: rule.changed_by.clone(),
    })
}

fn result(tested: Vec<TestedEvent>) -> RuleTestResultDto {
    let of = |tested: TestedEvent| TestedEventDto {
        id: tested.event.id.to_string(),
        position: tested.event.position.get(),
        event_type: tested.event.event_type().to_owned(),
        aggregate_type: tested.event.aggregate_type().to_owned(),
        aggregate_id: tested.event.aggregate_id().to_owned(),
        rules: tested.outcomes.into_iter().map(outcome).collect(),
    };
    RuleTestResultDto {
        items: tested.into_iter().map(of).collect(),
    }
}

fn outcome(outcome: RuleOutcome) -> RuleOutcomeDto {
    let RuleOutcome {
        rule,
        enabled,
        explanation,
    } = outcome;
    let place = |pointer: String| Some(format!("/conditions{pointer}"));
    let (outcome, pointer, missing, error) = match explanation {
        Explanation::Matched => (RuleOutcomeName::Matched, None, None, None),
        Explanation::NotMatched(reason) => {
            let pointer = place(reason.pointer);
            (RuleOutcomeName::NotMatched, pointer, reason.missing, None)
        }
        Explanation::Failed { pointer, failure } => {
            let error = Some(failure.to_string());
            (RuleOutcomeName::Failed, place(pointer), None, error)
        }
    };
    RuleOutcomeDto {
        rule,
        enabled,
        outcome,
        pointer,
        missing,
        error,
    }
}

impl From<RuleError> for ApiError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Invalid(invalid) => {
                let detail = match &invalid.value {
                    Some(value) => format!("{} (found {value})", invalid.rule),
                    None => invalid.rule.clone(),
                };
                let detail = match invalid.place {
                    Some(place) => match place.column {
                        Some(column) => format!("{detail} at line {}, column {column}", place.line),
                        None => format!("{detail} at line {}", place.line),
                    },
                    None => detail,
                };
                let mut failure = Self::new(ErrorCode::InvalidRule, detail);
                failure.problem.pointer = Some(invalid.pointer);
                failure
            }
            RuleError::Engine(error) => error.into(),
            RuleError::Read(error) => error.into(),
            RuleError::Record { .. } | RuleError::Internal { .. } => {
                Self::hidden(ErrorCode::Internal, "the rule could not be recorded", error)
            }
            RuleError::NotFound { .. }
            | RuleError::NoEvent { .. }
            | RuleError::Exists { .. }
            | RuleError::TooMany { .. }
            | RuleError::Changed { .. } => Self::new(error.code(), error.to_string()),
        }
    }
}
