//! The bookkeeping on PostgreSQL: each change is one call of one function, so it is one
//! transaction that no client can leave open, and works behind a pooler.

mod call;
mod changes;
mod claims;
mod leases;
mod options;
mod reads;
mod store;

pub use self::options::{StateClock, StateOptions};
pub use self::store::PostgresStateStore;
