//! Writes the index of a closed segment.

use std::io;
use std::sync::Arc;

use factum_model::Position;
use factum_store::StoreId;
use roaring::RoaringBitmap;
use xorf::{BinaryFuse8, DmaSerializable as _};

use crate::bytes_io::{crc, put};
use crate::disk::{Disk, DiskFile};
use crate::documents::Dictionary;
use crate::index::sections::{FileSink, Sections, Sink};
use crate::index::{SortedTerms, TailIndex};

pub(crate) const HEADER_BYTES: usize = 64;
const HEADER_MAGIC: &[u8; 8] = b"FCTMIDX1";
/// The version of the layout; an index of another one is made again.
const INDEX_VERSION: u32 = 2;
const DOCUMENTS_MAGIC: &[u8; 8] = b"FCTMDOC1";
pub(crate) const FOOTER_BYTES: usize = 144;
pub(crate) const FOOTER_MAGIC: &[u8; 8] = b"FCTMIDXF";
pub(crate) const N_SECTIONS: usize = 7;
pub(crate) const OFFSETS: usize = 0;
pub(crate) const KEYS: usize = 1;
pub(crate) const REFS: usize = 2;
pub(crate) const POSTINGS: usize = 3;
pub(crate) const NAMES: usize = 4;
pub(crate) const TIMES: usize = 5;
pub(crate) const FILTER: usize = 6;
/// The checksums of the blocks; in the footer they come after the sections.
pub(crate) const CHECKS: usize = 7;
/// How many bytes share a checksum.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// How many keys there are to a fence.
pub(crate) const KEYS_PER_FENCE: usize = 512;
/// Marks a reference into the postings; without it the reference is an ordinal.
pub(crate) const POSTING_BIT: u32 = 1 << 31;
/// Lists up to this length are stored as differences, longer ones as bitmaps.
const LIST_MAX: usize = 1024;

/// What an index has the terms of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexKind {
    /// The fields of events, with the places of their records and their times.
    Fields,
    /// Payloads and metadata.
    Documents {
        /// The chain value at the end of the segment: the file belongs to these events only.
        chain: u64,
    },
}

/// What the header of an index says about its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexIdentity {
    pub(crate) kind: IndexKind,
    pub(crate) store_id: StoreId,
    pub(crate) base: Position,
    pub(crate) generation: u32,
    pub(crate) n_events: u32,
    pub(crate) log_end: u64,
}

impl IndexIdentity {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let (magic, chain) = match self.kind {
            IndexKind::Fields => (HEADER_MAGIC, 0),
            IndexKind::Documents { chain } => (DOCUMENTS_MAGIC, chain),
        };
        put(&mut bytes, 0, magic);
        put(&mut bytes, 8, &INDEX_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.store_id.0);
        put(&mut bytes, 32, &self.base.get().to_le_bytes());
        put(&mut bytes, 40, &self.n_events.to_le_bytes());
        put(&mut bytes, 44, &self.log_end.to_le_bytes());
        put(&mut bytes, 52, &chain.to_le_bytes());
        let sum = crc(&bytes[..60]);
        put(&mut bytes, 60, &sum.to_le_bytes());
        bytes
    }
}

/// Makes the file of an index and syncs it. Its name becomes durable with the next sync of names;
/// an index whose name a crash has forgotten is made again.
pub(crate) fn write(
    disk: &dyn Disk,
    name: &str,
    identity: &IndexIdentity,
    tail: &TailIndex,
) -> io::Result<()> {
    create(disk, name, |file| {
        encode_into(FileSink::new(Arc::clone(file)), identity, tail)?.flush()
    })
}

/// Removes what a crash may have left over.
fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the file of an index that has only terms, which come from `fill`, and syncs it.
pub(crate) fn write_terms<E: From<io::Error>>(
    disk: &dyn Disk,
    name: &str,
    identity: &IndexIdentity,
    (dictionary, n_keys_max): (&Dictionary, usize),
    fill: impl FnOnce(&mut TermTable<FileSink>) -> Result<(), E>,
) -> Result<(), E> {
    create(disk, name, |file| {
        let mut table = TermTable::new(identity, n_keys_max, FileSink::new(Arc::clone(file)))?;
        fill(&mut table)?;
        Ok(table.finish(&Parts::of(dictionary))?.flush()?)
    })
}

/// Makes a file, has it filled and syncs it. One that could not be written leaves its space to
/// others.
fn create<E: From<io::Error>>(
    disk: &dyn Disk,
    name: &str,
    fill: impl FnOnce(&Arc<dyn DiskFile>) -> Result<(), E>,
) -> Result<(), E> {
    remove(disk, name)?;
    let file = disk.create(name)?;
    let written = fill(&file).and_then(|()| Ok(file.sync_data()?));
    if written.is_err() {
        // A file that stays is removed when it is made again, or at the next open.
        drop(remove(disk, name));
    }
    written
}

/// Returns the bytes of an index that has only terms, which come in ascending order.
pub(crate) fn encode_terms(
    identity: &IndexIdentity,
    terms: &SortedTerms<'_>,
) -> io::Result<Vec<u8>> {
    let mut table = TermTable::new(identity, terms.len(), Vec::new())?;
    for (term, ordinals) in terms.iter() {
        table.push(term, ordinals)?;
    }
    table.finish(&Parts::of(&Dictionary::default()))
}

/// Returns the bytes of an index file.
pub(crate) fn encode(identity: &IndexIdentity, tail: &TailIndex) -> io::Result<Vec<u8>> {
    encode_into(Vec::new(), identity, tail)
}

fn encode_into<S: Sink>(sink: S, identity: &IndexIdentity, tail: &TailIndex) -> io::Result<S> {
    let terms = tail.sorted_terms();
    // First, so that what it takes to make it and the keys of the table are not in memory at once.
    let filter = filter(&terms)?;
    let mut table = TermTable::new(identity, terms.len(), sink)?;
    for (term, ordinals) in terms.iter() {
        table.push(term, ordinals)?;
    }
    drop(terms);
    table.finish(&Parts {
        offsets: integers(tail.offsets().iter().map(|offset| offset.to_le_bytes())),
        names: names(tail),
        times: tail.times().encode(),
        filter,
    })
}

/// The sections of an index file that are not its terms.
struct Parts {
    offsets: Vec<u8>,
    names: Vec<u8>,
    times: Vec<u8>,
    /// Empty where there is none.
    filter: Vec<u8>,
}

impl Parts {
    /// Those of an index of documents.
    fn of(dictionary: &Dictionary) -> Self {
        let (users, tags) = (&dictionary.users, &dictionary.tags);
        let mut names = Vec::new();
        put_names(&mut names, users.iter());
        put_names(&mut names, tags.iter());
        let left_out: Vec<_> = dictionary.left_out.iter().collect();
        put_names(&mut names, left_out.iter().map(|path| path.as_str()));
        let complete = [users, tags].map(|names| u8::from(names.is_complete()));
        Self {
            offsets: Vec::new(),
            names,
            times: complete.to_vec(),
            filter: Vec::new(),
        }
    }
}

/// Writes an index file from its first byte to its last, so that only the keys of its terms are
/// in memory: the postings go out as they come.
pub(crate) struct TermTable<S> {
    out: Sections<S>,
    /// How many bytes of postings there are.
    n_postings: u64,
    keys: Vec<u8>,
    refs: Vec<u8>,
    posting: Vec<u8>,
    fences: Vec<u64>,
    n_keys: usize,
}

impl<S: Sink> TermTable<S> {
    /// `n_keys_max` is how many terms there may be.
    fn new(identity: &IndexIdentity, n_keys_max: usize, sink: S) -> io::Result<Self> {
        let mut out = Sections::new(sink);
        out.put(&identity.encode())?;
        out.begin(POSTINGS)?;
        Ok(Self {
            out,
            n_postings: 0,
            // To grow them by and by would have them in memory twice.
            keys: Vec::with_capacity(n_keys_max * 8),
            refs: Vec::with_capacity(n_keys_max * 4),
            posting: Vec::new(),
            fences: Vec::new(),
            n_keys: 0,
        })
    }

    /// Adds the next term with the ordinals of its events, ascending.
    pub(crate) fn push(&mut self, term: u64, ordinals: &[u32]) -> io::Result<()> {
        let reference = match ordinals {
            [only] => *only,
            ordinals => {
                let place = u32::try_from(self.n_postings / 4).ok();
                let place = place.filter(|at| *at < POSTING_BIT);
                let place = place.ok_or(io::ErrorKind::FileTooLarge)?;
                self.posting.clear();
                encode_posting(ordinals, &mut self.posting)?;
                self.out.put(&self.posting)?;
                self.n_postings += self.posting.len() as u64;
                place | POSTING_BIT
            }
        };
        if self.n_keys.is_multiple_of(KEYS_PER_FENCE) {
            self.fences.push(term);
        }
        self.n_keys += 1;
        self.keys.extend_from_slice(&term.to_le_bytes());
        self.refs.extend_from_slice(&reference.to_le_bytes());
        Ok(())
    }

    /// Writes the rest, and returns what it was written to.
    fn finish(mut self, parts: &Parts) -> io::Result<S> {
        let fences = u32::try_from(self.fences.len()).unwrap_or(u32::MAX);
        let mut filter = fences.to_le_bytes().to_vec();
        filter.extend(self.fences.iter().flat_map(|fence| fence.to_le_bytes()));
        if parts.filter.is_empty() {
            filter.extend_from_slice(&[0; BinaryFuse8::DESCRIPTOR_LEN + 4]);
        } else {
            filter.extend_from_slice(&parts.filter);
        }
        for (section, bytes) in [
            (KEYS, &self.keys),
            (REFS, &self.refs),
            (OFFSETS, &parts.offsets),
            (NAMES, &parts.names),
            (TIMES, &parts.times),
            (FILTER, &filter),
        ] {
            self.out.begin(section)?;
            self.out.put(bytes)?;
        }
        self.out.finish()
    }
}

fn integers<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    values.flatten().collect()
}

fn encode_posting(ordinals: &[u32], postings: &mut Vec<u8>) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let mut list = Vec::new();
    if ordinals.len() <= LIST_MAX {
        let mut previous = 0;
        for &ordinal in ordinals {
            leb128(ordinal - previous, &mut list);
            previous = ordinal;
        }
    } else {
        let mut bitmap: RoaringBitmap = ordinals.iter().copied().collect();
        bitmap.optimize();
        bitmap.serialize_into(&mut list)?;
    }
    let count = u32::try_from(ordinals.len()).map_err(too_large)?;
    let length = u32::try_from(list.len()).map_err(too_large)?;
    postings.extend_from_slice(&count.to_le_bytes());
    postings.extend_from_slice(&length.to_le_bytes());
    postings.extend_from_slice(&list);
    postings.resize(postings.len().next_multiple_of(4), 0);
    Ok(())
}

fn leb128(mut number: u32, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        // The mask keeps seven bits.
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

/// Reads a posting list: the head (ordinals, bytes) has been taken off.
pub(crate) fn decode_posting(count: u32, list: &[u8]) -> Option<RoaringBitmap> {
    if count as usize > LIST_MAX {
        let bitmap = RoaringBitmap::deserialize_from(list).ok()?;
        return (bitmap.len() == u64::from(count)).then_some(bitmap);
    }
    let mut bitmap = RoaringBitmap::new();
    let mut rest = list.iter();
    let mut ordinal = 0_u32;
    for _ in 0..count {
        let mut difference = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = rest.next()?;
            difference |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        ordinal = ordinal.checked_add(difference)?;
        bitmap.try_push(ordinal).ok()?;
    }
    Some(bitmap)
}

fn names(tail: &TailIndex) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_names(&mut bytes, tail.event_types());
    put_names(&mut bytes, tail.aggregate_types());
    bytes
}

fn put_names<'a>(bytes: &mut Vec<u8>, names: impl ExactSizeIterator<Item = &'a str>) {
    bytes.extend_from_slice(&u32::try_from(names.len()).unwrap_or(u32::MAX).to_le_bytes());
    for name in names {
        bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
    }
}

fn filter(terms: &SortedTerms<'_>) -> io::Result<Vec<u8>> {
    let keys: Vec<_> = terms.iter().map(|(term, _)| term).collect();
    let filter = BinaryFuse8::try_from(&keys).map_err(io::Error::other)?;
    let mut descriptor = [0; BinaryFuse8::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut descriptor);
    let mut bytes = descriptor.to_vec();
    let length = u32::try_from(filter.fingerprints.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&filter.fingerprints);
    Ok(bytes)
}
