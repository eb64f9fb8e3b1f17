//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; each only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) requests_refused: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) attempts_in_vain: AtomicU64,
    pub(crate) heads_locked: AtomicU64,
    pub(crate) connections_lost: AtomicU64,
    pub(crate) notifications_sent: AtomicU64,
    pub(crate) notifications_heard: AtomicU64,
    pub(crate) heads_asked: AtomicU64,
    pub(crate) standby_reads: AtomicU64,
    pub(crate) standby_behind: AtomicU64,
    pub(crate) standby_failed: AtomicU64,
    pub(crate) standby_passed_over: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl Counters {
    /// Returns the values with their names.
    pub(crate) fn values(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("append_requests_total", &self.requests),
            ("append_requests_refused_total", &self.requests_refused),
            ("append_queue_full_total", &self.queue_full),
            ("append_events_total", &self.events),
            ("commit_groups_total", &self.groups),
            ("commit_bytes_total", &self.bytes),
            ("postgres_commit_micros_total", &self.commit_micros),
            ("postgres_attempts_in_vain_total", &self.attempts_in_vain),
            ("postgres_heads_locked_total", &self.heads_locked),
            ("postgres_connections_lost_total", &self.connections_lost),
            (
                "postgres_notifications_sent_total",
                &self.notifications_sent,
            ),
            (
                "postgres_notifications_heard_total",
                &self.notifications_heard,
            ),
            ("postgres_heads_asked_total", &self.heads_asked),
            ("postgres_standby_reads_total", &self.standby_reads),
            ("postgres_standby_behind_total", &self.standby_behind),
            ("postgres_standby_failed_total", &self.standby_failed),
            (
                "postgres_standby_passed_over_total",
                &self.standby_passed_over,
            ),
        ];
        all.into_iter()
            .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
            .collect()
    }
}
