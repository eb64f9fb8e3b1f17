//! Opens a directory: finds out where the log ends, and what is torn or corrupt.

use std::io;
use std::sync::Arc;

use factum_model::{ErrorCode, Position, Timestamp};
use factum_store::{Lineage, LineageId, ReadError, StoreId};

use crate::background::{Background, Task};
use crate::disk::{Disk, DiskFile, LockError};
use crate::frame::{FrameError, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::index::build::{IndexIdentity, IndexKind};
use crate::index::{Index, IndexError, SealedIndex, TailIndex};
use crate::indexer::documents_identity;
use crate::leftovers::{check_leftovers, has_content, is_log};
use crate::manifest::{
    CleanClose, ClosedSegment, LogEnd, MANIFEST, Manifest, ManifestError, SegmentEntry,
};
use crate::options::{Options, random_bytes};
use crate::roll::create_segment;
use crate::segment::{Segment, lose, push_group, rebuild_index};
use crate::term::TermKey;
use crate::walk::{Corruption, Group, Step, Walk};
use crate::writer::is_full;

/// Stands in the directory while a backup is restored into it.
pub(crate) const RESTORING: &str = "RESTORING";

/// Stands in the directory while the log of another store is imported into it.
pub(crate) const IMPORTING: &str = "IMPORTING";
/// Stands in the directory once its log was moved to another store.
pub(crate) const MOVED: &str = "MOVED";

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The directory has files of a store but no manifest.
    #[error("the directory has segments but no manifest; restore it from a backup or repair it")]
    NoManifest,
    /// A restore into the directory did not come to its end.
    #[error("a restore into the directory was interrupted; restore the backup again")]
    HalfRestored,
    /// The log of another store is being imported into the directory.
    #[error("a migration into the directory is not finished; go on with `factum migrate`")]
    HalfImported,
    /// The log was moved to another store, which writes it now.
    #[error("the store was moved elsewhere: {to}; it opens for reading only")]
    Moved {
        /// Where to, in words.
        to: String,
    },
    /// The directory has no store in it, and it was to be opened for reading only.
    #[error("there is no store in the directory")]
    NoStore,
    /// A file is not what it should be.
    #[error("{file} is damaged: {error}")]
    Damaged {
        /// The file, relative to the directory.
        file: String,
        /// What is wrong with it.
        error: FrameError,
    },
    /// A file is missing.
    #[error("{file} is missing")]
    Missing {
        /// The file, relative to the directory.
        file: String,
    },
    /// Events that were durable are damaged, and later ones are not.
    #[error(
        "{file} is damaged at byte {offset}: {error}; positions {first} to {last} are lost, \
         later ones are intact"
    )]
    Corrupt {
        /// The file, relative to the directory.
        file: String,
        /// Where the damage starts.
        offset: u64,
        /// What is wrong.
        error: FrameError,
        /// The first position that is lost.
        first: Position,
        /// The last position that is lost; before `first` when only the end of the log is not
        /// where it was at the last close.
        last: Position,
    },
    /// The operating system could not read or write.
    #[error("the directory cannot be read or written")]
    Io(#[from] io::Error),
    /// A closed segment could not be read.
    #[error("a closed segment cannot be read")]
    Read(#[from] ReadError),
}

impl OpenError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Locked(LockError::Held { .. }) | Self::HalfImported => ErrorCode::Locked,
            Self::Moved { .. } => ErrorCode::ReadOnly,
            Self::NoStore => ErrorCode::NotFound,
            Self::NoManifest
            | Self::HalfRestored
            | Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::Locked(LockError::Io(_)) | Self::Io(_) => ErrorCode::StoreFailed,
            Self::Read(error) => error.code(),
        }
    }
}

/// A directory that has been read.
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Closed segments whose index must be written.
    pub(crate) to_seal: Vec<Task>,
    pub(crate) end: LogEnd,
    pub(crate) next: Position,
    pub(crate) last_recorded_at: i64,
    pub(crate) file_bytes: u64,
    /// Ranges that are lost.
    pub(crate) damaged: Vec<(Position, Position)>,
    /// The last position that was durable before the last group was written.
    pub(crate) settled: Option<Position>,
}

/// Reads a directory, and unless it is opened for reading only makes it ready for appends.
///
/// Checked are the manifest; of each segment the header and the length, and of its indexes that
/// they are whole and its own; and every byte of the last segment. What is wrong with the events
/// of earlier segments shows when they are read or verified. A damaged header is no reason not to
/// read, since the manifest has all that it says.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<Opened, OpenError> {
    let names = disk.list()?;
    let half_restored = names.iter().any(|name| name == RESTORING);
    if names.iter().any(|name| name == IMPORTING) {
        return Err(OpenError::HalfImported);
    }
    if !options.read_only && names.iter().any(|name| name == MOVED) {
        let to = read_text(&**disk, MOVED)?;
        return Err(OpenError::Moved { to });
    }
    let manifest = match Manifest::load(&**disk)? {
        Some(Ok(manifest)) => manifest,
        Some(Err(error)) => {
            return Err(OpenError::Damaged {
                file: MANIFEST.to_owned(),
                error,
            });
        }
        None if half_restored => return Err(OpenError::HalfRestored),
        None if has_events(&**disk)? => return Err(OpenError::NoManifest),
        None if options.read_only => return Err(OpenError::NoStore),
        None => create(&**disk, new_lineage())?,
    };
    let mut opened = read(disk, manifest, options)?;
    if !options.read_only {
        if half_restored {
            // The manifest is what a restore writes last.
            disk.remove(RESTORING)?;
        }
        opened.take_over(&**disk)?;
    }
    Ok(opened)
}

/// Reads the segments that a manifest names, which need not be that of the directory yet. Unless
/// it is for reading only, leftovers and a torn tail are removed.
pub(crate) fn read(
    disk: &Arc<dyn Disk>,
    manifest: Manifest,
    options: &Options,
) -> Result<Opened, OpenError> {
    check_leftovers(&**disk, &manifest, options.read_only)?;
    let mut opened = Opened {
        segments: Vec::new(),
        to_seal: Vec::new(),
        end: LogEnd {
            offset: 0,
            group: 0,
            chain: 0,
        },
        next: Position::FIRST,
        last_recorded_at: i64::MIN,
        file_bytes: 0,
        damaged: manifest.quarantined.clone(),
        settled: None,
        manifest,
    };
    opened.damaged.retain(|(first, last)| first <= last);
    for entry in opened.manifest.segments.clone() {
        let LogFile { file, header } = open_log(&**disk, &opened.manifest, &entry)?;
        if let Err(error) = header {
            let file = entry.log_name();
            if !options.read_only {
                return Err(OpenError::Damaged { file, error });
            }
            tracing::error!(%error, %file, "the header is damaged; the manifest stands in for it");
        }
        match entry.closed {
            Some(closed) => opened.add_closed(&**disk, (entry, closed), file, options)?,
            None => opened.add_open(entry, file, options.read_only)?,
        }
    }
    opened.find_last_time()?;
    Ok(opened)
}

/// Reads the first words of a file that is there for people.
fn read_text(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let mut bytes = vec![0; 1024];
    let n_read = disk.open(name)?.read_at(&mut bytes, 0)?;
    bytes.truncate(n_read);
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Returns the identity of a store that is new.
fn new_lineage() -> Lineage {
    Lineage {
        store_id: StoreId(random_bytes()),
        current: LineageId(u64::from_le_bytes(random_bytes())),
        earlier: Vec::new(),
    }
}

/// Makes a store without events in an empty directory.
pub(crate) fn create(disk: &dyn Disk, lineage: Lineage) -> Result<Manifest, OpenError> {
    let end = LogEnd {
        offset: 0,
        group: 0,
        chain: 0,
    };
    let (entry, _) = create_segment(disk, lineage.store_id, Position::FIRST, end)?;
    let manifest = Manifest {
        lineage,
        term_key: TermKey(random_bytes()),
        segments: vec![entry],
        quarantined: Vec::new(),
        clean: None,
    };
    manifest.store(disk).map_err(io::Error::from)?;
    Ok(manifest)
}

/// Tells whether a directory without a manifest has, or may have, events in it. A crash while a
/// store is made leaves a segment without any, and that may be made again.
pub(crate) fn has_events(disk: &dyn Disk) -> Result<bool, OpenError> {
    for name in disk.list()? {
        if is_log(&name) && has_content(disk, &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The log file of a segment.
pub(crate) struct LogFile {
    pub(crate) file: Arc<dyn DiskFile>,
    /// Whether its header is whole. The manifest has all that the header says, so who only reads
    /// can do without.
    pub(crate) header: Result<(), FrameError>,
}

/// Opens the log file of a segment.
///
/// # Errors
/// When it is missing, cannot be opened, or is whole and of another segment, store or format.
pub(crate) fn open_log(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
) -> Result<LogFile, OpenError> {
    let name = entry.log_name();
    let file = match disk.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { file: name });
        }
        // A compressed log of which nothing can be told.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let error = FrameError::Checksum;
            return Err(OpenError::Damaged { file: name, error });
        }
        file => file?,
    };
    let mut header = [0; SEGMENT_HEADER_BYTES];
    file.read_at(&mut header, 0)?;
    let error = match SegmentHeader::decode(&header) {
        Ok(header) if header == entry.header(manifest.lineage.store_id) => {
            let header = Ok(());
            return Ok(LogFile { file, header });
        }
        Ok(_) => FrameError::Content("header: it is of another segment or store"),
        Err(error @ (FrameError::Magic | FrameError::Checksum | FrameError::Short)) => {
            let header = Err(error);
            return Ok(LogFile { file, header });
        }
        Err(error @ (FrameError::Version(_) | FrameError::Content(_))) => error,
    };
    Err(OpenError::Damaged { file: name, error })
}

impl Opened {
    /// Says in the manifest that the store is open. On a disk without space for that the store
    /// is opened all the same; the writer says it before it writes anything else.
    pub(crate) fn take_over(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.manifest.clean = None;
        match self.manifest.store(disk) {
            Err(ManifestError::NotStored(error)) if is_full(&error) => {
                tracing::error!("the disk is full; the store opens and takes no appends for now");
                self.manifest.clean = Some(CleanClose {
                    end: self.end,
                    head: self.next.previous(),
                });
                Ok(())
            }
            stored => Ok(stored?),
        }
    }

    /// A segment that was just begun does not say when the last event was recorded.
    fn find_last_time(&mut self) -> Result<(), OpenError> {
        if self.last_recorded_at > i64::MIN {
            return Ok(());
        }
        let holder = |last: Position| {
            self.segments
                .iter()
                .rev()
                .find(move |segment| segment.entry.base <= last)
        };
        self.last_recorded_at = match self.next.previous().map(|last| (last, holder(last))) {
            Some((last, Some(segment))) => match segment.fetch_one(segment.ordinal(last)) {
                Ok(event) => event.recorded_at.as_micros(),
                // The last event is damaged; the clock has to do.
                Err(ReadError::Corrupt { .. }) => Timestamp::MIN.as_micros(),
                Err(error) => return Err(error.into()),
            },
            Some((_, None)) | None => Timestamp::MIN.as_micros(),
        };
        Ok(())
    }

    fn add_closed(
        &mut self,
        disk: &dyn Disk,
        (entry, closed): (SegmentEntry, ClosedSegment),
        file: Arc<dyn DiskFile>,
        options: &Options,
    ) -> Result<(), OpenError> {
        let key = self.manifest.term_key;
        let given_up = |last| {
            self.manifest
                .quarantined
                .iter()
                .any(|range| range.1 == last)
        };
        let cut = file.length()? < closed.end.offset && !given_up(closed.last(entry.base));
        if cut && !options.read_only {
            return Err(OpenError::Damaged {
                file: entry.log_name(),
                error: FrameError::Short,
            });
        }
        let index = match self.open_index(disk, &entry, &closed)? {
            Some(sealed) => Index::Sealed(Arc::new(sealed)),
            None => Index::Tail(rebuild_index(&file, &entry, &key, closed.end.offset)?),
        };
        let rebuilt = matches!(index, Index::Tail(_));
        let segment = Segment::new(entry, file, key, index, closed.end.offset);
        let segment = Arc::new(segment.with_quarantined(&self.manifest.quarantined));
        if rebuilt && !segment.has_unknown() {
            // Nobody looks for the file until it has been written.
            let closed = ClosedSegment {
                index: None,
                ..closed
            };
            let mut entries = self.manifest.segments.iter_mut();
            if let Some(listed) = entries.find(|listed| listed.base == entry.base) {
                listed.closed = Some(closed);
            }
            self.to_seal.push(Task::Seal {
                segment: Arc::clone(&segment),
                closed,
            });
        }
        self.open_documents(disk, &segment, &closed)?;
        self.segments.push(segment);
        self.end = closed.end;
        Ok(())
    }

    /// Opens the index of the documents, if there is one for just these events.
    fn open_documents(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        closed: &ClosedSegment,
    ) -> Result<(), OpenError> {
        let store_id = self.manifest.lineage.store_id;
        let entry = &segment.entry;
        let identity = documents_identity(store_id, entry, closed.n_events, closed.end.chain);
        let name = entry.documents_name();
        let opened = disk.open(&name).map_err(IndexError::from);
        match opened.and_then(|file| SealedIndex::open(file, &identity)) {
            Ok(sealed) => segment.seal_documents(sealed),
            Err(IndexError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(IndexError::Io(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%error, file = %name, "the index is made again from the log");
            }
        }
        Ok(())
    }

    fn open_index(
        &self,
        disk: &dyn Disk,
        entry: &SegmentEntry,
        closed: &ClosedSegment,
    ) -> Result<Option<SealedIndex>, OpenError> {
        let Some(generation) = closed.index else {
            return Ok(None);
        };
        let name = entry.index_name(generation);
        let identity = IndexIdentity {
            kind: IndexKind::Fields,
            store_id: self.manifest.lineage.store_id,
            base: entry.base,
            generation,
            n_events: closed.n_events,
            log_end: closed.end.offset,
        };
        let opened = disk.open(&name).map_err(IndexError::from);
        match opened.and_then(|file| SealedIndex::open(file, &identity)) {
            Ok(sealed) => Ok(Some(sealed)),
            Err(IndexError::Io(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(error.into())
            }
            Err(error) => {
                tracing::error!(%error, file = %name, "the index is rebuilt from the log");
                Ok(None)
            }
        }
    }

    /// Walks the last segment.
    fn add_open(
        &mut self,
        entry: SegmentEntry,
        file: Arc<dyn DiskFile>,
        read_only: bool,
    ) -> Result<(), OpenError> {
        let mut walk = Walk::new(Arc::clone(&file), &entry)?;
        let mut tail = TailIndex::default();
        let mut last_group = None;
        let torn = loop {
            match walk.step()? {
                Step::Group(group) => {
                    let records = group.records().map_err(|error| OpenError::Damaged {
                        file: entry.log_name(),
                        error,
                    })?;
                    push_group(&mut tail, &self.manifest.term_key, &records);
                    self.last_recorded_at = group.header.recorded_at;
                    last_group = Some(group);
                }
                Step::End => break false,
                Step::Torn if !read_only && walk.has_later_group()? => {
                    return Err(OpenError::Damaged {
                        file: entry.log_name(),
                        error: FrameError::Content("position of a group"),
                    });
                }
                Step::Torn => break true,
                Step::Corrupt(corruption) => {
                    self.corrupt(&entry, &corruption, read_only)?;
                    lose(&mut tail, corruption.first, corruption.resume.header.first);
                    walk.resume(&corruption.resume);
                }
            }
        };
        self.end = walk.end();
        self.next = walk.next_position();
        let last_begins = last_group.as_ref().map(|group| group.header.first);
        self.settled = last_begins.unwrap_or(self.next).previous();
        self.check_clean(&entry, read_only.then_some(&mut tail))?;
        if (self.manifest.clean.is_none() || torn) && !read_only {
            redo_last_write(&*file, last_group.as_ref(), self.end, torn, &entry)?;
        }
        self.file_bytes = file.length()?;
        let index = Index::Tail(tail);
        let key = self.manifest.term_key;
        let segment = Segment::new(entry, file, key, index, self.end.offset);
        self.segments.push(Arc::new(
            segment.with_quarantined(&self.manifest.quarantined),
        ));
        Ok(())
    }

    fn corrupt(
        &mut self,
        entry: &SegmentEntry,
        corruption: &Corruption,
        read_only: bool,
    ) -> Result<(), OpenError> {
        let last = corruption
            .resume
            .header
            .first
            .previous()
            .unwrap_or(corruption.first);
        if self
            .manifest
            .quarantined
            .contains(&(corruption.first, last))
        {
            return Ok(());
        }
        if !read_only {
            return Err(OpenError::Corrupt {
                file: entry.log_name(),
                offset: corruption.offset,
                error: corruption.error,
                first: corruption.first,
                last,
            });
        }
        if corruption.first <= last {
            self.damaged.push((corruption.first, last));
        }
        Ok(())
    }

    /// After a clean close the log must end where the manifest says. For reading only, the places
    /// of what is missing are kept, so that reads of it say so.
    fn check_clean(
        &mut self,
        entry: &SegmentEntry,
        tail: Option<&mut TailIndex>,
    ) -> Result<(), OpenError> {
        let Some(clean) = self.manifest.clean else {
            return Ok(());
        };
        if clean.end == self.end {
            // What stands behind a known end was never part of the log.
            return Ok(());
        }
        let first = self.next;
        let last = clean.head.unwrap_or(first);
        if let Some(tail) = tail {
            if first <= last {
                self.damaged.push((first, last));
                lose(tail, first, last.next());
                self.next = last.next();
            }
            return Ok(());
        }
        let error = FrameError::Content("end: the store was closed cleanly with a longer log");
        let (file, offset) = (entry.log_name(), self.end.offset);
        Err(OpenError::Corrupt {
            file,
            offset,
            error,
            first,
            last,
        })
    }
}

/// Makes durable what the last process may have failed to: its last group was read from the page
/// cache, perhaps, and is on the disk, perhaps. Cuts off a torn tail.
fn redo_last_write(
    file: &dyn DiskFile,
    last_group: Option<&Group>,
    end: LogEnd,
    torn: bool,
    entry: &SegmentEntry,
) -> io::Result<()> {
    if torn {
        let cut = file.length()?.saturating_sub(end.offset);
        tracing::warn!(
            file = %entry.log_name(), offset = end.offset, cut,
            "cutting off what stands behind the log: a crash tore it before it was acknowledged"
        );
        file.set_len(end.offset)?;
    }
    if let Some(group) = last_group {
        file.write_at(&group.bytes, group.offset)?;
    }
    file.sync_data()
}

/// Hands the work that opening found to the background thread.
pub(crate) fn submit(background: &Background, tasks: Vec<Task>) {
    for task in tasks {
        background.submit(task);
    }
}
