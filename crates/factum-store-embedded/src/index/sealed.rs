//! Reads the index of a closed segment.
//!
//! In memory are only the checksums of the blocks, a fence for every 512 keys, the filter, the
//! names and the spans of time. The rest is read block by block, each checked when it is read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use factum_query::{LeftOutPath, NotLeftOut};
use roaring::RoaringBitmap;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable as _, Filter as _, FilterRef as _};

use crate::bytes_io::{Reader, Short, crc};
use crate::disk::{DiskFile, read_exact_at, read_range};
use crate::index::build::{
    BLOCK_BYTES, CHECKS, FILTER, FOOTER_BYTES, FOOTER_MAGIC, HEADER_BYTES, IndexIdentity,
    IndexKind, KEYS, KEYS_PER_FENCE, N_SECTIONS, NAMES, OFFSETS, POSTING_BIT, POSTINGS, REFS,
    TIMES, decode_posting,
};
use crate::index::times::Times;
use crate::term::Term;

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// Its bytes are damaged; it can be rebuilt from the log.
    #[error("index is damaged: {0}")]
    Damaged(&'static str),
    /// The bytes of an index of documents are damaged; it can be made again from the log.
    #[error("index of documents is damaged: {0}")]
    Documents(&'static str),
    /// The system could not read it.
    #[error("index cannot be read")]
    Io(#[from] io::Error),
}

impl From<Short> for IndexError {
    fn from(Short: Short) -> Self {
        Self::Damaged("too short")
    }
}

/// A list that fits into this, with its head, is read at once.
const SHORT_POSTING_BYTES: u64 = 256;

/// The index of a closed segment.
pub(crate) struct SealedIndex {
    file: Arc<dyn DiskFile>,
    n_events: u32,
    n_keys: usize,
    sections: [Section; N_SECTIONS + 1],
    checks: Vec<u32>,
    fences: Vec<u64>,
    filter: TermFilter,
    event_types: Vec<Box<str>>,
    aggregate_types: Vec<Box<str>>,
    times: Times,
    /// Whether the lists of users and of tags, which an index of documents has in the place of the
    /// other names, are complete.
    names_complete: [bool; 2],
    /// What may be left out of the payloads, in an index of documents.
    left_out: Vec<LeftOutPath>,
}

impl std::fmt::Debug for SealedIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedIndex")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A filter that never denies a term that is there, and one in 256 that is not; without
/// fingerprints it denies nothing.
#[derive(Default)]
struct TermFilter {
    descriptor: [u8; BinaryFuse8::DESCRIPTOR_LEN],
    fingerprints: Box<[u8]>,
}

impl TermFilter {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, IndexError> {
        let descriptor = reader.array()?;
        let length = reader.count(1)?;
        let filter = Self {
            descriptor,
            fingerprints: reader.bytes(length)?.into(),
        };
        let mut parts = Reader::new(&filter.descriptor);
        let (_seed, segment, mask) = (parts.u64()?, parts.u32()?, parts.u32()?);
        // The filter looks at three places, the last two in the segments after the first.
        let reach = u64::from(parts.u32()?) + 2 * u64::from(segment);
        if reach > length as u64 || (segment != 0 && mask != segment - 1) {
            return Err(IndexError::Damaged("filter"));
        }
        Ok(filter)
    }

    fn may_contain(&self, term: Term) -> bool {
        self.fingerprints.is_empty()
            || BinaryFuse8Ref::from_dma(&self.descriptor, &self.fingerprints).contains(&term)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Section {
    offset: u64,
    length: u64,
}

impl SealedIndex {
    /// Opens an index and checks that it is the one of this segment.
    pub(crate) fn open(
        file: Arc<dyn DiskFile>,
        identity: &IndexIdentity,
    ) -> Result<Self, IndexError> {
        let length = file.length()?;
        let footer_at = length
            .checked_sub(FOOTER_BYTES as u64)
            .filter(|at| *at >= HEADER_BYTES as u64)
            .ok_or(Short)?;
        let sections = read_footer(&read_range(&*file, footer_at, FOOTER_BYTES)?, footer_at)?;
        let (sections, checks_crc) = sections;
        let checks = sections[CHECKS];
        let raw = read_range(&*file, checks.offset, to_usize(checks.length)?)?;
        if crc(&raw) != checks_crc
            || checks.offset.div_ceil(BLOCK_BYTES as u64) * 4 != checks.length
        {
            return Err(IndexError::Damaged("checksums of the blocks"));
        }
        let mut reader = Reader::new(&raw);
        let checks: Vec<u32> = (0..raw.len() / 4)
            .map(|_| reader.u32())
            .collect::<Result<_, _>>()?;
        let mut index = Self {
            file,
            n_events: identity.n_events,
            n_keys: to_usize(sections[KEYS].length / 8)?,
            sections,
            checks,
            fences: Vec::new(),
            filter: TermFilter::default(),
            event_types: Vec::new(),
            aggregate_types: Vec::new(),
            times: Times::default(),
            names_complete: [true; 2],
            left_out: Vec::new(),
        };
        if index.read(0, HEADER_BYTES)? != identity.encode() {
            return Err(IndexError::Damaged("of another segment"));
        }
        let n_offsets = match identity.kind {
            IndexKind::Fields => identity.n_events,
            IndexKind::Documents { .. } => 0,
        };
        if index.sections[OFFSETS].length != u64::from(n_offsets) * 4
            || index.sections[REFS].length != index.n_keys as u64 * 4
        {
            return Err(IndexError::Damaged("section lengths"));
        }
        index.load(identity.kind)?;
        Ok(index)
    }

    fn load(&mut self, kind: IndexKind) -> Result<(), IndexError> {
        let names = self.whole_section(NAMES)?;
        let mut reader = Reader::new(&names);
        self.event_types = read_names(&mut reader)?;
        self.aggregate_types = read_names(&mut reader)?;
        let times = self.whole_section(TIMES)?;
        match kind {
            IndexKind::Fields => self.times = Times::decode(&times, self.n_events)?,
            IndexKind::Documents { .. } => {
                let complete: [u8; 2] = Reader::new(&times).array()?;
                self.names_complete = complete.map(|byte| byte == 1);
                let paths = read_names(&mut reader)?;
                let paths = paths.iter().map(|path| path.parse());
                self.left_out = paths
                    .collect::<Result<_, _>>()
                    .map_err(|_: NotLeftOut| IndexError::Damaged("path"))?;
            }
        }
        let filter = self.whole_section(FILTER)?;
        let mut reader = Reader::new(&filter);
        for _ in 0..reader.count(8)? {
            self.fences.push(reader.u64()?);
        }
        self.filter = TermFilter::decode(&mut reader)?;
        Ok(())
    }

    pub(crate) fn event_types(&self) -> impl Iterator<Item = &str> {
        self.event_types.iter().map(|name| &**name)
    }

    pub(crate) fn aggregate_types(&self) -> impl Iterator<Item = &str> {
        self.aggregate_types.iter().map(|name| &**name)
    }

    /// Returns the users who occur, if this is an index of documents and has them all.
    pub(crate) fn users(&self) -> Option<Vec<String>> {
        let names = self.event_types().map(str::to_owned);
        self.names_complete[0].then(|| names.collect())
    }

    /// Returns the tags that occur, if this is an index of documents and has them all.
    pub(crate) fn tags(&self) -> Option<Vec<String>> {
        let names = self.aggregate_types().map(str::to_owned);
        self.names_complete[1].then(|| names.collect())
    }

    pub(crate) fn left_out(&self) -> &[LeftOutPath] {
        &self.left_out
    }

    pub(crate) const fn times(&self) -> &Times {
        &self.times
    }

    pub(crate) const fn n_events(&self) -> u32 {
        self.n_events
    }

    /// Returns how many terms it has.
    pub(crate) const fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// Returns how many bytes the index keeps in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.checks.len() * 4 + self.fences.len() * 8 + self.filter.fingerprints.len()
    }

    /// Returns the offsets of a range of records, divided by eight.
    pub(crate) fn offsets(&self, range: Range<u32>) -> Result<Vec<u32>, IndexError> {
        let length = range.len() * 4;
        let raw = self.section(OFFSETS, u64::from(range.start) * 4, length)?;
        let mut reader = Reader::new(&raw);
        Ok((0..range.len())
            .map(|_| reader.u32())
            .collect::<Result<_, _>>()?)
    }

    /// Returns the ordinals of the events that may have a term.
    pub(crate) fn bitmap(&self, term: Term) -> Result<RoaringBitmap, IndexError> {
        match self.posting(term)? {
            None => Ok(RoaringBitmap::new()),
            Some(posting) => self.decode(&posting),
        }
    }

    /// Returns how many events may have a term, without reading which.
    pub(crate) fn count(&self, term: Term) -> Result<u32, IndexError> {
        Ok(self.posting(term)?.map_or(0, |posting| posting.count()))
    }

    /// Finds the posting list of a term and reads its beginning.
    fn posting(&self, term: Term) -> Result<Option<Posting>, IndexError> {
        if self.n_keys == 0 || !self.filter.may_contain(term) {
            return Ok(None);
        }
        let Some(place) = self.find_key(term)? else {
            return Ok(None);
        };
        let reference = self.section(REFS, place as u64 * 4, 4)?;
        let reference = Reader::new(&reference).u32()?;
        if reference & POSTING_BIT == 0 {
            return Ok(Some(Posting::One(reference)));
        }
        let at = u64::from(reference & !POSTING_BIT) * 4;
        // Most lists are short, so one read brings the head and the list.
        let left = self.sections[POSTINGS].length.saturating_sub(at);
        let first = self.section(POSTINGS, at, to_usize(left.min(SHORT_POSTING_BYTES))?)?;
        let mut reader = Reader::new(&first);
        let (count, length) = (reader.u32()?, reader.u32()? as usize);
        let beginning = reader.bytes(reader.remaining())?.to_vec();
        Ok(Some(Posting::Many {
            count,
            length,
            at: at + 8,
            beginning,
        }))
    }

    fn decode(&self, posting: &Posting) -> Result<RoaringBitmap, IndexError> {
        let (count, length, at, beginning) = match posting {
            Posting::One(ordinal) => return Ok(RoaringBitmap::from_iter([*ordinal])),
            Posting::Many {
                count,
                length,
                at,
                beginning,
            } => (*count, *length, *at, beginning),
        };
        let decoded = match beginning.get(..length) {
            Some(list) => decode_posting(count, list),
            None => decode_posting(count, &self.section(POSTINGS, at, length)?),
        };
        decoded.ok_or(IndexError::Damaged("posting list"))
    }

    /// Gives each term, ascending, without its events.
    pub(crate) fn for_each_key(&self, take: &mut impl FnMut(Term)) -> Result<(), IndexError> {
        let mut at = 0;
        while at < self.n_keys {
            let n_keys = (AHEAD_BYTES / 8).min(self.n_keys - at);
            let raw = self.section(KEYS, at as u64 * 8, n_keys * 8)?;
            let (keys, _) = raw.as_chunks::<8>();
            keys.iter().for_each(|key| take(u64::from_le_bytes(*key)));
            at += n_keys;
        }
        Ok(())
    }

    /// Walks over all terms in ascending order.
    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms {
            index: self,
            next: 0,
            keys: Vec::new().into_iter(),
            postings_at: 0,
            postings: Vec::new(),
        }
    }

    fn find_key(&self, term: Term) -> Result<Option<usize>, IndexError> {
        let fence = self.fences.partition_point(|fence| *fence <= term);
        let Some(block) = fence.checked_sub(1) else {
            return Ok(None);
        };
        let first = block * KEYS_PER_FENCE;
        let raw = self.keys_from(first)?;
        let (keys, _) = raw.as_chunks::<8>();
        let found = keys.binary_search_by_key(&term, |key| u64::from_le_bytes(*key));
        Ok(found.ok().map(|found| first + found))
    }

    /// Reads the keys between a fence and the next.
    fn keys_from(&self, first: usize) -> Result<Vec<u8>, IndexError> {
        let n_keys = KEYS_PER_FENCE.min(self.n_keys.saturating_sub(first));
        self.section(KEYS, first as u64 * 8, n_keys * 8)
    }

    /// Reads every block and checks it.
    pub(crate) fn verify(&self) -> Result<(), IndexError> {
        let end = to_usize(self.sections[CHECKS].offset)?;
        let mut at = 0;
        while at < end {
            let length = (1 << 20).min(end - at);
            self.read(at as u64, length)?;
            at += length;
        }
        Ok(())
    }

    fn whole_section(&self, section: usize) -> Result<Vec<u8>, IndexError> {
        let length = to_usize(
            self.sections
                .get(section)
                .map_or(0, |section| section.length),
        )?;
        self.section(section, 0, length)
    }

    fn section(&self, section: usize, at: u64, length: usize) -> Result<Vec<u8>, IndexError> {
        let section = self.sections.get(section).copied().unwrap_or_default();
        if at.saturating_add(length as u64) > section.length {
            return Err(IndexError::Damaged("reference outside a section"));
        }
        self.read(section.offset + at, length)
    }

    /// Reads bytes by whole blocks, and checks the blocks.
    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, IndexError> {
        let end_of_blocks = self.sections[CHECKS].offset;
        let first = at / BLOCK_BYTES as u64;
        let start = first * BLOCK_BYTES as u64;
        let end = (at + length as u64)
            .next_multiple_of(BLOCK_BYTES as u64)
            .min(end_of_blocks);
        let mut bytes = vec![0; to_usize(end.saturating_sub(start))?];
        match read_exact_at(&*self.file, &mut bytes, start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Short.into()),
            result => result?,
        }
        let checks = self.checks.get(to_usize(first)?..).unwrap_or_default();
        let blocks = bytes.chunks(BLOCK_BYTES);
        if blocks.len() > checks.len()
            || !blocks
                .zip(checks)
                .all(|(block, check)| crc(block) == *check)
        {
            return Err(IndexError::Damaged("checksum of a block"));
        }
        let skipped = to_usize(at - start)?;
        bytes.drain(..skipped);
        bytes.truncate(length);
        if bytes.len() < length {
            return Err(Short.into());
        }
        Ok(bytes)
    }
}

/// A posting list that was found.
#[derive(Debug)]
enum Posting {
    One(u32),
    Many {
        count: u32,
        length: usize,
        /// Where the list is, in the section of the postings.
        at: u64,
        /// What was read of it, and perhaps of what follows.
        beginning: Vec<u8>,
    },
}

impl Posting {
    const fn count(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Many { count, .. } => *count,
        }
    }
}

/// How much of the postings is read ahead.
const AHEAD_BYTES: usize = 64 << 10;

/// Walks over all terms of an index in ascending order, reading ahead.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    index: &'a SealedIndex,
    /// The first key that was not read yet.
    next: usize,
    keys: std::vec::IntoIter<(Term, u32)>,
    /// Where `postings` stands in the section.
    postings_at: u64,
    postings: Vec<u8>,
}

impl Terms<'_> {
    /// Returns the next term, and adds the ordinals of its events to `ordinals`.
    pub(crate) fn next(&mut self, ordinals: &mut Vec<u32>) -> Result<Option<Term>, IndexError> {
        if self.keys.len() == 0 {
            self.read_keys()?;
        }
        let Some((term, reference)) = self.keys.next() else {
            return Ok(None);
        };
        if reference & POSTING_BIT == 0 {
            ordinals.push(reference);
            return Ok(Some(term));
        }
        let at = u64::from(reference & !POSTING_BIT) * 4;
        let mut head = Reader::new(self.postings(at, 8)?);
        let (count, length) = (head.u32()?, head.u32()? as usize);
        let bitmap = decode_posting(count, self.postings(at + 8, length)?);
        ordinals.extend(bitmap.ok_or(IndexError::Damaged("posting list"))?);
        Ok(Some(term))
    }

    fn read_keys(&mut self) -> Result<(), IndexError> {
        let raw = self.index.keys_from(self.next)?;
        let (keys, _) = raw.as_chunks::<8>();
        let refs = self
            .index
            .section(REFS, self.next as u64 * 4, keys.len() * 4)?;
        let (refs, _) = refs.as_chunks::<4>();
        let pairs: Vec<_> = keys
            .iter()
            .zip(refs)
            .map(|(key, reference)| (u64::from_le_bytes(*key), u32::from_le_bytes(*reference)))
            .collect();
        self.next += pairs.len();
        self.keys = pairs.into_iter();
        Ok(())
    }

    /// Returns bytes of the postings.
    fn postings(&mut self, at: u64, length: usize) -> Result<&[u8], IndexError> {
        let end = at + length as u64;
        if at < self.postings_at || end > self.postings_at + self.postings.len() as u64 {
            let left = self.index.sections[POSTINGS].length.saturating_sub(at);
            let ahead = length.max(to_usize(left.min(AHEAD_BYTES as u64))?);
            self.postings = self.index.section(POSTINGS, at, ahead)?;
            self.postings_at = at;
        }
        let start = to_usize(at - self.postings_at)?;
        let bytes = self.postings.get(start..start + length);
        bytes.ok_or(IndexError::Damaged("posting list"))
    }
}

fn read_footer(
    bytes: &[u8],
    footer_at: u64,
) -> Result<([Section; N_SECTIONS + 1], u32), IndexError> {
    let mut reader = Reader::new(bytes);
    let mut sections = [Section::default(); N_SECTIONS + 1];
    for section in &mut sections {
        *section = Section {
            offset: reader.u64()?,
            length: reader.u64()?,
        };
    }
    let checks_crc = reader.u32()?;
    let summed = bytes
        .get(..bytes.len() - reader.remaining())
        .unwrap_or_default();
    if reader.u32()? != crc(summed) || reader.bytes(8)? != FOOTER_MAGIC {
        return Err(IndexError::Damaged("footer"));
    }
    let inside = |section: &Section| {
        section
            .offset
            .checked_add(section.length)
            .is_some_and(|end| end <= footer_at)
    };
    if !sections.iter().all(inside) {
        return Err(IndexError::Damaged("section outside the file"));
    }
    Ok((sections, checks_crc))
}

fn read_names(reader: &mut Reader<'_>) -> Result<Vec<Box<str>>, IndexError> {
    let mut names = Vec::new();
    for _ in 0..reader.count(2)? {
        let length = reader.u16()?;
        let name = std::str::from_utf8(reader.bytes(length.into())?);
        names.push(name.map_err(|_| IndexError::Damaged("name"))?.into());
    }
    Ok(names)
}

fn to_usize(number: u64) -> Result<usize, IndexError> {
    usize::try_from(number).map_err(|_| IndexError::Damaged("length"))
}

#[cfg(test)]
mod tests {
    use factum_model::Position;
    use factum_store::StoreId;

    use super::*;
    use crate::disk::{Disk as _, OsDisk};
    use crate::index::{TailEntry, TailIndex, build};

    fn tail(n_events: u32) -> TailIndex {
        let mut tail = TailIndex::default();
        for ordinal in 0..n_events {
            let entry = TailEntry {
                offset: ordinal * 3,
                event_type: if ordinal % 2 == 0 { "even" } else { "odd" },
                aggregate_type: "number",
                timestamp: ordinal.into(),
                recorded_at: 0,
            };
            let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let terms = [
                1,
                1 + u64::from(ordinal % 2),
                10 + u64::from(ordinal % 100),
                1000 + u64::from(ordinal),
            ];
            tail.push(entry, terms.map(spread));
        }
        tail
    }

    fn spread(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn identity(n_events: u32) -> IndexIdentity {
        IndexIdentity {
            kind: IndexKind::Fields,
            store_id: StoreId([1; 16]),
            base: Position::FIRST,
            generation: 0,
            n_events,
            log_end: 99,
        }
    }

    #[test]
    fn a_sealed_index_says_what_the_tail_said() {
        for n_events in [0, 1, 5, 5000] {
            let dir = tempfile::tempdir().unwrap();
            let disk = OsDisk::open_or_create(dir.path()).unwrap();
            let tail = tail(n_events);
            build::write(&disk, "i", &identity(n_events), &tail).unwrap();
            let sealed = SealedIndex::open(disk.open("i").unwrap(), &identity(n_events)).unwrap();
            sealed.verify().unwrap();
            assert_eq!(sealed.offsets(0..n_events).unwrap(), tail.offsets());
            assert_eq!(sealed.times(), tail.times());
            assert!(sealed.event_types().eq(tail.event_types()));
            assert!(sealed.aggregate_types().eq(tail.aggregate_types()));
            for term in (0..2000).map(spread) {
                assert_eq!(
                    sealed.bitmap(term).unwrap(),
                    tail.bitmap(term, &(0..n_events))
                );
            }
            let other = IndexIdentity {
                log_end: 100,
                ..identity(n_events)
            };
            assert!(SealedIndex::open(disk.open("i").unwrap(), &other).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::open_or_create(dir.path()).unwrap();
        let bytes = build::encode(&identity(30), &tail(30)).unwrap();
        let file = disk.create("i").unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            file.write_at(&damaged, 0).unwrap();
            let opened = SealedIndex::open(file.clone(), &identity(30));
            assert!(
                opened.and_then(|index| index.verify()).is_err(),
                "bit {bit}"
            );
        }
    }
}
