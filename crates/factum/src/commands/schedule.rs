//! `factum schedule`: events are scheduled, listed and cancelled.

use clap::Subcommand;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::commands::append::text_of;
use crate::filter_flags::StreamName;
use crate::output::{Tone, printable};

/// Append events at a time: schedule them, list and cancel them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Schedule an event
    ///
    /// It is appended at its time, once; if no server runs then, late, with the time that it was
    /// for in its timestamp and its metadata.
    Add(Box<Add>),
    /// List what is scheduled
    List {
        /// Those after this one
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Cancel a scheduled event
    Cancel {
        /// Its name
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its name; repeating this with a name is safe
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    when: When,
    /// The time zone of --cron, such as Europe/Vienna; UTC without it
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// What becomes of firings of --cron that were missed: all, or the latest
    #[arg(long, value_name = "WHICH", requires = "cron")]
    missed: Option<String>,
    /// The event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    /// The stream, as TYPE/ID
    #[arg(long, value_name = "STREAM")]
    stream: StreamName,
    /// The payload: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "{}")]
    payload: String,
    /// The metadata: JSON or @FILE
    #[arg(long, value_name = "JSON", default_value = "{}")]
    metadata: String,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// At this time
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// This long from now
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Again and again: five fields, or six with seconds first
    #[arg(long, value_name = "PATTERN")]
    cron: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    due_at: String,
    cron: Option<String>,
    #[serde(default)]
    fired: u64,
    failure: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<View>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    match args.act {
        Act::Add(add) => {
            let body = tokio::task::spawn_blocking(move || body(*add)).await??;
            let answer = client.send(Call::post("/v1/schedule", body)).await?;
            show(&answer.bytes().await?, context)
        }
        Act::List { after, limit } => {
            let after = after.map(|after| format!("&after={}", encode_segment(&after)));
            let path = format!("/v1/schedule?limit={limit}{}", after.unwrap_or_default());
            let body = client.send(Call::get(path)).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            list(serde_json::from_slice(&body)?, context)
        }
        Act::Cancel { id } => {
            let path = format!("/v1/schedule/{}", encode_segment(&id));
            let call = Call::new(Method::DELETE, path);
            let body = client.send(call).await?.bytes().await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            let word = context.out.paint(Tone::Good, "cancelled");
            Ok(context
                .out
                .line(format_args!("{word} {}", printable(&id)))?)
        }
    }
}

/// Returns the body of a request; payload and metadata go as they were written, byte for byte.
fn body(add: Add) -> anyhow::Result<String> {
    let payload = text_of("payload", &add.payload)?;
    let metadata = text_of("metadata", &add.metadata)?;
    let mut envelope = Map::new();
    envelope.insert("type".to_owned(), add.event_type.into());
    envelope.insert("aggregateType".to_owned(), add.stream.aggregate_type.into());
    envelope.insert("aggregateId".to_owned(), add.stream.aggregate_id.into());
    let envelope = Value::from(envelope).to_string();
    let open = envelope.strip_suffix('}').unwrap_or(&envelope);
    let event = format!("{open},\"metadata\":{metadata},\"payload\":{payload}}}");
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("id", add.id.map(Value::from));
    set("at", add.when.at.map(Value::from));
    set("delayMs", add.when.delay_ms.map(Value::from));
    set("cron", add.when.cron.map(Value::from));
    set("timeZone", add.time_zone.map(Value::from));
    set("missed", add.missed.map(Value::from));
    let fields = Value::from(fields).to_string();
    let open = fields.strip_suffix('}').unwrap_or(&fields);
    Ok(format!("{open},\"event\":{event}}}"))
}

fn raw(context: &mut Context, body: &[u8]) -> anyhow::Result<()> {
    context.out.bytes(body.trim_ascii_end())?;
    Ok(context.out.bytes(b"\n")?)
}

fn show(body: &[u8], context: &mut Context) -> anyhow::Result<()> {
    if context.out.is_json() {
        return raw(context, body);
    }
    let made: View = serde_json::from_slice(body)?;
    let word = context.out.paint(Tone::Good, "scheduled");
    let (id, due_at) = (printable(&made.id), made.due_at);
    Ok(context.out.line(format_args!("{word} {id} for {due_at}"))?)
}

fn list(list: List, context: &mut Context) -> anyhow::Result<()> {
    let cells = |view: View| {
        vec![
            printable(&view.id),
            printable(&view.event_type),
            printable(&format!("{}/{}", view.aggregate_type, view.aggregate_id)),
            view.due_at,
            printable(&view.cron.unwrap_or_default()),
            view.fired.to_string(),
            printable(&view.failure.unwrap_or_default()),
        ]
    };
    let rows = list.items.into_iter().map(cells).collect();
    let heads = ["id", "type", "stream", "due", "cron", "fired", "failure"];
    Ok(context.out.table(&heads, rows)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_scheduled_as_it_was_written() {
        let add = Add {
            id: Some("x".to_owned()),
            when: When {
                at: None,
                delay_ms: Some(5),
                cron: None,
            },
            time_zone: None,
            missed: None,
            event_type: "a.b".to_owned(),
            stream: "c/d}".parse().unwrap(),
            payload: r#"{"n" : 1.0}"#.to_owned(),
            metadata: "{}".to_owned(),
        };
        assert_eq!(
            body(add).unwrap(),
            r#"{"delayMs":5,"id":"x","event":{"aggregateId":"d}","aggregateType":"c","type":"a.b","metadata":{},"payload":{"n" : 1.0}}}"#
        );
    }
}
