//! The store itself: opens, hands requests to the writer, answers readers.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use factum_model::{
    AggregateId, AggregateType, EventId, LimitExceeded, Position, RecordedEvent, StreamId,
    encoded_bytes,
};
use factum_query::Filter;
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BackupReport, BoxFuture, Capability, CountRead,
    Counts, Direction, EventStore, HeadWatch, Lineage, LogPage, LogRead, Maintenance,
    MaintenanceError, ReadError, StoreHealth, StoreMetrics, StreamInfo, StreamPage, StreamRead,
    VerifyReport, WriteState,
};
use tokio::sync::{Semaphore, oneshot};

use crate::background::{Background, Task};
use crate::backup::{BackupTarget, Snapshot, backup};
use crate::cold;
use crate::counters::{Counters, add};
use crate::disk::cold::ColdDisk;
use crate::disk::{Disk, LockGuard, OsDisk};
use crate::frame::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::indexer::{self, Doorbell};
use crate::log::Log;
use crate::open::{MOVED, OpenError, Opened, open, submit};
use crate::options::Options;
use crate::queue::{Pending, Prepared, Queue};
use crate::state;
use crate::term::TermFields;
use crate::verify::verify;
use crate::versions::Versions;
use crate::writer::{Shared, Writer};

/// Offsets of records are kept in units of eight bytes, in 32 bits.
pub(crate) const SEGMENT_BYTES_LIMIT: u64 = 16 << 30;
/// So many events in memory are looked at without leaving the caller's thread.
const INLINE_EVENTS_MAX: u64 = 1024;
/// The name of the lock file.
pub(crate) const LOCK: &str = "LOCK";

/// A store in one directory, for one process.
///
/// Dropping the last handle closes it: what is in the queue is written first.
#[derive(Debug)]
pub struct EmbeddedStore {
    pub(crate) shared: Arc<Shared>,
    /// It changes only while no store is open.
    lineage: Lineage,
    /// Ranges known to be lost since the store was opened.
    damaged: Vec<(Position, Position)>,
    /// What was durable for certain when the store was opened.
    settled: Option<Position>,
    threads: Mutex<Threads>,
    /// Room for reads that may look at many events.
    searches: Arc<Semaphore>,
    _lock: Option<Box<dyn LockGuard>>,
}

#[derive(Debug)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    background: Option<(Background, JoinHandle<()>)>,
    indexer: Option<JoinHandle<()>>,
    cold: Option<(Arc<Doorbell>, JoinHandle<()>)>,
}

impl EmbeddedStore {
    /// Opens the directory, and makes a store in it where there is none.
    ///
    /// Checked before this returns: the manifest; the header and the length of each segment, and
    /// that its indexes are whole and its own; and every byte of the last segment, where a torn
    /// end is told from damage and cut off. Not checked: the events of earlier segments. Damage
    /// there is found when they are read, and by [`Maintenance::verify`]; it is never served.
    ///
    /// On a disk without space the store opens with [`WriteState::Full`].
    ///
    /// # Errors
    /// See [`OpenError`]. A store that is damaged where it was checked is opened only for reading.
    pub fn open(mut options: Options) -> Result<Self, OpenError> {
        options.segment_bytes_max = options.segment_bytes_max.min(SEGMENT_BYTES_LIMIT);
        let disk: Arc<dyn Disk> = match &options.disk {
            Some(disk) => Arc::clone(disk),
            None if options.read_only => Arc::new(OsDisk::open_read_only(&options.directory)?),
            None => Arc::new(OsDisk::open_or_create(&options.directory)?),
        };
        let cold = Arc::new(ColdDisk::new(disk));
        let disk: Arc<dyn Disk> = Arc::<ColdDisk>::clone(&cold);
        let lock = if options.read_only {
            None
        } else {
            Some(disk.lock(LOCK, &holder())?)
        };
        if !options.read_only {
            cold.clean()?;
        }
        let opened = open(&disk, &options)?;
        let (store, writer) = Self::start(options, cold, lock, opened)?;
        if let Some(writer) = writer {
            let thread = std::thread::Builder::new().name("factum-writer".to_owned());
            let thread = thread.spawn(move || writer.run())?;
            store.threads().writer = Some(thread);
        }
        Ok(store)
    }

    /// Starts everything but the writer, which there is unless the store is for reading only.
    pub(crate) fn start(
        options: Options,
        cold: Arc<ColdDisk>,
        lock: Option<Box<dyn LockGuard>>,
        opened: Opened,
    ) -> Result<(Self, Option<Writer>), OpenError> {
        let head = opened.next.previous();
        let key = opened.manifest.term_key;
        let log = Log::new(key, opened.segments, head, options.recent_bytes_max);
        let read_only = options.read_only;
        let lineage = opened.manifest.lineage.clone();
        let shared = Arc::new(Shared {
            queue: Queue::new(&options),
            counters: Counters::default(),
            state: if read_only {
                WriteState::ReadOnly
            } else {
                WriteState::Open
            }
            .into(),
            manifest: Mutex::new(opened.manifest),
            names: Mutex::default(),
            options,
            disk: Arc::<ColdDisk>::clone(&cold),
            log,
        });
        let mut threads = Threads {
            writer: None,
            background: None,
            indexer: None,
            cold: None,
        };
        let mut writer = None;
        if let (false, Some(active)) = (read_only, shared.log.segments().last().cloned()) {
            let (background, tasks) = Background::new();
            submit(&background, opened.to_seal);
            let thread = background.spawn(Arc::clone(&shared), tasks)?;
            threads.background = Some((background.clone(), thread));
            writer = Some(Writer {
                versions: Versions::new(shared.options.versions_max),
                shared: Arc::clone(&shared),
                background,
                active,
                end: opened.end,
                reserved_to: opened.file_bytes.max(opened.end.offset),
                next: opened.next,
                last_recorded_at: opened.last_recorded_at,
                unsealed: head.is_some(),
            });
            if shared.options.index_documents {
                threads.indexer = Some(indexer::spawn(&shared)?);
            }
            if shared.options.cold_after_segments.is_some() {
                let bell = Arc::new(Doorbell::default());
                let thread = cold::spawn(&shared, cold, Arc::clone(&bell))?;
                threads.cold = Some((bell, thread));
            }
        }
        let searches_max = shared.options.searches_max.clamp(1, Semaphore::MAX_PERMITS);
        let store = Self {
            searches: Arc::new(Semaphore::new(searches_max)),
            shared,
            lineage,
            damaged: opened.damaged,
            settled: opened.settled,
            threads: Mutex::new(threads),
            _lock: lock,
        };
        Ok((store, writer))
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last position that is durable for certain. In a store that is open for reading
    /// only while another process writes it, that of the head need not be: the group that was
    /// written last may not have been synced, and would be gone after a power cut.
    #[must_use]
    pub fn settled(&self) -> Option<Position> {
        match self.shared.state() {
            WriteState::ReadOnly => self.settled,
            WriteState::Open
            | WriteState::Full
            | WriteState::Failed { .. }
            | WriteState::Closed => self.shared.log.head(),
        }
    }

    /// Marks the directory as one whose log was moved elsewhere, durably: from the next start on
    /// it opens for reading only, so that no two stores write one history. Whoever wants it back
    /// removes the file `MOVED`. `to` says where to, for people.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn mark_moved(&self, to: &str) -> std::io::Result<()> {
        let disk = &self.shared.disk;
        let _names = self.shared.alone_with_names();
        match disk.remove(MOVED) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(MOVED)?;
        file.write_at(format!("{to}\n").as_bytes(), 0)?;
        file.sync_data()?;
        disk.sync_dir()
    }

    /// Appends from a thread that may block; see [`EventStore::append`].
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_blocking(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        let (ids, answer) = self.submit(request)?;
        answer.blocking_recv().unwrap_or_else(|_| Err(gone(ids)))
    }

    /// Reads from a thread that may block; see [`EventStore::read_log`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_log_blocking(&self, request: &LogRead) -> Result<LogPage, ReadError> {
        self.shared.log.read_log(request)
    }

    /// Counts from a thread that may block; see [`EventStore::count`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn count_blocking(&self, request: &CountRead) -> Result<Counts, ReadError> {
        self.shared.log.count(request)
    }

    /// Tells whether all documents are indexed, and the indexes of closed segments are in files.
    #[must_use]
    pub fn is_indexed(&self) -> bool {
        let segments = self.shared.log.segments();
        let mut closed = segments.iter().rev().skip(1);
        indexer::backlog(&self.shared) == 0 && closed.all(|segment| segment.is_sealed())
    }

    fn submit(&self, request: AppendRequest) -> Result<Submitted, AppendError> {
        self.check_state()?;
        let bytes = self.check_size(&request)?;
        let prepared: Vec<_> = request
            .events
            .iter()
            .map(|event| self.prepare(event))
            .collect();
        let ids = prepared.iter().map(|event| event.id).collect();
        let (reply, answer) = oneshot::channel();
        let pushed = self.shared.queue.push(Pending {
            request,
            prepared,
            bytes,
            reply,
        });
        if matches!(pushed, Err(AppendError::Overloaded { .. })) {
            add(&self.shared.counters.queue_full, 1);
        }
        pushed.map(|()| (ids, answer))
    }

    fn check_state(&self) -> Result<(), AppendError> {
        match self.shared.state() {
            WriteState::Open => Ok(()),
            WriteState::Full => Err(AppendError::StorageFull),
            WriteState::Failed { cause } => Err(AppendError::StoreFailed { cause }),
            WriteState::ReadOnly => Err(AppendError::ReadOnly),
            WriteState::Closed => Err(AppendError::ShuttingDown),
        }
    }

    fn check_size(&self, request: &AppendRequest) -> Result<usize, AppendError> {
        let options = &self.shared.options;
        let n_events = request.events.len();
        if n_events == 0 {
            return Err(AppendError::Empty);
        }
        let bytes: usize = request
            .events
            .iter()
            .map(|event| RECORD_HEADER_BYTES + 8 + encoded_bytes(event))
            .sum();
        let exceeded = |what, limit, actual| {
            Err(LimitExceeded {
                what,
                limit,
                actual,
            }
            .into())
        };
        if n_events > options.request_events_max {
            return exceeded(
                "number of events in a request",
                options.request_events_max,
                n_events,
            );
        }
        if bytes > options.request_bytes_max {
            return exceeded("request size in bytes", options.request_bytes_max, bytes);
        }
        Ok(bytes)
    }

    pub(crate) fn prepare(&self, event: &factum_model::NewEvent) -> Prepared {
        let options = &self.shared.options;
        let key = &self.shared.log.key;
        let id = event
            .id
            .unwrap_or_else(|| options.ids.next_id(options.clock.now()));
        let fields = TermFields {
            id,
            event_type: event.event_type.as_str(),
            aggregate_type: event.stream.aggregate_type.as_str(),
            aggregate_id: event.stream.aggregate_id.as_str(),
            correlation_id: event.correlation_id.as_ref().map(|id| id.as_str()),
            causation_id: event.causation_id,
            metadata: event.metadata.as_str(),
        };
        let mut terms = Vec::with_capacity(12);
        fields.for_each(key, |term| terms.push(term));
        Prepared {
            id,
            id_given: event.id.is_some(),
            terms,
            stream_key: key.stream_key(&event.stream),
        }
    }

    /// Runs a read that may touch files. On a runtime it goes to a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return read(&self.shared.log);
        };
        let shared = Arc::clone(&self.shared);
        let done = runtime.spawn_blocking(move || read(&shared.log)).await;
        done.unwrap_or(Err(ReadError::Closed))
    }

    /// Runs a read that may look at many events. Room for it is held until it ends, not only as
    /// long as somebody waits for it.
    async fn searching<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return read(&self.shared.log);
        }
        let room = Arc::clone(&self.searches).acquire_owned().await;
        let room = room.map_err(|_| ReadError::Closed)?;
        self.blocking(move |log| {
            let _room = room;
            read(log)
        })
        .await
    }

    /// Tells whether a read can be answered from memory, and at once.
    fn is_recent(&self, request: &LogRead) -> bool {
        let after = Position::after(request.after);
        let Some(head) = self.shared.log.head().filter(|head| after <= *head) else {
            return request.direction == Direction::Forwards;
        };
        let n_events = head.get() - after.get();
        request.direction == Direction::Forwards
            && (n_events < INLINE_EVENTS_MAX || request.filter.is_empty())
            && !asks_for_documents(&request.filter)
            && self.shared.log.recent.get(after).is_some()
    }

    pub(crate) fn close_blocking(&self) {
        self.shared.queue.close();
        let mut threads = self.threads();
        if let Some(writer) = threads.writer.take() {
            // A writer that panicked has said so in the state.
            drop(writer.join());
        }
        if let Some((bell, thread)) = threads.cold.take() {
            bell.stop();
            drop(thread.join());
        }
        if let Some(indexer) = threads.indexer.take() {
            self.shared.log.doorbell.stop();
            drop(indexer.join());
        }
        if let Some((background, thread)) = threads.background.take() {
            background.submit(Task::Stop);
            drop(thread.join());
        }
    }
}

impl Maintenance for EmbeddedStore {
    fn verify(&self) -> BoxFuture<'_, Result<VerifyReport, MaintenanceError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(off_the_runtime(move || Ok(shared.verify()?)))
    }

    fn backup<'a>(
        &'a self,
        target: &'a Path,
    ) -> BoxFuture<'a, Result<BackupReport, MaintenanceError>> {
        let (shared, target) = (Arc::clone(&self.shared), target.to_owned());
        Box::pin(off_the_runtime(move || shared.backup(&target)))
    }
}

impl Shared {
    fn verify(&self) -> std::io::Result<VerifyReport> {
        let segments = self.log.segments();
        // The writer is at work behind the durable end of the last segment.
        let end_of = |base| {
            let segment = segments.iter().find(|segment| segment.entry.base == base);
            Some(segment.map_or(SEGMENT_HEADER_BYTES as u64, |segment| segment.end()))
        };
        let mut report = verify(&*self.disk, &end_of)?;
        if let Some(directory) = self.directory() {
            state::verify(directory, &mut report)?;
        }
        Ok(report)
    }

    /// Returns the directory in which the bookkeeping stands; a simulated disk has none.
    fn directory(&self) -> Option<&Path> {
        let of_system = self.options.disk.is_none();
        of_system.then_some(self.options.directory.as_path())
    }

    fn backup(&self, target: &Path) -> Result<BackupReport, MaintenanceError> {
        // The bookkeeping is copied first, so that no checkpoint in it is ahead of the log in the
        // same backup: what it does not know of yet is done again, and nothing is left out.
        let mut target = BackupTarget::new(target)?;
        if let Some(directory) = self.directory() {
            target.add_state(directory)?;
        }
        // In this order: the segments that the manifest then names hold all events up to the
        // head, and where the last of them ends is read last.
        let head = self.log.head();
        let manifest = self
            .manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let base = manifest.segments.last().map(|entry| entry.base);
        let segments = self.log.segments();
        let active = segments
            .iter()
            .find(|segment| Some(segment.entry.base) == base);
        // A segment that was named a moment ago may have no readers yet; it is empty then.
        let end = active.map_or(SEGMENT_HEADER_BYTES as u64, |segment| segment.end());
        let snapshot = Snapshot {
            manifest,
            end,
            head,
        };
        backup(&*self.disk, snapshot, &target, &*self.options.clock)
    }
}

/// The ids of a request that is in the queue, and where its answer arrives.
type Submitted = (
    Vec<EventId>,
    oneshot::Receiver<Result<AppendReceipt, AppendError>>,
);

/// Says what a writer leaves behind that took a request and did not answer: it ended by a panic,
/// and that may have been between the write and the answer.
const fn gone(ids: Vec<EventId>) -> AppendError {
    AppendError::OutcomeUnknown { ids }
}

/// Runs work that reads many files; on a runtime it goes to a thread that may block.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MaintenanceError> + Send + 'static,
) -> Result<T, MaintenanceError> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return work();
    };
    let stopped = |_| Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into());
    runtime.spawn_blocking(work).await.unwrap_or_else(stopped)
}

/// Checks the store in a directory that no process has open; changes nothing.
///
/// # Errors
/// When a file cannot be read; damage is a finding in the report.
pub fn verify_directory(directory: &Path) -> std::io::Result<VerifyReport> {
    let disk = Arc::new(OsDisk::open_read_only(directory)?);
    let mut report = verify(&ColdDisk::new(disk), &|_| None)?;
    state::verify(directory, &mut report)?;
    Ok(report)
}

/// Tells whether a filter looks into documents, which may take long for one event.
fn asks_for_documents(filter: &Filter) -> bool {
    let inner = [&filter.any_of, &filter.all_of, &filter.not];
    filter.payload.is_some()
        || filter.metadata.is_some()
        || filter.text.is_some()
        || inner.into_iter().flatten().any(asks_for_documents)
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close_blocking();
    }
}

/// Returns what the lock file says of this process.
pub(crate) fn holder() -> String {
    let host = rustix::system::uname();
    format!(
        "pid {} on {}",
        std::process::id(),
        host.nodename().to_string_lossy()
    )
}

impl EventStore for EmbeddedStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "embedded",
            durable: true,
            shared: false,
        }
    }

    fn lineage(&self) -> Lineage {
        self.lineage.clone()
    }

    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move {
            let (ids, answer) = self.submit(request)?;
            answer.await.unwrap_or_else(|_| Err(gone(ids)))
        })
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        Box::pin(async move {
            if self.is_recent(&request) {
                return self.shared.log.read_log(&request);
            }
            if request.filter.is_empty() {
                return self.blocking(move |log| log.read_log(&request)).await;
            }
            self.searching(move |log| log.read_log(&request)).await
        })
    }

    fn count(&self, request: CountRead) -> BoxFuture<'_, Result<Counts, ReadError>> {
        Box::pin(self.searching(move |log| log.count(&request)))
    }

    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        Box::pin(self.blocking(move |log| log.read_stream(&request)))
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        Box::pin(self.blocking(move |log| log.event(id)))
    }

    fn stream_info(
        &self,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        Box::pin(self.blocking(move |log| log.stream_info(stream)))
    }

    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        Box::pin(self.blocking(move |log| log.aggregate_types_of(&aggregate_id)))
    }

    fn head(&self) -> Option<Position> {
        self.shared.log.head()
    }

    fn watch_head(&self) -> HeadWatch {
        self.shared.log.watch_head()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth {
            writes: self.shared.state(),
            head: self.head(),
            damaged: self.damaged.clone(),
        }
    }

    fn metrics(&self) -> StoreMetrics {
        let mut values = self.shared.counters.values();
        let (queued_events, queued_bytes) = self.shared.queue.depth();
        let segments = self.shared.log.segments();
        let log_bytes = segments.iter().map(|segment| segment.end()).sum();
        let sealed = segments.iter().filter_map(|segment| segment.sealed());
        let sealed: usize = sealed.map(|index| index.memory_bytes()).sum();
        let known = self.shared.log.known();
        let n_known = segments.partition_point(|segment| known.covers(segment.entry.base));
        let index_memory = sealed + known.memory_bytes();
        values.push(("append_queue_events", queued_events as u64));
        values.push(("append_queue_bytes", queued_bytes as u64));
        values.push(("store_segments", segments.len() as u64));
        values.push(("store_segments_known", n_known as u64));
        values.push(("store_log_bytes", log_bytes));
        values.push(("store_index_memory_bytes", index_memory as u64));
        let documents = segments.iter().map(|segment| segment.documents());
        let documents: usize = documents.map(|documents| documents.memory_bytes()).sum();
        values.push(("store_documents_memory_bytes", documents as u64));
        values.push((
            "store_documents_backlog_events",
            indexer::backlog(&self.shared),
        ));
        values.push(("store_events", self.head().map_or(0, Position::get)));
        StoreMetrics { values }
    }

    fn maintenance(&self) -> Option<&dyn Maintenance> {
        Some(self)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Joining threads blocks, though only until the queue is written.
            match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
                Ok(tokio::runtime::RuntimeFlavor::MultiThread) => {
                    tokio::task::block_in_place(|| self.close_blocking());
                }
                Ok(_) | Err(_) => self.close_blocking(),
            }
        })
    }
}
