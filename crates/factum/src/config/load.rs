//! Gathers the sources and reads the values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::file;
use crate::config::keys::{Config, KEYS, find};
use crate::config::nearest::nearest;
use crate::config::value::{Setting, without_password};
use crate::environment::Environment;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The table of keys.
    Default,
    /// A line of a file.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Variable(String),
    /// A flag of the command.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },
    /// A key that nobody knows.
    #[error("{origin}: unknown key {name:?}{}", hint(*.nearest))]
    UnknownKey {
        origin: Source,
        name: String,
        nearest: Option<&'static str>,
    },
    /// A variable that looks like a key but is none.
    #[error("unknown environment variable {name}; did you mean {nearest}?")]
    UnknownVariable { name: String, nearest: String },
    /// A value is not of the right kind.
    #[error("{origin}: {name} = {text:?} is not {expected}")]
    Value {
        origin: Source,
        name: &'static str,
        text: String,
        expected: &'static str,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; `factum config show --default` lists all keys".to_owned(),
        |name| format!("; did you mean {name:?}?"),
    )
}

/// The texts that the sources gave, the later one winning.
#[derive(Debug, Clone)]
pub(crate) struct Raw(BTreeMap<&'static str, (String, Source)>);

impl Raw {
    /// Returns what stands in the table.
    pub(crate) fn defaults() -> Self {
        let row =
            |key: &crate::config::keys::Key| (key.name, (key.default.to_owned(), Source::Default));
        Self(KEYS.iter().map(row).collect())
    }

    /// Sets a value, over what an earlier source gave.
    pub(crate) fn set(
        &mut self,
        name: &str,
        text: String,
        source: Source,
    ) -> Result<(), ConfigError> {
        let Some(key) = find(name) else {
            return Err(ConfigError::UnknownKey {
                origin: source,
                name: name.to_owned(),
                nearest: nearest(name, KEYS.iter().map(|key| key.name)),
            });
        };
        self.0.insert(key.name, (text, source));
        Ok(())
    }

    /// Returns the text of a value and where it comes from.
    pub(crate) fn get(&self, name: &str) -> (&str, &Source) {
        match self.0.get(name) {
            Some((text, source)) => (text, source),
            None => ("", &Source::Default),
        }
    }

    /// Returns the text of a value as people may see it, and where it comes from.
    pub(crate) fn shown(&self, name: &str) -> (String, &Source) {
        let (text, source) = self.get(name);
        (without_password(text), source)
    }

    /// Reads the value of a key.
    pub(crate) fn read<T: Setting>(&self, name: &'static str) -> Result<T, ConfigError> {
        let (text, source) = self.get(name);
        T::read(text).ok_or_else(|| ConfigError::Value {
            origin: source.clone(),
            name,
            text: without_password(text),
            expected: T::KIND,
        })
    }
}

/// A configuration, and where each value comes from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The values.
    pub(crate) config: Config,
    /// The texts and their sources.
    pub(crate) raw: Raw,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Variables that begin with `FACTUM_` and mean nothing; worth a warning.
    pub(crate) unknown_variables: Vec<String>,
}

/// Variables that are no keys but mean something to the program or its tests.
const OTHER_VARIABLES: &[&str] = &[
    "FACTUM_CONFIG",
    "FACTUM_URL",
    "FACTUM_KEY",
    "FACTUM_CACERT",
    "FACTUM_SHARED",
    "FACTUM_SLOW_TESTS",
];

/// Gathers file, environment and flags, in this order, and reads the values.
///
/// The file is `config_file`, else `FACTUM_CONFIG`, else `factum.toml` in the data directory
/// that flags and environment name, where it exists.
pub(crate) fn load(
    config_file: Option<&Path>,
    environment: &Environment,
    flags: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut raw = Raw::defaults();
    let file = config_path(config_file, environment, flags);
    if let Some(path) = &file {
        file::read_into(path, &mut raw)?;
    }
    let mut unknown_variables = Vec::new();
    for name in environment.names("FACTUM_") {
        let key = KEYS.iter().find(|key| key.variable() == name);
        match (key, environment.get(name)) {
            (Some(key), Some(value)) => {
                raw.set(
                    key.name,
                    value.to_owned(),
                    Source::Variable(name.to_owned()),
                )?;
            }
            (Some(_), None) => {}
            (None, _) if OTHER_VARIABLES.contains(&name) => {}
            (None, _) => unknown_variables.push(unknown_variable(name)?),
        }
    }
    for (name, value) in flags {
        let flag = name.replace(['.', '_'], "-");
        raw.set(name, value.clone(), Source::Flag(flag))?;
    }
    Ok(Loaded {
        config: Config::read(&raw)?,
        raw,
        file,
        unknown_variables,
    })
}

/// Refuses a variable that is nearly a key. Others are only worth a warning: an orchestrator
/// sets names such as `FACTUM_PORT_7766_TCP` for a service that is called factum.
fn unknown_variable(name: &str) -> Result<String, ConfigError> {
    let known: Vec<String> = KEYS
        .iter()
        .map(crate::config::keys::Key::variable)
        .collect();
    // The common prefix must not make everything look alike.
    let bare = |text: &str| text.trim_start_matches("FACTUM_").to_ascii_lowercase();
    let bares: Vec<String> = known.iter().map(|name| bare(name)).collect();
    match nearest(&bare(name), bares.iter().map(String::as_str)) {
        Some(near) => Err(ConfigError::UnknownVariable {
            name: name.to_owned(),
            nearest: format!("FACTUM_{}", near.to_ascii_uppercase()),
        }),
        None => Ok(name.to_owned()),
    }
}

fn config_path(
    config_file: Option<&Path>,
    environment: &Environment,
    flags: &[(String, String)],
) -> Option<PathBuf> {
    if let Some(path) = config_file {
        return Some(path.to_owned());
    }
    if let Some(path) = environment.get("FACTUM_CONFIG") {
        return Some(PathBuf::from(path));
    }
    let flag = flags.iter().find(|(name, _)| name == "data");
    let data = flag
        .map(|(_, value)| value.as_str())
        .or_else(|| environment.get("FACTUM_DATA"))
        .unwrap_or("factum-data");
    let path = Path::new(data).join("factum.toml");
    path.is_file().then_some(path)
}

/// Returns the data directory, without asking for the rest of the configuration to be right.
pub(crate) fn data_dir(
    config_file: Option<&Path>,
    environment: &Environment,
    flag: Option<&Path>,
) -> Result<PathBuf, ConfigError> {
    if let Some(path) = flag {
        return Ok(path.to_owned());
    }
    if let Some(path) = environment.get("FACTUM_DATA") {
        return Ok(PathBuf::from(path));
    }
    let mut raw = Raw::defaults();
    if let Some(path) = config_path(config_file, environment, &[]) {
        file::read_into(&path, &mut raw)?;
    }
    raw.read("data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("factum.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn failure(text: &str) -> String {
        let (dir, path) = written(text);
        let error = load(Some(&path), &Environment::default(), &[]).unwrap_err();
        error
            .to_string()
            .replace(&*dir.path().to_string_lossy(), "DIR")
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let (_dir, path) = written(
            "listen = \"127.0.0.1:1\"\n[limits]\nevent_bytes_max = 10\nrequest_bytes_max = \"1 KiB\"\nrequest_events_max = 7\n",
        );
        let environment = Environment::of(&[
            ("FACTUM_LIMITS_EVENT_BYTES_MAX", "20"),
            ("FACTUM_LIMITS_REQUEST_EVENTS_MAX", "8"),
            ("FACTUM_URL", "http://elsewhere"),
        ]);
        let flags = [("limits.event_bytes_max".to_owned(), "30".to_owned())];
        let loaded = load(Some(&path), &environment, &flags).unwrap();
        assert_eq!(loaded.config.limits_event_bytes_max.0, 30);
        assert_eq!(loaded.config.limits_request_events_max.0, 8);
        assert_eq!(loaded.config.limits_request_bytes_max.0, 1024);
        assert_eq!(loaded.config.listen.port(), 1);
        assert_eq!(
            loaded.raw.get("limits.event_bytes_max").1.to_string(),
            "--limits-event-bytes-max"
        );
        assert_eq!(
            loaded.raw.get("limits.request_bytes_max").1,
            &Source::File { path, line: 4 }
        );
    }

    #[test]
    fn a_wrong_key_is_refused_with_its_line_and_the_nearest_name() {
        assert_eq!(
            failure("listen = \"127.0.0.1:1\"\n\n[limits]\nevents_bytes_max = 10\n"),
            "DIR/factum.toml:4: unknown key \"limits.events_bytes_max\"; did you mean \"limits.event_bytes_max\"?"
        );
        assert_eq!(
            failure("[limit]\nevent_bytes_max = 10\n"),
            "DIR/factum.toml:2: unknown key \"limit.event_bytes_max\"; did you mean \"limits.event_bytes_max\"?"
        );
        assert_eq!(
            failure("colour = 1\n"),
            "DIR/factum.toml:1: unknown key \"colour\"; `factum config show --default` lists all keys"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        assert_eq!(
            failure("[limits]\nevent_bytes_max = \"much\"\n"),
            "DIR/factum.toml:2: limits.event_bytes_max = \"much\" is not a number of bytes, such as 1048576, 64KiB or 8MiB"
        );
        assert!(failure("listen = \n").starts_with("DIR/factum.toml:1: "));
    }

    #[test]
    fn a_variable_that_is_nearly_a_key_is_refused_and_another_only_told() {
        let near = Environment::of(&[("FACTUM_LISTN", "127.0.0.1:1")]);
        let error = load(None, &near, &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown environment variable FACTUM_LISTN; did you mean FACTUM_LISTEN?"
        );
        let far = Environment::of(&[("FACTUM_PORT_7766_TCP_ADDR", "10.0.0.1")]);
        let loaded = load(None, &far, &[]).unwrap();
        assert_eq!(loaded.unknown_variables, ["FACTUM_PORT_7766_TCP_ADDR"]);
    }

    #[test]
    fn the_file_in_the_data_directory_is_found() {
        let (dir, path) = written("listen = \"127.0.0.1:9\"\n");
        let flags = [("data".to_owned(), dir.path().to_string_lossy().into_owned())];
        let loaded = load(None, &Environment::default(), &flags).unwrap();
        assert_eq!(loaded.config.listen.port(), 9);
        assert_eq!(loaded.file, Some(path));
    }
}
