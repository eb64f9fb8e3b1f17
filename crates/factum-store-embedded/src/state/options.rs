//! How the bookkeeping is opened. Every bound of it has its name here or in [`StateLimits`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use factum_model::Clock;
use factum_store::StateLimits;

use super::clock::SteadyClock;

/// How the bookkeeping is opened, with all its bounds.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// The data directory; the file in it is `state.db`.
    pub directory: PathBuf,
    /// The bounds on requests.
    pub limits: StateLimits,
    /// The most changes that wait to be written; more are refused.
    pub queue_changes_max: usize,
    /// The most bytes that wait to be written; more are refused.
    pub queue_bytes_max: usize,
    /// The most changes that are committed together.
    pub group_changes_max: usize,
    /// The largest file; a change that would make it larger is refused as on a full disk.
    pub file_bytes_max: u64,
    /// How many reads are done at once, each over a connection of its own.
    pub readers_max: usize,
    /// A file that is not larger is checked page by page when it is opened; a larger one is only
    /// checked where it is read, and by `verify`.
    pub open_check_bytes_max: u64,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl StateOptions {
    /// Opens a directory with the default bounds and the time of the machine.
    #[must_use]
    pub fn at(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            limits: StateLimits::default(),
            queue_changes_max: 4096,
            queue_bytes_max: 64 << 20,
            group_changes_max: 256,
            file_bytes_max: 64 << 30,
            readers_max: 4,
            open_check_bytes_max: 64 << 20,
            clock: Arc::new(SteadyClock::new()),
        }
    }
}
