//! The embedded store: one directory, one log, one writer, group commit, sealed indexes.
//!
//! Every byte on disk is described in `docs/format/embedded.md`. All I/O goes through [`Disk`].
//!
//! ```
//! use factum_model::{JsonObject, NewEvent, StreamId};
//! use factum_store::{AppendRequest, EventStore as _, LogRead};
//! use factum_store_embedded::{EmbeddedStore, Options};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # let directory = tempfile::tempdir()?;
//! # runtime.block_on(async {
//! let store = EmbeddedStore::open(Options::at(directory.path()))?;
//! let stream = StreamId::new("order".parse()?, "o-1".parse()?);
//! let event = NewEvent::new("order.placed".parse()?, stream, JsonObject::parse(r#"{"n":1}"#)?);
//! let receipt = store.append(AppendRequest { events: vec![event], ..Default::default() }).await?;
//! let page = store.read_log(LogRead::forwards()).await?;
//! assert_eq!(page.events[0].position, receipt.events[0].position);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod background;
mod backup;
mod bytes_io;
mod cold;
mod count;
mod counters;
mod decide;
mod disk;
mod documents;
mod frame;
mod import;
mod index;
mod indexer;
mod known;
mod leftovers;
mod log;
mod manifest;
mod newest;
mod open;
mod options;
mod queue;
mod read_log;
mod recent;
mod repair;
mod roll;
mod segment;
mod state;
mod store;
mod term;
mod verify;
mod versions;
mod walk;
mod writer;
mod zero;

pub use crate::backup::{RestoreError, restore, restore_disk};
pub use crate::disk::{Disk, DiskFile, LockError, LockGuard, OsDisk};
pub use crate::frame::FrameError;
pub use crate::import::{EmbeddedImport, ImportOpenError};
pub use crate::open::OpenError;
pub use crate::options::Options;
pub use crate::repair::{RepairChoice, RepairError, RepairReport, repair, repair_disk};
pub use crate::state::{EmbeddedStateStore, StateOpenError, StateOptions, SteadyClock};
pub use crate::store::{EmbeddedStore, verify_directory};
