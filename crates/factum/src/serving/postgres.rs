//! Opens the store on PostgreSQL as the configuration says.

use std::time::Duration;

use anyhow::Context as _;
use factum_store_postgres::{
    Diagnosis, OpenError, Options, PostgresStateStore, PostgresStore, StateOptions,
};

use crate::config::{Config, PostgresUrl, without_password};
use crate::exit::Failure;

/// Opens the store at a URL.
pub(crate) async fn open(config: &Config, url: &PostgresUrl) -> anyhow::Result<PostgresStore> {
    let url = with_password(url, config)?;
    let other = |url: &Option<PostgresUrl>| {
        let url = url.as_ref();
        url.map(|url| with_password(url, config)).transpose()
    };
    let shown = without_password(&url);
    let opened = PostgresStore::open(Options {
        listen_url: other(&config.postgres_listen_url)?,
        standby_url: other(&config.postgres_standby_url)?,
        ..options(config, url)
    });
    opened.await.map_err(|error| explained(&shown, error))
}

/// Opens the bookkeeping beside the log at a URL.
pub(crate) async fn open_state(
    config: &Config,
    url: &PostgresUrl,
) -> anyhow::Result<PostgresStateStore> {
    let url = with_password(url, config)?;
    let shown = without_password(&url);
    let opened = PostgresStateStore::open(StateOptions::beside(options(config, url)));
    opened.await.map_err(|error| explained(&shown, error))
}

/// Looks at the database at a URL without opening a store there.
pub(crate) async fn diagnose(config: &Config, url: &PostgresUrl) -> anyhow::Result<Diagnosis> {
    let url = with_password(url, config)?;
    Ok(factum_store_postgres::diagnose(&options(config, url)).await?)
}

fn options(config: &Config, url: String) -> Options {
    Options {
        schema: config.postgres_schema.clone(),
        log: i32::try_from(config.postgres_log.0).unwrap_or(i32::MAX),
        connections_max: config.postgres_connections_max.0,
        connect_timeout: config.postgres_connect_ms_max.0,
        statement_timeout: config.postgres_statement_ms_max.0,
        append_timeout: config.postgres_append_ms_max.0,
        lock_timeout: config.postgres_lock_ms_max.0,
        head_idle_timeout: config.postgres_head_idle_ms_max.0,
        standby_wait: config.postgres_standby_wait_ms_max.0,
        standby_stale_max: config.postgres_standby_stale_ms_max.0,
        group_delay: config.commit_delay_us_max.0,
        request_bytes_max: config
            .limits_request_bytes_max
            .in_memory()
            .saturating_mul(2),
        request_events_max: config.limits_request_events_max.0,
        queue_events_max: config.commit_queue_events_max.0,
        queue_bytes_max: config.commit_queue_bytes_max.in_memory(),
        versions_max: config.store_versions_max.0,
        poll_interval: config.postgres_poll_ms.0.max(Duration::from_millis(1)),
        notify: config.postgres_notify,
        notify_delay: config.postgres_notify_delay_ms.0,
        leaves_ahead: i32::try_from(config.postgres_leaves_ahead.0).unwrap_or(i32::MAX),
        ..Options::at(url)
    }
}

/// Puts the password of the file into a URL.
pub(crate) fn with_password(url: &PostgresUrl, config: &Config) -> anyhow::Result<String> {
    let Some(path) = &config.postgres_password_file else {
        return Ok(url.0.clone());
    };
    let read = std::fs::read_to_string(path);
    let password = read.with_context(|| format!("reading {}", path.display()))?;
    let mark = if url.0.contains('?') { '&' } else { '?' };
    let password = escaped(password.trim_end_matches(['\r', '\n']));
    Ok(format!("{}{mark}password={password}", url.0))
}

/// Writes every byte that means something in a URL as `%XX`.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Says what can be done about a store that does not open.
pub(crate) fn explained(shown: &str, error: OpenError) -> anyhow::Error {
    let hint = match &error {
        error if error.lacks_permission() => {
            "connect as a role that may; one that may not make roles has the application role made first"
        }
        OpenError::NotSetUp { .. } | OpenError::NoLog { .. } => {
            "`factum postgres init --help` says how"
        }
        OpenError::Version { found, expected } if found < expected => {
            "`factum postgres init` brings it up to date"
        }
        OpenError::Version { .. } => "another node runs a newer program; use that one here too",
        OpenError::Timeout | OpenError::Postgres(_) => {
            "is PostgreSQL there, and may this role connect? `factum doctor` tells more"
        }
        OpenError::Url(_) => "a URL is like postgresql://user@host:5432/database",
        OpenError::Tls { .. } => {
            "sslmode=require verifies the server; sslrootcert names whom to trust"
        }
        OpenError::Name { .. }
        | OpenError::Changed { .. }
        | OpenError::HalfImported { .. }
        | OpenError::ServerTooOld { .. }
        | OpenError::Encoding { .. }
        | OpenError::Row(_) => "",
    };
    let message = format!("{shown}: {:#}", anyhow::Error::new(error));
    Failure::Incomplete {
        message,
        hint: hint.to_owned(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgresql://ann:s3cret@db/x", "postgresql://ann@db/x"),
            ("postgres://ann:a@b@db:1/x?a=b", "postgres://ann@db:1/x?a=b"),
            ("postgresql://db/x?password=p&a=b", "postgresql://db/x?a=b"),
            ("postgresql:///x?host=/run", "postgresql:///x?host=/run"),
            ("debug", "debug"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn the_password_of_a_file_is_escaped() {
        assert_eq!(escaped("a&b c%é"), "a%26b%20c%25%C3%A9");
    }
}
