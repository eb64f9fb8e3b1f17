//! What a server is made with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use factum_mcp::McpOptions;
use factum_sessions::SessionOptions;

use crate::live::LiveOptions;

/// What a server is made with. Every bound is a configuration key.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate, where the server speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Whether clients must say who they are.
    pub authentication: Authentication,
    /// The origins from which browsers may call, as `scheme://host[:port]`; none by default.
    pub cors_allowed_origins: Vec<String>,
    /// The bounds on the tools of AI agents.
    pub mcp: McpOptions,
    /// By which names, beside those of this machine, the endpoint of AI agents may be called.
    pub mcp_allowed_hosts: Vec<String>,
    /// Whether answers are compressed for clients that ask for it.
    pub compression: bool,
    /// The largest number of open connections.
    pub connections_max: usize,
    /// The largest request body in bytes; a bulk append has no limit but those on its lines.
    pub body_bytes_max: usize,
    /// How many bytes of request bodies may be in memory at once.
    pub bodies_in_flight_bytes_max: usize,
    /// How long a client may take to send the head of a request, and be idle between two.
    pub header_time_max: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time_max: Duration,
    /// How long a request may take until its answer begins.
    pub request_time_max: Duration,
    /// How long a verification or a backup may take.
    pub maintenance_time_max: Duration,
    /// How long a streamed request body may pause.
    pub body_pause_max: Duration,
    /// How long a client may take no bytes while some wait for it.
    pub write_time_max: Duration,
    /// How long connections may go on after the server was told to stop.
    pub shutdown_time_max: Duration,
    /// The bounds on bulk appends.
    pub bulk: BulkOptions,
    /// The size of a page of a streamed answer, in bytes of event texts.
    pub stream_page_bytes: usize,
    /// The largest number of events in a page of a streamed answer.
    pub stream_page_events: usize,
    /// The bounds on WebSocket and Server-Sent Events.
    pub live: LiveOptions,
    /// What agent sessions are made with.
    pub sessions: SessionOptions,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether clients must say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    /// They must.
    #[default]
    Required,
    /// Everybody may do everything. For development only.
    Off,
}

/// The bounds on bulk appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkOptions {
    /// The largest number of events in one atomic chunk.
    pub chunk_events_max: usize,
    /// A chunk ends after the event with which its texts reach this many bytes.
    pub chunk_bytes_max: usize,
    /// A chunk that is not full is appended when the client pauses for so long.
    pub linger: Duration,
    /// How long to wait for a queue that is full before giving up.
    pub overload_time_max: Duration,
    /// The largest window of a zstd body, as a power of two.
    pub zstd_window_log_max: u32,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self {
            chunk_events_max: 1000,
            chunk_bytes_max: 1 << 20,
            linger: Duration::from_millis(50),
            overload_time_max: Duration::from_secs(30),
            zstd_window_log_max: 23,
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7766)),
            tls: None,
            authentication: Authentication::default(),
            cors_allowed_origins: Vec::new(),
            mcp: McpOptions::default(),
            mcp_allowed_hosts: Vec::new(),
            compression: true,
            connections_max: 8192,
            body_bytes_max: 8 << 20,
            bodies_in_flight_bytes_max: 256 << 20,
            header_time_max: Duration::from_secs(30),
            handshake_time_max: Duration::from_secs(10),
            request_time_max: Duration::from_secs(30),
            maintenance_time_max: Duration::from_secs(3600),
            body_pause_max: Duration::from_secs(30),
            write_time_max: Duration::from_secs(60),
            shutdown_time_max: Duration::from_secs(20),
            bulk: BulkOptions::default(),
            stream_page_bytes: 512 << 10,
            stream_page_events: 4096,
            live: LiveOptions::default(),
            sessions: SessionOptions::default(),
        }
    }
}
