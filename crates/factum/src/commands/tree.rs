//! `factum tree`: what led to an event, and what came of it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Context;
use crate::client::{Call, Client, encode_segment};
use crate::event_view::EventView;
use crate::output::{Out, note};

/// Show the causes and effects of an event, or a conversation
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The id of the event
    #[arg(
        required_unless_present = "correlation",
        conflicts_with = "correlation"
    )]
    id: Option<String>,
    /// Show all events with this correlation id instead
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// The largest number of events below the event
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tree<'a> {
    #[serde(borrow, default)]
    ancestors: Vec<&'a RawValue>,
    missing_cause: Option<String>,
    #[serde(borrow)]
    tree: Vec<Node<'a>>,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Node<'a> {
    depth: usize,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// How far a line is indented at most; a chain may be a thousand events long.
const INDENT_MAX: usize = 40;

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let limit = args.limit;
    let path = match (&args.id, &args.correlation) {
        (_, Some(id)) => format!("/v1/correlations/{}?limit={limit}", encode_segment(id)),
        (Some(id), None) => format!("/v1/events/{}/tree?limit={limit}", encode_segment(id)),
        (None, None) => String::new(),
    };
    let mut client = Client::of(context)?;
    let bytes = client.send(Call::get(path)).await?.bytes().await?;
    let out = &mut context.out;
    if out.is_json() {
        out.bytes(&bytes)?;
        return Ok(out.bytes(b"\n")?);
    }
    let tree: Tree<'_> = serde_json::from_slice(&bytes)?;
    if let Some(missing) = &tree.missing_cause {
        out.line(format_args!("(caused by {missing}, which is not there)"))?;
    }
    for (depth, event) in tree.ancestors.iter().enumerate() {
        line(out, depth, event)?;
    }
    for node in &tree.tree {
        line(out, tree.ancestors.len() + node.depth, node.event)?;
    }
    out.flush()?;
    if !tree.complete {
        note("there is more: a bound was reached");
    }
    Ok(())
}

fn line(out: &mut Out, depth: usize, event: &RawValue) -> anyhow::Result<()> {
    let indent = (depth * 2).min(INDENT_MAX);
    out.bytes(" ".repeat(indent).as_bytes())?;
    Ok(EventView::parse(event.get().as_bytes())?.write_line(out)?)
}
