//! Log lines, on standard error.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogFormat};
use crate::environment::Environment;

/// Starts the log of this process.
pub(crate) fn start(config: &Config, environment: &Environment) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level.0).context("log.level")?;
    let terminal = io::stderr().is_terminal();
    let json = match config.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = if json {
        let lines = builder.json().flatten_event(true).with_current_span(true);
        lines.with_span_list(false).finish().try_init()
    } else {
        let colours = terminal && environment.get("NO_COLOR").is_none();
        builder
            .with_ansi(colours)
            .with_target(false)
            .finish()
            .try_init()
    };
    started.context("starting the log")
}
