//! `factum backup`: a copy of the store, while it works.

use std::path::PathBuf;

use anyhow::Context as _;
use factum_api::BackupRequestDto;
use factum_store::EventStore as _;

use crate::cli::Context;
use crate::client::{Call, Client};
use crate::commands::verify::{MAINTENANCE_MAX, data, has_server};
use crate::maintenance_view::{backup_report, write_backup};
use crate::serving::open_store_read_only;

/// Copy the store into a directory that is new or empty
///
/// Where a server runs, or --url names one, the server makes the copy on its own machine while it
/// works. The copy is complete and synced when the command ends; `factum restore` takes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory of the copy
    target: PathBuf,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let target = std::path::absolute(&args.target)?;
    let report = if has_server(context)? {
        let path = target.display().to_string();
        let body = serde_json::to_vec(&BackupRequestDto { path })?;
        let mut client = Client::of(context)?;
        let call = Call::post("/v1/admin/backup", body).wait_at_most(MAINTENANCE_MAX);
        client.send(call).await?.json().await?
    } else {
        let store = open_store_read_only(&data(context)?)?;
        let maintenance = store.maintenance().context("the store has no backup")?;
        backup_report(&maintenance.backup(&target).await?)
    };
    Ok(write_backup(&report, &mut context.out)?)
}
