//! `factum subscriptions`: durable subscriptions are made, looked at, changed and consumed.

mod extend;

use std::collections::HashSet;

use clap::{Subcommand, ValueEnum};
use hyper::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::filter_text::FilterText;
use crate::output::{Tone, note, printable};

/// Make, show, change and consume durable subscriptions
///
/// A durable subscription hands out every event that its filter means, at least once, those of one
/// aggregate in order, and remembers what became of each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List the subscriptions, with how far behind they are
    List,
    /// Make a subscription
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        start: StartFlags,
        #[command(flatten)]
        definition: Box<Definition>,
    },
    /// Show a subscription
    Show {
        /// Its name
        name: String,
    },
    /// Change what a subscription hands out from now on, and how
    ///
    /// What no flag says is as it is by default, not as it was.
    Change {
        /// Its name
        name: String,
        #[command(flatten)]
        definition: Box<Definition>,
    },
    /// Stop handing out events
    Pause {
        /// Its name
        name: String,
    },
    /// Go on handing out events
    Resume {
        /// Its name
        name: String,
    },
    /// Begin another pass over the log
    Reset {
        /// Its name
        name: String,
        #[command(flatten)]
        start: StartFlags,
    },
    /// Delete a subscription, with what is parked
    Delete {
        /// Its name
        name: String,
    },
    /// Take events and write them, one JSON line each
    ///
    /// Each line is what was handed out: token, attempt, deadline, event. With --ack they count as
    /// done as soon as they are written; without it they come again after their deadline.
    Fetch {
        /// Its name
        name: String,
        #[command(flatten)]
        fetch: FetchFlags,
    },
    /// Take more time for events that were fetched
    ///
    /// From now on, whatever was left; their tokens stay good. What is stale somebody else has, or
    /// may have at any moment.
    Extend(extend::Extend),
    /// Look at parked events and decide on them
    Parked {
        /// Its name
        name: String,
        /// What to do with them
        #[arg(long, value_name = "WHAT")]
        act: Option<Decision>,
        /// Only those at these positions
        #[arg(long, value_delimiter = ',', value_name = "N,…")]
        positions: Vec<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    /// Hand them out again
    Redrive,
    /// Give them up
    Discard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Events behind a retry wait as well
    Strict,
    /// Events behind a retry pass it by
    Relaxed,
}

#[derive(Debug, clap::Args)]
struct FetchFlags {
    /// Who asks
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// The most events
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// How long to wait for the first one
    #[arg(long, default_value_t = 0, value_name = "MS")]
    wait_ms: u64,
    /// Say that they are done
    #[arg(long)]
    ack: bool,
    /// Go on until Ctrl-C
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct StartFlags {
    /// Begin before the first event
    #[arg(long)]
    from_beginning: bool,
    /// Begin after the last event; the default
    #[arg(long)]
    from_end: bool,
    /// Begin after this cursor or position
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Begin before the first event that was recorded then or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Definition {
    #[command(flatten)]
    filter: FilterText,
    /// What a retry means to the later events of its aggregate
    #[arg(long, value_name = "ORDER")]
    order: Option<Order>,
    /// How long a consumer may have an event
    #[arg(long, value_name = "MS")]
    ack_deadline_ms: Option<u64>,
    /// After how many failed attempts an event is parked; 0 for never
    #[arg(long, value_name = "N")]
    attempts_max: Option<u32>,
    /// How many events may be ready or out at once
    #[arg(long, value_name = "N")]
    in_flight_max: Option<u64>,
    /// The wait after the first failed attempt
    #[arg(long, value_name = "MS")]
    retry_first_ms: Option<u64>,
    /// The longest wait
    #[arg(long, value_name = "MS")]
    retry_max_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    name: String,
    paused: bool,
    #[serde(default)]
    fault: Option<String>,
    #[serde(default)]
    status: Option<StatusView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    ready: u64,
    in_flight: u64,
    waiting: u64,
    parked: u64,
    lag_events: u64,
    lag_seconds: f64,
}

#[derive(Deserialize)]
struct List {
    items: Vec<View>,
}

#[derive(Deserialize)]
struct Fetched<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Handed {
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parked {
    items: Vec<ParkedView>,
    #[serde(default)]
    next: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParkedView {
    position: u64,
    stream: String,
    attempts: u32,
    parked_at: String,
    cause: String,
}

#[derive(Deserialize)]
struct Counted {
    count: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    let of = |name: &str, rest: &str| format!("/v1/subscriptions/{}{rest}", encode_segment(name));
    match args.act {
        Act::List => list(&mut client, context).await,
        Act::Create {
            name,
            start,
            definition,
        } => {
            let mut body = definition.body()?;
            body.insert("name".to_owned(), name.clone().into());
            start.add_to(&mut body);
            let call = Call::post("/v1/subscriptions", Value::from(body).to_string());
            done(&mut client, call, ("made", &name), context).await
        }
        Act::Show { name } => {
            let body = ask(&mut client, Call::get(of(&name, ""))).await?;
            if context.out.is_json() {
                return raw(context, &body);
            }
            let whole: Value = serde_json::from_slice(&body)?;
            context.out.line(format_args!("{whole:#}"))?;
            Ok(())
        }
        Act::Change { name, definition } => {
            let body = Value::from(definition.body()?).to_string();
            let call = Call::post(of(&name, ""), body).method(Method::PUT);
            done(&mut client, call, ("changed", &name), context).await
        }
        Act::Pause { name } => {
            let call = Call::new(Method::POST, of(&name, "/pause"));
            done(&mut client, call, ("paused", &name), context).await
        }
        Act::Resume { name } => {
            let call = Call::new(Method::POST, of(&name, "/resume"));
            done(&mut client, call, ("resumed", &name), context).await
        }
        Act::Reset { name, start } => {
            let mut body = Map::new();
            start.add_to(&mut body);
            if body.is_empty() {
                body.insert("start".to_owned(), "end".into());
            }
            let call = Call::post(of(&name, "/reset"), Value::from(body).to_string());
            done(&mut client, call, ("reset", &name), context).await
        }
        Act::Delete { name } => {
            let call = Call::new(Method::DELETE, of(&name, ""));
            done(&mut client, call, ("deleted", &name), context).await
        }
        Act::Fetch { name, fetch } => {
            let (take, ack) = (of(&name, "/fetch"), of(&name, "/ack"));
            fetch.run(&mut client, (&take, &ack), context).await
        }
        Act::Extend(extend) => extend.run(&mut client, context).await,
        Act::Parked {
            name,
            act,
            positions,
        } => {
            let path = of(&name, "/parked");
            match act {
                None => parked(&mut client, &path, &positions, context).await,
                Some(act) => decide(&mut client, &path, (act, positions), context).await,
            }
        }
    }
}

async fn ask(client: &mut Client, call: Call) -> anyhow::Result<bytes::Bytes> {
    client.send(call).await?.bytes().await
}

impl FetchFlags {
    async fn run(
        self,
        client: &mut Client,
        (take, ack): (&str, &str),
        context: &mut Context,
    ) -> anyhow::Result<()> {
        let wait_ms = if self.follow && self.wait_ms == 0 {
            20_000
        } else {
            self.wait_ms
        };
        let mut body = Map::new();
        body.insert("limit".to_owned(), self.limit.into());
        body.insert("waitMs".to_owned(), wait_ms.into());
        if let Some(consumer) = self.consumer {
            body.insert("consumer".to_owned(), consumer.into());
        }
        let body = Value::from(body).to_string();
        loop {
            let answer = ask(client, Call::post(take, body.clone())).await?;
            let fetched: Fetched<'_> = serde_json::from_slice(&answer)?;
            for event in &fetched.events {
                write_line(event.get().as_bytes(), context)?;
            }
            context.out.flush()?;
            if self.ack && !fetched.events.is_empty() {
                ask(client, Call::post(ack, tokens(&fetched)?)).await?;
            }
            if !self.follow {
                return Ok(());
            }
        }
    }
}

async fn decide(
    client: &mut Client,
    path: &str,
    (act, positions): (Decision, Vec<u64>),
    context: &mut Context,
) -> anyhow::Result<()> {
    let rest = match act {
        Decision::Redrive => "redrive",
        Decision::Discard => "discard",
    };
    let choice = if positions.is_empty() {
        json!({ "all": true })
    } else {
        json!({ "positions": positions })
    };
    let call = Call::post(format!("{path}/{rest}"), choice.to_string());
    let body = ask(client, call).await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    let counted: Counted = serde_json::from_slice(&body)?;
    Ok(context.out.line(format_args!("{} events", counted.count))?)
}

/// Does something with a subscription, and says so.
async fn done(
    client: &mut Client,
    call: Call,
    (word, name): (&str, &str),
    context: &mut Context,
) -> anyhow::Result<()> {
    let body = ask(client, call).await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    let word = context.out.paint(Tone::Good, word);
    Ok(context
        .out
        .line(format_args!("{word} {}", printable(name)))?)
}

fn raw(context: &mut Context, body: &[u8]) -> anyhow::Result<()> {
    context.out.bytes(body.trim_ascii_end())?;
    Ok(context.out.bytes(b"\n")?)
}

fn write_line(json: &[u8], context: &mut Context) -> anyhow::Result<()> {
    // Only the space between the parts of a JSON text can have line ends.
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let line: Vec<u8> = json
        .iter()
        .map(|byte| if is_end(byte) { b' ' } else { *byte })
        .collect();
    context.out.bytes(&line)?;
    Ok(context.out.bytes(b"\n")?)
}

fn tokens(fetched: &Fetched<'_>) -> anyhow::Result<String> {
    let mut tokens = Vec::with_capacity(fetched.events.len());
    for event in &fetched.events {
        let handed: Handed = serde_json::from_str(event.get())?;
        tokens.push(handed.token);
    }
    Ok(json!({ "tokens": tokens }).to_string())
}

async fn list(client: &mut Client, context: &mut Context) -> anyhow::Result<()> {
    let body = ask(client, Call::get("/v1/subscriptions")).await?;
    if context.out.is_json() {
        return raw(context, &body);
    }
    let list: List = serde_json::from_slice(&body)?;
    let row = |view: View| {
        let state = match (&view.fault, view.paused) {
            (Some(_), _) => "unusable",
            (None, true) => "paused",
            (None, false) => "active",
        };
        let mut cells = vec![view.name, state.to_owned()];
        match view.status {
            Some(status) => cells.extend([
                status.lag_events.to_string(),
                format!("{:.1} s", status.lag_seconds),
                status.ready.to_string(),
                status.in_flight.to_string(),
                status.waiting.to_string(),
                status.parked.to_string(),
            ]),
            None => cells.extend(vec!["-".to_owned(); 6]),
        }
        cells
    };
    let rows = list.items.into_iter().map(row).collect();
    let names = [
        "name", "state", "lag", "behind", "ready", "out", "waiting", "parked",
    ];
    Ok(context.out.table(&names, rows)?)
}

async fn parked(
    client: &mut Client,
    path: &str,
    positions: &[u64],
    context: &mut Context,
) -> anyhow::Result<()> {
    let wanted: HashSet<u64> = positions.iter().copied().collect();
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let query = after.map_or_else(String::new, |after: u64| format!("?after={after}"));
        let body = ask(client, Call::get(format!("{path}{query}"))).await?;
        if context.out.is_json() {
            raw(context, &body)?;
        }
        let page: Parked = serde_json::from_slice(&body)?;
        let chosen = page.items.into_iter();
        let chosen = chosen.filter(|one| wanted.is_empty() || wanted.contains(&one.position));
        rows.extend(chosen.map(|one| {
            vec![
                one.position.to_string(),
                printable(&one.stream),
                one.attempts.to_string(),
                one.parked_at,
                printable(&one.cause),
            ]
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if context.out.is_json() {
        return Ok(());
    }
    if rows.is_empty() {
        note("nothing is parked");
        return Ok(());
    }
    let names = ["position", "aggregate", "attempts", "parked", "cause"];
    Ok(context.out.table(&names, rows)?)
}

impl StartFlags {
    fn add_to(&self, body: &mut Map<String, Value>) {
        let mut add = |name: &str, value: &str| body.insert(name.to_owned(), value.into());
        if self.from_beginning {
            add("start", "beginning");
        }
        if self.from_end {
            add("start", "end");
        }
        if let Some(after) = &self.after {
            add("after", after);
        }
        if let Some(since) = &self.since {
            add("since", since);
        }
    }
}

impl Definition {
    fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let mut body = Map::new();
        let filter: Value = serde_json::from_str(&self.filter.to_json()?)?;
        body.insert("filter".to_owned(), filter);
        if let Some(order) = self.order {
            let order = match order {
                Order::Strict => "strict",
                Order::Relaxed => "relaxed",
            };
            body.insert("order".to_owned(), order.into());
        }
        let numbers = [
            ("ackDeadlineMs", self.ack_deadline_ms),
            ("attemptsMax", self.attempts_max.map(u64::from)),
            ("inFlightMax", self.in_flight_max),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                body.insert(name.to_owned(), number.into());
            }
        }
        let mut retry = Map::new();
        let waits = [
            ("firstMs", self.retry_first_ms),
            ("maxMs", self.retry_max_ms),
        ];
        for (name, number) in waits {
            if let Some(number) = number {
                retry.insert(name.to_owned(), number.into());
            }
        }
        if !retry.is_empty() {
            body.insert("retry".to_owned(), retry.into());
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_become_a_definition() {
        let words = [
            "x",
            "create",
            "crm",
            "--since",
            "2026-01-01T00:00:00Z",
            "--order",
            "relaxed",
            "--retry-first-ms",
            "5",
            "type:a.b",
        ];
        let Act::Create {
            start, definition, ..
        } = Alone::parse_from(words).args.act
        else {
            panic!("another command");
        };
        let mut body = definition.body().unwrap();
        start.add_to(&mut body);
        assert_eq!(
            Value::from(body).to_string(),
            r#"{"filter":{"eventTypes":["a.b"]},"order":"relaxed","retry":{"firstMs":5},"since":"2026-01-01T00:00:00Z"}"#
        );
        let both = ["x", "reset", "crm", "--from-end", "--after", "3"];
        assert!(Alone::try_parse_from(both).is_err());
    }
}
