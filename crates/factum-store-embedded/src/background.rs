//! Work that must not hold up the writer: the indexes of closed segments.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counters::add;
use crate::index::build::{self, IndexIdentity, IndexKind};
use crate::index::{IndexError, SealedIndex, TailIndex};
use crate::manifest::ClosedSegment;
use crate::segment::Segment;
use crate::writer::Shared;

/// How long the thread waits before it tries again what failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long the writer waits for the index of a closed segment; far longer than one takes.
const SEAL_PATIENCE: Duration = Duration::from_secs(30);

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
    unsealed: Arc<Unsealed>,
}

/// The closed segments whose index is still in memory.
#[derive(Debug, Default)]
struct Unsealed {
    state: Mutex<UnsealedState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct UnsealedState {
    n_segments: usize,
    /// The last index that was tried could not be written.
    failing: bool,
}

impl Unsealed {
    fn change(&self, change: impl FnOnce(&mut UnsealedState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a duration for bounds and metrics, not a time"
        )]
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

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
                unsealed: Arc::default(),
            },
            receiver,
        )
    }

    pub(crate) fn submit(&self, task: Task) {
        if matches!(task, Task::Seal { .. }) {
            self.unsealed.change(|state| state.n_segments += 1);
        }
        // The thread ends only after it was told to; what comes later is done at the next open.
        drop(self.tasks.send(task));
    }

    /// Waits until fewer than `segments_max` closed segments have their index in memory; returns
    /// `false` when their indexes cannot be written, or not in time.
    pub(crate) fn wait_for_room(&self, segments_max: usize) -> bool {
        let state = self
            .unsealed
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waiting =
            |state: &mut UnsealedState| state.n_segments >= segments_max && !state.failing;
        let waited = self
            .unsealed
            .changed
            .wait_timeout_while(state, SEAL_PATIENCE, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.n_segments < segments_max
    }

    /// Starts to measure.
    #[expect(clippy::unused_self, reason = "time is asked in one place")]
    pub(crate) fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start()
    }

    /// Starts the thread.
    pub(crate) fn spawn(
        &self,
        shared: Arc<Shared>,
        tasks: Receiver<Task>,
    ) -> std::io::Result<JoinHandle<()>> {
        let unsealed = Arc::clone(&self.unsealed);
        std::thread::Builder::new()
            .name("factum-seal".to_owned())
            .spawn(move || run(&shared, &tasks, &unsealed))
    }
}

fn run(shared: &Shared, tasks: &Receiver<Task>, unsealed: &Unsealed) {
    let mut failed: Vec<(Arc<Segment>, ClosedSegment)> = Vec::new();
    let mut learning = true;
    loop {
        let patience = match (learning, failed.is_empty()) {
            // One segment at a time, so that nothing else waits long.
            (true, _) => Duration::ZERO,
            (false, true) => Duration::from_secs(3600),
            (false, false) => RETRY_DELAY,
        };
        let mut todo = Vec::new();
        match tasks.recv_timeout(patience) {
            Ok(Task::Seal { segment, closed }) => {
                todo.append(&mut failed);
                todo.push((segment, closed));
            }
            Ok(Task::Zero { segment, from, to }) => {
                if let Err(error) = segment.zero_fence.zero(&*segment.file(), from, to) {
                    // The range reads as zeros all the same; only the syncs there are slower.
                    tracing::warn!(%error, "space ahead of the log was not zeroed");
                }
            }
            Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if learning => {}
            Err(RecvTimeoutError::Timeout) => todo.append(&mut failed),
        }
        for (segment, closed) in todo {
            match seal(shared, &segment, closed) {
                Ok(()) => {
                    unsealed.change(|state| {
                        state.n_segments = state.n_segments.saturating_sub(1);
                        state.failing = false;
                    });
                    add(&shared.counters.segments_sealed, 1);
                }
                Err(error) => {
                    let name = segment.entry.log_name();
                    tracing::error!(%error, segment = %name, "the index could not be written");
                    unsealed.change(|state| state.failing = true);
                    failed.push((segment, closed));
                }
            }
        }
        learning = shared.log.learn_next().unwrap_or_else(|error| {
            // Look-ups ask the segments one by one until the next one is closed.
            tracing::warn!(%error, "the terms of a closed segment could not be read");
            false
        });
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
        kind: IndexKind::Fields,
        store_id,
        base: segment.entry.base,
        generation,
        n_events: closed.n_events,
        log_end: closed.end.offset,
    };
    let name = segment.entry.index_name(generation);
    // A name of its own until it is whole: others may fail to sync names meanwhile, which forgets
    // what was changed before.
    let new_name = format!("{name}.new");
    let write = |tail: &TailIndex| build::write(&*shared.disk, &new_name, &identity, tail);
    let Some(written) = segment.read_tail(write) else {
        // It is in a file already.
        return Ok(());
    };
    written?;
    let names = shared.alone_with_names();
    shared.disk.rename(&new_name, &name)?;
    // The manifest names what is there.
    shared.disk.sync_dir()?;
    let sealed = SealedIndex::open(shared.disk.open(&name)?, &identity)?;
    shared
        .change_manifest(&names, |manifest| {
            let base = segment.entry.base;
            let entry = manifest
                .segments
                .iter_mut()
                .find(|entry| entry.base == base);
            if let Some(closed) = entry.and_then(|entry| entry.closed.as_mut()) {
                closed.index = Some(generation);
            }
        })
        // Which manifest is on the disk then does not matter: they differ only in an index, which is
        // made again where it is missing.
        .map_err(std::io::Error::from)?;
    drop(names);
    segment.seal(sealed);
    if let Some(old) = closed.index {
        // A file that stays is removed at the next open.
        drop(shared.disk.remove(&segment.entry.index_name(old)));
    }
    Ok(())
}
