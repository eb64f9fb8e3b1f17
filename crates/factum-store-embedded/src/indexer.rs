//! Indexes payloads and metadata behind the writer, from the log.
//!
//! One thread follows the head. It never holds the writer up: what it has not reached is looked
//! at event by event by those who ask.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use factum_model::{Position, RecordedEvent};
use factum_query::{Part, TERMS_VERSION};
use factum_store::ReadError;

use crate::background::Stopwatch;
use crate::counters::add;
use crate::documents::{Dictionary, Documents, merge};
use crate::index::build::{self, IndexIdentity, IndexKind};
use crate::index::{IndexError, SealedIndex};
use crate::manifest::ClosedSegment;
use crate::segment::Segment;
use crate::term::Term;
use crate::writer::Shared;

/// How many events are indexed at once.
const CHUNK_EVENTS: u32 = 512;
/// How many events are read one by one where some of them are damaged.
const FEW_EVENTS: usize = 16;
/// How long the thread lets events gather after it was woken.
const GATHER: Duration = Duration::from_millis(5);
/// How long it waits before it tries again what failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long it waits at most before it looks by itself.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How much lower than that of the writer its priority is.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Wakes the thread.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    /// The thread waits, or is about to.
    waits: AtomicBool,
    state: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Bell {
    rung: bool,
    stopped: bool,
}

impl Doorbell {
    /// Says that there is something to do. Costs next to nothing while the thread is at work.
    pub(crate) fn ring(&self) {
        if self.waits.swap(false, Ordering::AcqRel) {
            self.lock().rung = true;
            self.rung.notify_one();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.rung.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Bell> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits for the bell if `idle` says, after the waiting was announced, that nothing is there
    /// to do; or for a while. Returns `false` when the thread is to end.
    fn wait(&self, at_most: Duration, idle: impl FnOnce() -> bool) -> bool {
        self.waits.store(true, Ordering::SeqCst);
        if !idle() {
            self.waits.store(false, Ordering::Release);
            return !self.is_stopped();
        }
        let waited = self
            .rung
            .wait_timeout_while(self.lock(), at_most, |bell| !bell.rung && !bell.stopped);
        let mut bell = waited.unwrap_or_else(PoisonError::into_inner).0;
        bell.rung = false;
        !bell.stopped
    }

    /// Waits, unless the thread is to end; returns `false` then.
    pub(crate) fn rest(&self, duration: Duration) -> bool {
        let waited = self
            .rung
            .wait_timeout_while(self.lock(), duration, |bell| !bell.stopped);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

/// Starts the thread.
pub(crate) fn spawn(shared: &Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("factum-index".to_owned())
        .spawn(move || {
            lower_priority();
            run(&shared, &shared.log.doorbell);
        })
}

pub(crate) fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the thread that indexes keeps its priority");
    }
}

fn run(shared: &Shared, bell: &Doorbell) {
    let mut failed = Failed::default();
    loop {
        let go_on = if step(shared, &mut failed) {
            !bell.is_stopped()
        } else {
            // What has failed is not waited for.
            let idle = || failed.any() || backlog(shared) == 0;
            bell.wait(IDLE_MAX, idle) && bell.rest(GATHER)
        };
        if !go_on {
            return;
        }
    }
}

/// Returns how many events are not in the index of their documents.
pub(crate) fn backlog(shared: &Shared) -> u64 {
    let head = shared.log.head();
    let segments = shared.log.segments();
    let missing = |segment: &Arc<Segment>| {
        let end = segment.ordinals_to(head).end;
        u64::from(end.saturating_sub(segment.documents().end()))
    };
    segments.iter().map(missing).sum()
}

/// The segments that failed a moment ago. There are as many as there are damaged ones, and each
/// is tried again once a while.
#[derive(Debug, Default)]
struct Failed(Vec<(Position, Stopwatch)>);

impl Failed {
    const fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn has(&self, segment: &Segment) -> bool {
        let mut bases = self.0.iter().map(|(base, _)| *base);
        bases.any(|base| base == segment.entry.base)
    }

    fn forget_old(&mut self) {
        self.0.retain(|(_, since)| since.elapsed() < RETRY_DELAY);
    }

    fn note(&mut self, segment: &Segment, error: &IndexError) {
        tracing::error!(%error, segment = %segment.entry.log_name(), "documents cannot be indexed; trying again");
        self.0.push((segment.entry.base, Stopwatch::start()));
    }
}

/// Indexes some events, or writes the index of a closed segment; returns whether there may be
/// more to do. A segment that fails does not keep the others back, and is left alone for a while.
fn step(shared: &Shared, failed: &mut Failed) -> bool {
    let segments = shared.log.segments();
    let begun = |segment: &&Arc<Segment>| {
        let documents = segment.documents();
        segment.closed().is_some() && documents.is_growing() && documents.end() > 0
    };
    // What was written last is asked for most; but a closed segment that is begun is in memory, so
    // it is finished first: unless it fails there is never more in memory than one and the one that
    // is written.
    let ordered = segments.iter().filter(begun).chain(segments.iter().rev());
    failed.forget_old();
    for segment in ordered {
        if failed.has(segment) {
            continue;
        }
        match step_in(shared, segment) {
            Ok(false) => {}
            Ok(true) => return true,
            Err(error) => failed.note(segment, &error),
        }
    }
    false
}

fn step_in(shared: &Shared, segment: &Segment) -> Result<bool, IndexError> {
    let end = segment.ordinals_to(shared.log.head()).end;
    let first = segment.documents().end();
    if first < end {
        index(shared, segment, first..end.min(first + CHUNK_EVENTS))?;
        return Ok(true);
    }
    if let Some(closed) = segment.closed()
        && end == closed.n_events
        && segment.documents().is_growing()
    {
        seal(shared, segment, closed)?;
        return Ok(true);
    }
    Ok(false)
}

/// Adds events to the index in memory.
fn index(
    shared: &Shared,
    segment: &Segment,
    range: std::ops::Range<u32>,
) -> Result<(), IndexError> {
    let key = &shared.log.key;
    let first = range.start;
    let events = read(shared, segment, range)?;
    let mut terms: Vec<Vec<Term>> = Vec::with_capacity(events.len());
    let mut dictionary = Dictionary::default();
    for event in &events {
        let mut own = Vec::with_capacity(32);
        match event {
            Some(event) => {
                let left_out = left_out(shared, event.event_type(), &mut dictionary);
                key.document_terms(event, &left_out, &mut own);
                dictionary.add(event);
            }
            // A record that is lost may have any term, and any name.
            None => {
                own.extend([key.overflow_of_paths(), key.overflow_of_words()]);
                dictionary.cut();
            }
        }
        terms.push(own);
    }
    let due = segment.grow(|growing| {
        if growing.end() != first {
            // It was begun anew meanwhile; these events come again.
            return false;
        }
        for terms in &terms {
            growing.push(terms);
        }
        growing.dictionary.merge(&dictionary);
        growing.n_open() >= shared.options.document_run_events || growing.is_large()
    });
    add(&shared.counters.documents_indexed, terms.len() as u64);
    if due == Some(true) {
        freeze(shared, segment)?;
    }
    Ok(())
}

/// Returns the places whose values are left out of events of a type, and notes them.
fn left_out(shared: &Shared, event_type: &str, dictionary: &mut Dictionary) -> Vec<Term> {
    let hasher = shared.log.key.hasher();
    let rules = shared.options.index_left_out.iter();
    rules
        .filter(|rule| rule.types.matches(event_type))
        .map(|rule| {
            if !dictionary.left_out.contains(&rule.path) {
                dictionary.left_out.insert(rule.path.clone());
            }
            hasher.place(Part::Payload, rule.path.steps())
        })
        .collect()
}

/// Reads events from the start of a range on, as many as memory is meant for; `None` stands for a
/// record that is damaged or was given up.
fn read(
    shared: &Shared,
    segment: &Segment,
    range: std::ops::Range<u32>,
) -> Result<Vec<Option<RecordedEvent>>, IndexError> {
    let ordinals: Vec<u32> = range.clone().collect();
    if !segment.has_quarantined() {
        let parts = segment.parts(&ordinals, false);
        let part = parts.map(|parts| parts.first().copied().unwrap_or_default());
        match part.and_then(|part| shared.log.fetch(segment, part)) {
            Ok(events) => return Ok(events.into_iter().map(Some).collect()),
            Err(ReadError::Corrupt { .. }) => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let one = |ordinal| match shared.log.fetch_one(segment, ordinal) {
        Ok(event) => Ok(Some(event)),
        Err(ReadError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(unreadable(error)),
    };
    range.take(FEW_EVENTS).map(one).collect()
}

fn unreadable(error: ReadError) -> IndexError {
    IndexError::Io(std::io::Error::other(error))
}

/// Makes a run of the newest events of a segment, if there are any.
fn freeze(shared: &Shared, segment: &Segment) -> Result<(), IndexError> {
    let identity = identity(shared, segment, segment.documents().end(), 0);
    // Only this thread changes the index, so what is encoded here is what is replaced below.
    let run = match &*segment.documents() {
        Documents::Growing(growing) if growing.n_open() == 0 => return Ok(()),
        Documents::Growing(growing) => growing.run(&identity)?,
        Documents::Sealed(_) => return Ok(()),
    };
    segment.grow(|growing| growing.replace(run));
    Ok(())
}

/// Writes the index of a closed segment and uses it from then on.
fn seal(shared: &Shared, segment: &Segment, closed: ClosedSegment) -> Result<(), IndexError> {
    freeze(shared, segment)?;
    let (runs, dictionary) = match &*segment.documents() {
        Documents::Growing(growing) => (growing.runs(), growing.dictionary.clone()),
        Documents::Sealed(_) => return Ok(()),
    };
    let identity = identity_of(shared, segment, &closed);
    let name = segment.entry.documents_name();
    // A name of its own until it is whole: the manifest does not name this file.
    let new_name = format!("{name}.new");
    let n_keys_max = runs.iter().map(|run| run.n_keys()).sum();
    let parts = (&dictionary, n_keys_max);
    build::write_terms(&*shared.disk, &new_name, &identity, parts, |table| {
        merge(&runs, table)
    })?;
    shared.disk.rename(&new_name, &name)?;
    let sealed = SealedIndex::open(shared.disk.open(&name)?, &identity)?;
    segment.seal_documents(sealed);
    Ok(())
}

/// Returns what the index file of a closed segment says of itself.
pub(crate) fn identity_of(
    shared: &Shared,
    segment: &Segment,
    closed: &ClosedSegment,
) -> IndexIdentity {
    identity(shared, segment, closed.n_events, closed.end.chain)
}

fn identity(shared: &Shared, segment: &Segment, n_events: u32, chain: u64) -> IndexIdentity {
    let manifest = shared
        .manifest
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    documents_identity(manifest.lineage.store_id, &segment.entry, n_events, chain)
}

/// Returns what the index file of the documents of a segment says of itself.
pub(crate) fn documents_identity(
    store_id: factum_store::StoreId,
    entry: &crate::manifest::SegmentEntry,
    n_events: u32,
    chain: u64,
) -> IndexIdentity {
    IndexIdentity {
        kind: IndexKind::Documents { chain },
        store_id,
        base: entry.base,
        generation: TERMS_VERSION,
        n_events,
        log_end: 0,
    }
}
