//! `factum read`: the log, with filters, or one stream.

use bytes::Bytes;

use crate::cli::Context;
use crate::client::{Answer, Call, Client, Query, encode_segment};
use crate::event_view::EventView;
use crate::filter_flags::{FilterFlags, StreamArgument, StreamName};
use crate::output::{Out, note};

/// Read the log or one stream
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stream, as TYPE/ID, or its ID alone if no other type has it; without it the whole log
    /// is read
    #[arg(value_name = "STREAM")]
    stream: Option<StreamArgument>,
    /// The first sequence number of the stream; without STREAM the first instant it happened
    #[arg(long, value_name = "FROM")]
    from: Option<String>,
    /// The last sequence number of the stream; without STREAM the first instant after it happened
    #[arg(long, value_name = "TO")]
    to: Option<String>,
    /// Start after this position or cursor
    #[arg(long, value_name = "PLACE", conflicts_with = "stream")]
    after: Option<String>,
    /// The largest number of events
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Newest first
    #[arg(long)]
    backwards: bool,
    #[command(flatten)]
    filter: FilterFlags,
}

/// The largest page that the server gives.
const PAGE_EVENTS_MAX: u64 = 1000;

/// What is read.
struct Read<'a> {
    args: &'a Args,
    stream: Option<StreamName>,
}

/// One page as lines.
struct Page {
    lines: Bytes,
    has_more: bool,
    cursor: Option<String>,
}

impl Page {
    async fn read(answer: Answer) -> anyhow::Result<Self> {
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let has_more = header("factum-has-more").is_some_and(|value| value == "true");
        let cursor = header("factum-cursor");
        Ok(Self {
            has_more,
            cursor,
            lines: answer.bytes().await?,
        })
    }

    fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
    }
}

pub(crate) async fn run(mut args: Args, context: &mut Context) -> anyhow::Result<()> {
    if args.stream.is_some() {
        args.filter.none_beside_a_stream()?;
    }
    let mut client = Client::of(context)?;
    let stream = match args.stream.take() {
        Some(stream) => Some(stream.resolve(&mut client).await?),
        None => None,
    };
    let read = Read {
        args: &args,
        stream,
    };
    let mut place = Place {
        after: args.after.clone(),
        ..Place::default()
    };
    let mut n_left = args.limit;
    while n_left > 0 {
        let path = path(&read, &place, n_left.min(PAGE_EVENTS_MAX));
        let call = Call::get(path).accept("application/x-ndjson");
        let page = Page::read(client.send(call).await?).await?;
        for event in page.events() {
            write(event, &mut context.out)?;
            n_left = n_left.saturating_sub(1);
        }
        place.advance(&page, &read)?;
        if !page.has_more {
            return Ok(());
        }
    }
    if !context.out.is_json() {
        context.out.flush()?;
        note(format_args!(
            "there is more: --limit {}",
            args.limit.saturating_mul(10)
        ));
    }
    Ok(())
}

/// Where the next page starts.
#[derive(Debug, Default)]
struct Place {
    after: Option<String>,
    sequence: Option<u64>,
}

impl Place {
    fn advance(&mut self, page: &Page, read: &Read<'_>) -> anyhow::Result<()> {
        if read.stream.is_none() {
            self.after.clone_from(&page.cursor);
        } else if let Some(last) = page.events().last() {
            let last = EventView::parse(last)?.sequence_number;
            self.sequence = Some(if read.args.backwards {
                last.saturating_sub(1)
            } else {
                last + 1
            });
        }
        Ok(())
    }
}

fn path(read: &Read<'_>, place: &Place, limit: u64) -> String {
    let args = read.args;
    let mut query = Query::default();
    let next = place.sequence.map(|number| number.to_string());
    let (mut from, mut to) = (args.from.clone(), args.to.clone());
    if next.is_some() {
        *if args.backwards { &mut to } else { &mut from } = next;
    }
    query.add_some("from", from.as_deref());
    query.add_some("to", to.as_deref());
    query.add_some("after", place.after.as_deref());
    args.filter.add_to(&mut query);
    query.add("limit", &limit.to_string());
    if args.backwards {
        query.add("direction", "backwards");
    }
    match &read.stream {
        None => format!("/v1/events{}", query.as_str()),
        Some(stream) => format!(
            "/v1/aggregates/{}/{}/events{}",
            encode_segment(&stream.aggregate_type),
            encode_segment(&stream.aggregate_id),
            query.as_str()
        ),
    }
}

fn write(event: &[u8], out: &mut Out) -> anyhow::Result<()> {
    if out.is_json() {
        out.bytes(event)?;
        return Ok(out.bytes(b"\n")?);
    }
    Ok(EventView::parse(event)?.write_line(out)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &str) -> Args {
        let words = ["factum", "read"]
            .into_iter()
            .chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Read(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn path_of(line: &str, place: &Place) -> String {
        let mut args = args(line);
        let stream = match args.stream.take() {
            Some(StreamArgument::Name(name)) => Some(name),
            Some(StreamArgument::Id(_)) | None => None,
        };
        let read = Read {
            args: &args,
            stream,
        };
        path(&read, place, 100)
    }

    #[test]
    fn a_stream_has_a_path_of_its_own() {
        let check = |line: &str, expected: &str| {
            assert_eq!(path_of(line, &Place::default()), expected);
        };
        check("", "/v1/events?limit=100");
        check(
            "--types form.* --backwards",
            "/v1/events?types=form.*&limit=100&direction=backwards",
        );
        check(
            "a/b/c --from 2",
            "/v1/aggregates/a/b%2Fc/events?from=2&limit=100",
        );
    }

    #[test]
    fn the_next_page_of_a_stream_starts_beside_the_last_event() {
        let place = Place {
            after: None,
            sequence: Some(7),
        };
        let check = |line: &str, expected: &str| {
            assert_eq!(path_of(line, &place), expected);
        };
        check(
            "a/b --to 9",
            "/v1/aggregates/a/b/events?from=7&to=9&limit=100",
        );
        check(
            "a/b --backwards",
            "/v1/aggregates/a/b/events?to=7&limit=100&direction=backwards",
        );
    }
}
