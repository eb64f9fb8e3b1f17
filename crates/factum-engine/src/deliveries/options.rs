//! The bounds on deliveries.

use std::time::Duration;

/// The bounds on deliveries. Every one is a configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// How long one attempt may take, whatever its target says.
    pub attempt_time_max: Duration,
    /// How many events of one target may be read and not done with.
    pub window_max: usize,
    /// How many events of one target may wait for their retry; while there are as many, no more
    /// are read for it.
    pub retries_max: usize,
    /// How many deliveries are kept on record, with their attempts; the oldest go first.
    pub deliveries_max: usize,
    /// How many attempts of one delivery are kept; the first and the last ones.
    pub attempts_kept_max: usize,
    /// How many bytes of an answer are kept with an attempt.
    pub excerpt_bytes_max: usize,
    /// How many dead letters there may be.
    pub dead_letters_max: usize,
    /// How long a dead letter is kept.
    pub dead_letter_age_max: Duration,
    /// How many dead letters are tried again at once.
    pub redrive_concurrency: usize,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            attempt_time_max: Duration::from_secs(75),
            window_max: 500,
            retries_max: 10_000,
            deliveries_max: 10_000,
            attempts_kept_max: 10,
            excerpt_bytes_max: 500,
            dead_letters_max: 10_000,
            dead_letter_age_max: Duration::from_hours(90 * 24),
            redrive_concurrency: 8,
        }
    }
}
