//! Work that must not hold up the writer: the indexes of closed segments.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counters::add;
use crate::index::build::{self, IndexIdentity};
use crate::index::{IndexError, SealedIndex};
use crate::manifest::ClosedSegment;
use crate::segment::Segment;
use crate::writer::Shared;

/// How long the thread waits before it tries again what failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Something to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Writes the index of a closed segment and drops the one in memory.
    Seal {
        segment: Arc<Segment>,
        closed: ClosedSegment,
    },
    /// Fills reserved space ahead of the log with zeros.
    Zero {
        segment: Arc<Segment>,
        from: u64,
        to: u64,
    },
    /// Ends the thread after what was submitted before.
    Stop,
}

/// The way to the thread.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    tasks: Sender<Task>,
    n_unsealed: Arc<AtomicUsize>,
}

/// Measures how long something takes.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Background {
    pub(crate) fn new() -> (Self, Receiver<Task>) {
        let (tasks, receiver) = channel();
        (
            Self {
                tasks,
                n_unsealed: Arc::default(),
            },
            receiver,
        )
    }

    pub(crate) fn submit(&self, task: Task) {
        if matches!(task, Task::Seal { .. }) {
            self.n_unsealed.fetch_add(1, Ordering::SeqCst);
        }
        // The thread ends only after it was told to; what comes later is done at the next open.
        drop(self.tasks.send(task));
    }

    /// Returns how many closed segments have their index in memory.
    pub(crate) fn n_unsealed(&self) -> usize {
        self.n_unsealed.load(Ordering::SeqCst)
    }

    /// Starts to measure.
    #[expect(clippy::unused_self, reason = "time is asked in one place")]
    pub(crate) fn stopwatch(&self) -> Stopwatch {
        #[expect(
            clippy::disallowed_methods,
            reason = "a duration for the metrics, not a time"
        )]
        Stopwatch(Instant::now())
    }

    /// Starts the thread.
    pub(crate) fn spawn(
        &self,
        shared: Arc<Shared>,
        tasks: Receiver<Task>,
    ) -> std::io::Result<JoinHandle<()>> {
        let n_unsealed = Arc::clone(&self.n_unsealed);
        std::thread::Builder::new()
            .name("factum-seal".to_owned())
            .spawn(move || run(&shared, &tasks, &n_unsealed))
    }
}

fn run(shared: &Shared, tasks: &Receiver<Task>, n_unsealed: &AtomicUsize) {
    let mut failed: Vec<(Arc<Segment>, ClosedSegment)> = Vec::new();
    loop {
        let patience = if failed.is_empty() {
            Duration::from_secs(3600)
        } else {
            RETRY_DELAY
        };
        let mut todo = std::mem::take(&mut failed);
        match tasks.recv_timeout(patience) {
            Ok(Task::Seal { segment, closed }) => todo.push((segment, closed)),
            Ok(Task::Zero { segment, from, to }) => {
                if let Err(error) = segment.zero_fence.zero(&*segment.file, from, to) {
                    // The range reads as zeros all the same; only the syncs there are slower.
                    tracing::warn!(%error, "space ahead of the log was not zeroed");
                }
            }
            Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        for (segment, closed) in todo {
            match seal(shared, &segment, closed) {
                Ok(()) => {
                    n_unsealed.fetch_sub(1, Ordering::SeqCst);
                    add(&shared.counters.segments_sealed, 1);
                }
                Err(error) => {
                    let name = segment.entry.log_name();
                    tracing::error!(%error, segment = %name, "the index could not be written");
                    failed.push((segment, closed));
                }
            }
        }
    }
}

/// Writes the index of a closed segment, names it in the manifest, and uses it from then on.
fn seal(shared: &Shared, segment: &Segment, closed: ClosedSegment) -> Result<(), IndexError> {
    let store_id = shared
        .manifest
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .lineage
        .store_id;
    let generation = closed.index.map_or(0, |generation| generation + 1);
    let identity = IndexIdentity {
        store_id,
        base: segment.entry.base,
        generation,
        n_events: closed.n_events,
        log_end: closed.end.offset,
    };
    let name = segment.entry.index_name(generation);
    let written = segment.read_tail(|tail| build::write(&*shared.disk, &name, &identity, tail));
    match written {
        // It is in a file already.
        None => return Ok(()),
        Some(written) => written?,
    }
    let sealed = SealedIndex::open(shared.disk.open(&name)?, &identity)?;
    shared.change_manifest(|manifest| {
        let base = segment.entry.base;
        let entry = manifest
            .segments
            .iter_mut()
            .find(|entry| entry.base == base);
        if let Some(closed) = entry.and_then(|entry| entry.closed.as_mut()) {
            closed.index = Some(generation);
        }
    })?;
    segment.seal(sealed);
    if let Some(old) = closed.index {
        // A file that stays is removed at the next open.
        drop(shared.disk.remove(&segment.entry.index_name(old)));
    }
    Ok(())
}
