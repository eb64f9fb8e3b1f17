//! Walks a segment group by group: recovery, verification and repair.
//!
//! The rule for bytes that are not a valid group is in `docs/format/embedded.md`, section 7.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use factum_model::{Position, RecordedEvent};

use crate::bytes_io::{crc, padded};
use crate::disk::{DiskFile, read_range};
use crate::frame::{
    FrameError, GROUP_HEADER_BYTES, GroupHeader, RECORD_HEADER_BYTES, RecordHead,
    SEGMENT_HEADER_BYTES, decode_record,
};
use crate::manifest::{LogEnd, SegmentEntry};

/// How much is read at once, unless a group is larger.
const WINDOW_BYTES: usize = 1 << 20;

/// A valid group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) header: GroupHeader,
    /// Where in the file it starts.
    pub(crate) offset: u64,
    /// Header and records.
    pub(crate) bytes: Bytes,
}

impl Group {
    /// Decodes the records, each with its offset in the file, and checks that their positions
    /// follow each other.
    pub(crate) fn records(&self) -> Result<Vec<(u64, RecordedEvent)>, FrameError> {
        let mut records = Vec::with_capacity(self.header.n_records as usize);
        let mut at = GROUP_HEADER_BYTES;
        for index in 0..u64::from(self.header.n_records) {
            let event = decode_record(&self.bytes, at)?;
            if event.position.get() != self.header.first.get() + index {
                return Err(FrameError::Content("position"));
            }
            let length = RecordHead::peek(self.bytes.get(at..).unwrap_or_default())?.length;
            records.push((self.offset + at as u64, event));
            at += padded(length);
        }
        if at != self.bytes.len() {
            return Err(FrameError::Content("bytes after the last record"));
        }
        Ok(records)
    }
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step {
    /// A valid group.
    Group(Group),
    /// Nothing but zeros: the log ends here.
    End,
    /// Bytes that are no group, and after them no group that the log could go on with. A write
    /// that a crash tore, unless [`Walk::has_later_group`] says otherwise.
    Torn,
    /// Bytes that are no group, though a later group is there.
    Corrupt(Corruption),
}

/// Damage before a valid group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corruption {
    /// Where the damage starts, in the file.
    pub(crate) offset: u64,
    /// What is wrong there.
    pub(crate) error: FrameError,
    /// The first position that is lost.
    pub(crate) first: Position,
    /// The next valid group.
    pub(crate) resume: Resume,
}

/// Where the log goes on after damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) offset: u64,
    pub(crate) header: GroupHeader,
}

/// A walk along one segment.
#[derive(Debug)]
pub(crate) struct Walk {
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    salt: u64,
    offset: u64,
    next_group: u64,
    chain: u64,
    next_position: Position,
    window: Bytes,
    window_offset: u64,
}

impl Walk {
    /// Starts before the first group of a segment.
    pub(crate) fn new(file: Arc<dyn DiskFile>, entry: &SegmentEntry) -> io::Result<Self> {
        let file_bytes = file.length()?;
        Ok(Self {
            file,
            file_bytes,
            salt: entry.salt,
            offset: SEGMENT_HEADER_BYTES as u64,
            next_group: entry.first_group,
            chain: entry.first_chain,
            next_position: entry.base,
            window: Bytes::new(),
            window_offset: 0,
        })
    }

    /// Looks no further than this offset, as if the file ended there.
    pub(crate) fn up_to(self, end: u64) -> Self {
        Self {
            file_bytes: self.file_bytes.min(end),
            ..self
        }
    }

    /// Returns where the walk is: the end of the last valid group.
    pub(crate) const fn end(&self) -> LogEnd {
        LogEnd {
            offset: self.offset,
            group: self.next_group - 1,
            chain: self.chain,
        }
    }

    /// Returns the position that the next record has.
    pub(crate) const fn next_position(&self) -> Position {
        self.next_position
    }

    /// Goes one step. After `Corrupt` the walk stays before the damage until
    /// [`Walk::resume`] moves it on.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        match self.group()? {
            Ok(group) => {
                self.offset += group.header.group_bytes();
                self.next_group = group.header.number + 1;
                self.chain = group.header.chain;
                self.next_position = after_group(&group.header);
                Ok(Step::Group(group))
            }
            Err(error) => self.judge(error),
        }
    }

    /// Tells whether a later group stands behind the present place, be it where it cannot be. It
    /// proves that what stands here was durable once, so it is no torn write.
    pub(crate) fn has_later_group(&self) -> io::Result<bool> {
        Ok(self.later_group(|_| true)?.is_some())
    }

    /// Moves on to the valid group after damage.
    pub(crate) fn resume(&mut self, at: &Resume) {
        self.offset = at.offset;
        self.next_group = at.header.number;
        self.chain = at.header.previous_chain;
        self.next_position = at.header.first;
    }

    fn group(&mut self) -> io::Result<Result<Group, FrameError>> {
        let head = self.bytes(GROUP_HEADER_BYTES)?;
        let header = match GroupHeader::decode(&head, self.salt) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        if header.number != self.next_group
            || header.previous_chain != self.chain
            || header.first != self.next_position
        {
            return Ok(Err(FrameError::Content("place of a group")));
        }
        let length = usize::try_from(header.group_bytes()).unwrap_or(usize::MAX);
        if header.group_bytes() > self.file_bytes.saturating_sub(self.offset) {
            return Ok(Err(FrameError::Short));
        }
        let bytes = self.bytes(length)?;
        if crc(bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default()) != header.body_crc {
            return Ok(Err(FrameError::Checksum));
        }
        Ok(Ok(Group {
            header,
            offset: self.offset,
            bytes,
        }))
    }

    /// Returns up to `length` bytes from the present offset on; fewer at the end of the file.
    fn bytes(&mut self, length: usize) -> io::Result<Bytes> {
        let available = self.file_bytes.saturating_sub(self.offset);
        let length = length.min(usize::try_from(available).unwrap_or(usize::MAX));
        let held = self
            .offset
            .checked_sub(self.window_offset)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(at) = held
            && at + length <= self.window.len()
        {
            return Ok(self.window.slice(at..at + length));
        }
        let wanted = length
            .max(WINDOW_BYTES)
            .min(usize::try_from(available).unwrap_or(usize::MAX));
        self.window = Bytes::from(read_range(&*self.file, self.offset, wanted)?);
        self.window_offset = self.offset;
        Ok(self.window.slice(..length))
    }

    fn judge(&self, error: FrameError) -> io::Result<Step> {
        if let Some(resume) = self.later_group(|resume| self.is_possible(resume))? {
            return Ok(Step::Corrupt(Corruption {
                offset: self.offset,
                error,
                first: self.next_position,
                resume,
            }));
        }
        Ok(if self.rest_is_zero()? {
            Step::End
        } else {
            Step::Torn
        })
    }

    /// Tells whether the log can go on with a group. Whoever does keeps a place for each event
    /// that is lost before it, and no more of them can have stood there than there is room for.
    fn is_possible(&self, resume: &Resume) -> bool {
        let room = (resume.offset - self.offset) / RECORD_HEADER_BYTES as u64;
        let first = resume.header.first.get();
        let lost = first.checked_sub(self.next_position.get());
        lost.is_some_and(|lost| lost <= room)
    }

    fn rest_is_zero(&self) -> io::Result<bool> {
        let mut at = self.offset;
        while at < self.file_bytes {
            let chunk = chunk_at(at, self.file_bytes);
            if read_range(&*self.file, at, chunk)?
                .iter()
                .any(|&byte| byte != 0)
            {
                return Ok(false);
            }
            at += chunk as u64;
        }
        Ok(true)
    }

    /// Looks for a group that was written after the one that should be here: because a group is
    /// written only after the one before it is durable, it proves that the bytes here were.
    fn later_group(&self, wanted: impl Fn(&Resume) -> bool) -> io::Result<Option<Resume>> {
        let magic = GroupHeader::magic(self.salt);
        let mut at = self.offset + 8;
        while at < self.file_bytes {
            // The chunks overlap by a header, so that none is missed at a seam.
            let chunk = chunk_at(at, self.file_bytes);
            let bytes = read_range(&*self.file, at, chunk)?;
            for (index, word) in bytes.chunks_exact(8).enumerate() {
                if word != magic {
                    continue;
                }
                let offset = at + index as u64 * 8;
                let length = chunk_at(offset, self.file_bytes).min(GROUP_HEADER_BYTES);
                let head = read_range(&*self.file, offset, length)?;
                let Ok(header) = GroupHeader::decode(&head, self.salt) else {
                    continue;
                };
                let resume = Resume { offset, header };
                if header.number > self.next_group && wanted(&resume) {
                    return Ok(Some(resume));
                }
            }
            at += chunk as u64;
        }
        Ok(None)
    }
}

fn after_group(header: &GroupHeader) -> Position {
    let next = header
        .first
        .get()
        .saturating_add(u64::from(header.n_records));
    Position::new(next).unwrap_or(header.first)
}

/// Returns how much to read at an offset: a window, or what is left of the file.
fn chunk_at(at: u64, file_bytes: u64) -> usize {
    let left = file_bytes.saturating_sub(at);
    usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(WINDOW_BYTES)
}
