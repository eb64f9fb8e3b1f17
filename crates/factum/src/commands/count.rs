//! `factum count`: how many events match, in all and by group.

use clap::ValueEnum;
use serde::Deserialize;

use crate::cli::Context;
use crate::client::{Call, Client};
use crate::filter_text::FilterText;
use crate::output::{grouped, note, printable};

/// Count events
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterText,
    /// What to count by
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// The largest number of groups
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The type of the event
    Type,
    /// The type of the aggregate
    AggregateType,
    /// The stream
    Stream,
    /// The user
    User,
    /// The tags; an event counts for each
    Tag,
    /// The day, in UTC
    Day,
    /// The hour, in UTC
    Hour,
}

impl By {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "eventType",
            Self::AggregateType => "aggregateType",
            Self::Stream => "stream",
            Self::User => "user",
            Self::Tag => "tag",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    total: u64,
    complete: bool,
    groups: Option<Vec<Group>>,
    group_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Group {
    key: String,
    count: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let filter = args.filter.to_json()?;
    let by = args.by.map(|by| format!(r#","by":"{}""#, by.as_str()));
    let by = by.unwrap_or_default();
    let body = format!(r#"{{"filter":{filter},"limit":{}{by}}}"#, args.limit);
    let mut client = Client::of(context)?;
    let answer = client.send(Call::post("/v1/events/counts", body)).await?;
    let bytes = answer.bytes().await?;
    let out = &mut context.out;
    if out.is_json() {
        out.bytes(&bytes)?;
        return Ok(out.bytes(b"\n")?);
    }
    let counts: Counts = serde_json::from_slice(&bytes)?;
    let groups = counts.groups.unwrap_or_default();
    let n_shown = groups.len() as u64;
    if args.by.is_some() {
        let row = |group: Group| vec![grouped(group.count), printable(&group.key)];
        out.table(&["EVENTS", "GROUP"], groups.into_iter().map(row).collect())?;
    } else {
        out.line(grouped(counts.total))?;
    }
    out.flush()?;
    if args.by.is_some() {
        let n_groups = counts.group_count.unwrap_or(n_shown);
        let shown = if n_shown < n_groups {
            format!(", {n_shown} of {} groups shown", grouped(n_groups))
        } else {
            String::new()
        };
        note(format_args!("{} events{shown}", grouped(counts.total)));
    }
    if !counts.complete {
        note("a bound on the work was reached: there are at least as many");
    }
    Ok(())
}
