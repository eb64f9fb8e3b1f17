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

/// What the thread has to come back to.
#[derive(Debug, Default)]
struct Later {
    /// Indexes that could not be written.
    seals: Vec<(Arc<Segment>, ClosedSegment)>,
    /// Since when something waits to be tried again.
    failed_at: Option<Stopwatch>,
    /// There may be closed segments whose terms are not known yet.
    learning: bool,
}

impl Later {
    fn patience(&self) -> Duration {
        match self.failed_at {
            // One segment at a time, so that nothing else waits long.
            _ if self.learning => Duration::ZERO,
            Some(since) => RETRY_DELAY.saturating_sub(since.elapsed()),
            None => Duration::from_secs(3600),
        }
    }

    fn fail(&mut self) {
        self.failed_at = Some(Stopwatch::start());
    }

    /// Returns the indexes to write, if it is time to try again.
    fn due(&mut self) -> Vec<(Arc<Segment>, ClosedSegment)> {
        if self
            .failed_at
            .is_none_or(|since| since.elapsed() < RETRY_DELAY)
        {
            return Vec::new();
        }
        self.failed_at = None;
        self.learning = true;
        std::mem::take(&mut self.seals)
    }
}

fn run(shared: &Shared, tasks: &Receiver<Task>, unsealed: &Unsealed) {
    let mut later = Later {
        learning: true,
        ..Later::default()
    };
    loop {
        let task = tasks.recv_timeout(later.patience());
        let mut todo = later.due();
        match task {
            Ok(Task::Seal { segment, closed }) => {
                todo.push((segment, closed));
                later.learning = true;
            }
            Ok(Task::Zero { segment, from, to }) => {
                if let Err(error) = segment.zero_fence.zero(&*segment.file(), from, to) {
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
                    later.seals.push((segment, closed));
                    later.fail();
                }
            }
        }
        if later.learning {
            learn(shared, &mut later);
        }
    }
}

/// Learns the terms of the next closed segment.
fn learn(shared: &Shared, later: &mut Later) {
    later.learning = false;
    let segment = match shared.log.learn_next() {
        Ok(Some(segment)) => segment,
        Ok(None) => return,
        Err(error) => {
            // Look-ups ask the segments one by one meanwhile.
            tracing::warn!(%error, "the terms of a closed segment could not be read");
            return later.fail();
        }
    };
    later.learning = true;
    // Reading all terms may have shown that the index is damaged; then it is in memory, built anew.
    if let Some(closed) = segment.closed()
        && closed.index.is_some()
        && let Err(error) = seal(shared, &segment, closed)
    {
        let name = segment.entry.log_name();
        tracing::error!(%error, segment = %name, "an index that was built anew stays in memory until the next start");
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
    if segment.has_unknown() {
        // A file cannot say which events are lost, and would deny that they are there.
        let name = segment.entry.log_name();
        tracing::error!(segment = %name, "events are lost; the index stays in memory");
        return Ok(());
    }
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
