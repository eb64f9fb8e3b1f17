//! What is counted of scheduled events.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the classes of the lateness histogram, in milliseconds.
pub const LATENESS_BOUNDS_MS: [u64; 12] = [
    10, 50, 100, 250, 500, 1000, 5000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000,
];

/// What was counted on this node since its start, and what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScheduleMeters {
    /// How many events are scheduled, with those that do not fire any more because they failed.
    pub entries: u64,
    /// How many may be.
    pub entries_max: u64,
    /// How many of them are due and not fired yet.
    pub due: u64,
    /// How many firings were appended.
    pub fired: u64,
    /// How many firings had been appended already, by a node that did not get to say so.
    pub repeated: u64,
    /// How many firings were late.
    pub late: u64,
    /// How many firings were refused for good.
    pub failed: u64,
    /// How many events could not be scheduled because there were as many as may be.
    pub refused: u64,
    /// How many firings were appended at most as long after their time as each of
    /// [`LATENESS_BOUNDS_MS`].
    pub lateness_buckets: [u64; LATENESS_BOUNDS_MS.len()],
    /// How late all firings were together, in milliseconds.
    pub lateness_sum_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Meters {
    fired: AtomicU64,
    repeated: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    lateness_buckets: [AtomicU64; LATENESS_BOUNDS_MS.len()],
    lateness_ms: AtomicU64,
}

impl Meters {
    /// Notes an event that was appended, and how long after its time.
    pub(super) fn fired(&self, lateness: Duration) {
        let millis = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX);
        for (bucket, bound) in self.lateness_buckets.iter().zip(LATENESS_BOUNDS_MS) {
            if millis <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.lateness_ms.fetch_add(millis, Ordering::Relaxed);
        self.fired.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes an event that had been appended already.
    pub(super) fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a firing that is told of because it was late.
    pub(super) fn was_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a firing that will never be.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes an event for which there was no room.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what was counted; what waits is left to the caller.
    pub(super) fn counted(&self) -> ScheduleMeters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ScheduleMeters {
            fired: of(&self.fired),
            repeated: of(&self.repeated),
            late: of(&self.late),
            failed: of(&self.failed),
            refused: of(&self.refused),
            lateness_buckets: self.lateness_buckets.each_ref().map(of),
            lateness_sum_ms: of(&self.lateness_ms),
            ..ScheduleMeters::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lateness_counts_in_every_bucket_that_holds_it() {
        let meters = Meters::default();
        meters.fired(Duration::from_millis(50));
        meters.fired(Duration::from_secs(100_000));
        let counted = meters.counted();
        let [first, second, .., last] = counted.lateness_buckets;
        assert_eq!((first, second, last, counted.fired), (0, 1, 1, 2));
        assert_eq!(counted.lateness_sum_ms, 100_000_050);
    }
}
