//! The manifest: which segments there are, whose they are, and how the store was closed.
//!
//! It is small and changes only when a segment begins, is indexed, or the store opens or closes,
//! so it is written whole each time and renamed into place.

use std::io;

use factum_model::Position;
use factum_store::{Lineage, LineageId, StoreId};

use crate::bytes_io::{Reader, crc, put};
use crate::disk::{Disk, read_range};
use crate::frame::{FORMAT_VERSION, FrameError, RECORD_HEADER_BYTES, SegmentHeader};
use crate::term::TermKey;

/// The name of the manifest in the directory.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// Its name until it is whole.
pub(crate) const MANIFEST_NEW: &str = "MANIFEST.new";
const MAGIC: &[u8; 8] = b"FCTMMAN1";
const HEAD_BYTES: usize = 16;
/// Far more than a manifest of a hundred thousand segments takes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) lineage: Lineage,
    pub(crate) term_key: TermKey,
    /// By base; the last one is open, the others are closed.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Ranges that an operator has given up, first and last position. One whose last position is
    /// before its first stands for a damaged group without events.
    pub(crate) quarantined: Vec<(Position, Position)>,
    pub(crate) clean: Option<CleanClose>,
}

/// How a store was closed in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CleanClose {
    pub(crate) end: LogEnd,
    /// The last position.
    pub(crate) head: Option<Position>,
}

/// Why a manifest was not stored, and with it which one is on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// The old one: the new one was never given its name.
    #[error("the new manifest could not be written")]
    NotStored(#[source] io::Error),
    /// The old or the new one. Whoever goes on as if it were the old one may write where the next
    /// start does not look.
    #[error("it is not known whether the new manifest is in place")]
    Unknown(#[source] io::Error),
}

impl From<ManifestError> for io::Error {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::NotStored(error) | ManifestError::Unknown(error) => error,
        }
    }
}

/// A segment in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) base: Position,
    pub(crate) generation: u32,
    pub(crate) salt: u64,
    pub(crate) first_group: u64,
    /// The chain value before the first group.
    pub(crate) first_chain: u64,
    pub(crate) closed: Option<ClosedSegment>,
}

/// What is known of a segment that takes no more events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    pub(crate) n_events: u32,
    pub(crate) end: LogEnd,
    /// The generation of its index, once it has one.
    pub(crate) index: Option<u32>,
}

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) offset: u64,
    pub(crate) group: u64,
    pub(crate) chain: u64,
}

impl SegmentEntry {
    /// Returns the name of the log file.
    pub(crate) fn log_name(&self) -> String {
        format!("seg-{:020}.{}.log", self.base.get(), self.generation)
    }

    /// Returns what stands at the head of the log file.
    pub(crate) const fn header(&self, store_id: StoreId) -> SegmentHeader {
        SegmentHeader {
            store_id,
            base: self.base,
            generation: self.generation,
            salt: self.salt,
            first_group: self.first_group,
        }
    }

    /// Returns the name of the index file of the documents, which the manifest does not name: it
    /// says itself to which events it belongs.
    pub(crate) fn documents_name(&self) -> String {
        format!("seg-{:020}.{}.doc", self.base.get(), self.generation)
    }

    /// Returns the name of the index file of a generation.
    pub(crate) fn index_name(&self, index_generation: u32) -> String {
        format!("seg-{:020}.{index_generation}.idx", self.base.get())
    }
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        put_u32(&mut bytes, FORMAT_VERSION);
        bytes.extend_from_slice(&self.lineage.store_id.0);
        bytes.extend_from_slice(&self.term_key.0);
        put_u64(&mut bytes, self.lineage.current.0);
        put_count(&mut bytes, self.lineage.earlier.len());
        for (lineage, last) in &self.lineage.earlier {
            put_u64(&mut bytes, lineage.0);
            put_u64(&mut bytes, last.map_or(0, Position::get));
        }
        put_count(&mut bytes, self.segments.len());
        for segment in &self.segments {
            segment.encode(&mut bytes);
        }
        put_count(&mut bytes, self.quarantined.len());
        for (first, last) in &self.quarantined {
            put_u64(&mut bytes, first.get());
            put_u64(&mut bytes, last.get());
        }
        bytes.push(u8::from(self.clean.is_some()));
        if let Some(clean) = &self.clean {
            clean.end.encode(&mut bytes);
            put_u64(&mut bytes, clean.head.map_or(0, Position::get));
        }
        let (head, body) = bytes.split_at_mut(HEAD_BYTES);
        put(head, 0, MAGIC);
        put(
            head,
            8,
            &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes(),
        );
        put(head, 12, &crc(body).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        if reader.bytes(8)? != MAGIC {
            return Err(FrameError::Magic);
        }
        let (length, sum) = (reader.u32()? as usize, reader.u32()?);
        let body = reader.bytes(length)?;
        if reader.remaining() != 0 {
            return Err(FrameError::Content("bytes after the manifest"));
        }
        if crc(body) != sum {
            return Err(FrameError::Checksum);
        }
        Self::decode_body(Reader::new(body))
    }

    fn decode_body(mut reader: Reader<'_>) -> Result<Self, FrameError> {
        let version = reader.u32()?;
        if version != FORMAT_VERSION {
            return Err(FrameError::Version(version));
        }
        let store_id = StoreId(reader.array()?);
        let term_key = TermKey(reader.array()?);
        let current = LineageId(reader.u64()?);
        let mut earlier = Vec::new();
        for _ in 0..reader.count(16)? {
            earlier.push((LineageId(reader.u64()?), Position::new(reader.u64()?)));
        }
        let mut segments = Vec::new();
        for _ in 0..reader.count(37)? {
            segments.push(SegmentEntry::decode(&mut reader)?);
        }
        let mut quarantined = Vec::new();
        for _ in 0..reader.count(16)? {
            quarantined.push((position(&mut reader)?, position(&mut reader)?));
        }
        let clean = match reader.u8()? {
            0 => None,
            _ => Some(CleanClose {
                end: LogEnd::decode(&mut reader)?,
                head: Position::new(reader.u64()?),
            }),
        };
        let lineage = Lineage {
            store_id,
            current,
            earlier,
        };
        let manifest = Self {
            lineage,
            term_key,
            segments,
            quarantined,
            clean,
        };
        manifest.check().map(|()| manifest)
    }

    /// Checks that the segments follow each other.
    fn check(&self) -> Result<(), FrameError> {
        let Some((last, closed)) = self.segments.split_last() else {
            return Err(FrameError::Content("manifest without a segment"));
        };
        if last.closed.is_some() {
            return Err(FrameError::Content("manifest without an open segment"));
        }
        for closed in closed.iter().filter_map(|segment| segment.closed) {
            // A number of events that do not fit into the log must not ask for memory.
            if u64::from(closed.n_events) * RECORD_HEADER_BYTES as u64 > closed.end.offset {
                return Err(FrameError::Content("number of events"));
            }
        }
        if let Some(clean) = &self.clean {
            let head = clean.head.map_or(0, Position::get);
            let n_events = head.saturating_sub(last.base.get() - 1);
            if n_events > clean.end.offset / RECORD_HEADER_BYTES as u64 {
                return Err(FrameError::Content("last position"));
            }
        }
        for (segment, next) in closed.iter().zip(self.segments.iter().skip(1)) {
            let n_events = segment.closed.map(|closed| u64::from(closed.n_events));
            if n_events.and_then(|n| segment.base.get().checked_add(n)) != Some(next.base.get()) {
                return Err(FrameError::Content("order of segments"));
            }
        }
        Ok(())
    }

    /// Reads the manifest of a directory; `None` when there is none.
    pub(crate) fn load(disk: &dyn Disk) -> io::Result<Option<Result<Self, FrameError>>> {
        let file = match disk.open(MANIFEST) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.length()?;
        if length > MANIFEST_BYTES_MAX {
            return Ok(Some(Err(FrameError::Content("manifest length"))));
        }
        let bytes = read_range(&*file, 0, usize::try_from(length).unwrap_or_default())?;
        Ok(Some(Self::decode(&bytes)))
    }

    /// Puts the manifest in the place of the old one. Durable when this returns; after a crash
    /// either the old or the new one is there, and after a failure the error says what is known.
    pub(crate) fn store(&self, disk: &dyn Disk) -> Result<(), ManifestError> {
        self.prepare(disk).map_err(ManifestError::NotStored)?;
        disk.rename(MANIFEST_NEW, MANIFEST)
            .and_then(|()| disk.sync_dir())
            .map_err(ManifestError::Unknown)
    }

    /// Writes the manifest beside the present one.
    fn prepare(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(MANIFEST_NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = disk.create(MANIFEST_NEW)?;
        file.write_at(&self.encode(), 0)?;
        file.sync_data()
    }
}

impl SegmentEntry {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put_u64(bytes, self.base.get());
        put_u32(bytes, self.generation);
        put_u64(bytes, self.salt);
        put_u64(bytes, self.first_group);
        put_u64(bytes, self.first_chain);
        bytes.push(u8::from(self.closed.is_some()));
        if let Some(closed) = &self.closed {
            put_u32(bytes, closed.n_events);
            closed.end.encode(bytes);
            put_u32(bytes, closed.index.map_or(0, |generation| generation + 1));
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            base: position(reader)?,
            generation: reader.u32()?,
            salt: reader.u64()?,
            first_group: reader.u64()?,
            first_chain: reader.u64()?,
            closed: match reader.u8()? {
                0 => None,
                _ => Some(ClosedSegment {
                    n_events: reader.u32()?,
                    end: LogEnd::decode(reader)?,
                    index: reader.u32()?.checked_sub(1),
                }),
            },
        })
    }
}

impl ClosedSegment {
    /// Returns the last position of a closed segment with a base.
    pub(crate) fn last(&self, base: Position) -> Position {
        let last = (base.get() + u64::from(self.n_events)).saturating_sub(1);
        Position::new(last).unwrap_or(base)
    }
}

impl LogEnd {
    fn encode(&self, bytes: &mut Vec<u8>) {
        put_u64(bytes, self.offset);
        put_u64(bytes, self.group);
        put_u64(bytes, self.chain);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            offset: reader.u64()?,
            group: reader.u64()?,
            chain: reader.u64()?,
        })
    }
}

fn position(reader: &mut Reader<'_>) -> Result<Position, FrameError> {
    Position::new(reader.u64()?).ok_or(FrameError::Content("position"))
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    put_u32(bytes, u32::try_from(count).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let end = LogEnd {
            offset: 6400,
            group: 9,
            chain: 77,
        };
        let open = SegmentEntry {
            base: Position::new(11).unwrap(),
            generation: 0,
            salt: 5,
            first_group: 10,
            first_chain: 77,
            closed: None,
        };
        let closed = ClosedSegment {
            n_events: 10,
            end,
            index: Some(0),
        };
        let first = SegmentEntry {
            base: Position::FIRST,
            generation: 1,
            closed: Some(closed),
            ..open
        };
        Manifest {
            lineage: Lineage {
                store_id: StoreId([1; 16]),
                current: LineageId(2),
                earlier: vec![(LineageId(1), None)],
            },
            term_key: TermKey([3; 16]),
            segments: vec![first, open],
            quarantined: vec![(Position::FIRST, Position::FIRST)],
            clean: Some(CleanClose {
                end,
                head: Position::new(10),
            }),
        }
    }

    #[test]
    fn manifests_come_back_whole_and_damage_is_found() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(
                Manifest::decode(&bytes[..length]).is_err(),
                "length {length}"
            );
        }
    }

    #[test]
    fn segments_must_follow_each_other() {
        let mut gap = manifest();
        gap.segments[1].base = Position::new(12).unwrap();
        assert!(Manifest::decode(&gap.encode()).is_err());
    }
}
