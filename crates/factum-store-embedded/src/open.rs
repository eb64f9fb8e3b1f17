//! Opens a directory: finds out where the log ends, and what is torn or corrupt.

use std::io;
use std::sync::Arc;

use factum_model::{ErrorCode, Position, Timestamp};
use factum_store::{Lineage, LineageId, ReadError, StoreId};

use crate::background::{Background, Task};
use crate::disk::{Disk, DiskFile, LockError, read_range};
use crate::frame::{FrameError, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::index::build::{IndexIdentity, IndexKind};
use crate::index::{Index, IndexError, SealedIndex, TailIndex};
use crate::indexer::documents_identity;
use crate::manifest::{ClosedSegment, LogEnd, Manifest, SegmentEntry};
use crate::options::{Options, random_bytes};
use crate::roll::create_segment;
use crate::segment::{Segment, lose, push_group, rebuild_index};
use crate::term::TermKey;
use crate::walk::{Corruption, Group, Step, Walk};

/// Why a directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The directory has files of a store but no manifest.
    #[error("the directory has segments but no manifest; restore it from a backup or repair it")]
    NoManifest,
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
            Self::Locked(LockError::Held { .. }) => ErrorCode::Locked,
            Self::NoStore => ErrorCode::NotFound,
            Self::NoManifest
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
}

/// Reads a directory, and unless it is opened for reading only makes it ready for appends.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<Opened, OpenError> {
    let manifest = match Manifest::load(&**disk)? {
        Some(Ok(manifest)) => manifest,
        Some(Err(error)) => {
            return Err(OpenError::Damaged {
                file: crate::manifest::MANIFEST.to_owned(),
                error,
            });
        }
        None if has_events(&**disk)? => return Err(OpenError::NoManifest),
        None if options.read_only => return Err(OpenError::NoStore),
        None => create(&**disk)?,
    };
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
        manifest,
    };
    for entry in opened.manifest.segments.clone() {
        let file = open_log(&**disk, &opened.manifest, &entry)?;
        match entry.closed {
            Some(closed) => opened.add_closed(&**disk, entry, closed, file)?,
            None => opened.add_open(entry, file, options.read_only)?,
        }
    }
    opened.find_last_time()?;
    if !options.read_only {
        opened.manifest.clean = None;
        opened.manifest.store(&**disk).map_err(io::Error::from)?;
    }
    Ok(opened)
}

/// Makes a new store in an empty directory.
fn create(disk: &dyn Disk) -> Result<Manifest, OpenError> {
    let lineage = Lineage {
        store_id: StoreId(random_bytes()),
        current: LineageId(u64::from_le_bytes(random_bytes())),
        earlier: Vec::new(),
    };
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

/// Tells whether a directory without a manifest has events in it. A crash while a store is made
/// leaves a segment without any, and that may be made again.
fn has_events(disk: &dyn Disk) -> Result<bool, OpenError> {
    for name in disk.list()? {
        if is_log(&name) && has_group(disk, &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_log(name: &str) -> bool {
    name.starts_with("seg-") && name.ends_with(".log")
}

fn is_index(name: &str) -> bool {
    let index = [".idx", ".doc", ".doc.new"];
    name.starts_with("seg-") && index.iter().any(|end| name.ends_with(end))
}

/// Looks at the files that the manifest does not name.
fn check_leftovers(disk: &dyn Disk, manifest: &Manifest, read_only: bool) -> Result<(), OpenError> {
    let mut named: Vec<String> = Vec::new();
    for entry in &manifest.segments {
        named.push(entry.log_name());
        if entry.closed.is_some() {
            named.push(entry.documents_name());
        }
        let index = entry.closed.and_then(|closed| closed.index);
        named.extend(index.map(|generation| entry.index_name(generation)));
    }
    for name in disk.list()? {
        if named.contains(&name) || !(is_log(&name) || is_index(&name)) {
            continue;
        }
        if is_log(&name) && has_group(disk, &name)? {
            let error = FrameError::Content("entry: the manifest does not name this segment");
            return Err(OpenError::Damaged { file: name, error });
        }
        if !read_only {
            tracing::info!(file = %name, "removing a file that a crash left over");
            disk.remove(&name)?;
        }
    }
    Ok(())
}

/// Tells whether a log file that nobody names has events in it.
fn has_group(disk: &dyn Disk, name: &str) -> Result<bool, OpenError> {
    let file = disk.open(name)?;
    if file.length()? < SEGMENT_HEADER_BYTES as u64 {
        return Ok(false);
    }
    let Ok(header) = SegmentHeader::decode(&read_range(&*file, 0, SEGMENT_HEADER_BYTES)?) else {
        return Ok(false);
    };
    let entry = SegmentEntry {
        base: header.base,
        generation: header.generation,
        salt: header.salt,
        first_group: header.first_group,
        first_chain: 0,
        closed: None,
    };
    // The chain value before the first group is not known here, so no group is "the next one";
    // one further on counts.
    Ok(Walk::new(file, &entry)?.first_group_anywhere()?.is_some())
}

pub(crate) fn open_log(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
) -> Result<Arc<dyn DiskFile>, OpenError> {
    let name = entry.log_name();
    let file = match disk.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { file: name });
        }
        file => file?,
    };
    let mut header = [0; SEGMENT_HEADER_BYTES];
    file.read_at(&mut header, 0)?;
    let expected = SegmentHeader {
        store_id: manifest.lineage.store_id,
        base: entry.base,
        generation: entry.generation,
        salt: entry.salt,
        first_group: entry.first_group,
    };
    let error = match SegmentHeader::decode(&header) {
        Ok(header) if header == expected => return Ok(file),
        Ok(_) => FrameError::Content("header: it is of another segment or store"),
        Err(error) => error,
    };
    Err(OpenError::Damaged { file: name, error })
}

impl Opened {
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
        entry: SegmentEntry,
        closed: ClosedSegment,
        file: Arc<dyn DiskFile>,
    ) -> Result<(), OpenError> {
        let key = self.manifest.term_key;
        if file.length()? < closed.end.offset {
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
