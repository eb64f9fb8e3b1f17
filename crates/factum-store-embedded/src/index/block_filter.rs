//! A filter over terms to which terms can be added while others ask it.
//!
//! It is the split block Bloom filter that Parquet describes
//! (<https://parquet.apache.org/docs/file-format/bloomfilter/>): a term has one bit in each of the
//! eight words of one block, so asking touches one cache line. Terms are keyed hashes already, so
//! nobody outside can choose which bits they have.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::term::Term;

/// With so many bits a term, about one in 200 terms that are not there seems to be there.
const BITS_PER_TERM: usize = 12;
const BLOCK_BITS: usize = 256;
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Half a cache line, never across two.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Block([AtomicU32; 8]);

/// A filter that never denies a term that was added.
///
/// Adding is not ordered with asking: whoever may rely on what a term was added for has to learn of
/// it in a way of its own, such as a lock.
pub(crate) struct BlockFilter {
    blocks: Box<[Block]>,
}

impl std::fmt::Debug for BlockFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockFilter")
            .field("n_blocks", &self.blocks.len())
            .finish()
    }
}

impl BlockFilter {
    /// Makes an empty filter with room for a number of terms. More may be added; then it denies less.
    pub(crate) fn with_capacity(n_terms: usize) -> Self {
        let n_blocks = (n_terms * BITS_PER_TERM).div_ceil(BLOCK_BITS).max(1);
        Self {
            blocks: (0..n_blocks).map(|_| Block::default()).collect(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// Adds a term.
    pub(crate) fn add(&self, term: Term) {
        let Some((block, bits)) = self.place(term) else {
            return;
        };
        for (word, bit) in block.0.iter().zip(bits) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Tells whether a term may have been added.
    pub(crate) fn may_contain(&self, term: Term) -> bool {
        let Some((block, bits)) = self.place(term) else {
            return true;
        };
        let mut words = block.0.iter().zip(bits);
        words.all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Returns the block of a term, and its bit in each word. The upper half of the term chooses
    /// the block, the lower half the bits.
    fn place(&self, term: Term) -> Option<(&Block, [u32; 8])> {
        #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
        let low = term as u32;
        let number = (u128::from(term >> 32) * self.blocks.len() as u128) >> 32;
        let block = self.blocks.get(usize::try_from(number).ok()?)?;
        Some((block, SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(number: u64) -> u64 {
        let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    #[test]
    fn what_was_added_is_never_denied_and_little_else_is_let_through() {
        let filter = BlockFilter::with_capacity(100_000);
        let terms = |from: u64| (from..from + 100_000).map(spread);
        terms(1).for_each(|term| filter.add(term));
        assert!(terms(1).all(|term| filter.may_contain(term)));
        let n_wrong = terms(1 << 40)
            .filter(|term| filter.may_contain(*term))
            .count();
        assert!(n_wrong < 1000, "{n_wrong} of 100,000");
    }

    #[test]
    fn a_filter_without_room_takes_terms_all_the_same() {
        let filter = BlockFilter::with_capacity(0);
        (0..1000).map(spread).for_each(|term| filter.add(term));
        assert!((0..1000).map(spread).all(|term| filter.may_contain(term)));
    }
}
