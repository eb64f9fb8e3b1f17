//! The span of times in every block of 1,024 events, so that a time range skips the other blocks.

use factum_query::TimeRange;

use crate::bytes_io::{Reader, Short};

/// How many events a block has.
pub(crate) const BLOCK_EVENTS: u32 = 1024;

/// The spans of all blocks of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    blocks: Vec<Block>,
    n_events: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    timestamp: (i64, i64),
    recorded_at: (i64, i64),
}

const EMPTY: Block = Block {
    timestamp: (i64::MAX, i64::MIN),
    recorded_at: (i64::MAX, i64::MIN),
};
const UNKNOWN: Block = Block {
    timestamp: (i64::MIN, i64::MAX),
    recorded_at: (i64::MIN, i64::MAX),
};

impl Times {
    pub(crate) fn push(&mut self, timestamp: i64, recorded_at: i64) {
        let block = self.next_block();
        block.timestamp = widened(block.timestamp, timestamp);
        block.recorded_at = widened(block.recorded_at, recorded_at);
    }

    /// Adds an event of which the times are not known; its block can never be skipped.
    pub(crate) fn push_unknown(&mut self) {
        *self.next_block() = UNKNOWN;
    }

    fn next_block(&mut self) -> &mut Block {
        let index = (self.n_events / BLOCK_EVENTS) as usize;
        if index >= self.blocks.len() {
            self.blocks.resize(index + 1, EMPTY);
        }
        self.n_events += 1;
        &mut self.blocks[index]
    }

    /// Tells whether the block of an event may hold one inside both ranges.
    pub(crate) fn may_contain(
        &self,
        ordinal: u32,
        timestamp: TimeRange,
        recorded: TimeRange,
    ) -> bool {
        self.blocks
            .get((ordinal / BLOCK_EVENTS) as usize)
            .is_none_or(|block| {
                overlaps(block.timestamp, timestamp) && overlaps(block.recorded_at, recorded)
            })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = |block: &Block| {
            [
                block.timestamp.0,
                block.timestamp.1,
                block.recorded_at.0,
                block.recorded_at.1,
            ]
        };
        self.blocks
            .iter()
            .flat_map(numbers)
            .flat_map(i64::to_le_bytes)
            .collect()
    }

    pub(crate) fn decode(bytes: &[u8], n_events: u32) -> Result<Self, Short> {
        let mut reader = Reader::new(bytes);
        let mut blocks = Vec::new();
        for _ in 0..n_events.div_ceil(BLOCK_EVENTS) {
            let timestamp = (reader.i64()?, reader.i64()?);
            blocks.push(Block {
                timestamp,
                recorded_at: (reader.i64()?, reader.i64()?),
            });
        }
        Ok(Self { blocks, n_events })
    }
}

fn widened(span: (i64, i64), at: i64) -> (i64, i64) {
    (span.0.min(at), span.1.max(at))
}

fn overlaps(span: (i64, i64), range: TimeRange) -> bool {
    range.from.is_none_or(|from| from.as_micros() <= span.1)
        && range.to.is_none_or(|to| span.0 < to.as_micros())
}

#[cfg(test)]
mod tests {
    use factum_model::Timestamp;

    use super::*;

    #[test]
    fn blocks_outside_a_range_are_told() {
        let mut times = Times::default();
        for at in 0..3000 {
            times.push(at, at * 2);
        }
        let range = |from, to| TimeRange {
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
        };
        let open = TimeRange::default();
        assert!(times.may_contain(0, range(1023, 1024), open));
        assert!(!times.may_contain(1024, range(1023, 1024), open));
        assert!(times.may_contain(1024, open, range(2048, 2049)));
        assert!(!times.may_contain(2999, open, range(0, 4096)));
        assert_eq!(Times::decode(&times.encode(), 3000), Ok(times));
    }
}
