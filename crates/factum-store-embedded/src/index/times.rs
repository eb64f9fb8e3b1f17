//! The span of times in every block of 1,024 events, so that a time range skips the other blocks.

use std::ops::Range;

use factum_query::TimeRange;
use roaring::RoaringBitmap;

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

    /// Returns the events, within a range, that are inside both spans for certain, and those that
    /// may be.
    pub(crate) fn within(
        &self,
        range: &Range<u32>,
        timestamp: TimeRange,
        recorded: TimeRange,
    ) -> (RoaringBitmap, RoaringBitmap) {
        let (mut certain, mut possible) = (RoaringBitmap::new(), RoaringBitmap::new());
        let first = range.start / BLOCK_EVENTS;
        for number in first..range.end.div_ceil(BLOCK_EVENTS) {
            let start = (number * BLOCK_EVENTS).max(range.start);
            let events = start..(number + 1).saturating_mul(BLOCK_EVENTS).min(range.end);
            let Some(block) = self.blocks.get(number as usize) else {
                possible.insert_range(events);
                continue;
            };
            if overlaps(block.timestamp, timestamp) && overlaps(block.recorded_at, recorded) {
                if covers(block.timestamp, timestamp) && covers(block.recorded_at, recorded) {
                    certain.insert_range(events.clone());
                }
                possible.insert_range(events);
            }
        }
        (certain, possible)
    }

    /// Returns the span of the timestamps of the block of an event, and where the block ends.
    pub(crate) fn block(&self, ordinal: u32) -> Option<((i64, i64), u32)> {
        let number = ordinal / BLOCK_EVENTS;
        let block = self.blocks.get(number as usize)?;
        Some((block.timestamp, (number + 1).saturating_mul(BLOCK_EVENTS)))
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

fn covers(span: (i64, i64), range: TimeRange) -> bool {
    range.from.is_none_or(|from| from.as_micros() <= span.0)
        && range.to.is_none_or(|to| span.1 < to.as_micros())
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
        let within = |timestamp, recorded| times.within(&(10..3000), timestamp, recorded);
        let events = |range: Range<u32>| RoaringBitmap::from_iter(range);
        assert_eq!(within(open, open), (events(10..3000), events(10..3000)));
        let (certain, possible) = within(range(1000, 2048), open);
        assert_eq!((certain, possible), (events(1024..2048), events(10..2048)));
        let (certain, possible) = within(open, range(2048, 2049));
        assert_eq!((certain, possible), (events(0..0), events(1024..2048)));
        assert_eq!(
            within(range(3000, 4000), open),
            (events(0..0), events(0..0))
        );
        assert_eq!(Times::decode(&times.encode(), 3000), Ok(times));
    }
}
