//! The command line: global flags, the list of commands, and how one is run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::environment::Environment;
use crate::exit::{EXIT_CODES, Failure, report};
use crate::output::{Audience, Out};

/// Factum records events durably, in order, and delivers them live.
#[derive(Debug, Parser)]
#[command(name = "factum", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Globals {
    /// The data directory [env: FACTUM_DATA] [default: factum-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global")]
    pub(crate) data: Option<PathBuf>,
    /// The configuration file [env: FACTUM_CONFIG] [default: factum.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global")]
    pub(crate) config: Option<PathBuf>,
    /// The server's URL [env: FACTUM_URL] [default: the one that runs on the data directory]
    #[arg(long, global = true, value_name = "URL", help_heading = "Global")]
    pub(crate) url: Option<String>,
    /// The API key [env: FACTUM_KEY] [default: admin.key of the data directory]
    #[arg(long, global = true, value_name = "KEY", help_heading = "Global")]
    pub(crate) key: Option<String>,
    /// A PEM file with certificates to trust instead of the system's [env: FACTUM_CACERT]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global")]
    pub(crate) cacert: Option<PathBuf>,
    /// Write JSON, for programs
    #[arg(long, global = true, help_heading = "Global")]
    pub(crate) json: bool,
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The global flags.
    pub(crate) globals: Globals,
    /// The environment of the process.
    pub(crate) environment: Environment,
    /// Standard output.
    pub(crate) out: Out,
}

#[cfg(test)]
impl Context {
    /// Makes a context that speaks to a server, with an output that nobody reads.
    pub(crate) fn of_test(url: &str) -> Self {
        let words = ["factum", "--url", url, "--key", "fct_test", "read"];
        Self {
            globals: Cli::parse_from(words).globals,
            environment: Environment::default(),
            out: Out::nowhere(),
        }
    }
}

/// How the threads of a command are laid out, and what Ctrl-C means to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One thread; Ctrl-C drops the work.
    Client,
    /// One thread; Ctrl-C is the usual way to end it.
    Follower,
    /// A thread per core; the command handles signals itself.
    Server,
}

macro_rules! commands {
    ($($(#[$when:meta])* $name:ident = $module:ident, $style:ident;)*) => {
        /// The commands. Each has a module with its flags, its code and its tests.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$when])* $name(commands::$module::Args),)*
        }

        impl Command {
            const fn style(&self) -> Style {
                match self {
                    Self::Bench(args) if args.is_echo_server() => Style::Server,
                    Self::Sessions(args) if args.is_watch() => Style::Follower,
                    $($(#[$when])* Self::$name(_) => Style::$style,)*
                }
            }

            async fn run(self, context: &mut Context) -> anyhow::Result<()> {
                match self {
                    $($(#[$when])* Self::$name(args) => Box::pin(commands::$module::run(args, context)).await,)*
                }
            }
        }
    };
}

commands! {
    Serve = serve, Server;
    Append = append, Client;
    Get = get, Client;
    Read = read, Client;
    Query = query, Client;
    Count = count, Client;
    Tree = tree, Client;
    Tail = tail, Follower;
    Mcp = mcp, Follower;
    Import = import, Client;
    Export = export, Client;
    Verify = verify, Client;
    Repair = repair, Client;
    Backup = backup, Client;
    Restore = restore, Client;
    Migrate = migrate, Server;
    Subscriptions = subscriptions, Client;
    Rules = rules, Client;
    Deliveries = deliveries, Client;
    DeadLetters = dead_letters, Client;
    Schedule = schedule, Client;
    Keys = keys, Client;
    Secrets = secrets, Client;
    Postgres = postgres, Client;
    Sessions = sessions, Client;
    #[cfg(feature = "top")]
    Top = top, Client;
    Catalogue = catalogue, Client;
    Doctor = doctor, Client;
    Config = config, Client;
    Completions = completions, Client;
    Bench = bench, Client;
}

/// Runs the program.
pub(crate) fn main(environment: Environment) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output is nothing to complain about.
            error.print().unwrap_or_default();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let audience = if cli.globals.json {
        Audience::Programs
    } else {
        Audience::People
    };
    let mut context = Context {
        out: Out::standard(audience, &environment),
        globals: cli.globals,
        environment,
    };
    match run(cli.command, &mut context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    let style = command.style();
    let mut builder = match style {
        Style::Client | Style::Follower => tokio::runtime::Builder::new_current_thread(),
        Style::Server => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let done = runtime.block_on(async {
        match style {
            Style::Server => command.run(context).await,
            Style::Client => tokio::select! {
                done = command.run(context) => done,
                signal = tokio::signal::ctrl_c() => Err(signal.map_or_else(anyhow::Error::from, |()| Failure::Interrupted.into())),
            },
            Style::Follower => tokio::select! {
                done = command.run(context) => done,
                signal = tokio::signal::ctrl_c() => Ok(signal?),
            },
        }
    });
    // A blocking read of standard input cannot be stopped, and must not hold up the exit.
    runtime.shutdown_background();
    let flushed = context.out.flush();
    done?;
    Ok(flushed?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Returns `docs/commands.md`: the help of every command.
    fn reference_page() -> String {
        let mut page = String::from(
            "# Commands\n\nThe help of every command, as the program prints it; a test keeps this page equal to it\n\
             (`FACTUM_UPDATE_DOCS=1 cargo test -p factum commands_page` writes it anew).\n",
        );
        let mut add = |name: &str, help: &str| {
            let help: Vec<&str> = help.lines().map(str::trim_end).collect();
            let help = help.join("\n");
            let section = ["\n## ", name, "\n\n```text\n", help.trim_end(), "\n```\n"];
            page.push_str(&section.concat());
        };
        let mut root = Cli::command().term_width(100);
        root.build();
        add("factum", &root.render_long_help().to_string());
        for command in root.get_subcommands_mut() {
            // The global flags stand on the first page; they need not stand on every one.
            let name = format!("factum {}", command.get_name());
            let help = command.render_long_help().to_string();
            add(&name, help.split("\nGlobal:").next().unwrap_or_default());
        }
        page
    }

    #[test]
    fn commands_page_is_the_one_in_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
        if Environment::of_process()
            .get("FACTUM_UPDATE_DOCS")
            .is_some()
        {
            std::fs::write(path, reference_page()).unwrap();
        }
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            stored == reference_page(),
            "docs/commands.md is not what the commands say; run with FACTUM_UPDATE_DOCS=1"
        );
    }

    #[test]
    fn help_is_as_it_was() {
        let mut command = Cli::command().term_width(100);
        insta::assert_snapshot!("help", command.render_long_help());
        for sub in Cli::command().get_subcommands() {
            let name = sub.get_name().to_owned();
            let mut command = Cli::command().term_width(100);
            command.build();
            let help = command
                .find_subcommand_mut(&name)
                .map(|sub| sub.render_long_help().to_string());
            insta::assert_snapshot!(format!("help_{name}"), help.unwrap_or_default());
        }
    }
}
