//! The flags of `serve`, one per key.

use clap::{Arg, ArgMatches, Command};

use crate::config::keys::{KEYS, Key};

/// Values that came as flags, by the name of the key.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigFlags(pub(crate) Vec<(String, String)>);

/// Keys that the short help shows.
const COMMON: &[&str] = &["listen", "tls.cert", "tls.key", "log.level", "log.format"];

/// The data directory has a flag of its own, which all commands share.
fn flagged() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.name != "data")
}

impl clap::Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        flagged().fold(command, |command, key| {
            let unit = if key.unit.is_empty() {
                value_name(key)
            } else {
                key.unit.to_ascii_uppercase()
            };
            let default = if key.default.is_empty() {
                "none"
            } else {
                key.default
            };
            command.arg(
                Arg::new(key.name)
                    .long(key.flag())
                    .value_name(unit)
                    .help(format!("{} [default: {default}]", key.doc.trim()))
                    .hide_short_help(!COMMON.contains(&key.name))
                    .help_heading("Configuration"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn value_name(key: &Key) -> String {
    let last = key.name.rsplit('.').next().unwrap_or(key.name);
    last.to_ascii_uppercase()
}

impl clap::FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |key: &Key| {
            let value = matches.get_one::<String>(key.name)?;
            Some((key.name.to_owned(), value.clone()))
        };
        Ok(Self(flagged().filter_map(value).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
