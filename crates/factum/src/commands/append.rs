//! `factum append`: one event from flags, or many from standard input.

use std::io::Read as _;

use anyhow::Context as _;
use factum_model::{Clock as _, IdSource as _, MonotonicIds, SystemClock};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::client::{Answer, Call, Client, Problem};
use crate::exit::Failure;
use crate::filter_flags::StreamName;
use crate::output::{Out, Tone, note};

/// Append one event, or the events that standard input gives as one atomic unit
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The event type; without it, standard input gives one JSON event a line
    #[arg(long = "type", value_name = "TYPE", requires = "stream")]
    event_type: Option<String>,
    /// The stream, as TYPE/ID
    #[arg(long, value_name = "STREAM", requires = "event_type")]
    stream: Option<StreamName>,
    /// The payload: JSON, @FILE, or - for standard input
    #[arg(
        long,
        value_name = "JSON",
        default_value = "{}",
        requires = "event_type"
    )]
    payload: String,
    /// The metadata: JSON or @FILE
    #[arg(long, value_name = "JSON", requires = "event_type")]
    metadata: Option<String>,
    /// Tags, over those in the metadata
    #[arg(
        long,
        value_name = "TAG",
        value_delimiter = ',',
        requires = "event_type",
        conflicts_with = "metadata"
    )]
    tags: Vec<String>,
    /// The user who caused it
    #[arg(
        long,
        value_name = "ID",
        requires = "event_type",
        conflicts_with = "metadata"
    )]
    user_id: Option<String>,
    /// The key that rules route it by
    #[arg(
        long,
        value_name = "KEY",
        requires = "event_type",
        conflicts_with = "metadata"
    )]
    routing_key: Option<String>,
    /// What the stream must be at: any, noStream, exists, or its last sequence number
    #[arg(long, value_name = "VERSION", requires = "event_type")]
    expected_version: Option<String>,
    /// The id of the event; repeating an append with an id is safe
    #[arg(long, value_name = "UUID", requires = "event_type")]
    id: Option<String>,
    /// When it happened
    #[arg(long, value_name = "TIME", requires = "event_type")]
    timestamp: Option<String>,
    /// The version of the payload's shape
    #[arg(long = "schema-version", value_name = "N", requires = "event_type")]
    schema_version: Option<u32>,
    /// The event that caused it
    #[arg(long, value_name = "UUID", requires = "event_type")]
    causation_id: Option<String>,
    /// The conversation it belongs to
    #[arg(long, value_name = "ID", requires = "event_type")]
    correlation_id: Option<String>,
}

/// The largest standard input; the server has a limit of its own.
const INPUT_BYTES_MAX: u64 = 256 << 20;

pub(crate) async fn run(mut args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    if args.event_type.is_none() {
        // Standard input may have nothing to give for long, and Ctrl-C must work meanwhile.
        let input = tokio::task::spawn_blocking(standard_input).await??;
        let body = events_of_lines(&input)?;
        let answer = client.send(Call::post("/v1/events", body)).await?;
        return show(answer, &mut context.out).await;
    }
    // With an id of our own, a request whose answer was lost can be repeated safely.
    let id = args.id.get_or_insert_with(new_id).clone();
    let body = tokio::task::spawn_blocking(move || one_event(&args)).await??;
    let answer = client.send(Call::post("/v1/events", body)).await;
    if answer.as_ref().is_err_and(outcome_is_unknown) {
        note(format_args!(
            "the event may be there or not; with --id {id} repeating this is safe"
        ));
    }
    show(answer?, &mut context.out).await
}

fn new_id() -> String {
    let ids = MonotonicIds::new(|bytes| {
        // Where the system has no random numbers, TLS and keys have stopped everything before.
        aws_lc_rs::rand::fill(bytes).unwrap_or_default();
    });
    ids.next_id(SystemClock.now()).to_string()
}

fn outcome_is_unknown(error: &anyhow::Error) -> bool {
    let problem = error.downcast_ref::<Problem>();
    let unreachable = matches!(error.downcast_ref(), Some(Failure::Unreachable { .. }));
    unreachable || problem.is_some_and(|problem| problem.code == "outcome_unknown")
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    let mut limited = std::io::stdin().lock().take(INPUT_BYTES_MAX + 1);
    limited
        .read_to_string(&mut text)
        .context("standard input")?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(usage(
            "standard input is too large for one atomic unit",
            "`factum import -` takes any length",
        ));
    }
    Ok(text)
}

fn usage(message: &str, hint: &str) -> anyhow::Error {
    Failure::Usage {
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
    .into()
}

fn one_event(args: &Args) -> anyhow::Result<String> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            event.insert(name.to_owned(), value);
        }
    };
    set("id", args.id.clone().map(Value::from));
    set("type", args.event_type.clone().map(Value::from));
    set("version", args.schema_version.map(Value::from));
    set("timestamp", args.timestamp.clone().map(Value::from));
    let stream = args.stream.as_ref();
    set(
        "aggregateType",
        stream.map(|stream| stream.aggregate_type.clone().into()),
    );
    set(
        "aggregateId",
        stream.map(|stream| stream.aggregate_id.clone().into()),
    );
    set("causationId", args.causation_id.clone().map(Value::from));
    set(
        "correlationId",
        args.correlation_id.clone().map(Value::from),
    );
    set(
        "expectedVersion",
        args.expected_version.as_deref().map(expected_version),
    );
    let envelope = serde_json::to_string(&event)?;
    // Payload and metadata go as they were written, byte for byte.
    let metadata = match &args.metadata {
        Some(metadata) => text_of("metadata", metadata)?,
        None => known_metadata(args).to_string(),
    };
    let payload = text_of("payload", &args.payload)?;
    let open = envelope.trim_end_matches('}');
    Ok(format!(
        "{open},\"metadata\":{metadata},\"payload\":{payload}}}"
    ))
}

fn known_metadata(args: &Args) -> Value {
    let mut metadata = Map::new();
    if let Some(user_id) = &args.user_id {
        metadata.insert("userId".to_owned(), json!(user_id));
    }
    if let Some(routing_key) = &args.routing_key {
        metadata.insert("routingKey".to_owned(), json!(routing_key));
    }
    if !args.tags.is_empty() {
        metadata.insert("tags".to_owned(), json!(args.tags));
    }
    metadata.into()
}

fn expected_version(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| text.into(), Value::from)
}

/// Returns the JSON text that an argument gives, from itself, a file or standard input.
pub(crate) fn text_of(name: &str, argument: &str) -> anyhow::Result<String> {
    let text = match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.to_owned())?,
        None if argument == "-" => standard_input()?,
        None => argument.to_owned(),
    };
    factum_model::validate_object(&text, factum_model::JsonLimits::default()).map_err(|fault| {
        usage(
            &format!("the {name} is not a JSON object: {fault}"),
            "in a shell, put JSON in single quotes: --payload '{\"amount\": 12.5}'",
        )
    })?;
    Ok(text.trim().to_owned())
}

/// Puts the lines of standard input into one request, each as it is.
fn events_of_lines(text: &str) -> anyhow::Result<String> {
    let mut events = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let event: &RawValue = serde_json::from_str(line).map_err(|error| {
            usage(
                &format!("line {}: {error}", index + 1),
                "each line is one JSON event",
            )
        })?;
        events.push(event);
    }
    if events.is_empty() {
        return Err(usage(
            "standard input has no events",
            "give --type and --stream, or one JSON event a line",
        ));
    }
    Ok(format!("{{\"events\":{}}}", to_raw_value(&events)?.get()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    id: String,
    aggregate_type: String,
    aggregate_id: String,
    sequence_number: u64,
    position: u64,
    #[serde(default)]
    deduplicated: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Receipts {
    Many { events: Vec<Receipt> },
    One(Receipt),
}

async fn show(answer: Answer, out: &mut Out) -> anyhow::Result<()> {
    let body = answer.bytes().await?;
    if out.is_json() {
        out.bytes(body.trim_ascii_end())?;
        return Ok(out.bytes(b"\n")?);
    }
    let receipts = match serde_json::from_slice(&body)? {
        Receipts::Many { events } => events,
        Receipts::One(receipt) => vec![receipt],
    };
    for receipt in receipts {
        let (tone, word) = if receipt.deduplicated {
            (Tone::Faint, "already there")
        } else {
            (Tone::Good, "appended")
        };
        let word = out.paint(tone, word);
        let Receipt {
            id,
            aggregate_type,
            aggregate_id,
            sequence_number,
            position,
            ..
        } = receipt;
        out.line(format_args!(
            "{word} {id} at position {position} as {aggregate_type}/{aggregate_id}#{sequence_number}"
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> Args {
        let words = ["factum", "append"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Append(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_one_event_with_the_payload_as_it_was_written() {
        let args = args(&[
            "--type",
            "a.b",
            "--stream",
            "s/1",
            "--payload",
            "{\"x\": 1.0}",
            "--expected-version",
            "0",
            "--tags",
            "p,q",
        ]);
        assert_eq!(
            one_event(&args).unwrap(),
            r#"{"aggregateId":"1","aggregateType":"s","expectedVersion":0,"type":"a.b","metadata":{"tags":["p","q"]},"payload":{"x": 1.0}}"#
        );
    }

    #[test]
    fn a_payload_that_is_no_object_is_wrong_usage() {
        let args = args(&["--type", "a.b", "--stream", "s/1", "--payload", "[1]"]);
        let error = one_event(&args).unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(Failure::Usage { .. })),
            "{error}"
        );
    }

    #[test]
    fn lines_become_one_request_and_a_bad_one_is_named() {
        let body = events_of_lines("{\"type\": \"a\"}\n\n{\"type\":\"b\"}\n").unwrap();
        assert_eq!(body, r#"{"events":[{"type": "a"},{"type":"b"}]}"#);
        let error = events_of_lines("{}\n{").unwrap_err().to_string();
        assert!(error.starts_with("line 2: "), "{error}");
        assert!(events_of_lines("\n").is_err());
    }
}
