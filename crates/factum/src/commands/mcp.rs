//! `factum mcp`: the tools of AI agents over standard input and output.

use std::sync::Arc;

use factum_engine::{Engine, Identity, Principal, Scope, Scopes};
use factum_mcp::{Access, Caller, Mcp};
use factum_sessions::Sessions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::Context;
use crate::commands::serve::{open_state, open_store};
use crate::config::{Config, load};
use crate::exit::Failure;
use crate::output::note;
use crate::rundir::{self, Server};
use crate::serving;
use crate::stdio::{Forward, Local, serve};

/// Offer the tools of AI agents over standard input and output (Model Context Protocol)
///
/// For agents that start their servers themselves, such as Claude Code, Codex, Gemini CLI and
/// Cursor. Messages go to the server that --url names or that runs on the data directory. Where
/// none runs the data directory is opened for as long as the agent runs; then nobody else can use
/// it, so run `factum serve` for more than one agent. Without --write only tools that change nothing are
/// offered. docs/guides/mcp.md shows how each agent is connected.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Offer the tools that record something too, as far as the key allows it
    #[arg(long)]
    write: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let access = if args.write {
        Access::All
    } else {
        Access::ReadOnly
    };
    let globals = &context.globals;
    let loaded = load(
        globals.config.as_deref(),
        &context.environment,
        &flags(context),
    )?;
    let is_named = globals.url.is_some() || context.environment.get("FACTUM_URL").is_some();
    let runs = matches!(rundir::server(&loaded.config.data), Server::Running(_));
    if is_named || runs {
        return serve(Arc::new(Forward::new(context, access)?)).await;
    }
    serving::start_logging(&loaded.config, &context.environment)?;
    local(&loaded.config, access).await
}

fn flags(context: &Context) -> Vec<(String, String)> {
    let data = context.globals.data.as_ref();
    data.map(|data| ("data".to_owned(), data.to_string_lossy().into_owned()))
        .into_iter()
        .collect()
}

/// Serves from the data directory itself.
async fn local(config: &Config, access: Access) -> anyhow::Result<()> {
    if access == Access::ReadOnly && config.postgres_url.is_none() && !config.data.exists() {
        let data = config.data.display();
        return Err(Failure::NotFound {
            message: format!("there is nothing at {data}, and no server that uses it"),
            hint: "name another directory with --data, or let it be made with --write".to_owned(),
        }
        .into());
    }
    let store = open_store(config).await?;
    let state = match open_state(config).await {
        Ok(state) => state,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    let engine = Engine::new(store, serving::engine_options(config)).with_state(state);
    let sessions = Sessions::new(engine.clone(), serving::session_options(config)?);
    let tools = Mcp::new(
        engine.clone(),
        Some(sessions.clone()),
        serving::mcp_options(config),
        env!("CARGO_PKG_VERSION"),
    );
    note(format_args!(
        "serving {} over standard input",
        config.data.display()
    ));
    let (_lasts, ended) = watch::channel(false);
    let caller = Caller {
        principal: owner(ended),
        access,
    };
    let end = CancellationToken::new();
    let serving = async {
        let served = serve(Arc::new(Local::new(tools, caller))).await;
        end.cancel();
        served
    };
    let ((), served) = tokio::join!(sessions.run(end.clone()), serving);
    engine.close().await;
    served
}

/// Whoever may open the data directory may read and write it. What belongs to the engine itself is
/// for administrators, and no agent is one.
fn owner(ended: watch::Receiver<bool>) -> Principal {
    let identity = Identity {
        key_id: None,
        name: "factum mcp".to_owned(),
        scopes: Scopes::of(&[Scope::Read, Scope::Append]),
        expires_at: None,
    };
    Principal::new(Arc::new(identity), ended)
}
