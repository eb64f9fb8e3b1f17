//! Takes over the log of another store, event by event, through the writer of this one.
//!
//! A batch is a group like any other, so a crash leaves whole batches. While the import is not
//! finished a file in the directory says so, and the store opens for nothing else.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use factum_model::{ErrorCode, Position, RecordedEvent, Timestamp};
use factum_store::{
    AppendError, BoxFuture, EventStore as _, ImportCheck, ImportError, ImportFault, ImportTarget,
    ImportedEvent, Lineage, LogPage, LogRead, ReadError, WriteState,
};

use crate::backup::BACKUP;
use crate::counters::add;
use crate::decide::GroupPlan;
use crate::disk::cold::ColdDisk;
use crate::disk::{Disk, OsDisk};
use crate::frame::{GroupBuilder, RecordFields};
use crate::manifest::{MANIFEST, Manifest};
use crate::open::{IMPORTING, OpenError, Opened, RESTORING, create, has_events, read};
use crate::options::Options;
use crate::queue::Prepared;
use crate::state::STATE_DB;
use crate::store::{EmbeddedStore, LOCK, SEGMENT_BYTES_LIMIT, holder};
use crate::writer::{WriteFailure, Writer, refusal};

/// Why an import cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportOpenError {
    /// The directory has a store of its own.
    #[error("the directory has a store in it")]
    NotEmpty,
    /// The directory has an unfinished import of another store, or of another history of it.
    #[error("the directory has an unfinished import of another store")]
    OtherOrigin,
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ImportOpenError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotEmpty | Self::OtherOrigin => ErrorCode::InvalidRequest,
            Self::Open(error) => error.code(),
        }
    }
}

/// A directory that the log of another store is being imported into.
///
/// Its documents are indexed behind the import, as they are behind appends.
#[derive(Debug)]
pub struct EmbeddedImport {
    inner: Arc<Inner>,
}

struct Inner {
    store: EmbeddedStore,
    /// The one writer; gone when the import has ended.
    writer: Mutex<Option<Writer>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl EmbeddedImport {
    /// Begins an import of the store with this identity and history, or goes on with it.
    ///
    /// # Errors
    /// See [`ImportOpenError`]. A directory with a store of its own is left as it is.
    pub fn begin(mut options: Options, origin: &Lineage) -> Result<Self, ImportOpenError> {
        options.segment_bytes_max = options.segment_bytes_max.min(SEGMENT_BYTES_LIMIT);
        let disk: Arc<dyn Disk> = match &options.disk {
            Some(disk) => Arc::clone(disk),
            None => Arc::new(OsDisk::open_or_create(&options.directory).map_err(OpenError::Io)?),
        };
        let cold = Arc::new(ColdDisk::new(disk));
        let disk: Arc<dyn Disk> = Arc::<ColdDisk>::clone(&cold);
        let lock = disk.lock(LOCK, &holder()).map_err(OpenError::Locked)?;
        cold.clean().map_err(OpenError::Io)?;
        let opened = open(&disk, &options, origin)?;
        let (store, writer) = EmbeddedStore::start(options, cold, Some(lock), opened)?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                writer: Mutex::new(writer),
            }),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return work(&self.inner);
        };
        let inner = Arc::clone(&self.inner);
        let done = runtime.spawn_blocking(move || work(&inner)).await;
        done.unwrap_or(Err(ImportError::Ended))
    }
}

/// Opens a directory for an import.
fn open(
    disk: &Arc<dyn Disk>,
    options: &Options,
    origin: &Lineage,
) -> Result<Opened, ImportOpenError> {
    let manifest = manifest(&**disk, origin).map_err(|error| match error {
        Refused::Import(error) => error,
        Refused::Disk(error) => OpenError::Io(error).into(),
    })?;
    let mut opened = read(disk, manifest, options)?;
    opened.take_over(&**disk).map_err(OpenError::Io)?;
    Ok(opened)
}

enum Refused {
    Import(ImportOpenError),
    Disk(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl<E: Into<ImportOpenError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Import(error.into())
    }
}

/// Returns the manifest of the import, and makes it where there is none yet.
fn manifest(disk: &dyn Disk, origin: &Lineage) -> Result<Manifest, Refused> {
    let names = disk.list()?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let begun = has(IMPORTING);
    match Manifest::load(disk)? {
        Some(Ok(_)) if !begun => Err(ImportOpenError::NotEmpty.into()),
        Some(Ok(manifest)) if manifest.lineage == *origin => Ok(manifest),
        Some(Ok(_)) => Err(ImportOpenError::OtherOrigin.into()),
        Some(Err(error)) => {
            let file = MANIFEST.to_owned();
            Err(OpenError::Damaged { file, error }.into())
        }
        None => {
            let taken = [RESTORING, BACKUP, STATE_DB].into_iter().any(has);
            if taken || has_events(disk)? {
                return Err(ImportOpenError::NotEmpty.into());
            }
            if !begun {
                let mark = disk.create(IMPORTING)?;
                mark.write_at(b"go on with: factum migrate\n", 0)?;
                mark.sync_data()?;
                disk.sync_dir()?;
            }
            Ok(create(disk, origin.clone())?)
        }
    }
}

impl Inner {
    fn import(&self, events: &[RecordedEvent]) -> Result<(), ImportError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let imported = writer
            .as_mut()
            .ok_or(ImportError::Ended)?
            .import(&self.store, events);
        if imported.is_err() {
            // What comes next would not follow; another begin looks at what there is.
            if let Some(mut writer) = writer.take() {
                writer.close();
            }
        }
        imported
    }

    /// Ends the writer and the threads beside it.
    fn close(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut writer) = writer.take() {
            writer.close();
        }
        self.store.close_blocking();
    }

    fn finish(&self) -> Result<(), ImportError> {
        if self.writer.lock().is_ok_and(|writer| writer.is_none()) {
            return Err(ImportError::Ended);
        }
        self.close();
        if let WriteState::Failed { cause } = self.store.shared.state() {
            return Err(AppendError::StoreFailed { cause }.into());
        }
        let disk = &self.store.shared.disk;
        let _names = self.store.shared.alone_with_names();
        let removed = disk.remove(IMPORTING).and_then(|()| disk.sync_dir());
        removed.map_err(|error| {
            let cause = error.to_string();
            AppendError::StoreFailed { cause }.into()
        })
    }
}

impl ImportTarget for EmbeddedImport {
    fn head(&self) -> Option<Position> {
        self.inner.store.head()
    }

    fn import(&self, events: Vec<RecordedEvent>) -> BoxFuture<'_, Result<(), ImportError>> {
        Box::pin(self.blocking(move |inner| inner.import(&events)))
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        self.inner.store.read_log(request)
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), ImportError>> {
        Box::pin(self.blocking(Inner::finish))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let closed = self.blocking(|inner| {
                inner.close();
                Ok(())
            });
            if let Err(error) = closed.await {
                tracing::error!(%error, "the import was not closed");
            }
        })
    }
}

impl Writer {
    /// Writes the next events of another store as one group.
    fn import(
        &mut self,
        store: &EmbeddedStore,
        events: &[RecordedEvent],
    ) -> Result<(), ImportError> {
        if let WriteState::Failed { cause } = self.shared.state() {
            return Err(AppendError::StoreFailed { cause }.into());
        }
        let last = Timestamp::from_micros(self.last_recorded_at).unwrap_or(Timestamp::MIN);
        let mut check = ImportCheck::after(self.next.previous(), last);
        let mut batch = Vec::with_capacity(events.len());
        let mut bytes = 0;
        for event in events {
            let imported = check.next(event)?;
            bytes += event.text_bytes() as u64;
            let prepared = store.prepare(&imported.event);
            batch.push((imported, prepared));
        }
        let Some((newest, _)) = batch.last() else {
            return Ok(());
        };
        let recorded_at = newest.recorded_at;
        if let Err(failure) = self.roll_if_full(bytes) {
            return Err(self.give_up(failure));
        }
        let shared = Arc::clone(&self.shared);
        let active = Arc::clone(&self.active);
        let mut plan = GroupPlan {
            log: &shared.log,
            segments: shared.log.segments(),
            known: shared.log.known(),
            active: &active,
            versions: &mut self.versions,
            builder: GroupBuilder::new(self.next, self.last_recorded_at),
            starts: Vec::with_capacity(batch.len()),
            first: self.next,
            recorded_at,
            offset: self.end.offset,
        };
        plan.check_imported(&batch)?;
        plan.add_imported(&batch);
        let builder = plan.builder;
        let n_records = builder.n_records();
        match self.write(builder) {
            Ok(group) => {
                self.publish(&group, n_records, recorded_at.as_micros());
                Ok(())
            }
            Err(failure) => {
                self.versions.forget_all();
                match failure {
                    WriteFailure::Full | WriteFailure::Later(_) => self.forget_group(),
                    WriteFailure::Unknown(_) => {}
                }
                Err(self.give_up(failure))
            }
        }
    }

    fn give_up(&self, failure: WriteFailure) -> ImportError {
        let refusal = refusal(&failure);
        self.fail(failure);
        add(&self.shared.counters.requests_refused, 1);
        refusal.into()
    }
}

impl GroupPlan<'_> {
    /// Checks that events are the next ones of their streams, and that their ids are new.
    fn check_imported(&mut self, batch: &[(ImportedEvent, Prepared)]) -> Result<(), ImportError> {
        let mut versions = HashMap::new();
        let mut ids = HashSet::new();
        for (index, (imported, prepared)) in batch.iter().enumerate() {
            let event = &imported.event;
            let before = match versions.get(&prepared.stream_key) {
                Some(version) => *version,
                None => self.version(event, prepared.stream_key)?,
            };
            versions.insert(prepared.stream_key, before + 1);
            let fault = if imported.sequence_number.get() != before + 1 {
                ImportFault::Sequence {
                    stream: event.stream.clone(),
                    version: before,
                    found: imported.sequence_number,
                }
            } else if !ids.insert(prepared.id) || self.event(prepared.id)?.is_some() {
                ImportFault::Id { id: prepared.id }
            } else {
                continue;
            };
            let position = self.first.get() + index as u64;
            let position = Position::new(position).unwrap_or(self.first);
            return Err(ImportError::Invalid { position, fault });
        }
        Ok(())
    }

    /// Adds events that were checked to the group.
    fn add_imported(&mut self, batch: &[(ImportedEvent, Prepared)]) {
        for (index, (imported, prepared)) in batch.iter().enumerate() {
            let position = self.first.get() + index as u64;
            let record = RecordFields {
                event: &imported.event,
                id: prepared.id,
                position: Position::new(position).unwrap_or(self.first),
                sequence_number: imported.sequence_number,
                recorded_at: imported.recorded_at,
                inherited_correlation: imported.inherited_correlation.as_deref(),
                last_of_request: true,
            };
            self.versions
                .set(prepared.stream_key, imported.sequence_number.get());
            self.push(&record, prepared);
        }
    }
}
