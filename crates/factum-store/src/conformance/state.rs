//! What every store of bookkeeping promises, as one function per promise.
//!
//! As for event stores: a function that opens an empty store, and `state_conformance!`.

pub mod fixtures;
pub mod leases;
mod list;
pub mod orders;
pub mod queues;
pub mod racing;
pub mod records;
pub mod scans;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use factum_model::LogicalClock;

use super::Setting;
use crate::state::StateStore;

/// An empty store of bookkeeping under test.
pub struct StateSubject {
    /// The store.
    pub store: Arc<dyn StateStore>,
    /// The clock that it uses.
    pub clock: Arc<LogicalClock>,
    /// Dropped after the store.
    _keep: Box<dyn Any + Send + Sync>,
}

impl StateSubject {
    /// Puts a store on the stand; `keep` is what must live as long as it, such as its directory.
    #[must_use]
    pub fn new(setting: &Setting, store: impl StateStore, keep: impl Any + Send + Sync) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::clone(&setting.clock),
            _keep: Box::new(keep),
        }
    }

    /// Lets this many seconds pass.
    pub fn pass(&self, seconds: i64) {
        self.clock.advance(seconds * 1_000_000);
    }
}

impl fmt::Debug for StateSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSubject")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
