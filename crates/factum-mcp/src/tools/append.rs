//! `factum_append`: events, all or none.

use std::sync::atomic::Ordering;

use factum_api::{
    AppendInput, AppendReceiptDto, EventReceiptDto, ExpectedVersionDto, InputLimits, parse_append,
};
use factum_model::{EventId, StreamId};
use factum_store::{AppendCondition, AppendError, AppendRequest, PartialRepeat, StreamExpectation};
use utoipa::ToSchema;

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};

pub(crate) static TOOL: Tool = Tool {
    name: "factum_append",
    title: "Append events",
    about: "Records events durably: all of them or none. Events are never changed or deleted \
            afterwards. Give each event an id (a UUID) to be able to repeat the call safely.",
    effect: Effect::Adds,
    input: schema::input::<Input>,
    output: schema::output::<AppendReceiptDto>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Events to append.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes an input")]
struct Input {
    /// The events, in order.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<NewEventInput>,
    /// Append only if no event that matches `filter` stands after the cursor `after`.
    #[schema(value_type = Option<Object>)]
    condition: Option<()>,
}

/// An event.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes an input")]
struct NewEventInput {
    /// What happened: a dotted name, as `order.placed`.
    r#type: String,
    /// The kind of aggregate, as `order`.
    aggregate_type: String,
    /// The aggregate.
    aggregate_id: String,
    /// The fact itself, kept byte for byte.
    #[schema(value_type = Object)]
    payload: (),
    /// The identity; assigned where there is none.
    #[schema(format = "uuid")]
    id: Option<String>,
    /// When it happened, RFC 3339; now where it is absent.
    timestamp: Option<String>,
    /// The event that caused it.
    #[schema(format = "uuid")]
    causation_id: Option<String>,
    /// The conversation; inherited from the cause.
    correlation_id: Option<String>,
    /// Context: userId, tags and whatever else.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
    /// The version of the shape of the payload.
    version: Option<u32>,
    /// `any`, `noStream`, `exists` or the sequence number that the aggregate must be at; on its
    /// first event.
    expected_version: Option<ExpectedVersionDto>,
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let options = call.engine.options();
    let limits = InputLimits {
        events: options.limits,
        filter: options.filter_limits,
    };
    let bytes = arguments.bytes();
    let bytes_max = options.limits.request_bytes_max;
    if bytes.len() > bytes_max {
        let error = factum_model::LimitExceeded {
            what: "arguments in bytes",
            limit: bytes_max,
            actual: bytes.len(),
        };
        return Err(factum_engine::EngineError::Limit(error).into());
    }
    let input = parse_append(bytes, &limits)?;
    let streams: Vec<StreamId> = input
        .events
        .iter()
        .map(|event| event.stream.clone())
        .collect();
    let request = request(&call, input)?;
    let ids: Vec<EventId> = request.events.iter().filter_map(|event| event.id).collect();
    let appended = tokio::time::timeout(call.options.append_time_max, call.engine.append(request));
    let receipt = match appended.await {
        Ok(receipt) => receipt?,
        // It may still become durable.
        Err(_) => return Err(AppendError::OutcomeUnknown { ids }.into()),
    };
    let n_repeats = receipt
        .events
        .iter()
        .filter(|event| event.deduplicated)
        .count();
    let n_events = receipt.events.len();
    let count = |number: usize| u64::try_from(number).unwrap_or(0);
    call.appended
        .new
        .fetch_add(count(n_events - n_repeats), Ordering::Relaxed);
    call.appended
        .repeated
        .fetch_add(count(n_repeats), Ordering::Relaxed);
    let last = receipt.events.iter().map(|event| event.position).max();
    let answer = AppendReceiptDto {
        events: streams
            .iter()
            .zip(&receipt.events)
            .map(|(stream, receipt)| EventReceiptDto {
                id: receipt.id.to_string(),
                aggregate_type: stream.aggregate_type.to_string(),
                aggregate_id: stream.aggregate_id.to_string(),
                sequence_number: receipt.sequence_number.get(),
                position: receipt.position.get(),
                recorded_at: receipt.recorded_at.to_string(),
                deduplicated: receipt.deduplicated.then_some(true),
                cursor: None,
            })
            .collect(),
        cursor: call.engine.cursor(last).to_string(),
    };
    let mut text = match last {
        Some(last) => format!("{n_events} recorded, the last at position {last}."),
        None => "Nothing recorded.".to_owned(),
    };
    if n_repeats > 0 {
        say(&mut text, format_args!(" {n_repeats} were there already."));
    }
    Answer::of(&answer, text)
}

fn request(call: &Call, input: AppendInput) -> Result<AppendRequest, Fault> {
    let condition = match input.condition {
        None => None,
        Some(condition) => {
            let after = condition
                .after
                .map(|after| call.engine.resolve_after(&after));
            Some(AppendCondition {
                filter: condition.filter,
                after: after.transpose()?.flatten(),
            })
        }
    };
    let expected = input.expected.into_iter();
    Ok(AppendRequest {
        events: input.events,
        expected: expected
            .map(|(stream, version)| StreamExpectation { stream, version })
            .collect(),
        condition,
        partial_repeat: PartialRepeat::Refuse,
    })
}
