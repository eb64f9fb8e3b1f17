//! Opens what is imported: a file or standard input; plain, gzip or zstd by its first bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// An opened input.
pub(crate) struct Source {
    /// Its bytes, unpacked.
    pub(crate) reader: Box<dyn BufRead + Send>,
    /// How many bytes it has before unpacking; `None` where nobody knows.
    pub(crate) n_bytes: Option<u64>,
    /// How many bytes have been read, before unpacking.
    pub(crate) n_bytes_read: Arc<AtomicU64>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("n_bytes", &self.n_bytes)
            .finish_non_exhaustive()
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER_BYTES: usize = 1 << 17;

/// Opens a file, or standard input for `-`.
pub(crate) fn open(path: &Path) -> io::Result<Source> {
    if path.as_os_str() == "-" {
        return unpack(Box::new(io::stdin()), None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let n_bytes = metadata.is_file().then_some(metadata.len());
    unpack(Box::new(file), n_bytes)
}

fn unpack(input: Box<dyn Read + Send>, n_bytes: Option<u64>) -> io::Result<Source> {
    let n_bytes_read = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        input,
        n_bytes_read: Arc::clone(&n_bytes_read),
    };
    let mut head = Vec::new();
    let mut counted = counted;
    // A pipe may give its first bytes one by one.
    Read::by_ref(&mut counted).take(4).read_to_end(&mut head)?;
    let packed =
        BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(head.clone()).chain(counted));
    let reader: Box<dyn BufRead + Send> = if head.starts_with(&GZIP) {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(packed),
        ))
    } else if head.starts_with(&ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else {
        Box::new(packed)
    };
    Ok(Source {
        reader,
        n_bytes,
        n_bytes_read,
    })
}

struct Counted {
    input: Box<dyn Read + Send>,
    n_bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.input.read(buffer)?;
        self.n_bytes_read
            .fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(bytes: Vec<u8>) -> Vec<u8> {
        let n_bytes = bytes.len() as u64;
        let mut source = unpack(Box::new(io::Cursor::new(bytes)), Some(n_bytes)).unwrap();
        let mut text = Vec::new();
        source.reader.read_to_end(&mut text).unwrap();
        assert_eq!(source.n_bytes_read.load(Ordering::Relaxed), n_bytes);
        text
    }

    #[test]
    fn the_first_bytes_tell_how_a_file_is_packed() {
        let text = b"{\"a\":1}\n{\"a\":2}\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(unpacked(gzip.clone()), text);
        // Log rotation appends members; all of them count.
        assert_eq!(
            unpacked([gzip.clone(), gzip].concat()).len(),
            2 * text.len()
        );
        assert_eq!(unpacked(zstd::encode_all(&text[..], 1).unwrap()), text);
        assert_eq!(unpacked(text.clone()), text);
        assert_eq!(unpacked(Vec::new()), b"");
        assert_eq!(unpacked(b"{}".to_vec()), b"{}");
    }

    #[test]
    fn a_cut_archive_is_an_error_and_not_an_end() {
        let text = b"{\"a\":1}\n".repeat(1000);
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        let half = packed[..packed.len() - 5].to_vec();
        let mut source = unpack(Box::new(io::Cursor::new(half)), None).unwrap();
        assert!(source.reader.read_to_end(&mut Vec::new()).is_err());
    }
}
