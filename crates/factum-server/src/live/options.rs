//! The bounds on live connections.

use std::time::Duration;

use factum_query::FilterLimits;

/// The bounds on live connections. Every one of them is a configuration key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveOptions {
    /// The largest number of open connections, WebSocket and Server-Sent Events together.
    pub connections_max: usize,
    /// The largest number of WebSocket connections that have not said yet who they are.
    pub unauthenticated_max: usize,
    /// The largest number of subscriptions on one connection.
    pub subscriptions_max: usize,
    /// The largest message that a client may send, in bytes.
    pub message_bytes_max: usize,
    /// How many messages a client may send per second in the long run.
    pub messages_per_second: u32,
    /// How many messages a client may send at once.
    pub messages_burst: u32,
    /// How many rendered bytes wait for a client at most, beside the event being written.
    pub outbound_bytes_max: usize,
    /// How many events one subscription reads before the next one has its turn.
    pub batch_events_max: usize,
    /// How many bytes of events one subscription reads before the next one has its turn.
    pub batch_bytes_max: usize,
    /// The largest `historyLimit`.
    pub history_limit_max: usize,
    /// The shortest time between two deliveries to one connection while the log is busy.
    pub coalesce: Duration,
    /// How long a WebSocket client may take to authenticate.
    pub authentication_timeout: Duration,
    /// How long a client may take no bytes at all while some wait for it.
    pub write_timeout: Duration,
    /// How long to wait for a client's answer to a close.
    pub close_timeout: Duration,
    /// How long a WebSocket connection may be silent before the server sends a ping.
    pub ping_interval: Duration,
    /// How long a WebSocket client may leave pings unanswered.
    pub peer_timeout: Duration,
    /// How long a subscription is silent before a heartbeat, where the client asks for nothing.
    pub heartbeat_interval: Duration,
    /// The shortest heartbeat interval that a client may ask for.
    pub heartbeat_interval_min: Duration,
    /// The longest heartbeat interval that a client may ask for.
    pub heartbeat_interval_max: Duration,
    /// The largest number of tickets waiting to be used.
    pub tickets_max: usize,
    /// How long a ticket is valid.
    pub ticket_lifetime: Duration,
    /// The origins, besides the server's own host, from which browsers may connect, each as
    /// `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// The bounds on a subscription's filter.
    pub filter: FilterLimits,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            unauthenticated_max: 256,
            subscriptions_max: 100,
            message_bytes_max: 64 << 10,
            messages_per_second: 50,
            messages_burst: 200,
            outbound_bytes_max: 64 << 10,
            batch_events_max: 256,
            batch_bytes_max: 128 << 10,
            history_limit_max: 1_000_000,
            coalesce: Duration::from_millis(1),
            authentication_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(20),
            peer_timeout: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(15),
            heartbeat_interval_min: Duration::from_secs(1),
            heartbeat_interval_max: Duration::from_secs(300),
            tickets_max: 1024,
            ticket_lifetime: Duration::from_secs(30),
            allowed_origins: Vec::new(),
            filter: FilterLimits::default(),
        }
    }
}
