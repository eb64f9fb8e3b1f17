//! The configuration as the engine and the server take it.

use std::sync::Arc;
use std::time::Duration;

use factum_engine::EngineOptions;
use factum_mcp::McpOptions;
use factum_model::{JsonLimits, Limits};
use factum_query::FilterLimits;
use factum_server::{Authentication, BulkOptions, LiveOptions, ServerOptions, TlsFiles};
use factum_sessions::{Redactor, SessionOptions};

use crate::config::Config;
use crate::exit::Failure;

/// Returns what the engine is made with.
pub(crate) fn engine(config: &Config) -> EngineOptions {
    EngineOptions {
        limits: Limits {
            event_bytes_max: config.limits_event_bytes_max.in_memory(),
            request_bytes_max: config.limits_request_bytes_max.in_memory(),
            request_events_max: config.limits_request_events_max.0,
            json: JsonLimits {
                depth_max: config.limits_json_depth_max.0,
            },
        },
        filter_limits: filter(config),
        read_time_max: config.limits_read_ms_max.0,
        queries_max: config.limits_queries_max.0,
        count_time_max: config.limits_count_ms_max.0,
        counts_max: config.limits_counts_max.0,
        count_examined_max: config.limits_count_examined_max.0 as u64,
        strict_catalogue: config.catalogue_strict,
        ..EngineOptions::default()
    }
}

fn filter(config: &Config) -> FilterLimits {
    FilterLimits {
        values_max: config.limits_filter_values_max.0,
        depth_max: config.limits_filter_depth_max.0,
        path_bytes_max: config.limits_filter_path_bytes_max.in_memory(),
        path_parts_max: config.limits_filter_path_parts_max.0,
        path_filters_max: config.limits_filter_path_filters_max.0,
        regexes_max: config.limits_filter_regexes_max.0,
        regex_bytes_max: config.limits_filter_regex_bytes_max.in_memory(),
        regex_compiled_bytes_max: config.limits_filter_regex_compiled_bytes_max.in_memory(),
        needle_bytes_max: config.limits_filter_value_bytes_max.in_memory(),
    }
}

/// Returns what the server is made with.
pub(crate) fn server(
    config: &Config,
    authentication: Authentication,
) -> Result<ServerOptions, Failure> {
    Ok(ServerOptions {
        listen: config.listen,
        tls: tls(config)?,
        authentication,
        cors_allowed_origins: config.cors_allowed_origins.0.clone(),
        compression: config.http_compression,
        connections_max: config.http_connections_max.0,
        body_bytes_max: config.limits_request_bytes_max.in_memory(),
        bodies_in_flight_bytes_max: config.http_bodies_bytes_max.in_memory(),
        header_time_max: config.http_header_ms_max.0,
        handshake_time_max: config.http_handshake_ms_max.0,
        request_time_max: config.http_request_ms_max.0,
        maintenance_time_max: config.http_maintenance_ms_max.0,
        body_pause_max: config.http_body_pause_ms_max.0,
        write_time_max: config.http_write_ms_max.0,
        shutdown_time_max: config.shutdown_ms_max.0,
        bulk: bulk(config),
        stream_page_bytes: config.http_page_bytes.in_memory(),
        stream_page_events: config.http_page_events_max.0,
        live: live(config),
        mcp: mcp(config),
        mcp_allowed_hosts: config.mcp_allowed_hosts.0.clone(),
        sessions: sessions(config)?,
    })
}

/// Returns what the tools of AI agents are made with.
pub(crate) fn mcp(config: &Config) -> McpOptions {
    McpOptions {
        answer_bytes: config.mcp_answer_bytes.in_memory(),
        answer_bytes_max: config.mcp_answer_bytes_max.in_memory(),
        // No tool may wait for longer than a request may take.
        wait_time_max: config.mcp_wait_ms_max.0.min(config.http_request_ms_max.0),
        append_time_max: config.http_request_ms_max.0,
    }
}

/// Returns what agent sessions are made with.
pub(crate) fn sessions(config: &Config) -> Result<SessionOptions, Failure> {
    let days = |count: usize| {
        let days = u64::try_from(count).unwrap_or(u64::MAX);
        Duration::from_secs(days.saturating_mul(86_400))
    };
    Ok(SessionOptions {
        stale_after: config.sessions_stale_ms.0,
        sweep_interval: at_least_a_moment(config.sessions_sweep_ms.0),
        checkpoint_percent: f64::from(narrow(config.sessions_checkpoint_percent.0)),
        checkpoint_retention: days(config.sessions_checkpoint_days_max.0),
        retention: days(config.sessions_retention_days.0),
        cleanup_interval: at_least_a_moment(config.sessions_cleanup_ms.0),
        instances_max: config.sessions_instances_max.0,
        command_text_bytes_max: config.sessions_command_text_bytes_max.in_memory(),
        offset_max: config.sessions_offset_max.0,
        cleanup_checkpoints_max: config.sessions_cleanup_checkpoints_max.0,
        tree_events_max: config.sessions_tree_events_max.0,
        replay_time_max: config.sessions_replay_ms_max.0,
        attempts_max: narrow(config.sessions_attempts_max.0),
        redactor: redactor(config)?,
    })
}

/// Without a pause at all, looking again would be all that a core does.
fn at_least_a_moment(interval: Duration) -> Duration {
    interval.max(Duration::from_millis(10))
}

/// A file that cannot be used must not end in a server that takes out nothing.
fn redactor(config: &Config) -> Result<Arc<Redactor>, Failure> {
    let Some(path) = &config.sessions_redaction_file else {
        return Ok(Redactor::shipped());
    };
    let unusable = |error: anyhow::Error| Failure::Usage {
        message: format!("sessions.redaction_file {}: {error:#}", path.display()),
        hint: "docs/guides/agent-sessions.md describes the file".to_owned(),
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.into()))?;
    let redactor = Redactor::from_toml(&text).map_err(|error| unusable(error.into()))?;
    Ok(Arc::new(redactor))
}

/// TLS needs both files; one alone is a slip that must not end in a server without TLS.
fn tls(config: &Config) -> Result<Option<TlsFiles>, Failure> {
    match (&config.tls_cert, &config.tls_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        (Some(_), None) | (None, Some(_)) => Err(Failure::Usage {
            message: "TLS needs both tls.cert and tls.key".to_owned(),
            hint: "give the certificate chain and its private key, each as a PEM file".to_owned(),
        }),
    }
}

fn bulk(config: &Config) -> BulkOptions {
    BulkOptions {
        chunk_events_max: config.bulk_chunk_events_max.0,
        chunk_bytes_max: config.bulk_chunk_bytes_max.in_memory(),
        linger: config.bulk_linger_ms.0,
        overload_time_max: config.bulk_overload_ms_max.0,
        zstd_window_log_max: narrow(config.bulk_zstd_window_log_max.0),
    }
}

fn live(config: &Config) -> LiveOptions {
    LiveOptions {
        connections_max: config.live_connections_max.0,
        unauthenticated_max: config.live_unauthenticated_max.0,
        subscriptions_max: config.live_subscriptions_max.0,
        message_bytes_max: config.live_message_bytes_max.in_memory(),
        messages_per_second: narrow(config.live_messages_per_s_max.0),
        messages_burst: narrow(config.live_messages_burst_max.0),
        outbound_bytes_max: config.live_outbound_bytes_max.in_memory(),
        batch_events_max: config.live_batch_events_max.0,
        batch_bytes_max: config.live_batch_bytes_max.in_memory(),
        history_limit_max: config.live_history_events_max.0,
        coalesce: config.live_coalesce_us.0,
        authentication_timeout: config.live_authenticate_ms_max.0,
        write_timeout: config.live_write_ms_max.0,
        close_timeout: config.live_close_ms_max.0,
        ping_interval: config.live_ping_ms.0,
        peer_timeout: config.live_peer_ms_max.0,
        heartbeat_interval: config.live_heartbeat_ms.0,
        heartbeat_interval_min: config.live_heartbeat_ms_min.0,
        heartbeat_interval_max: config.live_heartbeat_ms_max.0,
        tickets_max: config.live_tickets_max.0,
        ticket_lifetime: config.live_ticket_ms_max.0,
        allowed_origins: config.cors_allowed_origins.0.clone(),
        filter: filter(config),
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::environment::Environment;

    #[test]
    fn defaults_are_those_of_the_parts() {
        let config = load(None, &Environment::default(), &[]).unwrap().config;
        let ours = server(&config, Authentication::Required).unwrap();
        assert_eq!(
            format!("{ours:?}"),
            format!("{:?}", ServerOptions::default())
        );
        let (ours, theirs) = (engine(&config), EngineOptions::default());
        assert_eq!(ours.limits, theirs.limits);
        assert_eq!(ours.filter_limits, theirs.filter_limits);
        assert_eq!(ours.read_time_max, theirs.read_time_max);
    }

    #[test]
    fn half_of_tls_is_refused() {
        let flags = [("tls.cert".to_owned(), "x.pem".to_owned())];
        let config = load(None, &Environment::default(), &flags).unwrap().config;
        assert!(server(&config, Authentication::Required).is_err());
    }
}
