//! `factum secrets`: the master key under which the secrets of targets are kept, and its rotation.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use factum_engine::{Engine, RuleError, Rules};
use factum_security::{MasterKey, MasterKeyError};
use serde::Serialize;

use crate::cli::Context;
use crate::commands::serve::{open_state, open_store};
use crate::config::{Config, load};
use crate::exit::Failure;
use crate::output::{Tone, note, printable};
use crate::rundir::{self, Server};
use crate::serving;

/// Look at the master key, under which secrets of targets are kept, and rotate it
///
/// Works on the store itself: the server of a data directory has to be stopped, servers on PostgreSQL
/// may go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
    /// The log is in the PostgreSQL at this URL, not in the data directory
    #[arg(long, value_name = "URL", global = true)]
    postgres: Option<String>,
    /// The file with the master key
    #[arg(long, value_name = "FILE", global = true)]
    secrets_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Act {
    /// List the keys by their ids, and how many rules have secrets under earlier ones
    List,
    /// Make a new key, and seal the secrets of all rules under it
    ///
    /// Earlier keys are kept until `factum secrets prune`, so whenever this ends every secret can be
    /// opened. Where there are several nodes, copy the file to all of them then; they notice by
    /// themselves.
    Rotate,
    /// Seal what is still under earlier keys, and forget those
    ///
    /// Nothing is forgotten while there is a secret that the new key does not open. Where there
    /// are several nodes, every one of them must have the new file before.
    Prune,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// The first one seals, all of them open.
    keys: Vec<String>,
    rules_current: usize,
    rules_under_earlier_keys: Vec<String>,
    rules_that_cannot_be_opened: Vec<Unreadable>,
    resealed: usize,
    forgotten: usize,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    rule: String,
    reason: String,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let config = config(&args, context)?;
    if config.postgres_url.is_none()
        && let Server::Running(file) = rundir::server(&config.data)
    {
        return Err(Failure::Usage {
            message: format!("process {} has {} open", file.pid, config.data.display()),
            hint: "stop the server first".to_owned(),
        }
        .into());
    }
    let path = serving::key_file(&config);
    if !path.exists() {
        return Err(Failure::NotFound {
            message: format!("there is no master key at {}", path.display()),
            hint: "the server makes it at its first start; --secrets-key-file names another file"
                .to_owned(),
        }
        .into());
    }
    let vault = Arc::new(MasterKey::open_or_create(&path)?);
    let store = open_store(&config).await?;
    let state = match open_state(&config).await {
        Ok(state) => state,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    let engine = Engine::new(store, serving::engine_options(&config)).with_state(state);
    let worked = work(args.act, &config, &engine, &vault).await;
    engine.close().await;
    show(args.act, &worked?, context)
}

fn config(args: &Args, context: &Context) -> anyhow::Result<Config> {
    let globals = &context.globals;
    let data = globals.data.as_deref().map(|data| ("data", data));
    let key_file = args.secrets_key_file.as_deref();
    let paths = [data, key_file.map(|file| ("secrets.key_file", file))];
    let paths = paths.into_iter().flatten();
    let mut flags: Vec<_> = paths
        .map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()))
        .collect();
    if let Some(url) = &args.postgres {
        flags.push(("postgres.url".to_owned(), url.clone()));
    }
    let loaded = load(globals.config.as_deref(), &context.environment, &flags)?;
    Ok(loaded.config)
}

async fn work(
    act: Act,
    config: &Config,
    engine: &Engine,
    vault: &Arc<MasterKey>,
) -> anyhow::Result<Report> {
    let rules = serving::open_rules(config, engine, Arc::clone(vault)).await?;
    let (mut resealed, mut forgotten) = (0, 0);
    match act {
        Act::List => {}
        Act::Rotate => {
            vault.rotate().context("making a new key")?;
            resealed = reseal(&rules).await?;
        }
        Act::Prune => {
            resealed = reseal(&rules).await?;
            forgotten = forget(&rules, vault).await?;
        }
    }
    let sealed = rules.sealed().await?;
    let unreadable = sealed.unreadable.into_iter();
    Ok(Report {
        keys: vault.key_ids(),
        rules_current: sealed.n_current,
        rules_under_earlier_keys: sealed.earlier,
        rules_that_cannot_be_opened: unreadable
            .map(|(rule, reason)| Unreadable { rule, reason })
            .collect(),
        resealed,
        forgotten,
    })
}

async fn reseal(rules: &Rules) -> anyhow::Result<usize> {
    match rules.reseal("factum secrets").await {
        Ok(n_resealed) => Ok(n_resealed),
        Err(error @ RuleError::Invalid(_)) => Err(Failure::Incomplete {
            message: format!("not every secret could be sealed anew: {error}"),
            hint: "give the secret of that rule anew, or delete the rule; then call this again"
                .to_owned(),
        }
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Forgets earlier keys, if nothing is sealed under them.
async fn forget(rules: &Rules, vault: &MasterKey) -> anyhow::Result<usize> {
    let current = vault.key_ids().into_iter().next().unwrap_or_default();
    let sealed = rules.sealed().await?;
    if !sealed.earlier.is_empty() || !sealed.unreadable.is_empty() {
        // A node that does not have the new key has changed a rule in between.
        return Err(kept("a rule was changed meanwhile, or cannot be read here"));
    }
    match vault.forget_earlier(&current) {
        Err(error @ MasterKeyError::Changed { .. }) => Err(kept(&error.to_string())),
        forgotten => forgotten.context("forgetting earlier keys"),
    }
}

fn kept(why: &str) -> anyhow::Error {
    let failure = Failure::Incomplete {
        message: format!("{why}, and no key is forgotten"),
        hint: "see that every node has the file with the new key; then call this again".to_owned(),
    };
    failure.into()
}

fn show(act: Act, report: &Report, context: &mut Context) -> anyhow::Result<()> {
    let out = &mut context.out;
    if out.is_json() {
        return Ok(out.json(report)?);
    }
    for (index, key) in report.keys.iter().enumerate() {
        let (tone, what) = match index {
            0 => (Tone::Good, "seals"),
            _ => (Tone::Faint, "opens what it has sealed"),
        };
        let key = out.paint(Tone::Name, key);
        let what = out.paint(tone, what);
        out.line(format_args!("key {key} {what}"))?;
    }
    let current = report.rules_current;
    let earlier = report.rules_under_earlier_keys.len();
    out.line(format_args!(
        "{current} rules are up to date, {earlier} have secrets under an earlier key"
    ))?;
    for one in &report.rules_that_cannot_be_opened {
        let word = out.paint(Tone::Bad, "cannot be opened");
        let (rule, reason) = (printable(&one.rule), printable(&one.reason));
        out.line(format_args!("rule {rule} {word}: {reason}"))?;
    }
    out.flush()?;
    match act {
        Act::List => {}
        Act::Rotate => note(format_args!(
            "{} rules were sealed anew; copy the file to all nodes, then `factum secrets prune` forgets earlier keys",
            report.resealed
        )),
        Act::Prune => note(format_args!(
            "{} rules were sealed anew, {} earlier keys are forgotten",
            report.resealed, report.forgotten
        )),
    }
    Ok(())
}
