//! The order of a benchmark: rounds in which every case, the echo server and the disk take
//! turns, so that a disturbance of the machine hits all of them alike.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use crate::bench::cases::{self, Outcome};
use crate::bench::child::Measured;
use crate::bench::live::{self, Live};
use crate::bench::report::{Report, Spent};
use crate::client::Target;
use crate::machine::{Machine, cpu_time, resident_bytes, sync_rates};
use crate::output::{Out, note};

/// A group of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Appends of one event by 1, 8, 64 and 256 clients, beside the echo server and the disk
    Append,
    /// Appends of 100 events by 4 and 8 clients
    Batch,
    /// Reads of streams of 100 events by 8 clients
    Read,
    /// The whole log as NDJSON
    CatchUp,
    /// One bulk append
    Bulk,
    /// From append to WebSocket subscribers at 2,000 events a second
    Live,
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The groups of cases.
    pub(crate) suites: Vec<Suite>,
    /// How often everything is run.
    pub(crate) n_rounds: usize,
    /// How long a case runs in a round.
    pub(crate) time: Duration,
    /// How many clients append one event at a time.
    pub(crate) clients: Vec<usize>,
    /// How many subscribers there are.
    pub(crate) subscribers: Vec<usize>,
    /// How many events are appended a second for them.
    pub(crate) live_events_per_s: u32,
    /// How many events a bulk append has.
    pub(crate) n_bulk_events: usize,
}

/// The server to measure.
#[derive(Debug)]
pub(crate) enum Subject<'a> {
    /// One that runs already.
    Running {
        target: &'a Target,
        key: Option<String>,
        pid: Option<u32>,
    },
    /// One of our own, on a new data directory.
    Own { data: &'a Path },
}

/// Runs the plan and writes the report. The directory's disk is measured too.
pub(crate) async fn run(
    plan: &Plan,
    subject: Subject<'_>,
    dir: &Path,
    out: &mut Out,
) -> anyhow::Result<()> {
    let server = match subject {
        Subject::Running { target, key, pid } => Measured::running(target, key, pid).await?,
        Subject::Own { data } => Measured::factum(data).await?,
    };
    let echo = match plan.suites.contains(&Suite::Append) {
        true => Some(Measured::echo().await?),
        false => None,
    };
    let mut bench = Bench {
        plan,
        server,
        echo,
        report: Report::new(Machine::of(dir)),
    };
    for round in 1..=plan.n_rounds {
        note(format_args!("round {round} of {}", plan.n_rounds));
        bench.round(dir).await?;
    }
    let server_bytes = bench.server.pid.and_then(resident_bytes);
    bench.report.set_server_bytes(server_bytes);
    bench.server.stop().await?;
    if let Some(echo) = bench.echo {
        echo.stop().await?;
    }
    Ok(bench.report.write(out)?)
}

struct Bench<'a> {
    plan: &'a Plan,
    server: Measured,
    echo: Option<Measured>,
    report: Report,
}

/// How long the disk is measured in a round.
const SYNC_TIME: Duration = Duration::from_secs(1);

impl Bench<'_> {
    async fn round(&mut self, dir: &Path) -> anyhow::Result<()> {
        for suite in &self.plan.suites {
            match suite {
                Suite::Append => self.append(dir).await?,
                Suite::Batch => self.batch().await?,
                Suite::Read => self.read().await?,
                Suite::CatchUp => self.catch_up().await?,
                Suite::Bulk => self.bulk().await?,
                Suite::Live => self.live().await?,
            }
        }
        Ok(())
    }

    async fn append(&mut self, dir: &Path) -> anyhow::Result<()> {
        self.report.add_syncs(sync_rates(dir, SYNC_TIME)?);
        for &n_clients in &self.plan.clients {
            let load = cases::appends(n_clients, self.server.key.as_deref());
            let meter = Meter::start(self.server.pid);
            let outcome = cases::drive(self.server.address, &load, self.plan.time).await?;
            self.report
                .add(&format!("append {n_clients}"), &outcome, meter.stop());
            if let Some(echo) = &self.echo {
                // The same bytes go to both, the key included.
                let meter = Meter::start(echo.pid);
                let outcome = cases::drive(echo.address, &load, self.plan.time).await?;
                self.report
                    .add(&format!("echo {n_clients}"), &outcome, meter.stop());
            }
        }
        Ok(())
    }

    async fn batch(&mut self) -> anyhow::Result<()> {
        for n_clients in [4, 8] {
            let load = cases::batches(n_clients, self.server.key.as_deref());
            let meter = Meter::start(self.server.pid);
            let outcome = cases::drive(self.server.address, &load, self.plan.time).await?;
            self.report.add(
                &format!("batch of 100, {n_clients}"),
                &outcome,
                meter.stop(),
            );
        }
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let key = self.server.key.as_deref();
        // The streams must be there, also where the batches were not asked for.
        cases::drive(
            self.server.address,
            &cases::batches(4, key),
            Duration::from_millis(200),
        )
        .await?;
        let meter = Meter::start(self.server.pid);
        let load = cases::reads(8, key);
        let outcome = cases::drive(self.server.address, &load, self.plan.time).await?;
        self.report
            .add("read 100 of a stream, 8", &outcome, meter.stop());
        Ok(())
    }

    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let meter = Meter::start(self.server.pid);
        let outcome = cases::catch_up(self.server.address, self.server.key.as_deref()).await?;
        self.report.add("catch-up", &outcome, meter.stop());
        Ok(())
    }

    async fn bulk(&mut self) -> anyhow::Result<()> {
        let meter = Meter::start(self.server.pid);
        let key = self.server.key.as_deref();
        let outcome = cases::bulk(self.server.address, key, self.plan.n_bulk_events).await?;
        self.report.add("bulk", &outcome, meter.stop());
        Ok(())
    }

    async fn live(&mut self) -> anyhow::Result<()> {
        for &n_subscribers in &self.plan.subscribers {
            let live = Live {
                n_subscribers,
                events_per_s: self.plan.live_events_per_s,
                time: self.plan.time,
            };
            let meter = Meter::start(self.server.pid);
            let outcome: Outcome =
                live::run(self.server.address, self.server.key.as_deref(), live).await?;
            self.report.add(
                &format!("live, {n_subscribers} subscribers"),
                &outcome,
                meter.stop(),
            );
        }
        Ok(())
    }
}

/// Measures the processor time of generator and server.
struct Meter {
    server: Option<u32>,
    before: Spent,
}

impl Meter {
    fn start(server: Option<u32>) -> Self {
        let before = Self::read(server);
        Self { server, before }
    }

    fn read(server: Option<u32>) -> Spent {
        Spent {
            generator: cpu_time(std::process::id()).unwrap_or_default(),
            server: server.and_then(cpu_time).unwrap_or_default(),
        }
    }

    fn stop(self) -> Spent {
        let after = Self::read(self.server);
        Spent {
            generator: after.generator.saturating_sub(self.before.generator),
            server: after.server.saturating_sub(self.before.server),
        }
    }
}
