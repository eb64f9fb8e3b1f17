//! The bookkeeping beside the log: one SQLite file, one writer, group commit.
//!
//! Nothing of the log is in it, and the log is never asked through it. What it must not do: wait
//! for the log, make an append wait, or answer before what it says is durable.

mod backup;
mod changes;
mod claims;
mod clock;
mod leases;
mod open;
mod options;
mod reads;
mod store;
mod writer;

pub(crate) use self::backup::{STATE_DB, copy_to, renumber, verify};
pub use self::clock::SteadyClock;
pub use self::open::StateOpenError;
pub use self::options::StateOptions;
pub use self::store::EmbeddedStateStore;
