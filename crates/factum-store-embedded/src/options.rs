//! How a store is opened. Every bound of the store has its name here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use factum_model::{Clock, IdSource, MonotonicIds, SystemClock};
use factum_query::LeftOut;

use crate::disk::Disk;

/// How a store is opened, with all its bounds.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory.
    pub directory: PathBuf,
    /// The disk to use in place of the directory; for simulations.
    pub disk: Option<Arc<dyn Disk>>,
    /// Opens for reading only, also around damage. Nothing is written, not even a lock.
    pub read_only: bool,
    /// A segment takes no more groups once it has this many bytes; 16 GiB at most.
    pub segment_bytes_max: u64,
    /// A segment takes no more groups once it has this many events.
    pub segment_events_max: u32,
    /// The most events that are written and synced together.
    pub group_events_max: usize,
    /// The most bytes that are written and synced together; one request may be larger.
    pub group_bytes_max: usize,
    /// How long the first request of a group waits for others. Zero takes what is there: the
    /// time of a sync collects the next group.
    pub group_delay: Duration,
    /// The largest request, in bytes and in events.
    pub request_bytes_max: usize,
    /// The largest number of events in one request.
    pub request_events_max: usize,
    /// The most events that wait to be written; more are refused.
    pub queue_events_max: usize,
    /// The most bytes that wait to be written; more are refused.
    pub queue_bytes_max: usize,
    /// How much of the end of the log is kept in memory for readers.
    pub recent_bytes_max: usize,
    /// How many streams the writer remembers the versions of.
    pub versions_max: usize,
    /// How much space is reserved ahead of the log at a time.
    pub reserve_bytes: u64,
    /// After this long without an append the end of the log is sealed, so that damage to it can be
    /// told from a torn write.
    pub seal_delay: Duration,
    /// How long a writer that found the disk full waits before it tries again by itself.
    pub full_retry_delay: Duration,
    /// How many closed segments may wait for their index before appends are refused.
    pub unsealed_segments_max: usize,
    /// How many reads that look for matches, and counts, may be at work at once; others wait. Each
    /// has its own limit of time, also when nobody waits for it any more.
    pub searches_max: usize,
    /// Whether payloads and metadata are indexed. Without it a filter that asks for them looks at
    /// every event.
    pub index_documents: bool,
    /// What of payloads is not indexed. A filter that asks for it, or for words, looks at every event
    /// of which something there was left out. Events that are indexed already stay as they are.
    pub index_left_out: Vec<LeftOut>,
    /// How many events have the terms of their documents in a hash table before these are packed.
    pub document_run_events: u32,
    /// How many closed segments stay as they were written; older ones are compressed in the
    /// background. `None` compresses none.
    pub cold_after_segments: Option<usize>,
    /// How many bytes of logs are compressed in a second.
    pub cold_bytes_per_second: u64,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub ids: Arc<dyn IdSource>,
}

impl Options {
    /// Opens a directory of the operating system with the default bounds.
    #[must_use]
    pub fn at(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            disk: None,
            read_only: false,
            segment_bytes_max: 256 << 20,
            segment_events_max: 1 << 20,
            group_events_max: 4096,
            group_bytes_max: 4 << 20,
            group_delay: Duration::ZERO,
            request_bytes_max: 16 << 20,
            request_events_max: 10_000,
            queue_events_max: 65_536,
            queue_bytes_max: 64 << 20,
            recent_bytes_max: 16 << 20,
            versions_max: 1 << 18,
            reserve_bytes: 16 << 20,
            seal_delay: Duration::from_millis(50),
            full_retry_delay: Duration::from_secs(1),
            unsealed_segments_max: 3,
            searches_max: 64,
            index_documents: true,
            index_left_out: Vec::new(),
            document_run_events: 16_384,
            cold_after_segments: None,
            cold_bytes_per_second: 32 << 20,
            clock: Arc::new(SystemClock),
            ids: Arc::new(MonotonicIds::new(random)),
        }
    }
}

/// Fills bytes from the random source of the cryptographic provider.
pub(crate) fn random(bytes: &mut [u8]) {
    // The provider fails only where the system has no random source at all.
    if aws_lc_rs::rand::fill(bytes).is_err() {
        tracing::error!("the system has no source of random numbers");
    }
}

/// Returns random bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}
