//! The table of keys.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::load::{ConfigError, Raw};
use crate::config::value::{
    Bytes, Count, LeftOutList, List, LogFormat, LogLevel, Micros, Millis, PostgresUrl, Setting,
};

/// What is known of one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The name in the file, with dots: `limits.event_bytes_max`.
    pub(crate) name: &'static str,
    /// The value where no source gives one.
    pub(crate) default: &'static str,
    /// What the number counts, or nothing.
    pub(crate) unit: &'static str,
    /// What a value must be, in words.
    pub(crate) kind: &'static str,
    /// What the key does.
    pub(crate) doc: &'static str,
}

impl Key {
    /// Returns the name of the environment variable.
    pub(crate) fn variable(&self) -> String {
        format!(
            "FACTUM_{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }

    /// Returns the name of the flag, without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $name:literal, $default:literal, $unit:literal;)*) => {
        /// The effective configuration.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct Config {
            $($(#[doc = $doc])+ pub(crate) $field: $kind,)*
        }

        /// Every key, in the order of the reference page.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: $name,
            default: $default,
            unit: $unit,
            kind: <$kind as Setting>::KIND,
            doc: concat!($($doc),+),
        },)*];

        impl Config {
            /// Reads every value from the texts that the sources gave.
            pub(crate) fn read(raw: &Raw) -> Result<Self, ConfigError> {
                Ok(Self { $($field: raw.read::<$kind>($name)?,)* })
            }
        }
    };
}

keys! {
    /// The directory that holds the log, the admin key and the run file.
    data: PathBuf = "data", "factum-data", "";
    /// The address that the server listens on. Port 0 takes any free port.
    listen: SocketAddr = "listen", "127.0.0.1:7766", "";
    /// The PostgreSQL that holds the log, in place of the data directory:
    /// `postgresql://user@host:5432/database`. `factum postgres init` sets it up.
    postgres_url: Option<PostgresUrl> = "postgres.url", "", "";
    /// A file with the password for PostgreSQL, so that it stands in no URL.
    postgres_password_file: Option<PathBuf> = "postgres.password_file", "", "";
    /// Where to listen for notifications, for a URL that leads to a pooler.
    postgres_listen_url: Option<PostgresUrl> = "postgres.listen_url", "", "";
    /// A standby of that PostgreSQL, for reads and queries. It answers while it has everything
    /// that this node knows of; otherwise the PostgreSQL of `postgres.url` does.
    postgres_standby_url: Option<PostgresUrl> = "postgres.standby_url", "", "";
    /// How long a read waits for the standby before it goes to `postgres.url`.
    postgres_standby_wait_ms_max: Millis = "postgres.standby_wait_ms_max", "100", "ms";
    /// How old the answer of a standby may be: what was acknowledged before that is in it.
    postgres_standby_stale_ms_max: Millis = "postgres.standby_stale_ms_max", "5000", "ms";
    /// The schema in PostgreSQL.
    postgres_schema: String = "postgres.schema", "factum", "";
    /// The number of the log in the schema.
    postgres_log: Count = "postgres.log", "1", "";
    /// The most connections that reads use at once, and as many to the standby; appends and
    /// notifications have four besides.
    postgres_connections_max: Count = "postgres.connections_max", "8", "connections";
    /// How long to wait for a connection to PostgreSQL.
    postgres_connect_ms_max: Millis = "postgres.connect_ms_max", "5000", "ms";
    /// How long one statement may take.
    postgres_statement_ms_max: Millis = "postgres.statement_ms_max", "60000", "ms";
    /// How long an append may take, the wait for other nodes included.
    postgres_append_ms_max: Millis = "postgres.append_ms_max", "30000", "ms";
    /// How long an append waits for the head while other nodes have it.
    postgres_lock_ms_max: Millis = "postgres.lock_ms_max", "10000", "ms";
    /// How long this node may be silent while it has the head locked, before PostgreSQL takes it
    /// for stopped and others go on.
    postgres_head_idle_ms_max: Millis = "postgres.head_idle_ms_max", "500", "ms";
    /// How often the head is asked for while nothing is heard of it.
    postgres_poll_ms: Millis = "postgres.poll_ms", "250", "ms";
    /// Whether other nodes are told of appends, and this one listens to them.
    postgres_notify: bool = "postgres.notify", "true", "";
    /// For how long appends are gathered before other nodes are told of them.
    postgres_notify_delay_ms: Millis = "postgres.notify_delay_ms", "10", "ms";
    /// How many partitions are kept ready.
    postgres_leaves_ahead: Count = "postgres.leaves_ahead", "3", "partitions";
    /// The certificate chain, a PEM file. With `tls.key` the server speaks HTTPS.
    tls_cert: Option<PathBuf> = "tls.cert", "", "";
    /// The private key of the certificate, a PEM file.
    tls_key: Option<PathBuf> = "tls.key", "", "";
    /// Which log lines are written.
    log_level: LogLevel = "log.level", "info", "";
    /// How log lines look; `auto` is human on a terminal and JSON otherwise.
    log_format: LogFormat = "log.format", "auto", "";
    /// Web origins whose pages may call the server, separated by commas; each by name.
    cors_allowed_origins: List = "cors.allowed_origins", "", "";
    /// The largest event, all its texts together.
    limits_event_bytes_max: Bytes = "limits.event_bytes_max", "1048576", "bytes";
    /// The largest request body of an atomic append.
    limits_request_bytes_max: Bytes = "limits.request_bytes_max", "8388608", "bytes";
    /// The largest number of events in one atomic append.
    limits_request_events_max: Count = "limits.request_events_max", "1000", "events";
    /// How deep payload and metadata may be nested.
    limits_json_depth_max: Count = "limits.json_depth_max", "64", "levels";
    /// The largest number of values in all lists of one filter together.
    limits_filter_values_max: Count = "limits.filter_values_max", "1000", "values";
    /// How many levels of `anyOf`, `allOf`, `not` and of joined conditions may stand inside each
    /// other in one filter.
    limits_filter_depth_max: Count = "limits.filter_depth_max", "4", "levels";
    /// The longest JSONPath in a filter.
    limits_filter_path_bytes_max: Bytes = "limits.filter_path_bytes_max", "1024", "bytes";
    /// The largest number of segments and selectors in one JSONPath.
    limits_filter_path_parts_max: Count = "limits.filter_path_parts_max", "64", "parts";
    /// How many JSONPaths of one filter may have filter expressions (`?`).
    limits_filter_path_filters_max: Count = "limits.filter_path_filters_max", "4", "paths";
    /// How many regular expressions one filter may have.
    limits_filter_regexes_max: Count = "limits.filter_regexes_max", "8", "expressions";
    /// The longest regular expression in a filter.
    limits_filter_regex_bytes_max: Bytes = "limits.filter_regex_bytes_max", "512", "bytes";
    /// The largest compiled regular expression in a filter.
    limits_filter_regex_compiled_bytes_max: Bytes = "limits.filter_regex_compiled_bytes_max", "262144", "bytes";
    /// The longest value to compare with in a filter, or all words to search for together.
    limits_filter_value_bytes_max: Bytes = "limits.filter_value_bytes_max", "4096", "bytes";
    /// How long one read may look for matches before it answers with what it has.
    limits_read_ms_max: Millis = "limits.read_ms_max", "2000", "ms";
    /// How many reads with a filter may be at work at once; others wait, and are then answered
    /// with 503.
    limits_queries_max: Count = "limits.queries_max", "32", "reads";
    /// How long one count, or the total of a query, may take before it answers with what it has.
    limits_count_ms_max: Millis = "limits.count_ms_max", "5000", "ms";
    /// How many counts may be at work at once; others wait as long as one may take, and are then
    /// answered with 503.
    limits_counts_max: Count = "limits.counts_max", "4", "counts";
    /// How many events one count may look at that the index alone does not answer for.
    limits_count_examined_max: Count = "limits.count_examined_max", "5000000", "events";
    /// The largest number of events that one commit group takes.
    commit_group_events_max: Count = "commit.group_events_max", "4096", "events";
    /// The largest commit group.
    commit_group_bytes_max: Bytes = "commit.group_bytes_max", "4194304", "bytes";
    /// How long a commit group that is not full waits for more events. 0 never waits.
    commit_delay_us_max: Micros = "commit.delay_us_max", "0", "us";
    /// How many events may wait for a commit group; more are answered with 503.
    commit_queue_events_max: Count = "commit.queue_events_max", "65536", "events";
    /// How many bytes of appends may wait for a commit group; more are answered with 503.
    commit_queue_bytes_max: Bytes = "commit.queue_bytes_max", "67108864", "bytes";
    /// The size at which a segment file is closed and the next one begun.
    store_segment_bytes_max: Bytes = "store.segment_bytes_max", "268435456", "bytes";
    /// The number of events at which a segment file is closed and the next one begun.
    store_segment_events_max: Count = "store.segment_events_max", "1048576", "events";
    /// How much of the end of the log is kept in memory for readers.
    store_recent_bytes_max: Bytes = "store.recent_bytes_max", "16777216", "bytes";
    /// How many streams the writer remembers the versions of.
    store_versions_max: Count = "store.versions_max", "262144", "streams";
    /// How much space is reserved ahead of the log at a time.
    store_reserve_bytes: Bytes = "store.reserve_bytes", "16777216", "bytes";
    /// Whether payloads and metadata are indexed. Without it a filter that asks for them looks at
    /// every event.
    store_index_documents: bool = "store.index_documents", "true", "";
    /// What of payloads is not indexed, as event types or pattern, colon, path, separated by commas:
    /// `note.*:$.body`. A filter that asks for it, or for words, looks at every event of which it
    /// was left out.
    store_index_left_out: LeftOutList = "store.index_left_out", "", "";
    /// How many events have the terms of their documents in a hash table before these are packed.
    store_index_run_events: Count = "store.index_run_events", "16384", "events";
    /// Whether the logs of old segments are compressed in the background. Whatever is compressed stays
    /// readable when this is off.
    store_cold: bool = "store.cold", "false", "";
    /// How many closed segments stay as they were written when older ones are compressed.
    store_cold_after_segments: Count = "store.cold_after_segments", "4", "segments";
    /// How many bytes of logs are compressed in a second.
    store_cold_bytes_per_s_max: Bytes = "store.cold_bytes_per_s_max", "33554432", "bytes/s";
    /// How many changes of the bookkeeping may wait to be written; more are refused.
    state_queue_changes_max: Count = "state.queue_changes_max", "4096", "changes";
    /// How many bytes of changes of the bookkeeping may wait to be written; more are refused.
    state_queue_bytes_max: Bytes = "state.queue_bytes_max", "67108864", "bytes";
    /// The most changes of the bookkeeping that are committed together.
    state_group_changes_max: Count = "state.group_changes_max", "256", "changes";
    /// The largest `state.db`; a change that would make it larger is refused as on a full disk.
    state_file_bytes_max: Bytes = "state.file_bytes_max", "68719476736", "bytes";
    /// How many reads of the bookkeeping are done at once.
    state_readers_max: Count = "state.readers_max", "4", "reads";
    /// What this node is called where it works on subscriptions. No two nodes of one log may have the
    /// same name; one that is started again should have its old one. A name that nobody else has is
    /// made up where there is none.
    node_name: String = "node.name", "", "";
    /// The largest number of subscriptions.
    subscriptions_count_max: Count = "subscriptions.count_max", "1000", "subscriptions";
    /// How long a node that has died keeps its subscriptions from being read by others.
    subscriptions_lease_ms: Millis = "subscriptions.lease_ms", "10000", "ms";
    /// How often to look for what other nodes have done, on a log that several nodes may share.
    subscriptions_poll_ms: Millis = "subscriptions.poll_ms", "100", "ms";
    /// How long to wait at most where nothing is to be expected.
    subscriptions_idle_ms_max: Millis = "subscriptions.idle_ms_max", "5000", "ms";
    /// The most events that are read from the log for a subscription at a time.
    subscriptions_batch_events_max: Count = "subscriptions.batch_events_max", "500", "events";
    /// The most bytes of events that are read from the log for a subscription at a time.
    subscriptions_batch_bytes_max: Bytes = "subscriptions.batch_bytes_max", "4194304", "bytes";
    /// How many bytes of events one subscription keeps in memory until they are handed out.
    subscriptions_window_bytes_max: Bytes = "subscriptions.window_bytes_max", "8388608", "bytes";
    /// How many events one read looks at in vain before others have their turn.
    subscriptions_scan_events_max: Count = "subscriptions.scan_events_max", "100000", "events";
    /// How long a request for events may wait for the first one.
    subscriptions_fetch_wait_ms_max: Millis = "subscriptions.fetch_wait_ms_max", "25000", "ms";
    /// About how many bytes of events a request for events is answered with at most.
    subscriptions_fetch_bytes_max: Bytes = "subscriptions.fetch_bytes_max", "4194304", "bytes";
    /// The most time that a consumer may ask for at once for events that it has.
    subscriptions_extend_ms_max: Millis = "subscriptions.extend_ms_max", "3600000", "ms";
    /// The file with the key under which secrets are kept, such as those of targets; it is made where
    /// there is none. `master.key` in the data directory where nothing is said. Every node of a log has
    /// the same one.
    secrets_key_file: Option<PathBuf> = "secrets.key_file", "", "";
    /// The largest number of rules.
    rules_count_max: Count = "rules.count_max", "500", "rules";
    /// Names, addresses and blocks of addresses that rules may send to although they are not public,
    /// such as `crm.internal` or `10.1.0.0/16`.
    deliver_allow: List = "deliver.allow", "", "";
    /// How long one attempt may take, whatever its target says.
    deliver_attempt_ms_max: Millis = "deliver.attempt_ms_max", "75000", "ms";
    /// How many events of one target may be read and not done with.
    deliver_window_events_max: Count = "deliver.window_events_max", "500", "events";
    /// How many events of one target may wait for their retry; while there are as many, no more
    /// are read for it.
    deliver_retries_max: Count = "deliver.retries_max", "10000", "events";
    /// How many deliveries that are done with are kept on record, with their attempts; the oldest go
    /// first. Those that go on are kept besides.
    deliver_kept_max: Count = "deliver.kept_max", "10000", "deliveries";
    /// How many attempts of one delivery are kept, the first and the last ones.
    deliver_attempts_kept_max: Count = "deliver.attempts_kept_max", "10", "attempts";
    /// How many bytes of an answer are kept with an attempt.
    deliver_excerpt_bytes_max: Bytes = "deliver.excerpt_bytes_max", "500", "bytes";
    /// How many dead letters there may be: beyond that those that were given up go first, then those
    /// that were delivered after all, then the oldest. Each is logged and counted.
    dead_letters_count_max: Count = "dead_letters.count_max", "10000", "dead letters";
    /// How long a dead letter is kept, in milliseconds; 90 days by default.
    dead_letters_age_ms_max: Millis = "dead_letters.age_ms_max", "7776000000", "ms";
    /// How many dead letters are tried again at once.
    dead_letters_retry_concurrency: Count = "dead_letters.retry_concurrency", "8", "deliveries";
    /// The largest number of scheduled events.
    schedule_count_max: Count = "schedule.count_max", "100000", "events";
    /// How often to look for what other nodes have scheduled.
    schedule_poll_ms: Millis = "schedule.poll_ms", "500", "ms";
    /// How long a node may take to append a scheduled event before another one does.
    schedule_claim_ms: Millis = "schedule.claim_ms", "30000", "ms";
    /// How many scheduled events are appended at once.
    schedule_batch_events_max: Count = "schedule.batch_events_max", "64", "events";
    /// From how late on a scheduled event is logged and counted as late.
    schedule_late_ms: Millis = "schedule.late_ms", "5000", "ms";
    /// The largest number of open connections.
    http_connections_max: Count = "http.connections_max", "8192", "connections";
    /// How many bytes of request bodies may be in memory at once.
    http_bodies_bytes_max: Bytes = "http.bodies_bytes_max", "268435456", "bytes";
    /// Whether answers are compressed for clients that ask for it.
    http_compression: bool = "http.compression", "true", "";
    /// How long a client may take to send the head of a request, and be idle between two.
    http_header_ms_max: Millis = "http.header_ms_max", "30000", "ms";
    /// How long a TLS handshake may take.
    http_handshake_ms_max: Millis = "http.handshake_ms_max", "10000", "ms";
    /// How long a request may take until its answer begins.
    http_request_ms_max: Millis = "http.request_ms_max", "30000", "ms";
    /// How long a verification or a backup may take.
    http_maintenance_ms_max: Millis = "http.maintenance_ms_max", "3600000", "ms";
    /// How long a streamed request body may pause.
    http_body_pause_ms_max: Millis = "http.body_pause_ms_max", "30000", "ms";
    /// How long a client may take no bytes of an answer while some wait for it.
    http_write_ms_max: Millis = "http.write_ms_max", "60000", "ms";
    /// The size of a page of a streamed answer, in bytes of event texts.
    http_page_bytes: Bytes = "http.page_bytes", "524288", "bytes";
    /// The largest number of events in a page of a streamed answer.
    http_page_events_max: Count = "http.page_events_max", "4096", "events";
    /// The largest number of events in one atomic chunk of a bulk append.
    bulk_chunk_events_max: Count = "bulk.chunk_events_max", "1000", "events";
    /// A chunk of a bulk append ends after the event with which its texts reach this size.
    bulk_chunk_bytes_max: Bytes = "bulk.chunk_bytes_max", "1048576", "bytes";
    /// A chunk that is not full is appended when the client pauses for so long.
    bulk_linger_ms: Millis = "bulk.linger_ms", "50", "ms";
    /// How long a bulk append waits for a queue that is full before it gives up.
    bulk_overload_ms_max: Millis = "bulk.overload_ms_max", "30000", "ms";
    /// The largest window of a zstd body, as a power of two.
    bulk_zstd_window_log_max: Count = "bulk.zstd_window_log_max", "23", "bits";
    /// The largest number of live connections, WebSocket and Server-Sent Events together.
    live_connections_max: Count = "live.connections_max", "4096", "connections";
    /// The largest number of WebSocket connections that have not said yet who they are.
    live_unauthenticated_max: Count = "live.unauthenticated_max", "256", "connections";
    /// The largest number of subscriptions on one WebSocket.
    live_subscriptions_max: Count = "live.subscriptions_max", "100", "subscriptions";
    /// The largest WebSocket message that a client may send.
    live_message_bytes_max: Bytes = "live.message_bytes_max", "65536", "bytes";
    /// How many messages a second a WebSocket client may send in the long run.
    live_messages_per_s_max: Count = "live.messages_per_s_max", "50", "messages/s";
    /// How many messages a WebSocket client may send at once.
    live_messages_burst_max: Count = "live.messages_burst_max", "200", "messages";
    /// How many bytes wait for a live client at most, beside the event being written.
    live_outbound_bytes_max: Bytes = "live.outbound_bytes_max", "65536", "bytes";
    /// How many events one subscription reads before the next one has its turn.
    live_batch_events_max: Count = "live.batch_events_max", "256", "events";
    /// How many bytes of events one subscription reads before the next one has its turn.
    live_batch_bytes_max: Bytes = "live.batch_bytes_max", "131072", "bytes";
    /// The largest number of earlier events that a subscription may ask for by their number.
    live_history_events_max: Count = "live.history_events_max", "1000000", "events";
    /// The shortest time between two deliveries to one connection while the log is busy.
    live_coalesce_us: Micros = "live.coalesce_us", "1000", "us";
    /// How long a WebSocket client may take to authenticate.
    live_authenticate_ms_max: Millis = "live.authenticate_ms_max", "10000", "ms";
    /// How long a live client may take no bytes at all while some wait for it.
    live_write_ms_max: Millis = "live.write_ms_max", "30000", "ms";
    /// How long to wait for a WebSocket client's answer to a close.
    live_close_ms_max: Millis = "live.close_ms_max", "2000", "ms";
    /// How long a WebSocket may be silent before the server sends a ping.
    live_ping_ms: Millis = "live.ping_ms", "20000", "ms";
    /// How long a WebSocket client may leave pings unanswered.
    live_peer_ms_max: Millis = "live.peer_ms_max", "60000", "ms";
    /// How long a subscription is silent before a heartbeat, where the client asks for nothing.
    live_heartbeat_ms: Millis = "live.heartbeat_ms", "15000", "ms";
    /// The shortest heartbeat interval that a client may ask for.
    live_heartbeat_ms_min: Millis = "live.heartbeat_ms_min", "1000", "ms";
    /// The longest heartbeat interval that a client may ask for.
    live_heartbeat_ms_max: Millis = "live.heartbeat_ms_max", "300000", "ms";
    /// The largest number of tickets of browsers that wait to be used.
    live_tickets_max: Count = "live.tickets_max", "1024", "tickets";
    /// How long a ticket is valid.
    live_ticket_ms_max: Millis = "live.ticket_ms_max", "30000", "ms";
    /// Whether events of types that are not in the catalogue are refused.
    catalogue_strict: bool = "catalogue.strict", "false", "";
    /// How large the answer of a tool of AI agents is, about, where nothing else is asked for.
    mcp_answer_bytes: Bytes = "mcp.answer_bytes", "32768", "bytes";
    /// The largest answer that a caller of a tool may ask for.
    mcp_answer_bytes_max: Bytes = "mcp.answer_bytes_max", "1048576", "bytes";
    /// How long a tool waits for events, where its caller asks it to.
    mcp_wait_ms_max: Millis = "mcp.wait_ms_max", "20000", "ms";
    /// By which names, beside localhost and loopback addresses, `/mcp` may be called: hosts with or
    /// without a port. A server that listens on other addresses and asks for keys takes any name
    /// while the list is empty.
    mcp_allowed_hosts: List = "mcp.allowed_hosts", "", "";
    /// For how long an agent instance may send no heartbeat until it is stale.
    sessions_stale_ms: Millis = "sessions.stale_ms", "120000", "ms";
    /// How often it is looked for agent instances that are stale.
    sessions_sweep_ms: Millis = "sessions.sweep_ms", "5000", "ms";
    /// The share of its context at which a checkpoint of an agent instance is made.
    sessions_checkpoint_percent: Count = "sessions.checkpoint_percent", "80", "%";
    /// How old checkpoints of agent instances may become.
    sessions_checkpoint_days_max: Count = "sessions.checkpoint_days_max", "30", "days";
    /// A stale or closed agent instance with which nobody had to do for so long is no longer listed,
    /// nor found by a hint. Its events stay.
    sessions_retention_days: Count = "sessions.retention_days", "90", "days";
    /// How often it is looked for checkpoints and agent instances that are too old.
    sessions_cleanup_ms: Millis = "sessions.cleanup_ms", "3600000", "ms";
    /// How many agent instances are kept in memory. Closed and stale ones make room for others; as
    /// many may be active at once.
    sessions_instances_max: Count = "sessions.instances_max", "10000", "instances";
    /// The longest text in a logged command; longer ones are cut in the middle.
    sessions_command_text_bytes_max: Bytes = "sessions.command_text_bytes_max", "65536", "bytes";
    /// How many matches a page of an agent's events or commands may pass over.
    sessions_offset_max: Count = "sessions.offset_max", "10000", "events";
    /// How many checkpoints one clean-up deletes.
    sessions_cleanup_checkpoints_max: Count = "sessions.cleanup_checkpoints_max", "10000", "checkpoints";
    /// How many events a causal tree of an agent's event gives.
    sessions_tree_events_max: Count = "sessions.tree_events_max", "1000", "events";
    /// How long a replay of an agent's events may take.
    sessions_replay_ms_max: Millis = "sessions.replay_ms_max", "10000", "ms";
    /// How often an operation on an agent instance is tried again that others overtake.
    sessions_attempts_max: Count = "sessions.attempts_max", "128", "attempts";
    /// A file that says what is a secret in what agents report, in place of the rules that are
    /// built in: docs/guides/agent-sessions.md.
    sessions_redaction_file: Option<PathBuf> = "sessions.redaction_file", "", "";
    /// How long a graceful shutdown may take before connections are cut.
    shutdown_ms_max: Millis = "shutdown.ms_max", "20000", "ms";
}

/// Returns the key with a name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_its_kind() {
        let config = Config::read(&Raw::defaults()).unwrap();
        assert_eq!(config.limits_event_bytes_max.0, 1 << 20);
    }

    #[test]
    fn variables_and_flags_are_unique() {
        let mut variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        let mut flags: Vec<String> = KEYS.iter().map(Key::flag).collect();
        variables.sort();
        variables.dedup();
        flags.sort();
        flags.dedup();
        assert_eq!((variables.len(), flags.len()), (KEYS.len(), KEYS.len()));
    }

    #[test]
    fn defaults_agree_with_the_model() {
        let config = Config::read(&Raw::defaults()).unwrap();
        let limits = factum_model::Limits::default();
        assert_eq!(
            config.limits_event_bytes_max.in_memory(),
            limits.event_bytes_max
        );
        assert_eq!(
            config.limits_request_bytes_max.in_memory(),
            limits.request_bytes_max
        );
        assert_eq!(
            config.limits_request_events_max.0,
            limits.request_events_max
        );
        assert_eq!(config.limits_json_depth_max.0, limits.json.depth_max);
    }
}
