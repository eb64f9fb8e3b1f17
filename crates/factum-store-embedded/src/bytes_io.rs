//! Little-endian integers in byte slices, without a panic on short ones.

use crc_fast::CrcAlgorithm;

/// Returns the CRC-32C of some bytes.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    // The algorithm is 32 bits wide, so nothing is cut.
    u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or_default()
}

/// Takes integers and slices off the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// The bytes end before what should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_le_bytes)
    }

    /// Reads a count of things of at least `size` bytes each, so that a damaged count cannot ask
    /// for more memory than there are bytes.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, Short> {
        let count = self.u32()? as usize;
        if count.saturating_mul(size) > self.rest.len() {
            Err(Short)
        } else {
            Ok(count)
        }
    }
}

/// Puts bytes at a place that was reserved before.
pub(crate) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Returns `length` rounded up to a multiple of eight.
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}
