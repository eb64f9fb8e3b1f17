//! The store on PostgreSQL: any number of nodes over one log.
//!
//! One row per log has the head. An append locks it, checks what it took for granted, and writes
//! its events behind it, in one call of one function; so positions are dense and become visible
//! in order, whoever else has transactions open. Each node gathers the requests of its callers
//! into groups. `docs/format/postgres.md` describes the tables, `docs/decisions/` why.
//!
//! ```no_run
//! use factum_store_postgres::{Options, PostgresStore, Setup};
//!
//! # async fn example() -> Result<(), factum_store_postgres::OpenError> {
//! let url = "postgresql://factum@localhost/events";
//! Setup::default().run(url).await?;
//! let store = PostgresStore::open(Options::at(url)).await?;
//! # Ok(())
//! # }
//! ```

mod count;
mod counters;
mod decide;
mod diagnose;
mod error;
mod facts;
mod follow;
mod import;
mod leaves;
mod options;
mod pool;
mod pushdown;
mod queue;
mod read_log;
mod read_stream;
mod schema;
mod send;
mod shared;
mod source;
mod standby;
mod state;
mod statements;
mod store;
mod tls;
mod values;
mod verify;
mod writer;

pub use crate::diagnose::{Diagnosis, diagnose};
pub use crate::error::OpenError;
pub use crate::import::{ImportOpenError, PostgresImport, moved_to, set_moved};
pub use crate::options::Options;
pub use crate::schema::{LeafPolicy, Setup};
pub use crate::state::{PostgresStateStore, StateClock, StateOptions};
pub use crate::store::PostgresStore;
