//! The bounds that all subscriptions of a node share.

use std::time::Duration;

use factum_store::OwnerName;

/// What subscriptions of a node are run with. Every bound is a configuration key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// What this node is called where it claims events and holds leases. No two nodes of one store
    /// have the same name; a node that is started again may have its old one.
    pub node: OwnerName,
    /// How long a node that has died keeps its subscriptions from others.
    pub lease_ttl: Duration,
    /// How often to look for what other nodes have done, where there may be any.
    pub poll_interval: Duration,
    /// How long to wait at most where nothing is to be expected.
    pub idle_max: Duration,
    /// The most events that are read from the log and queued together.
    pub batch_events_max: usize,
    /// The most bytes of events that are read from the log together.
    pub batch_bytes_max: usize,
    /// How many bytes of events one subscription keeps in memory, so that they need not be read
    /// again when they are handed out.
    pub window_bytes_max: usize,
    /// How many events one read looks at in vain before others have their turn.
    pub scan_max: usize,
    /// The largest number of subscriptions.
    pub subscriptions_max: usize,
    /// How long a request for events may wait for the first one.
    pub fetch_wait_max: Duration,
    /// About how many bytes of events one request for events is answered with at most.
    pub fetch_bytes_max: usize,
    /// The most time that a consumer may ask for at once for events that it has.
    pub extend_max: Duration,
}

impl SubscriptionOptions {
    /// Returns the default bounds, for a node of this name.
    #[must_use]
    pub const fn of(node: OwnerName) -> Self {
        Self {
            node,
            lease_ttl: Duration::from_secs(10),
            poll_interval: Duration::from_millis(100),
            idle_max: Duration::from_secs(5),
            batch_events_max: 500,
            batch_bytes_max: 4 << 20,
            window_bytes_max: 8 << 20,
            scan_max: 100_000,
            subscriptions_max: 1000,
            fetch_wait_max: Duration::from_secs(25),
            fetch_bytes_max: 4 << 20,
            extend_max: Duration::from_hours(1),
        }
    }
}
