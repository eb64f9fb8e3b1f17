//! Logs of closed segments, compressed block by block. Everybody who reads them sees the bytes as
//! they were written: the name `….log` opens `….cold` where only that is there.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::bytes_io::{Reader, Short, crc, put};
use crate::disk::{Disk, DiskFile, LockError, LockGuard, read_range};

/// How many bytes of a log are compressed together. Every block but the last has that many.
const BLOCK_BYTES: usize = 16 << 10;
const HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"FCTMCLD1";
const VERSION: u32 = 1;
/// A block in the table: its compressed length and the checksum of that.
const ENTRY_BYTES: usize = 8;
/// Above it nothing is gained.
const LEVEL: i32 = 1;
/// How many blocks there are to an offset that is kept.
const BLOCKS_PER_FENCE: usize = 64;
/// How much is compressed between two pauses.
const STEP_BYTES: usize = 1 << 20;

/// Returns the name of the compressed form of a log.
pub(crate) fn cold_name(log_name: &str) -> Option<String> {
    let stem = log_name.strip_suffix(".log")?;
    log_name.starts_with("seg-").then(|| format!("{stem}.cold"))
}

/// A disk on which some logs are compressed.
#[derive(Debug)]
pub(crate) struct ColdDisk {
    inner: Arc<dyn Disk>,
}

impl ColdDisk {
    pub(crate) const fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner }
    }

    /// Removes what a crash left over: compressed forms that are not whole, and those beside
    /// which the log itself is still there.
    pub(crate) fn clean(&self) -> io::Result<()> {
        let names = self.inner.list()?;
        for name in &names {
            let stem = name.strip_suffix(".cold");
            let doubled = stem.is_some_and(|stem| names.contains(&format!("{stem}.log")));
            if doubled || name.ends_with(".cold.new") {
                self.inner.remove(name)?;
            }
        }
        Ok(())
    }

    /// Compresses a log in place of itself. The file is synced and read back before the log goes;
    /// a crash leaves one or the other, or both. `pause` is called after every step and says
    /// whether to go on. What `alone` returns is held while names change, so that nobody else
    /// syncs them in between. Returns the compressed file; `None` when it was stopped.
    pub(crate) fn compress<G>(
        &self,
        log_name: &str,
        mut pause: impl FnMut(usize) -> bool,
        alone: impl FnOnce() -> G,
    ) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let cold_name = cold_name(log_name).ok_or(io::ErrorKind::InvalidInput)?;
        let new_name = format!("{cold_name}.new");
        match self.inner.remove(&new_name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let log = self.inner.open(log_name)?;
        let target = self.inner.create(&new_name)?;
        if !write_cold(&*log, &*target, &mut pause)? {
            self.inner.remove(&new_name)?;
            return Ok(None);
        }
        target.sync_data()?;
        let cold = ColdFile::open(self.inner.open(&new_name)?)?;
        if !same(&*log, &cold, &mut pause)? {
            self.inner.remove(&new_name)?;
            return Ok(None);
        }
        let _alone = alone();
        self.inner.rename(&new_name, &cold_name)?;
        self.inner.sync_dir()?;
        self.inner.remove(log_name)?;
        self.inner.sync_dir()?;
        Ok(Some(Arc::new(cold)))
    }

    /// Tells whether a log is there as it was written.
    pub(crate) fn is_raw(&self, log_name: &str) -> io::Result<bool> {
        match self.inner.open(log_name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_cold(&self, log_name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let name = cold_name(log_name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(ColdFile::open(self.inner.open(&name)?)?))
    }
}

impl Disk for ColdDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.inner.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.open_cold(name),
            file => file,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.inner.remove(name);
        let Some(cold) = cold_name(name) else {
            return removed;
        };
        // Of a log that goes nothing stays.
        match (removed, self.inner.remove(&cold)) {
            (Err(error), Ok(())) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            (removed, _) => removed,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.inner.list()?;
        for name in &mut names {
            if let Some(stem) = name.strip_suffix(".cold") {
                *name = format!("{stem}.log");
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn LockGuard>, LockError> {
        self.inner.lock(name, holder)
    }

    fn damage(&self, name: &str) -> io::Result<Option<String>> {
        match self.inner.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(None),
        }
        let Some(cold) = cold_name(name) else {
            return Ok(None);
        };
        let file = self.inner.open(&cold)?;
        match ColdFile::open(file) {
            Ok(file) => file.damage(),
            Err(error) => Ok(Some(format!("{cold}: {error}"))),
        }
    }
}

/// A compressed log.
///
/// ```text
/// header ‖ table ‖ blocks ‖ table ‖ header
/// ```
struct ColdFile {
    file: Arc<dyn DiskFile>,
    raw_bytes: u64,
    table: Table,
    /// The block that was read last.
    last: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

impl fmt::Debug for ColdFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ColdFile").field(&self.file).finish()
    }
}

/// Where the blocks are.
struct Table {
    /// The compressed length and the checksum of each block.
    blocks: Vec<(u32, u32)>,
    /// The offset of every 64th block.
    fences: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    raw_bytes: u64,
    /// Where the second table is.
    tail_at: u64,
    table_crc: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 12, &self.table_crc.to_le_bytes());
        put(&mut bytes, 16, &self.raw_bytes.to_le_bytes());
        put(&mut bytes, 24, &self.tail_at.to_le_bytes());
        let sum = crc(&bytes[..60]);
        put(&mut bytes, 60, &sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Option<Self>, Short> {
        let mut reader = Reader::new(bytes);
        let magic = reader.bytes(8)?;
        let version = reader.u32()?;
        let header = Self {
            table_crc: reader.u32()?,
            raw_bytes: reader.u64()?,
            tail_at: reader.u64()?,
        };
        let whole = magic == MAGIC && version == VERSION && header.encode() == bytes;
        Ok(whole.then_some(header))
    }

    fn n_blocks(self) -> usize {
        let n_blocks = self.raw_bytes.div_ceil(BLOCK_BYTES as u64);
        usize::try_from(n_blocks).unwrap_or(usize::MAX)
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl ColdFile {
    fn open(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let length = file.length()?;
        let (first, last) = headers(&*file, length)?;
        let header = first
            .or(last)
            .ok_or_else(|| damaged("both headers are damaged"))?;
        let [first, last] = tables(&*file, header, length)?;
        let blocks = first
            .or(last)
            .ok_or_else(|| damaged("both tables are damaged"))?;
        let mut fences = Vec::with_capacity(blocks.len() / BLOCKS_PER_FENCE + 1);
        let mut offset = (HEADER_BYTES + blocks.len() * ENTRY_BYTES) as u64;
        for (number, (block_bytes, _)) in blocks.iter().enumerate() {
            if number % BLOCKS_PER_FENCE == 0 {
                fences.push(offset);
            }
            offset += u64::from(*block_bytes);
        }
        if offset != header.tail_at {
            return Err(damaged("the blocks do not fill the file"));
        }
        Ok(Self {
            file,
            raw_bytes: header.raw_bytes,
            table: Table { blocks, fences },
            last: Mutex::new(None),
        })
    }

    /// Returns a block, out of its checksum.
    fn read_block(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, block)) = &*last
            && *known == number
        {
            return Ok(Arc::clone(block));
        }
        drop(last);
        let block = Arc::new(self.decompress(number)?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((number, Arc::clone(&block)));
        Ok(block)
    }

    fn decompress(&self, number: usize) -> io::Result<Vec<u8>> {
        let fence = number / BLOCKS_PER_FENCE;
        let before = self.table.blocks.get(fence * BLOCKS_PER_FENCE..number);
        let skipped: u64 = before
            .unwrap_or_default()
            .iter()
            .map(|block| u64::from(block.0))
            .sum();
        let fence = self.table.fences.get(fence).copied();
        let entry = self.table.blocks.get(number).copied();
        let (Some(fence), Some((length, sum))) = (fence, entry) else {
            return Err(damaged("a block outside of the file"));
        };
        let bytes = read_range(&*self.file, fence + skipped, length as usize)?;
        if crc(&bytes) != sum {
            return Err(damaged("the checksum of a block is wrong"));
        }
        let wanted = self.block_bytes(number);
        let block = zstd::bulk::decompress(&bytes, wanted)?;
        if block.len() != wanted {
            return Err(damaged("a block is too short"));
        }
        Ok(block)
    }

    fn block_bytes(&self, number: usize) -> usize {
        let start = (number * BLOCK_BYTES) as u64;
        let left = self.raw_bytes.saturating_sub(start);
        usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES)
    }

    /// Reads everything, both copies of what is there twice too, and says what is damaged.
    fn damage(&self) -> io::Result<Option<String>> {
        let length = self.file.length()?;
        let (first, last) = headers(&*self.file, length)?;
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Some("a copy of the header is damaged".to_owned()));
        };
        if first != last || tables(&*self.file, first, length)?.contains(&None) {
            return Ok(Some("a copy of the table is damaged".to_owned()));
        }
        for number in 0..self.table.blocks.len() {
            match self.decompress(number) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Ok(Some(format!("block {number}: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Returns the two copies of the header, each if it is whole.
fn headers(file: &dyn DiskFile, length: u64) -> io::Result<(Option<Header>, Option<Header>)> {
    let Some(last_at) = length.checked_sub(HEADER_BYTES as u64) else {
        return Err(damaged("too short"));
    };
    let read = |at| -> io::Result<Option<Header>> {
        let bytes = read_range(file, at, HEADER_BYTES)?;
        let header = Header::decode(&bytes).unwrap_or(None);
        // A header that was never written by us must not ask for much memory.
        Ok(header.filter(|header| {
            let table = (header.n_blocks() as u64).saturating_mul(ENTRY_BYTES as u64);
            header
                .tail_at
                .checked_add(table)
                .and_then(|end| end.checked_add(HEADER_BYTES as u64))
                == Some(length)
        }))
    };
    Ok((read(0)?, read(last_at)?))
}

type Blocks = Vec<(u32, u32)>;

/// Returns the two copies of the table, each if it is whole.
fn tables(file: &dyn DiskFile, header: Header, length: u64) -> io::Result<[Option<Blocks>; 2]> {
    let table_bytes = header.n_blocks().saturating_mul(ENTRY_BYTES);
    if table_bytes as u64 > length {
        return Err(damaged("the table is longer than the file"));
    }
    let read = |at| -> io::Result<Option<Blocks>> {
        let bytes = read_range(file, at, table_bytes)?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let entry = |[a, b, c, d, e, f, g, h]: &[u8; ENTRY_BYTES]| {
            (
                u32::from_le_bytes([*a, *b, *c, *d]),
                u32::from_le_bytes([*e, *f, *g, *h]),
            )
        };
        let whole = crc(&bytes) == header.table_crc;
        Ok(whole.then(|| entries.iter().map(entry).collect()))
    };
    Ok([read(HEADER_BYTES as u64)?, read(header.tail_at)?])
}

impl DiskFile for ColdFile {
    /// A block that is damaged reads as zeros: whoever reads the records in it finds that they
    /// are not right, and says which.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.raw_bytes.saturating_sub(offset);
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut done = 0;
        while done < length {
            let at = usize::try_from(offset + done as u64).map_err(io::Error::other)?;
            let (number, start) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
            let n_bytes = (self.block_bytes(number) - start).min(length - done);
            let Some(target) = buffer.get_mut(done..done + n_bytes) else {
                break;
            };
            match self.read_block(number) {
                Ok(block) => match block.get(start..start + n_bytes) {
                    Some(bytes) => target.copy_from_slice(bytes),
                    None => target.fill(0),
                },
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(%error, block = number, file = ?self.file, "a compressed block is damaged");
                    target.fill(0);
                }
                Err(error) => return Err(error),
            }
            done += n_bytes;
        }
        Ok(done)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.raw_bytes)
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn reserve(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn zero(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Writes the compressed form of a log; returns `false` when it was stopped.
fn write_cold(
    log: &dyn DiskFile,
    target: &dyn DiskFile,
    pause: &mut impl FnMut(usize) -> bool,
) -> io::Result<bool> {
    let raw_bytes = log.length()?;
    let n_blocks =
        usize::try_from(raw_bytes.div_ceil(BLOCK_BYTES as u64)).map_err(io::Error::other)?;
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut table = Vec::with_capacity(n_blocks * ENTRY_BYTES);
    let mut offset = (HEADER_BYTES + n_blocks * ENTRY_BYTES) as u64;
    let mut at = 0;
    while at < raw_bytes {
        let left = usize::try_from(raw_bytes - at).unwrap_or(usize::MAX);
        let bytes = read_range(log, at, left.min(STEP_BYTES))?;
        let mut step = Vec::with_capacity(bytes.len() / 2);
        for block in bytes.chunks(BLOCK_BYTES) {
            let compressed = compressor.compress(block)?;
            let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
            table.extend_from_slice(&length.to_le_bytes());
            table.extend_from_slice(&crc(&compressed).to_le_bytes());
            step.extend_from_slice(&compressed);
        }
        target.write_at(&step, offset)?;
        offset += step.len() as u64;
        at += bytes.len() as u64;
        if !pause(bytes.len()) {
            return Ok(false);
        }
    }
    let header = Header {
        raw_bytes,
        tail_at: offset,
        table_crc: crc(&table),
    };
    target.write_at(&table, offset)?;
    target.write_at(&header.encode(), offset + table.len() as u64)?;
    target.write_at(&table, HEADER_BYTES as u64)?;
    target.write_at(&header.encode(), 0)?;
    Ok(true)
}

/// Compares the log with its compressed form, as it will be read; returns `false` when it was
/// stopped.
fn same(
    log: &dyn DiskFile,
    cold: &ColdFile,
    pause: &mut impl FnMut(usize) -> bool,
) -> io::Result<bool> {
    let raw_bytes = log.length()?;
    if raw_bytes != cold.raw_bytes {
        return Err(damaged("the compressed log has another length"));
    }
    let mut at = 0;
    for number in 0..cold.table.blocks.len() {
        let block = cold.decompress(number)?;
        if read_range(log, at, block.len())? != block {
            return Err(damaged("the compressed log is not the log"));
        }
        at += block.len() as u64;
        if number % (STEP_BYTES / BLOCK_BYTES) == 0 && !pause(0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How long to rest after so many bytes, so that no more than a number of them is worked on in a
/// second.
pub(crate) fn rest(n_bytes: usize, bytes_per_second: u64) -> Duration {
    let micros = (n_bytes as u64).saturating_mul(1_000_000) / bytes_per_second.max(1);
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    const LOG: &str = "seg-00000000000000000001.0.log";

    fn content(length: usize) -> Vec<u8> {
        let number = |at: usize| u8::try_from((at * at / 7) % 31).unwrap();
        (0..length).map(number).collect()
    }

    fn disk(directory: &std::path::Path, bytes: &[u8]) -> ColdDisk {
        let inner = Arc::new(OsDisk::open_or_create(directory).unwrap());
        inner.create(LOG).unwrap().write_at(bytes, 0).unwrap();
        ColdDisk::new(inner)
    }

    #[test]
    fn a_compressed_log_reads_like_the_log() {
        for length in [
            0,
            1,
            BLOCK_BYTES - 1,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            3_000_000,
        ] {
            let directory = tempfile::tempdir().unwrap();
            let bytes = content(length);
            let disk = disk(directory.path(), &bytes);
            let cold = disk.compress(LOG, |_| true, || ()).unwrap().unwrap();
            for file in [cold, disk.open(LOG).unwrap()] {
                assert_eq!(file.length().unwrap(), length as u64);
                assert_eq!(read_range(&*file, 0, length).unwrap(), bytes);
                let mut at = 0;
                while at < length {
                    let wanted = (at % 40_000 + 1).min(length - at);
                    let part = read_range(&*file, at as u64, wanted).unwrap();
                    assert_eq!(part, bytes[at..at + wanted]);
                    at += 37_777;
                }
                assert_eq!(file.read_at(&mut [0; 9], length as u64).unwrap(), 0);
                assert!(file.write_at(b"x", 0).is_err());
            }
            assert_eq!(disk.list().unwrap(), [LOG]);
            assert_eq!(disk.damage(LOG).unwrap(), None);
            disk.remove(LOG).unwrap();
            assert!(disk.list().unwrap().is_empty());
        }
    }

    #[test]
    fn a_compression_that_is_stopped_leaves_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = content(2_500_000);
        let disk = disk(directory.path(), &bytes);
        for stop_at in 0..6 {
            let mut steps = 0;
            let stopped = disk.compress(
                LOG,
                |_| {
                    steps += 1;
                    steps <= stop_at
                },
                || (),
            );
            assert!(stopped.unwrap().is_none(), "{stop_at}");
            let log = disk.inner.open(LOG).unwrap();
            assert_eq!(read_range(&*log, 0, bytes.len()).unwrap(), bytes);
        }
        disk.clean().unwrap();
        assert_eq!(disk.inner.list().unwrap(), [LOG]);
    }

    #[test]
    fn every_flipped_bit_is_found_and_hurts_one_block_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = content(BLOCK_BYTES * 2 + 100);
        let disk = disk(directory.path(), &bytes);
        disk.compress(LOG, |_| true, || ()).unwrap().unwrap();
        let path = directory.path().join(cold_name(LOG).unwrap());
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert!(disk.damage(LOG).unwrap().is_some(), "bit {bit}");
            let file = disk.open(LOG).unwrap();
            let read = read_range(&*file, 0, bytes.len()).unwrap();
            let wrong = read
                .chunks(BLOCK_BYTES)
                .zip(bytes.chunks(BLOCK_BYTES))
                .filter(|(read, bytes)| read != bytes)
                .inspect(|(read, _)| assert!(read.iter().all(|byte| *byte == 0)))
                .count();
            assert!(wrong <= 1, "bit {bit}");
        }
    }
}
