//! What happened to sessions, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters and sizes for the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionMetrics {
    /// Instances in memory that are active by their events.
    pub active: u64,
    /// Instances in memory that are stale.
    pub stale: u64,
    /// Instances in memory that are closed.
    pub closed: u64,
    /// How often instances left memory: for others, or as they were past their retention.
    pub evicted_total: u64,
    /// Events that this node recorded.
    pub events_total: u64,
    /// Secrets that this node took out.
    pub redacted_total: u64,
    /// Checkpoints that this node made by itself.
    pub checkpoints_total: u64,
    /// Instances that this node found stale.
    pub stale_total: u64,
    /// Instances that were taken over through this node.
    pub resumed_total: u64,
    /// Operations that were tried again, since others had overtaken them.
    pub overtaken_total: u64,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    pub(crate) events_total: AtomicU64,
    pub(crate) redacted_total: AtomicU64,
    pub(crate) checkpoints_total: AtomicU64,
    pub(crate) stale_total: AtomicU64,
    pub(crate) resumed_total: AtomicU64,
    pub(crate) overtaken_total: AtomicU64,
}

impl SessionCounters {
    pub(crate) fn read(&self, sizes: SessionMetrics) -> SessionMetrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionMetrics {
            events_total: read(&self.events_total),
            redacted_total: read(&self.redacted_total),
            checkpoints_total: read(&self.checkpoints_total),
            stale_total: read(&self.stale_total),
            resumed_total: read(&self.resumed_total),
            overtaken_total: read(&self.overtaken_total),
            ..sizes
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
