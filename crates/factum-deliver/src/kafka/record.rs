//! Records as brokers store them, and the partition that a key belongs to.

use crc_fast::CrcAlgorithm;

use super::wire::Writer;

/// The format of batches since Kafka 0.11.
const MAGIC: i8 = 2;

/// What is written of an event.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) headers: &'a [(String, String)],
    /// Milliseconds since 1970.
    pub(super) timestamp_ms: i64,
}

/// Writes a batch of one record, of a producer without an identity.
pub(super) fn batch(record: &Record<'_>) -> Vec<u8> {
    let mut checked = Writer::default();
    // No compression, the writer's timestamp, no transaction.
    checked.int16(0);
    checked.int32(0);
    checked.int64(record.timestamp_ms);
    checked.int64(record.timestamp_ms);
    checked.int64(-1);
    checked.int16(-1);
    checked.int32(-1);
    checked.count(1);
    checked.short_bytes(&body(record));
    let checked = checked.into_bytes();
    let mut rest = Writer::default();
    rest.int32(-1);
    rest.int8(MAGIC);
    rest.uint32(crc32c(&checked));
    rest.raw(&checked);
    let rest = rest.into_bytes();
    let mut batch = Writer::default();
    batch.int64(0);
    batch.bytes(&rest);
    batch.into_bytes()
}

fn body(record: &Record<'_>) -> Vec<u8> {
    let mut body = Writer::default();
    body.int8(0);
    body.varint(0);
    body.varint(0);
    body.short_bytes(record.key);
    body.short_bytes(record.value);
    body.varint(i64::try_from(record.headers.len()).unwrap_or(i64::MAX));
    for (name, value) in record.headers {
        body.short_bytes(name.as_bytes());
        body.short_bytes(value.as_bytes());
    }
    body.into_bytes()
}

fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or_default()
}

/// Returns the partition of a key as Kafka's own producer chooses it, so that all who write agree.
pub(super) fn partition_of(key: &[u8], partitions: usize) -> usize {
    let hash = murmur2(key) & 0x7fff_ffff;
    (hash as usize).checked_rem(partitions).unwrap_or(0)
}

/// MurmurHash2 with the seed of Kafka.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // The length counts modulo 2^32.
    let [a, b, c, d, ..] = bytes.len().to_le_bytes();
    let mut hash = SEED ^ u32::from_le_bytes([a, b, c, d]);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_other_producers_put_them() {
        // From the tests of Kafka itself (`UtilsTest.testMurmur2`).
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert_eq!(partition_of(b"abc", 10), 7);
        assert_eq!(partition_of(b"abc", 0), 0);
    }

    #[test]
    fn the_checksum_is_that_of_the_protocol() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
