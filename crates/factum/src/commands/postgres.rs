//! `factum postgres`: the tables and roles in a PostgreSQL.

use clap::Subcommand;
use factum_store_postgres::{LeafPolicy, Setup};
use serde_json::json;

use crate::cli::Context;
use crate::config::{Loaded, load, without_password};
use crate::exit::Failure;
use crate::output::note;
use crate::serving;

/// Set up a PostgreSQL that holds the log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make the tables, functions and roles that are missing, or bring them up to date
    ///
    /// Connects as the role that is to own everything, which needs no right but to create in the
    /// database. Servers connect as another one, given with --application-role, which may then read
    /// and append and nothing else: the database itself refuses it to change or delete events. What
    /// is there already stays as it is, so this may be run again at any time, also by several at
    /// once.
    Init(Init),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Where PostgreSQL is, as the role that is to own everything [default: postgres.url]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The role that servers connect as; it is made if it is not there
    #[arg(long, value_name = "ROLE")]
    application_role: Option<String>,
    /// When a partition is closed: monthly, weekly, daily, or after so many events
    #[arg(long, value_name = "POLICY", default_value = "monthly", value_parser = policy)]
    leaves: LeafPolicy,
    /// Print the SQL and change nothing
    #[arg(long)]
    print: bool,
}

fn policy(text: &str) -> Result<LeafPolicy, String> {
    match text {
        "monthly" => Ok(LeafPolicy::Monthly),
        "weekly" => Ok(LeafPolicy::Weekly),
        "daily" => Ok(LeafPolicy::Daily),
        number => match number.parse() {
            Ok(n_events) if n_events > 0 => Ok(LeafPolicy::Events(n_events)),
            Ok(_) | Err(_) => Err("monthly, weekly, daily or a number of events".to_owned()),
        },
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let Act::Init(init) = args.act;
    let loaded = loaded(&init, context)?;
    let config = &loaded.config;
    let setup = Setup {
        schema: config.postgres_schema.clone(),
        log: i32::try_from(config.postgres_log.0).unwrap_or(i32::MAX),
        application_role: init.application_role.clone(),
        leaves: init.leaves,
    };
    if init.print {
        let sql = setup
            .sql()
            .map_err(|error| serving::explained_postgres("setup", error))?;
        return Ok(context.out.bytes(sql.as_bytes())?);
    }
    let Some(url) = &config.postgres_url else {
        let message = "it is not known where PostgreSQL is".to_owned();
        let hint = "name it: --postgres postgresql://owner@host:5432/database".to_owned();
        return Err(Failure::Usage { message, hint }.into());
    };
    let url = serving::with_password(url, config)?;
    let shown = without_password(&url);
    let done = setup.run(&url).await;
    done.map_err(|error| serving::explained_postgres(&shown, error))?;
    if context.out.is_json() {
        let role = &setup.application_role;
        let report = json!({"schema": setup.schema, "log": setup.log, "applicationRole": role});
        return Ok(context.out.json(&report)?);
    }
    context.out.line(format_args!(
        "schema {} at {shown} is ready, log {}",
        setup.schema, setup.log
    ))?;
    match &setup.application_role {
        Some(role) => note(format_args!(
            "servers connect as {role}; give it a password or a way in"
        )),
        None => note("only the owner may use it; --application-role makes a role for servers"),
    }
    Ok(())
}

fn loaded(init: &Init, context: &Context) -> anyhow::Result<Loaded> {
    let globals = &context.globals;
    let flags: Vec<_> = init
        .postgres
        .iter()
        .map(|url| ("postgres.url".to_owned(), url.clone()))
        .collect();
    Ok(load(
        globals.config.as_deref(),
        &context.environment,
        &flags,
    )?)
}
