//! `factum tail`: events as they arrive.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use serde::Deserialize;

use crate::cli::Context;
use crate::client::{Call, Client, Problem, Query};
use crate::event_view::EventView;
use crate::exit::may_come_back;
use crate::filter_flags::{FilterFlags, StreamArgument};
use crate::output::{Out, note};
use crate::sse;

/// Print events as they arrive, until Ctrl-C
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this stream, as TYPE/ID, or its ID alone if no other type has it
    #[arg(value_name = "STREAM", conflicts_with_all = ["aggregate_types", "aggregate_ids"])]
    stream: Option<StreamArgument>,
    /// Begin with everything that is there already
    #[arg(long, conflicts_with = "after")]
    from_beginning: bool,
    /// Begin after this position or cursor
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    filter: FilterFlags,
}

impl Args {
    /// Follows what matches a filter, from now on.
    pub(crate) fn of(filter: FilterFlags) -> Self {
        Self {
            stream: None,
            from_beginning: false,
            after: None,
            limit: None,
            filter,
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

pub(crate) async fn run(mut args: Args, context: &mut Context) -> anyhow::Result<()> {
    if let Some(stream) = args.stream.take() {
        let stream = stream.resolve(&mut Client::of(context)?).await?;
        args.filter.aggregate_types = vec![stream.aggregate_type];
        args.filter.aggregate_ids = vec![stream.aggregate_id];
    }
    let mut follower = Follower {
        cursor: None,
        n_left: args.limit.unwrap_or(u64::MAX),
        was_connected: false,
    };
    let mut pause = PAUSE_MIN;
    loop {
        let seen = follower.cursor.clone();
        match follower.follow(&args, context).await {
            Ok(Ended::Enough) => return Ok(()),
            Ok(Ended::Closed) => {}
            Err(error) if may_come_back(&error) && follower.was_connected => {
                context.out.flush()?;
                note(format_args!("connection lost ({error:#}); trying again"));
            }
            Err(error) => return Err(error),
        }
        pause = if follower.cursor == seen {
            (pause * 2).min(PAUSE_MAX)
        } else {
            PAUSE_MIN
        };
        tokio::time::sleep(pause).await;
    }
}

enum Ended {
    /// As many events as were asked for.
    Enough,
    /// The server closed the stream.
    Closed,
}

struct Follower {
    /// The place of the last event seen.
    cursor: Option<String>,
    n_left: u64,
    was_connected: bool,
}

impl Follower {
    /// Follows the stream over one connection.
    async fn follow(&mut self, args: &Args, context: &mut Context) -> anyhow::Result<Ended> {
        // The server may have come back with another URL, so it is looked for each time.
        let mut client = Client::of(context)?;
        let call = self.call(args)?;
        let mut lines = client.send(call).await?.lines();
        self.was_connected = true;
        let mut assembler = sse::Assembler::after(self.cursor.take());
        loop {
            let message = sse::next(&mut lines, &mut assembler).await;
            self.cursor.clone_from(&assembler.last_id);
            let Some(message) = message? else {
                return Ok(Ended::Closed);
            };
            match message.event.as_str() {
                "event" => {
                    write(&message.data, &mut context.out)?;
                    self.n_left = self.n_left.saturating_sub(1);
                    if self.n_left == 0 {
                        return Ok(Ended::Enough);
                    }
                }
                "closed" => return closed(&message.data),
                _ => {}
            }
        }
    }

    fn call(&self, args: &Args) -> anyhow::Result<Call> {
        let mut query = Query::default();
        args.filter.add_to(&mut query);
        if self.cursor.is_none() {
            let beginning = args.from_beginning.then_some("0");
            query.add_some("after", args.after.as_deref().or(beginning));
        }
        let call =
            Call::get(format!("/v1/events/stream{}", query.as_str())).accept("text/event-stream");
        Ok(match &self.cursor {
            Some(cursor) => call.header(
                HeaderName::from_static("last-event-id"),
                HeaderValue::from_str(cursor)?,
            ),
            None => call,
        })
    }
}

#[derive(Deserialize)]
struct Closing {
    code: u16,
    reason: String,
}

/// Takes the server's goodbye: some end the stream for good, others ask to come back.
fn closed(data: &[u8]) -> anyhow::Result<Ended> {
    let closing: Closing = serde_json::from_slice(data)?;
    let code = match closing.code {
        4000 => "unauthenticated",
        4001 => "forbidden",
        4002 => "invalid_filter",
        _ => {
            note(format_args!(
                "the server closed the stream: {}",
                closing.reason
            ));
            return Ok(Ended::Closed);
        }
    };
    Err(Problem {
        status: 0,
        code: code.to_owned(),
        detail: closing.reason,
        pointer: None,
        line: None,
    }
    .into())
}

fn write(data: &[u8], out: &mut Out) -> anyhow::Result<()> {
    if out.is_json() {
        // A line end can stand between tokens only, never inside a text.
        let line: Vec<u8> = data
            .iter()
            .map(|&byte| if byte == b'\n' { b' ' } else { byte })
            .collect();
        out.bytes(&line)?;
        out.bytes(b"\n")?;
    } else {
        EventView::parse(data)?.write_line(out)?;
    }
    Ok(out.flush()?)
}
