//! Reads of the whole log: by index where a filter allows it, else by looking at every event.

use std::ops::{ControlFlow, Range};

use factum_model::{Position, RecordedEvent};
use factum_query::{Narrowing, narrowing};
use factum_store::{Direction, LogPage, LogRead, ReadError};
use roaring::RoaringBitmap;

use crate::background::Stopwatch;
use crate::log::Log;
use crate::segment::{Segment, compact};

/// How many ordinals are narrowed at once: an early page end leaves the rest untouched.
const WINDOW_EVENTS: u32 = 1 << 16;
/// How many events are read at once when all are looked at.
const SCAN_CHUNK: u32 = 1024;
/// How many candidates are read at once.
const CANDIDATE_CHUNK: usize = 256;
/// Fewer candidates than this hold little memory together.
const SHARED_EVENTS: usize = 16;
/// So many of the newest events are looked at in memory, whatever the filter.
const RECENT_EVENTS_MAX: u64 = 1024;
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
                examined: 0,
            });
        };
        let mut page = PageBuilder::new(read);
        let mut first = first;
        // Of many events the index names those that match sooner than they are looked at.
        let few = last.get() - first.get() < RECENT_EVENTS_MAX;
        if read.direction == Direction::Forwards && (few || read.filter.is_empty()) {
            match self.read_recent(&mut page, last) {
                ControlFlow::Break(()) => return Ok(page.finish(last)),
                ControlFlow::Continue(after) => first = Position::after(after),
            }
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

    /// Reads from the newest events, if they reach back far enough; without any file access. The
    /// writer adds to them, so they are copied out by chunks and looked at afterwards.
    ///
    /// Goes on with the position after which the files have to be read.
    fn read_recent(
        &self,
        page: &mut PageBuilder<'_>,
        last: Position,
    ) -> ControlFlow<(), Option<Position>> {
        let mut after = page.read.after;
        loop {
            let n_events = page.n_wanted().clamp(64, CANDIDATE_CHUNK);
            let Some(events) = self.recent.after(after, n_events) else {
                return ControlFlow::Continue(after);
            };
            if page.scanned >= page.read.scan_max {
                page.stopped = true;
                page.scanned_to = after;
                return ControlFlow::Break(());
            }
            let Some(newest) = events.last().map(|event| event.position) else {
                return ControlFlow::Break(());
            };
            let in_range = events
                .into_iter()
                .take_while(|event| event.position <= last);
            if page.look_at_all(in_range.collect(), 0).is_break() {
                return ControlFlow::Break(());
            }
            if newest >= last {
                return ControlFlow::Break(());
            }
            after = Some(newest);
        }
    }

    fn read_segment(
        &self,
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        range: Range<u32>,
    ) -> Result<ControlFlow<()>, ReadError> {
        if page.read.filter.is_empty() {
            return self.scan(page, segment, range);
        }
        // A list in a file is read whole, one in memory by parts.
        let window = if segment.is_sealed() {
            u32::MAX
        } else {
            WINDOW_EVENTS
        };
        for window in chunks(range, window, page.read.direction) {
            if page.is_exhausted(segment, &window) {
                return Ok(ControlFlow::Break(()));
            }
            let possible = segment.bounds(&page.narrowing, &window)?.possible;
            let flow = if possible.len() == u64::from(window.end - window.start) {
                self.scan(page, segment, window)?
            } else {
                self.read_candidates(page, segment, &possible)?
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
        let backwards = page.read.direction == Direction::Backwards;
        let mut rest = candidates.iter();
        let mut chunk = Vec::new();
        loop {
            let n_wanted = page.n_wanted().min(CANDIDATE_CHUNK);
            chunk.clear();
            if backwards {
                chunk.extend(rest.by_ref().rev().take(n_wanted));
                chunk.reverse();
            } else {
                chunk.extend(rest.by_ref().take(n_wanted));
            }
            let (Some(&first), Some(&last)) = (chunk.first(), chunk.last()) else {
                return Ok(ControlFlow::Continue(()));
            };
            if page.is_exhausted(segment, &(first..last + 1)) {
                return Ok(ControlFlow::Break(()));
            }
            let shared = if chunk.len() < SHARED_EVENTS {
                0
            } else {
                CHUNK_BYTES
            };
            if self.look_at(page, segment, &chunk, shared)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Reads events and looks at them, so many at once as memory is meant for.
    fn look_at(
        &self,
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        ordinals: &[u32],
        shared: u64,
    ) -> Result<ControlFlow<()>, ReadError> {
        let backwards = page.read.direction == Direction::Backwards;
        for part in segment.parts(ordinals, backwards)? {
            let events = self.fetch(segment, part)?;
            if page.look_at_all(events, shared).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn scan(
        &self,
        page: &mut PageBuilder<'_>,
        segment: &Segment,
        range: Range<u32>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let is_empty = page.read.filter.is_empty();
        // A page that is nearly full needs no whole chunk.
        let chunk = if is_empty {
            let wanted = u32::try_from(page.n_wanted()).unwrap_or(SCAN_CHUNK);
            SCAN_CHUNK.min(wanted).max(64)
        } else {
            SCAN_CHUNK
        };
        for range in chunks(range, chunk, page.read.direction) {
            if page.is_exhausted(segment, &range) {
                return Ok(ControlFlow::Break(()));
            }
            let shared = if is_empty { 0 } else { CHUNK_BYTES };
            let ordinals = segment.present(range);
            if self.look_at(page, segment, &ordinals, shared)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
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
    /// What the index can say of the filter, and of what the reader may see.
    narrowing: Narrowing,
    started: Stopwatch,
    events: Vec<RecordedEvent>,
    bytes: usize,
    /// How many events were looked at that did not match.
    scanned: usize,
    /// There is another match behind the page, or the page ended for another reason.
    stopped: bool,
    scanned_to: Option<Position>,
}

impl<'a> PageBuilder<'a> {
    fn new(read: &'a LogRead) -> Self {
        Self {
            read,
            narrowing: narrowing(&read.filter),
            started: Stopwatch::start(),
            events: Vec::new(),
            bytes: 0,
            scanned: 0,
            stopped: false,
            scanned_to: read.after,
        }
    }

    /// Returns how many more matches there is a use for: one behind the page tells that it is
    /// not the last.
    fn n_wanted(&self) -> usize {
        let left = self.read.limit.saturating_sub(self.events.len());
        left.saturating_add(1)
    }

    fn is_late(&self) -> bool {
        self.started.elapsed() >= self.read.time_max
    }

    /// Tells whether enough was looked at in vain, and ends the page before a range then.
    fn is_exhausted(&mut self, segment: &Segment, range: &Range<u32>) -> bool {
        let exhausted = self.scanned >= self.read.scan_max || self.is_late();
        if exhausted {
            self.stopped = true;
            self.scanned_to = match self.read.direction {
                Direction::Forwards => segment.position(range.start).previous(),
                Direction::Backwards => Some(segment.position(range.end)),
            };
        }
        exhausted
    }

    /// A page has at least one event, however large it is.
    fn is_full(&self) -> bool {
        let bytes_full = !self.events.is_empty() && self.bytes >= self.read.page_bytes_max;
        self.events.len() >= self.read.limit || bytes_full
    }

    fn wants(&self, event: &RecordedEvent) -> bool {
        self.read.visibility.includes(event) && self.read.filter.matches(event)
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
                self.scanned += 1;
                if self.is_late() {
                    self.stopped = true;
                    self.scanned_to = Some(event.position);
                    return ControlFlow::Break(());
                }
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
            examined: (self.events.len() + self.scanned) as u64,
            events: self.events,
            scanned_to,
            has_more: self.stopped,
        }
    }
}
