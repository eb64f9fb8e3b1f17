//! `factum bench`: how fast this server is on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;

use crate::bench::{Plan, Subject, Suite, serve_echo};
use crate::cli::Context;
use crate::client::target;
use crate::config::data_dir;
use crate::rundir::{self, Server};

/// Measure a server: its own on a new directory, or the one that --url names
///
/// In the same run the disk's own fdatasync rate and a bare echo server are measured, with the same
/// requests and the same clients, so that the figures can be read as ratios. A server that --url
/// names keeps the events that were appended.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure [default: everything]
    suites: Vec<Suite>,
    /// How often everything is measured, taking turns
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// How long a case runs in a round
    #[arg(long, default_value_t = 3, value_name = "N")]
    seconds: u64,
    /// How many clients append one event at a time
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,8,64,256",
        value_name = "N,…"
    )]
    clients: Vec<usize>,
    /// How many live subscribers there are
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,100",
        value_name = "N,…"
    )]
    subscribers: Vec<usize>,
    /// How many events a second are appended for live subscribers
    #[arg(long, default_value_t = 2000, value_name = "N")]
    live_rate: u32,
    /// How many events a bulk append has
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    bulk_events: usize,
    /// Where the new data directory is made; its disk is the one that is measured
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Be the echo server that appends are compared with
    #[arg(long, hide = true)]
    echo_server: bool,
}

impl Args {
    /// Tells whether this process is to be the echo server.
    pub(crate) const fn is_echo_server(&self) -> bool {
        self.echo_server
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    if args.echo_server {
        let out = &mut context.out;
        let announce = |url| {
            out.line(url)?;
            out.flush()
        };
        return Ok(serve_echo(announce).await?);
    }
    let suites = if args.suites.is_empty() {
        Suite::value_variants().to_vec()
    } else {
        args.suites
    };
    let plan = Plan {
        suites,
        n_rounds: args.rounds.max(1),
        time: Duration::from_secs(args.seconds.max(1)),
        clients: args.clients,
        subscribers: args.subscribers,
        live_events_per_s: args.live_rate,
        n_bulk_events: args.bulk_events,
    };
    let named = context.globals.url.is_some() || context.environment.get("FACTUM_URL").is_some();
    if named {
        let (target, key) = target(context)?;
        let data = local_data(context)?;
        let pid = match rundir::server(&data) {
            Server::Running(file) if file.url == target.url() => Some(file.pid),
            Server::Running(_) | Server::Stale(_) | Server::None => None,
        };
        let target = &target;
        let subject = Subject::Running { target, key, pid };
        return crate::bench::run(&plan, subject, &args.dir, &mut context.out).await;
    }
    let own = tempfile::Builder::new()
        .prefix("factum-bench-")
        .tempdir_in(&args.dir)
        .with_context(|| format!("making a directory in {}", args.dir.display()))?;
    let subject = Subject::Own { data: own.path() };
    crate::bench::run(&plan, subject, own.path(), &mut context.out).await
}

fn local_data(context: &Context) -> anyhow::Result<PathBuf> {
    let globals = &context.globals;
    Ok(data_dir(
        globals.config.as_deref(),
        &context.environment,
        globals.data.as_deref(),
    )?)
}
