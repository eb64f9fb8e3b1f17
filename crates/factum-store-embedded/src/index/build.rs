//! Writes the index of a closed segment.

use std::io;

use factum_model::Position;
use factum_store::StoreId;
use roaring::RoaringBitmap;
use xorf::{BinaryFuse8, DmaSerializable as _};

use crate::bytes_io::{crc, put};
use crate::disk::Disk;
use crate::frame::FORMAT_VERSION;
use crate::index::TailIndex;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const HEADER_MAGIC: &[u8; 8] = b"FCTMIDX1";
pub(crate) const FOOTER_BYTES: usize = 144;
pub(crate) const FOOTER_MAGIC: &[u8; 8] = b"FCTMIDXF";
pub(crate) const N_SECTIONS: usize = 7;
/// How many bytes share a checksum.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// How many keys there are to a fence.
pub(crate) const KEYS_PER_FENCE: usize = 512;
/// Marks a reference into the postings; without it the reference is an ordinal.
pub(crate) const POSTING_BIT: u32 = 1 << 31;
/// Lists up to this length are stored as differences, longer ones as bitmaps.
const LIST_MAX: usize = 1024;

/// What the header of an index says about its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexIdentity {
    pub(crate) store_id: StoreId,
    pub(crate) base: Position,
    pub(crate) generation: u32,
    pub(crate) n_events: u32,
    pub(crate) log_end: u64,
}

impl IndexIdentity {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, HEADER_MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.store_id.0);
        put(&mut bytes, 32, &self.base.get().to_le_bytes());
        put(&mut bytes, 40, &self.n_events.to_le_bytes());
        put(&mut bytes, 44, &self.log_end.to_le_bytes());
        let sum = crc(&bytes[..60]);
        put(&mut bytes, 60, &sum.to_le_bytes());
        bytes
    }
}

/// Writes an index file and syncs it and its name.
pub(crate) fn write(
    disk: &dyn Disk,
    name: &str,
    identity: &IndexIdentity,
    tail: &TailIndex,
) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = disk.create(name)?;
    file.write_at(&encode(identity, tail)?, 0)?;
    file.sync_data()?;
    disk.sync_dir()
}

/// Returns the bytes of an index file.
pub(crate) fn encode(identity: &IndexIdentity, tail: &TailIndex) -> io::Result<Vec<u8>> {
    let terms = tail.sorted_terms();
    let mut file = identity.encode().to_vec();
    let mut sections = Vec::with_capacity(N_SECTIONS);
    let mut section = |file: &mut Vec<u8>, bytes: &[u8]| {
        file.resize(file.len().next_multiple_of(8), 0);
        sections.push((file.len() as u64, bytes.len() as u64));
        file.extend_from_slice(bytes);
    };
    section(
        &mut file,
        &integers(tail.offsets().iter().map(|offset| offset.to_le_bytes())),
    );
    section(
        &mut file,
        &integers(terms.iter().map(|(term, _)| term.to_le_bytes())),
    );
    let (refs, postings) = references(&terms)?;
    section(
        &mut file,
        &integers(refs.iter().map(|reference| reference.to_le_bytes())),
    );
    section(&mut file, &postings);
    section(&mut file, &names(tail));
    section(&mut file, &tail.times().encode());
    section(&mut file, &filter(&terms)?);
    let checks = integers(
        file.chunks(BLOCK_BYTES)
            .map(|block| crc(block).to_le_bytes()),
    );
    let checks_offset = file.len() as u64;
    file.extend_from_slice(&checks);
    sections.push((checks_offset, checks.len() as u64));
    let footer = footer(&sections, crc(&checks));
    file.extend_from_slice(&footer);
    Ok(file)
}

fn integers<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
    values.flatten().collect()
}

fn references(terms: &[(u64, &[u32])]) -> io::Result<(Vec<u32>, Vec<u8>)> {
    let mut refs = Vec::with_capacity(terms.len());
    let mut postings = Vec::new();
    for (_, ordinals) in terms {
        match ordinals {
            [only] => refs.push(*only),
            ordinals => {
                let place = u32::try_from(postings.len() / 4)
                    .ok()
                    .filter(|at| *at < POSTING_BIT);
                let place = place.ok_or(io::ErrorKind::FileTooLarge)?;
                refs.push(place | POSTING_BIT);
                encode_posting(ordinals, &mut postings)?;
            }
        }
    }
    Ok((refs, postings))
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
    let types: Vec<_> = tail.event_types().collect();
    let aggregates: Vec<_> = tail.aggregate_types().collect();
    for names in [types, aggregates] {
        bytes.extend_from_slice(&u32::try_from(names.len()).unwrap_or(u32::MAX).to_le_bytes());
        for name in names {
            bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
    }
    bytes
}

fn filter(terms: &[(u64, &[u32])]) -> io::Result<Vec<u8>> {
    let fences: Vec<_> = terms
        .iter()
        .step_by(KEYS_PER_FENCE)
        .map(|(term, _)| *term)
        .collect();
    let keys: Vec<_> = terms.iter().map(|(term, _)| *term).collect();
    let filter = BinaryFuse8::try_from(&keys).map_err(io::Error::other)?;
    let mut bytes = u32::try_from(fences.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes()
        .to_vec();
    bytes.extend(fences.iter().flat_map(|fence| fence.to_le_bytes()));
    let mut descriptor = [0; BinaryFuse8::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut descriptor);
    bytes.extend_from_slice(&descriptor);
    let length = u32::try_from(filter.fingerprints.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&filter.fingerprints);
    Ok(bytes)
}

fn footer(sections: &[(u64, u64)], checks_crc: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOTER_BYTES);
    for (offset, length) in sections {
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(&checks_crc.to_le_bytes());
    let sum = crc(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(FOOTER_MAGIC);
    bytes
}
