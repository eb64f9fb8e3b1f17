//! What a subscription has done on this node.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a subscription has done on this node since it was started.
#[derive(Debug, Default)]
pub struct FeedCounters {
    /// Events that were read from the log and queued.
    pub queued: Counter,
    /// Events that were handed out, each time counted.
    pub handed_out: Counter,
    /// Outcomes that were acks.
    pub acked: Counter,
    /// Outcomes that were skips.
    pub skipped: Counter,
    /// Events for which consumers got more time, each time counted.
    pub extended: Counter,
    /// Failed attempts after which another one was set.
    pub retried: Counter,
    /// Events that were parked.
    pub parked: Counter,
    /// Parked events that made room for others.
    pub evicted: Counter,
    /// Outcomes that did not count, because they came too late.
    pub stale: Counter,
    /// Events that were queued and are not in the log any more.
    pub lost: Counter,
    /// How often reading stopped because the window was full.
    pub window_full: Counter,
    /// How often reading stopped because too many events waited for their retry.
    pub retries_full: Counter,
    /// How often the lease was lost to another node, or ran out.
    pub lease_lost: Counter,
}
