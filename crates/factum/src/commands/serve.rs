//! `factum serve`: the server.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use factum_engine::{Engine, Identity, KeyRing as _, NewKey, Principal, Scope, Scopes};
use factum_security::ApiKeys;
use factum_server::{Authentication, Server, ServerError};
use factum_store::{EventStore, StateStore};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::Context;
use crate::config::{Config, ConfigFlags, Loaded, load};
use crate::exit::Failure;
use crate::machine::OpenFiles;
use crate::output::{Out, Tone, note};
use crate::rundir::{self, RunFile};
use crate::serving;

/// Run the server
///
/// The first start makes the data directory and an admin key, prints the key once and leaves it in
/// DIR/admin.key, readable by its owner only. While it runs, DIR/server.json names its URL, so that
/// commands on the same machine need no flags. SIGTERM and Ctrl-C end it gracefully.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Let everyone who reaches the server do everything
    #[arg(long)]
    insecure_no_auth: bool,
    /// Make another admin key and write it to DIR/admin.key
    #[arg(long, conflicts_with = "insecure_no_auth")]
    new_admin_key: bool,
    /// Keep the log in the PostgreSQL at this URL, in place of the data directory
    ///
    /// FACTUM_POSTGRES_URL says it as well, and does not show a password to other users of the
    /// machine. `factum postgres init` sets the database up.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    #[command(flatten)]
    flags: ConfigFlags,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    // From here on a signal asks for an end in order, also while the store is being opened.
    let stop = stop_signal()?;
    let loaded = loaded(&args, context)?;
    let config = &loaded.config;
    serving::start_logging(config, &context.environment)?;
    warn(&loaded, &args);
    raise_open_files();
    let store = open_store(config).await?;
    let state = match open_state(config).await {
        Ok(state) => state,
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    let engine = Engine::new(store, serving::engine_options(config)).with_state(state);
    let served = Box::pin(serve(&args, config, &engine, context, stop)).await;
    // Also a server that failed closes its store, so that the next start finds a clean end.
    engine.close().await;
    served
}

/// Opens the log: on PostgreSQL if the configuration names one, in the data directory otherwise.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    if let Some(url) = &config.postgres_url {
        // The run file and the admin key of this node stand there all the same.
        let made = std::fs::create_dir_all(&config.data);
        made.with_context(|| format!("making {}", config.data.display()))?;
        return Ok(Arc::new(serving::open_postgres(config, url).await?));
    }
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || serving::open_store(&config)).await?;
    Ok(Arc::new(opened?))
}

/// Opens the bookkeeping beside the log. The log is open already: who holds its lock holds both.
pub(crate) async fn open_state(config: &Config) -> anyhow::Result<Arc<dyn StateStore>> {
    if let Some(url) = &config.postgres_url {
        return Ok(Arc::new(serving::open_postgres_state(config, url).await?));
    }
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || serving::open_state(&config)).await?;
    Ok(Arc::new(opened?))
}

fn loaded(args: &Args, context: &Context) -> anyhow::Result<Loaded> {
    let globals = &context.globals;
    let mut flags = args.flags.0.clone();
    if let Some(url) = &args.postgres {
        flags.push(("postgres.url".to_owned(), url.clone()));
    }
    if let Some(data) = &globals.data {
        flags.push(("data".to_owned(), data.to_string_lossy().into_owned()));
    }
    Ok(load(
        globals.config.as_deref(),
        &context.environment,
        &flags,
    )?)
}

/// Lets the server have as many files open as the system grants it.
fn raise_open_files() {
    match OpenFiles::raise() {
        Ok(limits) => tracing::info!(open_files_max = ?limits.now, "open files"),
        // It goes on with fewer; when they run out, connections and appends are refused for a while.
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

/// Says aloud what is unsafe.
fn warn(loaded: &Loaded, args: &Args) {
    let config = &loaded.config;
    for name in &loaded.unknown_variables {
        tracing::warn!("the environment variable {name} means nothing to factum");
    }
    if args.insecure_no_auth {
        tracing::warn!("authentication is off: everyone who reaches this server can do everything");
    }
    if !config.listen.ip().is_loopback() && config.tls_cert.is_none() {
        tracing::warn!(
            "listening on {} without TLS: keys and events cross the network in the clear",
            config.listen
        );
    }
}

async fn serve(
    args: &Args,
    config: &Config,
    engine: &Engine,
    context: &mut Context,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let authentication = if args.insecure_no_auth {
        Authentication::Off
    } else {
        Authentication::Required
    };
    let options = serving::server_options(config, authentication)?;
    let keys = ApiKeys::open(engine.clone()).await?;
    let new_key = admin_key(args, config, &keys).await?;
    let services = serving::open_services(config, engine).await?;
    let ring = Arc::new(keys.clone());
    let server = Server::bind_with(options, engine.clone(), ring, services.clone())
        .await
        .map_err(not_bound)?;
    let file = RunFile {
        url: url(config, server.local_addr()),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    rundir::write_run_file(&config.data, &file).context("writing server.json")?;
    let screen = FirstScreen {
        config,
        file: &file,
        key: new_key.as_deref(),
        authentication_is_off: args.insecure_no_auth,
    };
    screen.write(&mut context.out)?;
    let mut failed = None;
    // What is served goes on while connections end; if it fails, the server ends.
    let (work, ended) = (CancellationToken::new(), CancellationToken::new());
    let end = async {
        tokio::select! {
            () = stop => {}
            () = ended.cancelled() => {}
            followed = keys.follow() => failed = followed.err(),
        }
    };
    let serving = async {
        server.run(end).await;
        work.cancel();
    };
    let working = async {
        let worked = serving::run_services(&services, &work).await;
        ended.cancel();
        worked
    };
    let ((), worked) = tokio::join!(serving, working);
    rundir::remove_run_file(&config.data, file.pid).context("removing server.json")?;
    tracing::info!("stopped");
    match failed {
        None => worked,
        // Without the log of keys it is not known who may come in.
        Some(error) => Err(error).context("following the API keys failed"),
    }
}

fn not_bound(error: ServerError) -> anyhow::Error {
    let hint = match &error {
        ServerError::Bind { .. } => "name another address with --listen; port 0 takes any free one",
        ServerError::Tls { .. } => {
            "tls.cert and tls.key are a certificate chain and its key, as PEM"
        }
        ServerError::Origin { .. } => "cors.allowed_origins are like https://app.example",
    };
    Failure::Usage {
        message: format!("{:#}", anyhow::Error::new(error)),
        hint: hint.to_owned(),
    }
    .into()
}

/// Makes the admin key where there is none, or where another is asked for.
async fn admin_key(args: &Args, config: &Config, keys: &ApiKeys) -> anyhow::Result<Option<String>> {
    if args.insecure_no_auth {
        return Ok(None);
    }
    let made = if args.new_admin_key {
        // Whoever may write to the data directory may do everything anyway.
        let scopes = Scopes::of(&[Scope::Admin]);
        let identity = Identity {
            key_id: None,
            name: "factum serve".to_owned(),
            scopes,
            expires_at: None,
        };
        let (_lasts, ended) = tokio::sync::watch::channel(false);
        let by = Principal::new(Arc::new(identity), ended);
        let key = NewKey {
            name: "admin".to_owned(),
            scopes,
            expires_at: None,
        };
        Some(keys.create(key, &by).await?)
    } else {
        keys.ensure_admin("admin").await?
    };
    if let Some(key) = &made {
        rundir::write_admin_key(&config.data, &key.secret).context("writing admin.key")?;
    }
    Ok(made.map(|key| key.secret))
}

/// Returns the URL for this machine: an address that stands for all is none to connect to.
fn url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{scheme}://{address}")
}

/// What a person sees first.
struct FirstScreen<'a> {
    config: &'a Config,
    file: &'a RunFile,
    /// The admin key, if it was made now.
    key: Option<&'a str>,
    authentication_is_off: bool,
}

impl FirstScreen<'_> {
    fn write(&self, out: &mut Out) -> anyhow::Result<()> {
        let &Self {
            config,
            file,
            key,
            authentication_is_off,
        } = self;
        let key_file = rundir::admin_key_file(&config.data);
        if out.is_json() {
            out.json(&json!({
                "url": file.url,
                "pid": file.pid,
                "version": file.version,
                "data": config.data,
                "postgres": config.postgres_url.as_ref().map(|url| format!("{url:?}")),
                "adminKey": key,
            }))?;
            return Ok(out.flush()?);
        }
        let url = out.paint(Tone::Name, &file.url);
        out.line(format_args!("factum {} on {url}", file.version))?;
        out.line(format_args!("  data   {}", config.data.display()))?;
        match key {
            Some(key) => {
                out.line(format_args!("  key    {key}"))?;
                out.line(format_args!(
                    "         shown once; kept in {}",
                    key_file.display()
                ))?;
            }
            None if authentication_is_off => out.line("  key    none is asked for")?,
            None if key_file.exists() => {
                out.line(format_args!("  key    {}", key_file.display()))?;
            }
            None => out.line("  key    not at hand; --new-admin-key makes another")?,
        }
        if let Some(url) = &config.postgres_url {
            out.line(format_args!("  log    {url:?}"))?;
        }
        let data = if config.data.as_os_str() == "factum-data" {
            String::new()
        } else {
            format!(" --data {}", config.data.display())
        };
        let command = format!("factum tail --from-beginning{data}");
        out.line(format_args!(
            "  next   {}",
            out.paint(Tone::Faint, &command)
        ))?;
        Ok(out.flush()?)
    }
}

/// Resolves when the process is asked to stop. The handlers are there when this returns.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => note("stopping; events that wait are written first"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn the_url_is_one_that_this_machine_can_connect_to() {
        let config = load(None, &Environment::default(), &[]).unwrap().config;
        let check = |address: &str, expected: &str| {
            assert_eq!(url(&config, address.parse().unwrap()), expected);
        };
        check("127.0.0.1:7", "http://127.0.0.1:7");
        check("0.0.0.0:7", "http://127.0.0.1:7");
        check("[::]:7", "http://[::1]:7");
    }
}
