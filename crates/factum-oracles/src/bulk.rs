//! Bodies of bulk appends: lines, packed or not, in pieces of any size.

use bytes::Bytes;

/// The first byte says how the rest is packed and cut into pieces.
///
/// # Panics
/// When the lines of a plain body are not those between its line ends, or when there are more
/// bytes in them than a reader allows.
pub fn bulk(data: &[u8]) {
    let Some((&how, body)) = data.split_first() else {
        return;
    };
    let encoding = match how & 3 {
        0 | 3 => "identity",
        1 => "gzip",
        _ => "zstd",
    };
    let piece = usize::from(how >> 2) + 1;
    let pieces: Vec<Bytes> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let lines = runtime.block_on(factum_server::fuzzing::bulk_lines(pieces, encoding));
    if encoding != "identity" {
        return;
    }
    let lines = lines.expect("nothing can be wrong with plain lines of this size");
    let mut expected: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    // What follows the last line end is a line only if it is something.
    if expected.last().is_some_and(|last| last.is_empty()) {
        expected.pop();
    }
    assert_eq!(lines, expected);
}
