//! Writes a file of sections from its first byte to its last: a checksum for every block, and a
//! footer that says where the sections are.

use std::io;
use std::sync::Arc;

use crate::bytes_io::crc;
use crate::disk::DiskFile;
use crate::index::build::{BLOCK_BYTES, CHECKS, FOOTER_BYTES, FOOTER_MAGIC};

/// How much is gathered before it is written to a file.
const WRITE_BYTES: usize = 256 << 10;

/// Where the bytes go.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A file that is written from its beginning on.
pub(crate) struct FileSink {
    file: Arc<dyn DiskFile>,
    at: u64,
    gathered: Vec<u8>,
}

impl FileSink {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self {
            file,
            at: 0,
            gathered: Vec::with_capacity(WRITE_BYTES),
        }
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.gathered, self.at)?;
        self.at += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl Sink for FileSink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.gathered.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    offset: u64,
    length: u64,
}

/// A file of sections that is being written.
pub(crate) struct Sections<S> {
    sink: S,
    /// How many bytes were put.
    at: u64,
    /// The block that is not full yet.
    block: Vec<u8>,
    checks: Vec<u8>,
    places: [Place; CHECKS + 1],
    /// The section that is being written.
    current: Option<usize>,
}

impl<S: Sink> Sections<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink,
            at: 0,
            block: Vec::with_capacity(BLOCK_BYTES),
            checks: Vec::new(),
            places: [Place::default(); CHECKS + 1],
            current: None,
        }
    }

    /// Begins a section, at the next place that eight divides.
    pub(crate) fn begin(&mut self, section: usize) -> io::Result<()> {
        self.end();
        let padding = self.at.next_multiple_of(8) - self.at;
        let padding = usize::try_from(padding).unwrap_or_default();
        self.put([0; 8].get(..padding).unwrap_or_default())?;
        self.current = Some(section);
        self.place(section).offset = self.at;
        Ok(())
    }

    /// Adds bytes to the section.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (taken, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(taken);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.end_block()?;
            }
        }
        Ok(())
    }

    /// Writes the checksums and the footer.
    pub(crate) fn finish(mut self) -> io::Result<S> {
        self.end();
        if !self.block.is_empty() {
            self.end_block()?;
        }
        *self.place(CHECKS) = Place {
            offset: self.at,
            length: self.checks.len() as u64,
        };
        self.sink.put(&self.checks)?;
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        for place in &self.places {
            footer.extend_from_slice(&place.offset.to_le_bytes());
            footer.extend_from_slice(&place.length.to_le_bytes());
        }
        footer.extend_from_slice(&crc(&self.checks).to_le_bytes());
        let sum = crc(&footer);
        footer.extend_from_slice(&sum.to_le_bytes());
        footer.extend_from_slice(FOOTER_MAGIC);
        self.sink.put(&footer)?;
        Ok(self.sink)
    }

    fn end(&mut self) {
        if let Some(section) = self.current.take() {
            let at = self.at;
            let place = self.place(section);
            place.length = at - place.offset;
        }
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.checks
            .extend_from_slice(&crc(&self.block).to_le_bytes());
        self.sink.put(&self.block)?;
        self.block.clear();
        Ok(())
    }

    fn place(&mut self, section: usize) -> &mut Place {
        &mut self.places[section]
    }
}
