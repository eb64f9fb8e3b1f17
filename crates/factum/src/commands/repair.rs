//! `factum repair`: what to do about damage, by choice.

use clap::ValueEnum;
use factum_store_embedded::{RepairChoice, RepairReport, repair, verify_directory};
use serde::Serialize;

use crate::cli::Context;
use crate::commands::verify::data;
use crate::exit::Failure;
use crate::maintenance_view::{verify_report, write_verify};
use crate::output::Tone;
use crate::rundir::{self, Server};

/// Repair damage to the stored data, by choice; without one, tell what is damaged
///
/// A store without damage is left as it is. A repaired store begins a new history, so that cursors
/// into what was given up are refused. The damaged files are kept under another name.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is to be done
    #[arg(long, value_name = "CHOICE")]
    choice: Option<Choice>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    /// Keep every intact event; readers pass over the positions of the damaged ones
    Quarantine,
    /// Keep the log up to the first damage only, and give up what came after
    Truncate,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    lost: Vec<[u64; 2]>,
    head: u64,
    kept: Vec<String>,
}

impl From<RepairReport> for Report {
    fn from(report: RepairReport) -> Self {
        let range = |(first, last): (factum_model::Position, factum_model::Position)| {
            [first.get(), last.get()]
        };
        Self {
            lost: report.lost.into_iter().map(range).collect(),
            head: report.head.map_or(0, factum_model::Position::get),
            kept: report.kept,
        }
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let data = data(context)?;
    if let Server::Running(file) = rundir::server(&data) {
        return Err(Failure::Usage {
            message: format!("process {} has {} open", file.pid, data.display()),
            hint: "stop the server first".to_owned(),
        }
        .into());
    }
    let Some(choice) = args.choice else {
        let report = tokio::task::spawn_blocking(move || verify_directory(&data)).await??;
        return match write_verify(&verify_report(report), &mut context.out) {
            Err(error) if error.downcast_ref::<Failure>().is_some() => Err(undecided(&error)),
            done => done,
        };
    };
    let choice = match choice {
        Choice::Quarantine => RepairChoice::Quarantine,
        Choice::Truncate => RepairChoice::Truncate,
    };
    let repaired = tokio::task::spawn_blocking(move || repair(&data, choice)).await?;
    write(&repaired?.into(), context)
}

fn undecided(error: &anyhow::Error) -> anyhow::Error {
    Failure::Damaged {
        message: format!("{error:#}"),
        hint: "`--choice quarantine` keeps every intact event, `--choice truncate` all up to the first damage; a backup may have more".to_owned(),
    }
    .into()
}

fn write(report: &Report, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    if report.lost.is_empty() {
        let found = if report.kept.is_empty() {
            "nothing was damaged"
        } else {
            "repaired, and nothing was given up"
        };
        let good = out.paint(Tone::Good, found);
        for file in &report.kept {
            out.line(format_args!("kept as it was: {file}"))?;
        }
        return Ok(out.line(format_args!(
            "{good}; the log ends at position {}",
            report.head
        ))?);
    }
    for [first, last] in &report.lost {
        let lost = out.paint(Tone::Bad, "given up");
        out.line(format_args!("{lost}: positions {first} to {last}"))?;
    }
    for file in &report.kept {
        out.line(format_args!("kept as it was: {file}"))?;
    }
    Ok(out.line(format_args!("the log ends at position {}", report.head))?)
}
