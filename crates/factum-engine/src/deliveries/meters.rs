//! What is counted of deliveries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The upper bounds of the classes of the latency histogram, in milliseconds.
pub const LATENCY_BOUNDS_MS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 600_000, 3_600_000,
];

/// What one target has done on this node since it was started.
#[derive(Debug, Default)]
pub struct TargetMeters {
    /// How many deliveries took at most as long as each bound, from append to the target's answer.
    buckets: [AtomicU64; LATENCY_BOUNDS_MS.len()],
    delivered: AtomicU64,
    latency_ms: AtomicU64,
    failed: Mutex<BTreeMap<&'static str, u64>>,
    dead: AtomicU64,
    rate_limited: AtomicU64,
    not_meant: AtomicU64,
}

impl TargetMeters {
    pub(super) fn delivered(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        for (bucket, bound) in self.buckets.iter().zip(LATENCY_BOUNDS_MS) {
            if millis <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.latency_ms.fetch_add(millis, Ordering::Relaxed);
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, class: &'static str) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(class).or_default() += 1;
    }

    pub(super) fn died(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_limited(&self) {
        self.rate_limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_not_meant(&self) {
        self.not_meant.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many deliveries took at most as long as each of [`LATENCY_BOUNDS_MS`].
    #[must_use]
    pub fn latency_buckets(&self) -> [u64; LATENCY_BOUNDS_MS.len()] {
        std::array::from_fn(|index| {
            let bucket = self.buckets.get(index);
            bucket.map_or(0, |bucket| bucket.load(Ordering::Relaxed))
        })
    }

    /// Returns the sum of all latencies in milliseconds.
    #[must_use]
    pub fn latency_sum_ms(&self) -> u64 {
        self.latency_ms.load(Ordering::Relaxed)
    }

    /// Returns how many events were delivered.
    #[must_use]
    pub fn n_delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Returns how many attempts have failed, by the kind of failure.
    #[must_use]
    pub fn n_failed(&self) -> BTreeMap<&'static str, u64> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how many deliveries became dead letters.
    #[must_use]
    pub fn n_dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// Returns how often the rate limit made one wait.
    #[must_use]
    pub fn n_rate_limited(&self) -> u64 {
        self.rate_limited.load(Ordering::Relaxed)
    }

    /// Returns how many events were read that the rule is not for, as only its expressions can say.
    #[must_use]
    pub fn n_not_meant(&self) -> u64 {
        self.not_meant.load(Ordering::Relaxed)
    }
}

/// What is counted of all deliveries on this node.
#[derive(Debug, Default)]
pub struct DeliveryMeters {
    targets: Mutex<BTreeMap<(String, String), Arc<TargetMeters>>>,
    pub(super) evicted: AtomicU64,
    pub(super) resolved: AtomicU64,
    pub(super) redriven: AtomicU64,
}

impl DeliveryMeters {
    /// Returns the meters of a target, which outlive changes of its rule.
    pub(super) fn of(&self, rule: &str, target: &str) -> Arc<TargetMeters> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (rule.to_owned(), target.to_owned());
        Arc::clone(targets.entry(key).or_default())
    }

    pub(super) fn forget(&self, rule: &str, target: &str) {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.remove(&(rule.to_owned(), target.to_owned()));
    }

    /// Returns the meters of each target, by rule and target.
    #[must_use]
    pub fn targets(&self) -> Vec<((String, String), Arc<TargetMeters>)> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets
            .iter()
            .map(|(key, meters)| (key.clone(), Arc::clone(meters)))
            .collect()
    }

    /// Returns how many dead letters were given up because there were too many or they were too
    /// old.
    #[must_use]
    pub fn n_evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Returns how many dead letters were delivered after all.
    #[must_use]
    pub fn n_resolved(&self) -> u64 {
        self.resolved.load(Ordering::Relaxed)
    }

    /// Returns how many dead letters were tried again.
    #[must_use]
    pub fn n_redriven(&self) -> u64 {
        self.redriven.load(Ordering::Relaxed)
    }
}
