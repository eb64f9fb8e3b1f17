//! `factum read`: the log, with filters, or one stream.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Context;
use crate::client::{Call, Client, Query, encode_segment};
use crate::event_view::EventView;
use crate::filter_flags::{FilterFlags, StreamName};
use crate::output::{Out, note};

/// Read the log or one stream
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The stream, as TYPE/ID; without it the whole log is read
    #[arg(value_name = "STREAM")]
    stream: Option<StreamName>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(default)]
    has_more: bool,
    cursor: Option<String>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    if args.stream.is_some() {
        args.filter.none_beside_a_stream()?;
    }
    let mut client = Client::of(context)?;
    let mut place = Place {
        after: args.after.clone(),
        ..Place::default()
    };
    let mut n_left = args.limit;
    while n_left > 0 {
        let path = path(&args, &place, n_left.min(PAGE_EVENTS_MAX));
        let body = client.send(Call::get(path)).await?.bytes().await?;
        let page: Page<'_> = serde_json::from_slice(&body)?;
        for event in &page.events {
            write(event, &mut context.out)?;
        }
        n_left = n_left.saturating_sub(page.events.len() as u64);
        place.advance(&page, &args)?;
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
    fn advance(&mut self, page: &Page<'_>, args: &Args) -> anyhow::Result<()> {
        if args.stream.is_none() {
            self.after.clone_from(&page.cursor);
        } else if let Some(last) = page.events.last() {
            let last = EventView::parse(last.get().as_bytes())?.sequence_number;
            self.sequence = Some(if args.backwards {
                last.saturating_sub(1)
            } else {
                last + 1
            });
        }
        Ok(())
    }
}

fn path(args: &Args, place: &Place, limit: u64) -> String {
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
    match &args.stream {
        None => format!("/v1/events{}", query.as_str()),
        Some(stream) => format!(
            "/v1/aggregates/{}/{}/events{}",
            encode_segment(&stream.aggregate_type),
            encode_segment(&stream.aggregate_id),
            query.as_str()
        ),
    }
}

fn write(event: &RawValue, out: &mut Out) -> anyhow::Result<()> {
    if out.is_json() {
        out.bytes(event.get().as_bytes())?;
        return Ok(out.bytes(b"\n")?);
    }
    Ok(EventView::parse(event.get().as_bytes())?.write_line(out)?)
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

    #[test]
    fn a_stream_has_a_path_of_its_own() {
        let check = |line: &str, expected: &str| {
            assert_eq!(path(&args(line), &Place::default(), 100), expected);
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
            assert_eq!(path(&args(line), &place, 100), expected);
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
