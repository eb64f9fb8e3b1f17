//! How the bookkeeping is opened.

use std::sync::Arc;

use factum_model::Clock;
use factum_store::StateLimits;

use crate::options::Options;

/// How the bookkeeping is opened.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// Where it is, and the bounds on connections and on time. A change may take as long as an
    /// append.
    pub connect: Options,
    /// The bounds on requests.
    pub limits: StateLimits,
    /// Where the time comes from.
    pub clock: StateClock,
}

impl StateOptions {
    /// Opens the bookkeeping beside a log, with the default bounds and the clock of the server.
    #[must_use]
    pub fn beside(log: Options) -> Self {
        Self {
            connect: log,
            limits: StateLimits::default(),
            clock: StateClock::Server,
        }
    }
}

/// Where the time comes from.
#[derive(Debug, Clone)]
pub enum StateClock {
    /// From the server, which is the same for all nodes.
    Server,
    /// From elsewhere; for tests with one node.
    Given(Arc<dyn Clock>),
}
