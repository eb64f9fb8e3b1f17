//! `factum verify`: everything that is stored is read and checked.

use std::time::Duration;

use anyhow::Context as _;
use factum_store_embedded::verify_directory;

use crate::cli::Context;
use crate::client::{Call, Client};
use crate::config::data_dir;
use crate::exit::Failure;
use crate::maintenance_view::{verify_report, write_verify};
use crate::rundir::{self, Server};

/// Check every stored byte: checksums, positions, streams, indexes
///
/// Where a server runs, or --url names one, the server checks its store while it works; a directory
/// without a server is read directly. Nothing is changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// How long a server may take to read everything.
pub(crate) const MAINTENANCE_MAX: Duration = Duration::from_secs(6 * 3600);

pub(crate) async fn run(_: Args, context: &mut Context) -> anyhow::Result<()> {
    let report = if has_server(context)? {
        let mut client = Client::of(context)?;
        let call = Call::post("/v1/admin/verify", "{}").wait_at_most(MAINTENANCE_MAX);
        client.send(call).await?.json().await?
    } else {
        let data = data(context)?;
        if !data.is_dir() {
            let message = format!("there is no directory {}", data.display());
            let hint = "name the data directory with --data".to_owned();
            return Err(Failure::NotFound { message, hint }.into());
        }
        let report = tokio::task::spawn_blocking(move || verify_directory(&data)).await?;
        verify_report(report.context("reading the data directory")?)
    };
    write_verify(&report, &mut context.out)
}

/// Returns the data directory.
pub(crate) fn data(context: &Context) -> anyhow::Result<std::path::PathBuf> {
    let globals = &context.globals;
    Ok(data_dir(
        globals.config.as_deref(),
        &context.environment,
        globals.data.as_deref(),
    )?)
}

/// Tells whether a server has the store in hand.
pub(crate) fn has_server(context: &Context) -> anyhow::Result<bool> {
    let named = context.globals.url.is_some() || context.environment.get("FACTUM_URL").is_some();
    let runs = matches!(rundir::server(&data(context)?), Server::Running(_));
    Ok(named || runs)
}
