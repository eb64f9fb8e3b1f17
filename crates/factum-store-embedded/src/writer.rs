//! The one writer: takes requests from the queue, decides on them, writes them as one group, syncs
//! once, lets readers see them, and only then answers.
//!
//! It must never answer before the sync, never write a group before the one before it is durable,
//! and never write again after a failed write or sync.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use factum_model::{EventId, Position, Timestamp};
use factum_store::{AppendError, AppendReceipt, WriteState};
use tokio::sync::oneshot;

use crate::background::{Background, Task};
use crate::bytes_io::padded;
use crate::counters::{Counters, add};
use crate::decide::GroupPlan;
use crate::disk::Disk;
use crate::frame::{FrameError, GROUP_HEADER_BYTES, GroupBuilder, RecordHead, decode_record};
use crate::log::Log;
use crate::manifest::{CleanClose, LogEnd, Manifest, ManifestError};
use crate::options::Options;
use crate::queue::{Batch, GroupBounds, Pending, Queue};
use crate::roll;
use crate::segment::{Segment, rebuild_index};
use crate::versions::Versions;

/// What the writer shares with the rest of the store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Log,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    pub(crate) state: RwLock<WriteState>,
    pub(crate) manifest: Mutex<Manifest>,
    /// Held by who makes a change of names durable: a sync that fails forgets what others changed.
    pub(crate) names: Mutex<()>,
}

impl Shared {
    pub(crate) fn state(&self) -> WriteState {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_state(&self, state: WriteState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Keeps others from making changes of names durable.
    pub(crate) fn alone_with_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the manifest and makes the change durable. On an error the one in memory stays as
    /// it was; the error says whether the one on the disk does.
    pub(crate) fn change_manifest(
        &self,
        _names: &MutexGuard<'_, ()>,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<(), ManifestError> {
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = manifest.clone();
        change(&mut changed);
        changed.store(&*self.disk)?;
        *manifest = changed;
        Ok(())
    }
}

type Answer = (
    oneshot::Sender<Result<AppendReceipt, AppendError>>,
    Result<AppendReceipt, AppendError>,
);

/// Why a group is not durable.
pub(crate) enum WriteFailure {
    /// There is no space, and nothing of the group is left in the file.
    Full,
    /// Something that is needed cannot be had now, and nothing has changed.
    Later(io::Error),
    /// It is not known what is in the file.
    Unknown(io::Error),
}

/// Direct writes want their ranges aligned.
const ZERO_ALIGNMENT: u64 = 4096;
/// Below this, a sync is dominated by what it costs at all, not by the bytes.
const SMALL_GROUP_BYTES: u64 = 16 << 10;

/// What is said of a writer that ended by a panic.
const WRITER_STOPPED: &str = "the writer has stopped";
/// When to come back while no segment can be begun. Connections that end give their files back.
const RETRY_AFTER_MS: u64 = 1000;

/// The writer and where it is.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) background: Background,
    pub(crate) active: Arc<Segment>,
    pub(crate) end: LogEnd,
    /// Up to here space in the file is reserved.
    pub(crate) reserved_to: u64,
    pub(crate) next: Position,
    pub(crate) last_recorded_at: i64,
    pub(crate) versions: Versions,
    /// The last group with events has no group after it yet.
    pub(crate) unsealed: bool,
}

impl Writer {
    /// Works until the queue is closed and empty, then closes the log.
    pub(crate) fn run(mut self) {
        if self.is_closed_in_manifest() {
            self.fail(WriteFailure::Full);
        }
        loop {
            let options = &self.shared.options;
            let bounds = GroupBounds {
                events_max: options.group_events_max,
                bytes_max: options.group_bytes_max,
                delay: options.group_delay,
            };
            match self.shared.queue.take(bounds, self.patience()) {
                Batch::Requests(requests) => self.append(requests),
                Batch::Idle => self.idle(),
                Batch::Closed => break,
            }
        }
        self.close();
    }

    fn patience(&self) -> Duration {
        let options = &self.shared.options;
        match self.shared.state() {
            WriteState::Full => options.full_retry_delay,
            WriteState::Open if self.unsealed => options.seal_delay,
            WriteState::Open
            | WriteState::Failed { .. }
            | WriteState::ReadOnly
            | WriteState::Closed => Duration::from_secs(3600),
        }
    }

    /// Seals the end of the log, and looks whether a full disk has space again.
    fn idle(&mut self) {
        match self.shared.state() {
            WriteState::Full => self.try_again(),
            WriteState::Open if self.unsealed => {
                let builder = GroupBuilder::new(self.next, self.last_recorded_at);
                match self.write(builder) {
                    Ok(_) => self.unsealed = false,
                    Err(failure) => self.fail(failure),
                }
            }
            WriteState::Open
            | WriteState::Failed { .. }
            | WriteState::ReadOnly
            | WriteState::Closed => {}
        }
    }

    fn try_again(&mut self) {
        match self.open_in_manifest().and_then(|()| {
            self.reserve(self.end.offset + self.shared.options.group_bytes_max as u64)
        }) {
            Ok(()) => {
                tracing::info!("there is space again; appends resume");
                self.shared.set_state(WriteState::Open);
            }
            Err(WriteFailure::Full | WriteFailure::Later(_)) => {}
            Err(failure @ WriteFailure::Unknown(_)) => self.fail(failure),
        }
    }

    /// Tells whether the store was opened on a disk so full that its manifest could not be
    /// written, and still says that the log was closed in good order.
    fn is_closed_in_manifest(&self) -> bool {
        let manifest = self.shared.manifest.lock();
        let manifest = manifest.unwrap_or_else(PoisonError::into_inner);
        manifest.clean.is_some()
    }

    /// Makes the manifest say that the store is open, before anything is written to the log.
    fn open_in_manifest(&self) -> Result<(), WriteFailure> {
        if !self.is_closed_in_manifest() {
            return Ok(());
        }
        let names = self.shared.alone_with_names();
        let opened = self
            .shared
            .change_manifest(&names, |manifest| manifest.clean = None);
        opened.map_err(not_stored)
    }

    fn append(&mut self, requests: Vec<Pending>) {
        add(&self.shared.counters.requests, requests.len() as u64);
        if let WriteState::Failed { cause } = self.shared.state() {
            for pending in requests {
                answer(
                    pending.reply,
                    Err(AppendError::StoreFailed {
                        cause: cause.clone(),
                    }),
                );
            }
            return;
        }
        let ready = if self.shared.state() == WriteState::Full {
            self.open_in_manifest()
        } else {
            Ok(())
        };
        if let Err(failure) = ready.and_then(|()| {
            let bytes: usize = requests.iter().map(|pending| pending.bytes).sum();
            self.roll_if_full(bytes as u64)
        }) {
            // Nothing of these requests was written, whatever became of the segment.
            let refusals: Vec<_> = requests.iter().map(|_| refusal(&failure)).collect();
            // The state comes first: whoever has an answer finds it.
            self.fail(failure);
            for (pending, refusal) in requests.into_iter().zip(refusals) {
                answer(pending.reply, Err(refusal));
            }
            return;
        }
        self.append_group(requests);
    }

    /// Begins a new segment when the active one has no room for so many bytes.
    pub(crate) fn roll_if_full(&mut self, bytes: u64) -> Result<(), WriteFailure> {
        let options = &self.shared.options;
        let n_events = self.active.ordinal(self.next);
        let room = self.end.offset + bytes <= options.segment_bytes_max
            && n_events < options.segment_events_max;
        if room || n_events == 0 {
            return Ok(());
        }
        if !self.background.wait_for_room(options.unsealed_segments_max) {
            // The index of a closed segment is in memory until it is in a file. If it cannot be
            // written, because the disk is full, memory must not grow in its place.
            tracing::warn!("closed segments wait for their index; no new segment is begun");
            return Err(WriteFailure::Full);
        }
        roll::roll(self).map_err(not_stored)
    }

    fn append_group(&mut self, requests: Vec<Pending>) {
        let now = self.shared.options.clock.now().as_micros();
        if now < self.last_recorded_at {
            add(&self.shared.counters.clock_went_back, 1);
        }
        let recorded_at = now.max(self.last_recorded_at);
        let shared = Arc::clone(&self.shared);
        let active = Arc::clone(&self.active);
        let mut plan = GroupPlan {
            log: &shared.log,
            segments: shared.log.segments(),
            known: shared.log.known(),
            active: &active,
            versions: &mut self.versions,
            builder: GroupBuilder::new(self.next, self.last_recorded_at),
            starts: Vec::with_capacity(requests.len()),
            first: self.next,
            recorded_at: Timestamp::from_micros(recorded_at).unwrap_or(Timestamp::MAX),
            offset: self.end.offset,
        };
        let mut answers: Vec<Answer> = Vec::with_capacity(requests.len());
        let mut ids: Vec<Vec<EventId>> = Vec::with_capacity(requests.len());
        for pending in requests {
            let decision = plan.decide(&pending);
            ids.push(pending.prepared.iter().map(|event| event.id).collect());
            answers.push((pending.reply, decision));
        }
        let builder = plan.builder;
        if builder.n_records() > 0 {
            let n_records = builder.n_records();
            match self.write(builder) {
                Ok(group) => self.publish(&group, n_records, recorded_at),
                Err(failure) => {
                    self.take_back(failure, &mut answers, &ids);
                }
            }
        }
        let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
        add(&self.shared.counters.requests_refused, refused as u64);
        for (reply, decision) in answers {
            answer(reply, decision);
        }
    }

    /// Lets readers see a group that is durable.
    pub(crate) fn publish(&mut self, group: &Bytes, n_records: u32, recorded_at: i64) {
        add(&self.shared.counters.events, u64::from(n_records));
        let events = records(group);
        self.shared.log.recent.push(events);
        self.last_recorded_at = recorded_at;
        self.unsealed = true;
        let head = Position::new(self.next.get() + u64::from(n_records) - 1);
        self.next = Position::after(head);
        if let Some(head) = head {
            self.shared.log.publish(head);
        }
    }

    /// Undoes a group that is not durable.
    fn take_back(&mut self, failure: WriteFailure, answers: &mut [Answer], ids: &[Vec<EventId>]) {
        // Versions and refusals rest on events that are not there.
        self.versions.forget_all();
        for ((_, decision), ids) in answers.iter_mut().zip(ids) {
            *decision = Err(match failure {
                WriteFailure::Full | WriteFailure::Later(_) => refusal(&failure),
                WriteFailure::Unknown(_) => AppendError::OutcomeUnknown { ids: ids.clone() },
            });
        }
        match failure {
            WriteFailure::Full | WriteFailure::Later(_) => self.forget_group(),
            WriteFailure::Unknown(_) => {}
        }
        self.fail(failure);
    }

    /// Takes the terms of a group that was not written out of the index, by reading the log again.
    pub(crate) fn forget_group(&self) {
        let entry = &self.active.entry;
        match rebuild_index(
            &self.active.file(),
            entry,
            &self.active.key,
            self.end.offset,
        ) {
            Ok(rebuilt) => self.active.with_tail(|tail| *tail = rebuilt),
            Err(error) => {
                self.fail(WriteFailure::Unknown(error));
                None
            }
        };
    }

    /// Writes a group and syncs it.
    pub(crate) fn write(&mut self, builder: GroupBuilder) -> Result<Bytes, WriteFailure> {
        let length = builder.group_bytes() as u64;
        self.reserve(self.end.offset + length)?;
        let number = self.end.group + 1;
        let (bytes, chain) = builder.finish(number, self.active.entry.salt, self.end.chain);
        self.active.zero_fence.claim(self.end.offset + length);
        if let Err(error) = self.active.file().write_at(&bytes, self.end.offset) {
            return Err(self.cut_back(error));
        }
        let watch = self.background.stopwatch();
        self.active
            .file()
            .sync_data()
            .map_err(WriteFailure::Unknown)?;
        add(&self.shared.counters.sync_micros, watch.micros());
        add(&self.shared.counters.groups, 1);
        add(&self.shared.counters.bytes, length);
        self.end = LogEnd {
            offset: self.end.offset + length,
            group: number,
            chain,
        };
        self.active.set_end(self.end.offset);
        Ok(bytes)
    }

    /// Makes sure that there is space up to an offset.
    fn reserve(&mut self, to: u64) -> Result<(), WriteFailure> {
        if to <= self.reserved_to {
            return Ok(());
        }
        let step = self.shared.options.reserve_bytes.max(1);
        let generous = (to + step).min(self.shared.options.segment_bytes_max.max(to));
        // The last megabytes of a disk are worth having too.
        for wanted in [generous, to] {
            match self
                .active
                .file()
                .reserve(self.reserved_to, wanted - self.reserved_to)
            {
                Ok(()) => {
                    self.zero_ahead(self.reserved_to.max(to), wanted);
                    self.reserved_to = wanted;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.reserved_to = to;
                    return Ok(());
                }
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(WriteFailure::Unknown(error)),
            }
        }
        Err(WriteFailure::Full)
    }

    /// Has space that was just reserved filled with zeros, where groups are so small that the
    /// file system's journal would cost more than the zeros do.
    fn zero_ahead(&self, from: u64, to: u64) {
        let from = from.next_multiple_of(ZERO_ALIGNMENT);
        let to = to / ZERO_ALIGNMENT * ZERO_ALIGNMENT;
        if from < to && self.mean_group_bytes() < SMALL_GROUP_BYTES {
            let segment = Arc::clone(&self.active);
            self.background.submit(Task::Zero { segment, from, to });
        }
    }

    /// Returns how large the groups since the start were in the mean.
    fn mean_group_bytes(&self) -> u64 {
        let n_groups = self.shared.counters.groups.load(Ordering::Relaxed);
        self.shared.counters.bytes.load(Ordering::Relaxed) / n_groups.max(1)
    }

    /// After a write that failed for want of space: makes the file end where it ended before.
    fn cut_back(&mut self, error: io::Error) -> WriteFailure {
        if !is_full(&error) {
            return WriteFailure::Unknown(error);
        }
        let file = self.active.file();
        match file
            .set_len(self.end.offset)
            .and_then(|()| file.sync_data())
        {
            Ok(()) => {
                self.reserved_to = self.end.offset;
                WriteFailure::Full
            }
            Err(error) => WriteFailure::Unknown(error),
        }
    }

    pub(crate) fn fail(&self, failure: WriteFailure) {
        match failure {
            WriteFailure::Full => {
                add(&self.shared.counters.disk_full, 1);
                if self.shared.state() == WriteState::Open {
                    tracing::error!("the disk is full; appends are refused until there is space");
                }
                self.shared.set_state(WriteState::Full);
            }
            WriteFailure::Later(error) => {
                let n_failures = &self.shared.counters.segments_delayed;
                // Every request may try again, and each would say the same.
                let n_before = n_failures.fetch_add(1, Ordering::Relaxed);
                if (n_before + 1).is_power_of_two() {
                    tracing::error!(%error, "no new segment can be begun; appends are refused");
                }
            }
            WriteFailure::Unknown(error) => {
                tracing::error!(%error, "writing failed; the store takes no more appends");
                self.shared.set_state(WriteState::Failed {
                    cause: error.to_string(),
                });
            }
        }
    }

    /// Closes the log in good order.
    pub(crate) fn close(&mut self) {
        let failed = matches!(self.shared.state(), WriteState::Failed { .. });
        if !failed {
            let clean = CleanClose {
                end: self.end,
                head: self.next.previous(),
            };
            let names = self.shared.alone_with_names();
            let closed = self
                .shared
                .change_manifest(&names, |manifest| manifest.clean = Some(clean));
            drop(names);
            if let Err(error) = closed {
                tracing::error!(%error, "the manifest could not be written at close");
            }
            self.shared.set_state(WriteState::Closed);
        }
    }
}

impl Drop for Writer {
    /// A writer that ends by a panic must not leave callers waiting, nor the store open.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.set_state(WriteState::Failed {
                cause: WRITER_STOPPED.to_owned(),
            });
            self.shared.queue.close();
            let bounds = GroupBounds {
                events_max: 1,
                bytes_max: 1,
                delay: Duration::ZERO,
            };
            while let Batch::Requests(requests) = self.shared.queue.take(bounds, Duration::ZERO) {
                // The writer never came to these. The ones that it had taken hear nothing, and
                // that says that their outcome is unknown.
                for pending in requests {
                    let cause = WRITER_STOPPED.to_owned();
                    answer(pending.reply, Err(AppendError::StoreFailed { cause }));
                }
            }
        }
    }
}

/// Decodes the records of a group that was just encoded.
fn records(group: &Bytes) -> Vec<factum_model::RecordedEvent> {
    let mut events = Vec::new();
    let mut at = GROUP_HEADER_BYTES;
    while let Some(rest) = group.get(at..).filter(|rest| !rest.is_empty()) {
        let decoded: Result<_, FrameError> =
            RecordHead::peek(rest).and_then(|head| Ok((head.length, decode_record(group, at)?)));
        match decoded {
            Ok((length, event)) => {
                events.push(event);
                at += padded(length);
            }
            Err(error) => {
                tracing::error!(%error, "a record that was just written cannot be read");
                return Vec::new();
            }
        }
    }
    events
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Says what a manifest that was not stored means for the log.
fn not_stored(error: ManifestError) -> WriteFailure {
    match error {
        ManifestError::NotStored(error) if is_full(&error) => WriteFailure::Full,
        ManifestError::NotStored(error) => WriteFailure::Later(error),
        // Also when the directory could not be synced for want of space: the next start may find
        // the new manifest, and look for the log where that says.
        ManifestError::Unknown(error) => WriteFailure::Unknown(error),
    }
}

/// Says of a request that was not written why it was not.
pub(crate) fn refusal(failure: &WriteFailure) -> AppendError {
    match failure {
        WriteFailure::Full => AppendError::StorageFull,
        WriteFailure::Later(_) => AppendError::Overloaded {
            limit: "files of a new segment",
            retry_after_ms: RETRY_AFTER_MS,
        },
        WriteFailure::Unknown(error) => AppendError::StoreFailed {
            cause: error.to_string(),
        },
    }
}

fn answer(
    reply: oneshot::Sender<Result<AppendReceipt, AppendError>>,
    decision: Result<AppendReceipt, AppendError>,
) {
    // Who asked may have gone away; the outcome stands all the same.
    drop(reply.send(decision));
}
