//! `factum config`: the effective configuration and where it comes from.

use clap::Subcommand;
use serde::Serialize;

use crate::cli::Context;
use crate::config::{KEYS, default_file, load, reference_page};
use crate::output::{note, printable};

/// Check the configuration, or show all keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Read file and environment, and print every effective value with its source
    Check,
    /// Print a configuration file
    Show {
        /// With every key at its default, commented out
        #[arg(long)]
        default: bool,
        /// The reference page instead, as Markdown
        #[arg(long, conflicts_with = "default")]
        reference: bool,
    },
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    unit: &'static str,
    source: String,
}

#[expect(clippy::unused_async, reason = "all commands are called alike")]
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    match args.act {
        Act::Show {
            reference: true, ..
        } => Ok(context.out.bytes(reference_page().as_bytes())?),
        Act::Show { default: true, .. } => Ok(context.out.bytes(default_file().as_bytes())?),
        Act::Show { .. } => show(context),
        Act::Check => check(context),
    }
}

fn loaded(context: &Context) -> anyhow::Result<crate::config::Loaded> {
    let globals = &context.globals;
    let data = globals.data.iter();
    let flags: Vec<_> = data
        .map(|data| ("data".to_owned(), data.to_string_lossy().into_owned()))
        .collect();
    Ok(load(
        globals.config.as_deref(),
        &context.environment,
        &flags,
    )?)
}

/// Prints only what differs from the defaults, as a file.
fn show(context: &mut Context) -> anyhow::Result<()> {
    let loaded = loaded(context)?;
    for key in KEYS {
        let (value, source) = loaded.raw.shown(key.name);
        if *source != crate::config::Source::Default {
            let value = toml::Value::String(value);
            context
                .out
                .line(format_args!("{} = {value} # {source}", key.name))?;
        }
    }
    Ok(())
}

fn check(context: &mut Context) -> anyhow::Result<()> {
    let loaded = loaded(context)?;
    let row = |key: &crate::config::Key| {
        let (value, source) = loaded.raw.shown(key.name);
        Row {
            key: key.name,
            value,
            unit: key.unit,
            source: source.to_string(),
        }
    };
    let rows: Vec<Row> = KEYS.iter().map(row).collect();
    if context.out.is_json() {
        return Ok(context.out.json(&rows)?);
    }
    let cells = rows.iter().map(|row| {
        let value = printable(&row.value);
        vec![
            row.key.to_owned(),
            value,
            row.unit.to_owned(),
            row.source.clone(),
        ]
    });
    context
        .out
        .table(&["key", "value", "unit", "source"], cells.collect())?;
    match &loaded.file {
        Some(path) => context.out.line(format_args!("file: {}", path.display()))?,
        None => context.out.line("file: none")?,
    }
    for name in &loaded.unknown_variables {
        note(format_args!(
            "warning: the environment variable {name} means nothing to factum"
        ));
    }
    Ok(())
}
