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
    pub(crate) sync_micros: AtomicU64,
    pub(crate) disk_full: AtomicU64,
    pub(crate) segments_delayed: AtomicU64,
    pub(crate) segments_sealed: AtomicU64,
    pub(crate) clock_went_back: AtomicU64,
    pub(crate) documents_indexed: AtomicU64,
    pub(crate) segments_compressed: AtomicU64,
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
            ("commit_sync_micros_total", &self.sync_micros),
            ("storage_full_total", &self.disk_full),
            ("segments_delayed_total", &self.segments_delayed),
            ("segments_sealed_total", &self.segments_sealed),
            ("clock_went_back_total", &self.clock_went_back),
            ("documents_indexed_total", &self.documents_indexed),
            ("segments_compressed_total", &self.segments_compressed),
        ];
        all.map(|(name, value)| (name, value.load(Ordering::Relaxed)))
            .to_vec()
    }
}
