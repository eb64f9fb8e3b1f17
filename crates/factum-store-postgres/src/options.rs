//! How a store is opened. Every bound of the store has its name here.

use std::sync::Arc;
use std::time::Duration;

use factum_model::{Clock, IdSource, MonotonicIds, SystemClock};

/// How a store is opened, with all its bounds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where PostgreSQL is: `postgresql://user:password@host:port/database`. Several hosts may be
    /// named; the one that takes writes is used.
    pub url: String,
    /// Where else to listen for notifications, for a `url` that leads to a pooler.
    pub listen_url: Option<String>,
    /// A standby of that server, for reads. It answers while it has everything that this node
    /// knows of, and the server itself otherwise. Several hosts may be named.
    pub standby_url: Option<String>,
    /// How long a read waits for the standby to have that, and for a connection to it.
    pub standby_wait: Duration,
    /// For how long others may have appended without this node knowing of it, for the standby to
    /// be asked.
    pub standby_stale_max: Duration,
    /// The schema in which the log is.
    pub schema: String,
    /// The number of the log in the schema.
    pub log: i32,
    /// The most connections that reads use at once, and as many to the standby; appends and
    /// notifications have four besides.
    pub connections_max: usize,
    /// How long to wait for a connection to be made.
    pub connect_timeout: Duration,
    /// How long a read may take, waiting for a connection and trying again included, beyond the
    /// time that its request gives it.
    pub read_timeout: Duration,
    /// How long one statement may take; the server ends those that take longer.
    pub statement_timeout: Duration,
    /// How long an append may take, the wait for other nodes included.
    pub append_timeout: Duration,
    /// How long an append waits for the head while other nodes have it.
    pub lock_timeout: Duration,
    /// How long this node may be silent while it has the head locked, before the server takes it
    /// for stopped and lets others go on.
    pub head_idle_timeout: Duration,
    /// The most events that are appended in one transaction.
    pub group_events_max: usize,
    /// The most bytes that are appended in one transaction; one request may be larger.
    pub group_bytes_max: usize,
    /// How long the first request of a group waits for others. Zero takes what is there: the
    /// time of a commit collects the next group.
    pub group_delay: Duration,
    /// The largest request, in bytes and in events.
    pub request_bytes_max: usize,
    /// The largest number of events in one request.
    pub request_events_max: usize,
    /// The most events that wait to be appended; more are refused.
    pub queue_events_max: usize,
    /// The most bytes that wait to be appended; more are refused.
    pub queue_bytes_max: usize,
    /// How many streams this node remembers the versions of.
    pub versions_max: usize,
    /// How often the head is asked for while nothing is heard of it.
    pub poll_interval: Duration,
    /// Whether other nodes are told of appends, and this one listens to them. Without it they
    /// come to be known by asking.
    pub notify: bool,
    /// For how long appends are gathered before other nodes are told of them.
    pub notify_delay: Duration,
    /// How many leaves are kept ready.
    pub leaves_ahead: i32,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn IdSource>,
}

impl Options {
    /// Opens the log at a URL with the default bounds.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            standby_url: None,
            standby_wait: Duration::from_millis(100),
            standby_stale_max: Duration::from_secs(5),
            schema: "factum".to_owned(),
            log: 1,
            connections_max: 8,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(60),
            append_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            head_idle_timeout: Duration::from_millis(500),
            group_events_max: 1000,
            group_bytes_max: 4 << 20,
            group_delay: Duration::ZERO,
            request_bytes_max: 16 << 20,
            request_events_max: 10_000,
            queue_events_max: 65_536,
            queue_bytes_max: 64 << 20,
            versions_max: 1 << 18,
            poll_interval: Duration::from_millis(250),
            notify: true,
            notify_delay: Duration::from_millis(10),
            leaves_ahead: 3,
            clock: Arc::new(SystemClock),
            ids: Arc::new(MonotonicIds::new(random)),
        }
    }
}

/// Fills bytes from the random source of the cryptographic provider.
fn random(bytes: &mut [u8]) {
    // The provider fails only where the system has no random source at all.
    if aws_lc_rs::rand::fill(bytes).is_err() {
        tracing::error!("the system has no source of random numbers");
    }
}
