//! What a server may offer beside the log. Whoever makes it runs what has to run.

use factum_engine::{Deliveries, Schedule, Subscriptions};

/// What a server may offer beside the log.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// Named subscriptions.
    pub subscriptions: Option<Subscriptions>,
    /// Rules, and the deliveries to their targets.
    pub deliveries: Option<Deliveries>,
    /// Events that are appended at a time.
    pub schedule: Option<Schedule>,
}
