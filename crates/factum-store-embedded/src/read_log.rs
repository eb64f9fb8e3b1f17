//! Reads of the whole log: by index where a filter allows it, else by looking at every event.

use std::ops::{ControlFlow, Range};

use factum_model::{Position, RecordedEvent};
use factum_store::{Direction, LogPage, LogRead, ReadError};
use roaring::RoaringBitmap;

use crate::log::Log;
use crate::segment::{Segment, compact};

/// How many ordinals are narrowed at once: an early page end leaves the rest untouched.
const WINDOW_EVENTS: u32 = 1 << 16;
/// How many events are read at once when all are looked at.
const SCAN_CHUNK: u32 = 1024;
/// How many candidates are read at once.
const CANDIDATE_CHUNK: usize = 256;
/// About what a chunk of a scan holds in memory.
const CHUNK_BYTES: u64 = 1 << 18;

impl Log {
    /// Reads a page; see `EventStore::read_log`.
    pub(crate) fn read_log(&self, read: &LogRead) -> Result<LogPage, ReadError> {
        let Some((first, last)) = self.bounds(read) else {
            return Ok(LogPage {
                events: Vec::new(),
                scanned_to: read.after,
                has_more: false,
            });
        };
        let mut page = PageBuilder::new(read);
        if read.direction == Direction::Forwards && self.read_recent(&mut page, last) {
            return Ok(page.finish(last));
        }
        let segments = self.segments();
        let in_range = segments.iter().filter(|segment| {
            let end = segment.ordinals_to(Some(last)).end;
            segment.entry.base.get() + u64::from(end) > first.get() && end > 0
        });
        let mut ordered: Vec<_> = in_range.collect();
        let far_end = match read.direction {
            Direction::Forwards => last,
            Direction::Backwards => {
                ordered.reverse();
                first
            }
        };
        for segment in ordered {
            let range = segment.ordinal(first)..segment.ordinals_to(Some(last)).end;
            let start = if segment.entry.base >= first {
                0
            } else {
                range.start
            };
            if self
                .read_segment(&mut page, segment, start..range.end)?
                .is_break()
            {
                break;
            }
        }
        Ok(page.finish(far_end))
    }

    /// Returns the first and the last position to look at; `None` when there is none.
    fn bounds(&self, read: &LogRead) -> Option<(Position, Position)> {
        let head = self.head()?;
        let (first, last) = match read.direction {
            Direction::Forwards => {
                let last = read.until.map_or(head, |until| until.min(head));
                (Position::after(read.after), last)
            }
            Direction::Backwards => {
                let last = match read.after {
                    Some(after) => after.previous()?.min(head),
                    None => head,
                };
                (read.until.unwrap_or(Position::FIRST), last)
            }
        };
        (first <= last && read.limit > 0).then_some((first, last))
    }

    /// Reads from the newest events, if they reach back far enough; without any file access.
    fn read_recent(&self, page: &mut PageBuilder<'_>, last: Position) -> bool {
        self.recent.each_after(page.read.after, |event| {
            if event.position > last {
                return false;
            }
            page.look(event, || event.clone()).is_continue()
        })
    }

    fn read_segment(
        &self,
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        range: Range<u32>,
    ) -> Result<ControlFlow<()>, ReadError> {
        for window in windows(range, page.read.direction) {
            let flow = match segment.candidates(&page.read.filter, &window)? {
                Some(candidates) => self.read_candidates(page, segment, &candidates)?,
                None => Self::scan(page, segment, window)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn read_candidates(
        &self,
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        candidates: &RoaringBitmap,
    ) -> Result<ControlFlow<()>, ReadError> {
        let filter = &page.read.filter;
        let may_match =
            |ordinal: &u32| segment.may_contain(*ordinal, filter.timestamp, filter.recorded_at);
        let timed = !filter.timestamp.is_open() || !filter.recorded_at.is_open();
        let ordinals: Vec<u32> = candidates
            .iter()
            .filter(|ordinal| !timed || may_match(ordinal))
            .collect();
        let chunk = CANDIDATE_CHUNK.min(page.read.limit.saturating_add(1));
        let chunks: Box<dyn Iterator<Item = &[u32]>> = match page.read.direction {
            Direction::Forwards => Box::new(ordinals.chunks(chunk)),
            Direction::Backwards => Box::new(ordinals.rchunks(chunk)),
        };
        for chunk in chunks {
            let events = self.fetch(segment, chunk)?;
            if page.look_at_all(events, 0).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn scan(
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        window: Range<u32>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let filter = &page.read.filter;
        let timed = !filter.timestamp.is_open() || !filter.recorded_at.is_open();
        // A page that is nearly full needs no whole chunk.
        let wanted = page
            .read
            .limit
            .saturating_sub(page.events.len())
            .saturating_add(1);
        let chunk = if filter.is_empty() {
            SCAN_CHUNK
                .min(u32::try_from(wanted).unwrap_or(SCAN_CHUNK))
                .max(64)
        } else {
            SCAN_CHUNK
        };
        for range in chunks(window, chunk, page.read.direction) {
            if timed
                && !segment.may_contain(range.start, filter.timestamp, filter.recorded_at)
                && !segment.may_contain(range.end - 1, filter.timestamp, filter.recorded_at)
            {
                continue;
            }
            if page.scanned >= page.read.scan_max {
                page.stopped = true;
                page.scanned_to = match page.read.direction {
                    Direction::Forwards => segment.position(range.start).previous(),
                    Direction::Backwards => Some(segment.position(range.end)),
                };
                return Ok(ControlFlow::Break(()));
            }
            page.scanned += range.len();
            let shared = if filter.is_empty() { 0 } else { CHUNK_BYTES };
            let events = segment.fetch_range(range)?;
            if page.look_at_all(events, shared).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn windows(range: Range<u32>, direction: Direction) -> Box<dyn Iterator<Item = Range<u32>>> {
    chunks(range, WINDOW_EVENTS, direction)
}

/// Cuts a range at multiples of `size`, in reading direction.
fn chunks(
    range: Range<u32>,
    size: u32,
    direction: Direction,
) -> Box<dyn Iterator<Item = Range<u32>>> {
    let first = range.start / size;
    let last = range.end.div_ceil(size);
    let chunk = move |index: u32| {
        let start = (index * size).max(range.start);
        start..index.saturating_add(1).saturating_mul(size).min(range.end)
    };
    match direction {
        Direction::Forwards => Box::new((first..last).map(chunk)),
        Direction::Backwards => Box::new((first..last).rev().map(chunk)),
    }
}

struct PageBuilder<'a> {
    read: &'a LogRead,
    events: Vec<RecordedEvent>,
    bytes: usize,
    scanned: usize,
    /// There is another match behind the page, or the page ended for another reason.
    stopped: bool,
    scanned_to: Option<Position>,
}

impl<'a> PageBuilder<'a> {
    const fn new(read: &'a LogRead) -> Self {
        Self {
            read,
            events: Vec::new(),
            bytes: 0,
            scanned: 0,
            stopped: false,
            scanned_to: read.after,
        }
    }

    /// A page has at least one event, however large it is.
    fn is_full(&self) -> bool {
        let bytes_full = !self.events.is_empty() && self.bytes >= self.read.page_bytes_max;
        self.events.len() >= self.read.limit || bytes_full
    }

    fn wants(&self, event: &RecordedEvent) -> bool {
        self.read.visibility.includes(event) && self.read.filter.matches(event)
    }

    fn look(
        &mut self,
        event: &RecordedEvent,
        take: impl FnOnce() -> RecordedEvent,
    ) -> ControlFlow<()> {
        if !self.wants(event) {
            return ControlFlow::Continue(());
        }
        if self.is_full() {
            self.stopped = true;
            self.scanned_to = self.events.last().map(|event| event.position);
            return ControlFlow::Break(());
        }
        self.bytes += event.text_bytes();
        self.events.push(take());
        ControlFlow::Continue(())
    }

    fn look_at_all(
        &mut self,
        mut events: Vec<RecordedEvent>,
        shared_bytes: u64,
    ) -> ControlFlow<()> {
        if self.read.direction == Direction::Backwards {
            events.reverse();
        }
        for event in events {
            if !self.wants(&event) {
                continue;
            }
            if self.is_full() {
                self.stopped = true;
                self.scanned_to = self.events.last().map(|event| event.position);
                return ControlFlow::Break(());
            }
            self.bytes += event.text_bytes();
            self.events.push(compact(event, shared_bytes));
        }
        ControlFlow::Continue(())
    }

    fn finish(self, far_end: Position) -> LogPage {
        let scanned_to = if self.stopped {
            self.scanned_to
        } else {
            Some(far_end)
        };
        LogPage {
            events: self.events,
            scanned_to,
            has_more: self.stopped,
        }
    }
}
