//! `factum query`: asks for events in the language of filters.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Context;
use crate::client::{Call, Client};
use crate::event_view::EventView;
use crate::filter_text::FilterText;
use crate::output::{grouped, note};

/// The largest page that the server gives.
const PAGE_EVENTS_MAX: u64 = 1000;

/// Ask for events, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterText,
    /// The largest number of events
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Oldest first
    #[arg(long)]
    oldest: bool,
    /// Start after this position or cursor
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Say how many events match in all
    #[arg(long)]
    total: bool,
    /// Say how the answer was found
    #[arg(long)]
    explain: bool,
}

/// A page, as the server gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    cursor: String,
    has_more: bool,
    total_count: Option<u64>,
    total_count_complete: Option<bool>,
    explain: Option<Explanation>,
}

#[derive(Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    decided_by_index: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    examined: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    examined_for_total: Option<u64>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let filter = args.filter.to_json()?;
    let mut client = Client::of(context)?;
    let mut after = args.after.clone();
    let mut n_left = args.limit;
    let mut is_first = true;
    loop {
        let body = body(&args, &filter, after.as_deref(), n_left, is_first)?;
        let answer = client.send(Call::post("/v1/events/query", body)).await?;
        let bytes = answer.bytes().await?;
        let page: Page<'_> = serde_json::from_slice(&bytes)?;
        for event in &page.events {
            write(event.get().as_bytes(), context)?;
        }
        n_left = n_left.saturating_sub(page.events.len() as u64);
        if is_first {
            summarise(&page, context)?;
        }
        is_first = false;
        if !page.has_more || n_left == 0 {
            if page.has_more && !context.out.is_json() {
                context.out.flush()?;
                let more = args.limit.saturating_mul(10);
                note(format_args!("there is more: --limit {more}"));
            }
            return Ok(());
        }
        after = Some(page.cursor);
    }
}

fn body(
    args: &Args,
    filter: &str,
    after: Option<&str>,
    n_left: u64,
    is_first: bool,
) -> anyhow::Result<String> {
    let limit = n_left.clamp(1, PAGE_EVENTS_MAX);
    let sort = if args.oldest { "asc" } else { "desc" };
    let mut body = format!(r#"{{"filter":{filter},"sort":"{sort}","limit":{limit}"#);
    if let Some(after) = after {
        body.push_str(&[r#","cursor":"#, &serde_json::to_string(after)?].concat());
    }
    if args.total && is_first {
        body.push_str(r#","totalCount":true"#);
    }
    if args.explain && is_first {
        body.push_str(r#","explain":true"#);
    }
    body.push('}');
    Ok(body)
}

fn write(event: &[u8], context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    if out.is_json() {
        // Only the space between the parts of a JSON text can have line ends.
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let line: Vec<u8> = event
            .iter()
            .map(|byte| if is_end(byte) { b' ' } else { *byte })
            .collect();
        out.bytes(&line)?;
        return Ok(out.bytes(b"\n")?);
    }
    Ok(EventView::parse(event)?.write_line(out)?)
}

fn summarise(page: &Page<'_>, context: &mut Context) -> anyhow::Result<()> {
    if let (Some(total), complete) = (page.total_count, page.total_count_complete) {
        let about = if complete == Some(false) {
            "at least "
        } else {
            ""
        };
        context.out.flush()?;
        note(format_args!("{about}{} events match", grouped(total)));
    }
    if let Some(explain) = &page.explain {
        context.out.flush()?;
        let how = match &explain.undecided {
            None => "the index decides the filter".to_owned(),
            Some(what) => format!("the index narrows the filter; it cannot decide {what}"),
        };
        note(format_args!(
            "{how}; {} events were read for this page{}",
            grouped(explain.examined),
            explain
                .examined_for_total
                .map_or_else(String::new, |n| format!(", {} for the total", grouped(n))),
        ));
    }
    Ok(())
}
