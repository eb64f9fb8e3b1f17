//! `factum restore`: a backup becomes a data directory.

use std::path::PathBuf;

use factum_store::MaintenanceError;
use factum_store_embedded::{RestoreError, restore};

use crate::cli::Context;
use crate::commands::verify::data;
use crate::exit::Failure;
use crate::maintenance_view::backup_report;
use crate::output::{Tone, note, size};

/// Restore a backup into the data directory, which must be new or empty
///
/// Every file is checked while it is copied. The restored store begins a new history: cursors up to
/// the end of the backup stay right, later ones are refused. API keys are restored too; if none of
/// them is at hand, `factum serve --new-admin-key` makes another.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory of the backup
    source: PathBuf,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let target = data(context)?;
    let (source, to) = (args.source.clone(), target.clone());
    let restored = tokio::task::spawn_blocking(move || restore(&source, &to)).await?;
    let report = backup_report(&restored.map_err(|error| explained(error, &args.source))?);
    let out = &mut context.out;
    if out.is_json() {
        return Ok(out.json(&report)?);
    }
    out.line(format_args!(
        "{} to position {}: {} in {} files, into {}",
        out.paint(Tone::Good, "restored"),
        report.head,
        size(report.bytes),
        report.files,
        target.display()
    ))?;
    out.flush()?;
    note(format_args!(
        "next: factum serve --data {} --new-admin-key",
        target.display()
    ));
    Ok(())
}

fn explained(error: RestoreError, source: &std::path::Path) -> anyhow::Error {
    let damaged = match &error {
        RestoreError::NotABackup { .. } | RestoreError::Damaged { .. } | RestoreError::Open(_) => {
            true
        }
        RestoreError::Target(MaintenanceError::Damaged { .. }) => true,
        RestoreError::Target(_) | RestoreError::Locked(_) | RestoreError::Io(_) => false,
    };
    let message = format!("{}: {:#}", source.display(), anyhow::Error::new(error));
    if damaged {
        let hint = "take another backup; nothing was changed but the target".to_owned();
        return Failure::Damaged { message, hint }.into();
    }
    let hint = "name a directory that is new or empty with --data".to_owned();
    Failure::Incomplete { message, hint }.into()
}
