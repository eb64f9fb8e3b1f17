//! What every store promises, as one function per promise.
//!
//! A store's tests name a function that opens an empty store, and get one test per promise:
//!
//! ```ignore
//! use factum_store::MemoryStore;
//! use factum_store::conformance::{Setting, Subject};
//!
//! async fn open(setting: Setting) -> Subject {
//!     let store = MemoryStore::with(setting.clock.clone(), setting.ids.clone());
//!     Subject::new(&setting, store, ())
//! }
//!
//! factum_store::conformance!(memory, open);
//! ```
//!
//! A promise is asked of [`EventStore`] alone, so the same suite runs against a store behind a
//! wrapper or a wire. What a crash leaves behind is not asked here: a trait cannot crash.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what this module has to say, it says by panicking"
)]

pub mod appends;
pub mod causes;
pub mod conditions;
pub mod fixtures;
mod list;
pub mod paging;
pub mod reads;
pub mod repeats;
pub mod state;
pub mod streams;
pub mod versions;
pub mod watching;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use factum_model::{EventId, IdSource, LogicalClock, MonotonicIds, Timestamp};

use crate::store::EventStore;

/// What a store under test is made with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The clock that the store has to use; promises about time turn it.
    pub clock: Arc<LogicalClock>,
    /// Where the store has to take ids from.
    pub ids: Arc<dyn IdSource>,
}

impl Setting {
    /// Makes a clock at a fixed time, and ids without chance in them.
    #[must_use]
    pub fn new() -> Self {
        let start = Timestamp::from_micros(START_MICROS).unwrap_or(Timestamp::MIN);
        Self {
            clock: Arc::new(LogicalClock::at(start)),
            ids: Arc::new(MonotonicIds::new(|bytes| bytes.fill(0x5a))),
        }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self::new()
    }
}

/// When every promise begins: 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;

/// An empty store under test.
pub struct Subject {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The clock that it uses.
    pub clock: Arc<LogicalClock>,
    /// Dropped after the store.
    _keep: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// Puts a store on the stand; `keep` is what must live as long as it, such as its directory.
    #[must_use]
    pub fn new(setting: &Setting, store: impl EventStore, keep: impl Any + Send + Sync) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::clone(&setting.clock),
            _keep: Box::new(keep),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Returns the version of a UUID.
fn uuid_version(id: EventId) -> u8 {
    id.as_bytes()[6] >> 4
}
