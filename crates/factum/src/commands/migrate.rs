//! `factum migrate`: the log moves into another store and stays the same.

use serde::Serialize;

use crate::cli::Context;
use crate::commands::verify::data;
use crate::exit::Failure;
use crate::migration::{Moved, Place, Plan, Switch, Watcher, already_moved, migrate};
use crate::output::{Tone, grouped, note};

const EXAMPLES: &str = "\
Examples:
  factum migrate --to postgresql://owner@db/events           the data directory into PostgreSQL
  factum migrate --to postgresql://owner@db/events --follow  begin while the server still runs
  factum migrate --from postgresql://owner@db/events --to /var/lib/factum
  factum migrate --from old-directory --to new-directory";

/// Move the log into another store: a directory or a PostgreSQL
///
/// Positions, sequence numbers, ids, times and bytes stay as they are, and so do cursors and API
/// keys. Everything is read back from the target and compared with the source before the target
/// becomes a store that can be served; until then it opens for nothing but going on. After a kill
/// or Ctrl-C the same command goes on where it ended.
///
/// The source is not written from the switch on: `factum serve` refuses it as moved. A directory
/// must have no server, or --follow waits until its server is stopped. A PostgreSQL may be in use:
/// when everything is copied and compared it is closed for appends, and the rest follows.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The store to move: a directory or a URL [default: the data directory]
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Where to: a directory that is new or empty, or the URL of a PostgreSQL, as its owner
    #[arg(long, value_name = "DIR|URL")]
    to: String,
    /// Copy while a server writes the directory, and switch when it is stopped
    #[arg(long)]
    follow: bool,
    /// The schema of the source in its PostgreSQL
    #[arg(long, value_name = "SCHEMA", default_value = "factum")]
    from_schema: String,
    /// The schema of the target in its PostgreSQL; it is set up where it is missing
    #[arg(long, value_name = "SCHEMA", default_value = "factum")]
    to_schema: String,
    /// The most events that are written together
    #[arg(long, value_name = "EVENTS", default_value_t = 4096)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_events: u32,
}

/// What was moved, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    from: String,
    to: String,
    /// The last position.
    head: u64,
    /// How many events this run has copied.
    copied: u64,
    /// Nothing when an earlier run had done it all.
    digest: Option<String>,
    seconds: f64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let from = match &args.from {
        Some(from) => Place::of(from, &args.from_schema),
        None => Place::of(&data(context)?.display().to_string(), ""),
    };
    let plan = Plan {
        from,
        to: Place::of(&args.to, &args.to_schema),
        follow: args.follow,
        batch_events_max: usize::try_from(args.batch_events)?,
    };
    plan.check()?;
    let watcher = Watcher::new(context.out.audience());
    let switch = Switch::default();
    let done = tokio::select! {
        done = Box::pin(work(&plan, &watcher, &switch)) => done,
        signal = tokio::signal::ctrl_c() => {
            Err(signal.map_or_else(anyhow::Error::from, |()| Failure::Interrupted.into()))
        }
    };
    let elapsed = watcher.done();
    if done.is_err() {
        switch.undo(&plan.from).await;
        if switch.is_begun() {
            note("run the same command again to go on where this ended");
        }
    }
    let moved = done?;
    let report = Report {
        from: plan.from.shown(),
        to: plan.to.shown(),
        head: moved.head,
        copied: moved.n_copied,
        digest: moved.digest.map(|digest| format!("sha256:{digest}")),
        seconds: elapsed.as_secs_f64(),
    };
    write(&report, &plan, context)
}

async fn work(plan: &Plan, watcher: &Watcher, switch: &Switch) -> anyhow::Result<Moved> {
    match already_moved(plan).await? {
        Some(moved) => Ok(moved),
        None => migrate(plan, watcher, switch).await,
    }
}

fn write(report: &Report, plan: &Plan, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    let what = match &report.digest {
        Some(_) => out.paint(Tone::Good, "moved"),
        None => out.paint(Tone::Good, "was moved before"),
    };
    out.line(format_args!(
        "{what}: {} events, from {} to {}",
        grouped(report.head),
        report.from,
        report.to
    ))?;
    if let Some(digest) = &report.digest {
        out.line(format_args!(
            "source and target are the same, read back and compared: {digest}"
        ))?;
    }
    out.flush()?;
    note(plan.to.next());
    Ok(())
}
