//! What sessions are made with.

use std::sync::Arc;
use std::time::Duration;

use crate::redact::Redactor;

/// What [`crate::Sessions`] is made with. Every bound is a configuration key.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// An instance without a heartbeat for so long is stale.
    pub stale_after: Duration,
    /// How often it is looked for stale instances.
    pub sweep_interval: Duration,
    /// A checkpoint is made by itself when the context reaches this share, in per cent.
    pub checkpoint_percent: f64,
    /// How old a checkpoint may become.
    pub checkpoint_retention: Duration,
    /// A stale or closed instance with which nobody had to do for so long is no longer offered.
    pub retention: Duration,
    /// How often it is looked for checkpoints and instances that are too old.
    pub cleanup_interval: Duration,
    /// How many instances are kept in memory. Closed and stale ones make room for others; as many
    /// may be active at once.
    pub instances_max: usize,
    /// Texts in logged commands that are longer are cut, after secrets were taken out.
    pub command_text_bytes_max: usize,
    /// How many matches a page may pass over.
    pub offset_max: usize,
    /// How many checkpoints one clean-up deletes at most.
    pub cleanup_checkpoints_max: usize,
    /// How many events a causal tree gives at most.
    pub tree_events_max: usize,
    /// How long a replay may take.
    pub replay_time_max: Duration,
    /// How often an operation is tried again that others overtake.
    pub attempts_max: u32,
    /// What takes secrets out of what is recorded.
    pub redactor: Arc<Redactor>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(120),
            sweep_interval: Duration::from_secs(5),
            checkpoint_percent: 80.0,
            checkpoint_retention: Duration::from_secs(30 * 86_400),
            retention: Duration::from_secs(90 * 86_400),
            cleanup_interval: Duration::from_secs(3600),
            instances_max: 10_000,
            command_text_bytes_max: 64 << 10,
            offset_max: 10_000,
            cleanup_checkpoints_max: 10_000,
            tree_events_max: 1000,
            replay_time_max: Duration::from_secs(10),
            attempts_max: 128,
            redactor: Redactor::shipped(),
        }
    }
}
