//! `/v1/subscriptions/{name}/…`: events handed out and settled, and what is parked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use factum_api::{
    AckDto, EventCountDto, ExtendDto, ExtendedDto, ExtendedListDto, ExtendedTokenDto,
    FetchAnswerDto, FetchDto, Layout, NackActionDto, NackDto, NackInput, ParkedChoiceDto,
    ParkedEventDto, ParkedListDto, ReleaseDto, SettledDto, SettledListDto, SettledTokenDto,
    parse_ack, parse_extend, parse_fetch, parse_nack, parse_parked_choice, parse_parked_query,
    parse_release, write_event, write_string,
};
use factum_engine::{
    Extended, Handout, HandoutToken, Outcome, ParkedAct, ParkedChoice, ParkedEvent, Principal,
    Settled, Subscriptions, Take,
};
use factum_model::{ErrorCode, Position};
use factum_store::OwnerName;

use crate::body::{expect_type, whole};
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::aggregates::json;
use crate::handlers::log::parameter;
use crate::handlers::pages::typed;
use crate::handlers::subscriptions::of;
use crate::state::AppState;

/// How much of the time for a request is left for the answer, when a fetch waits as long as it may.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Names a consumer where events are claimed: those of one key are that key's alone.
pub(crate) fn owner(principal: &Principal, consumer: &str) -> Result<OwnerName, ApiError> {
    let key = principal.identity().key_id.as_deref().unwrap_or("-");
    format!("key/{key}/{consumer}").parse().map_err(|error| {
        let detail = "the consumer cannot be called so";
        ApiError::hidden(ErrorCode::InvalidRequest, detail, error)
    })
}

async fn read(state: &AppState, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    expect_type(headers, &["application/json"])?;
    let body = whole(state, body).await?;
    // A client that wants what is the default need not send anything.
    if body.bytes().is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    Ok(body.bytes().clone())
}

/// Hands out events, and waits for the first one if asked to
///
/// Each has to be settled before its deadline, by an ack or a nack with its token; otherwise it is
/// handed out again. Of one aggregate there is never more than one out.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/fetch",
    tag = "subscriptions",
    operation_id = "fetchEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = FetchDto,
    responses((status = 200, description = "The events; none, when the time is up.", body = FetchAnswerDto))
)]
pub(crate) async fn fetch(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let input = parse_fetch(&read(&state, &parts.headers, body).await?)?;
    let subscriptions = of(&state)?;
    let options = subscriptions.options();
    let longest = state.options.request_time_max.saturating_sub(ANSWER_TIME);
    let wait = Duration::from_millis(input.wait_ms)
        .min(options.fetch_wait_max)
        .min(longest);
    let take = Take {
        consumer: owner(&principal, &input.consumer)?,
        limit: input.limit,
        bytes_max: options.fetch_bytes_max,
        wait,
    };
    let handouts = tokio::select! {
        () = state.shutdown.cancelled() => Vec::new(),
        handouts = subscriptions.take(&name, &take) => handouts?,
    };
    let n_events = u64::try_from(handouts.len()).unwrap_or(0);
    let read_total = &state.metrics.events_read_total;
    read_total.fetch_add(n_events, Ordering::Relaxed);
    let is_paused = handouts.is_empty() && subscriptions.get(&name)?.is_paused;
    Ok(typed("application/json", answer(&handouts, is_paused)))
}

fn answer(handouts: &[Handout], is_paused: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(handouts.len() * 720 + 64);
    out.extend_from_slice(b"{\"events\":[");
    for (index, handout) in handouts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_handout(&mut out, handout);
    }
    out.extend_from_slice(b"],\"paused\":");
    out.extend_from_slice(if is_paused { b"true}" } else { b"false}" });
    out
}

/// Writes an event that is handed out.
pub(crate) fn write_handout(out: &mut Vec<u8>, handout: &Handout) {
    out.extend_from_slice(b"{\"token\":");
    write_string(out, &handout.token.to_string());
    out.extend_from_slice(format!(",\"attempt\":{}", handout.attempt).as_bytes());
    out.extend_from_slice(b",\"deadline\":");
    write_string(out, &handout.until.to_string());
    out.extend_from_slice(b",\"event\":");
    write_event(out, &handout.event, Layout::Verbatim);
    out.push(b'}');
}

/// Says that events are done
///
/// Durable when it is answered. What is stale is not done: somebody else has it, or it was done
/// before.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/ack",
    tag = "subscriptions",
    operation_id = "ackEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = AckDto,
    responses((status = 200, description = "What became of each.", body = SettledListDto))
)]
pub(crate) async fn ack(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let tokens = parse_ack(&read(&state, &parts.headers, body).await?)?;
    json(&settle_with(of(&state)?, &name, tokens, &Outcome::Ack).await?)
}

/// Says that events failed
///
/// They are handed out again after a while, are parked, or are passed over.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/nack",
    tag = "subscriptions",
    operation_id = "nackEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = NackDto,
    responses((status = 200, description = "What became of each.", body = SettledListDto))
)]
pub(crate) async fn nack(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let input = parse_nack(&read(&state, &parts.headers, body).await?)?;
    let (tokens, outcome) = outcome(input);
    json(&settle_with(of(&state)?, &name, tokens, &outcome).await?)
}

/// Says in the words of the engine what a nack asks for.
pub(crate) fn outcome(input: NackInput) -> (Vec<String>, Outcome) {
    let cause = input.cause;
    let outcome = match input.action {
        NackActionDto::Retry => Outcome::Retry {
            after: input.delay_ms.map(Duration::from_millis),
            cause,
        },
        NackActionDto::Park => Outcome::Park { cause },
        NackActionDto::Skip => Outcome::Skip { reason: cause },
    };
    (input.tokens, outcome)
}

/// Settles handouts, each by its token.
pub(crate) async fn settle_with(
    subscriptions: &Subscriptions,
    name: &str,
    tokens: Vec<String>,
    outcome: &Outcome,
) -> Result<SettledListDto, ApiError> {
    let parsed = parse_tokens(&tokens)?.into_iter();
    let outcomes = parsed.map(|token| (token, outcome.clone())).collect();
    let settled = subscriptions.settle(name, outcomes).await?;
    let results: Vec<SettledTokenDto> = tokens
        .into_iter()
        .zip(settled)
        .map(|(token, settled)| settled_dto(token, settled))
        .collect();
    let is_stale = |one: &&SettledTokenDto| one.result == SettledDto::Stale;
    let stale = results.iter().filter(is_stale).count() as u64;
    Ok(SettledListDto { results, stale })
}

fn settled_dto(token: String, settled: Settled) -> SettledTokenDto {
    let (result, retry_in_ms) = match settled {
        Settled::Done => (SettledDto::Done, None),
        Settled::Waiting { after } => {
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            (SettledDto::Waiting, Some(millis))
        }
        Settled::Parked => (SettledDto::Parked, None),
        Settled::Stale => (SettledDto::Stale, None),
    };
    SettledTokenDto {
        token,
        result,
        retry_in_ms,
    }
}

/// Gives a consumer more time for events that it has
///
/// From now on, whatever was left; the tokens stay good. It may be asked for again and again. What
/// is stale the consumer does not have any more.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/extend",
    tag = "subscriptions",
    operation_id = "extendEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = ExtendDto,
    responses((status = 200, description = "What became of each.", body = ExtendedListDto))
)]
pub(crate) async fn extend(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let (tokens, extend_ms) = parse_extend(&read(&state, &parts.headers, body).await?)?;
    json(&extend_with(of(&state)?, &name, tokens, extend_ms).await?)
}

/// Gives more time for handouts, each by its token.
pub(crate) async fn extend_with(
    subscriptions: &Subscriptions,
    name: &str,
    tokens: Vec<String>,
    extend_ms: Option<u64>,
) -> Result<ExtendedListDto, ApiError> {
    let parsed = parse_tokens(&tokens)?;
    let by = extend_ms.map(Duration::from_millis);
    let extended = subscriptions.extend(name, parsed, by).await?;
    let results: Vec<ExtendedTokenDto> = tokens
        .into_iter()
        .zip(extended)
        .map(|(token, extended)| {
            let (result, deadline) = match extended {
                Extended::Until(until) => (ExtendedDto::Extended, Some(until.to_string())),
                Extended::Stale => (ExtendedDto::Stale, None),
            };
            ExtendedTokenDto {
                token,
                result,
                deadline,
            }
        })
        .collect();
    let is_stale = |one: &&ExtendedTokenDto| one.result == ExtendedDto::Stale;
    let stale = results.iter().filter(is_stale).count() as u64;
    Ok(ExtendedListDto { results, stale })
}

fn parse_tokens(tokens: &[String]) -> Result<Vec<HandoutToken>, ApiError> {
    let parse = |(index, token): (usize, &String)| {
        token.parse::<HandoutToken>().map_err(|_| {
            let detail = format!("{token:?} is not a token as it was handed out");
            let mut failure = ApiError::new(ErrorCode::InvalidRequest, detail);
            failure.problem.pointer = Some(format!("/tokens/{index}"));
            failure
        })
    };
    tokens.iter().enumerate().map(parse).collect()
}

/// Gives back what a consumer has
///
/// Others get it at once, not only after its deadlines; for a consumer that stops.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/release",
    tag = "subscriptions",
    operation_id = "releaseEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = ReleaseDto,
    responses((status = 200, description = "How many events it had.", body = EventCountDto))
)]
pub(crate) async fn release(
    State(state): State<AppState>,
    Extension(principal): Caller,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let consumer = parse_release(&read(&state, &parts.headers, body).await?)?;
    let owner = owner(&principal, &consumer)?;
    let count = of(&state)?.abandon(&name, owner).await?;
    json(&EventCountDto { count })
}

/// Lists parked events, the oldest first
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{name}/parked",
    tag = "subscriptions",
    operation_id = "listParkedEvents",
    params(
        ("name" = String, Path, description = "The name of the subscription."),
        ("after" = Option<u64>, Query, description = "Only those after this position."),
        ("limit" = Option<u32>, Query, description = "The largest number of events.", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "The events.", body = ParkedListDto))
)]
pub(crate) async fn parked(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (after, limit) = parse_parked_query(request.uri().query().unwrap_or_default())?;
    let feed = of(&state)?.feed(&name)?;
    let page = feed.parked(after.and_then(Position::new), limit).await?;
    json(&ParkedListDto {
        items: page.events.into_iter().map(parked_dto).collect(),
        next: page.next.map(Position::get),
        has_more: page.next.is_some(),
    })
}

fn parked_dto(event: ParkedEvent) -> ParkedEventDto {
    ParkedEventDto {
        position: event.position.get(),
        id: event.event_id.to_string(),
        stream: event.stream,
        recorded_at: event.recorded_at.to_string(),
        parked_at: event.parked_at.to_string(),
        attempts: event.attempts,
        cause: event.cause,
    }
}

/// Hands parked events out again, with all their attempts before them
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/parked/redrive",
    tag = "subscriptions",
    operation_id = "redriveParkedEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = ParkedChoiceDto,
    responses((status = 200, description = "How many.", body = EventCountDto))
)]
pub(crate) async fn redrive(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    decide(&state, path, request, ParkedAct::Redrive).await
}

/// Gives parked events up
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{name}/parked/discard",
    tag = "subscriptions",
    operation_id = "discardParkedEvents",
    params(("name" = String, Path, description = "The name of the subscription.")),
    request_body = ParkedChoiceDto,
    responses((status = 200, description = "How many.", body = EventCountDto))
)]
pub(crate) async fn discard(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    decide(&state, path, request, ParkedAct::Discard).await
}

async fn decide(
    state: &AppState,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    act: ParkedAct,
) -> Result<Response, ApiError> {
    let name = parameter(path, "name")?;
    let (parts, body) = request.into_parts();
    let chosen = parse_parked_choice(&read(state, &parts.headers, body).await?)?;
    let choice = chosen.map_or(ParkedChoice::All, |positions| {
        let positions = positions.into_iter().filter_map(Position::new);
        ParkedChoice::At(positions.collect())
    });
    let feed = of(state)?.feed(&name)?;
    let count = feed.decide(choice, act).await? as u64;
    json(&EventCountDto { count })
}
