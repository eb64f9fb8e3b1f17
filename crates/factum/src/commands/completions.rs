//! `factum completions`: completion scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Context};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unused_async, reason = "all commands are called alike")]
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "factum", &mut script);
    Ok(context.out.bytes(&script)?)
}
