//! The read side of the log: its segments, its head, and what is looked up in them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use factum_model::{
    AggregateId, AggregateType, EventId, Position, RecordedEvent, SequenceNumber, StreamId,
};
use factum_store::{Direction, ReadError, StreamInfo, StreamPage, StreamRead};
use roaring::RoaringBitmap;
use tokio::sync::watch;

use crate::index::BlockFilter;
use crate::indexer::Doorbell;
use crate::known::{Known, KnownTerms};
use crate::newest::Newest;
use crate::recent::Recent;
use crate::segment::Segment;
use crate::term::{Term, TermKey};

/// How many events of a stream are read at once.
const STREAM_CHUNK: usize = 256;

/// All segments, oldest first.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// The log as readers see it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) key: TermKey,
    pub(crate) recent: Recent,
    segments: RwLock<Segments>,
    known: KnownTerms,
    /// The last position that readers may see, 0 for none.
    head: AtomicU64,
    head_watch: watch::Sender<Option<Position>>,
    /// Wakes the thread that indexes documents.
    pub(crate) doorbell: Doorbell,
}

impl Log {
    pub(crate) fn new(
        key: TermKey,
        segments: Vec<Arc<Segment>>,
        head: Option<Position>,
        recent_bytes_max: usize,
    ) -> Self {
        Self {
            key,
            recent: Recent::new(recent_bytes_max),
            segments: RwLock::new(Arc::new(segments)),
            known: KnownTerms::default(),
            head: AtomicU64::new(head.map_or(0, Position::get)),
            head_watch: watch::Sender::new(head),
            doorbell: Doorbell::default(),
        }
    }

    /// Returns the last position that readers may see.
    pub(crate) fn head(&self) -> Option<Position> {
        Position::new(self.head.load(Ordering::Acquire))
    }

    pub(crate) fn watch_head(&self) -> watch::Receiver<Option<Position>> {
        self.head_watch.subscribe()
    }

    /// Lets readers see the log up to a position. Everything up to it is durable and indexed.
    pub(crate) fn publish(&self, head: Position) {
        self.head.store(head.get(), Ordering::Release);
        self.head_watch.send_replace(Some(head));
        self.doorbell.ring();
    }

    pub(crate) fn segments(&self) -> Segments {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds the segment that is written from now on.
    pub(crate) fn add_segment(&self, segment: Arc<Segment>) {
        let mut segments = self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut longer = Vec::clone(&segments);
        longer.push(segment);
        *segments = Arc::new(longer);
    }

    /// Returns what is known of the closed segments together.
    pub(crate) fn known(&self) -> Known {
        self.known.now()
    }

    /// Learns the terms of the next closed segment, and returns it; `None` when there is none, or
    /// when it has to be asked itself. Only the thread that writes indexes does.
    pub(crate) fn learn_next(&self) -> Result<Option<Arc<Segment>>, ReadError> {
        let known = self.known.now();
        let segments = self.segments();
        let next = segments.partition_point(|segment| known.covers(segment.entry.base));
        let ready = |segment: &&Arc<Segment>| segment.closed().is_some() && !segment.has_unknown();
        let Some(segment) = segments.get(next).filter(ready) else {
            return Ok(None);
        };
        let read = |filter: &BlockFilter| segment.add_terms_to(filter);
        let learnt = self
            .known
            .learn(segment.entry.base, segment.n_terms(), read)?;
        Ok(learnt.then(|| Arc::clone(segment)))
    }

    /// Returns one event.
    pub(crate) fn fetch_one(
        &self,
        segment: &Segment,
        ordinal: u32,
    ) -> Result<RecordedEvent, ReadError> {
        match self.recent.get(segment.position(ordinal)) {
            Some(event) => Ok(event),
            None => segment.fetch_one(ordinal),
        }
    }

    /// Returns the events with some ordinals, ascending.
    pub(crate) fn fetch(
        &self,
        segment: &Segment,
        ordinals: &[u32],
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let recent = |ordinal: &u32| self.recent.get(segment.position(*ordinal));
        // The window holds the newest, so if it has the first of them it has them all.
        match ordinals.first().and_then(recent) {
            Some(_) => {
                let events: Option<Vec<_>> = ordinals.iter().map(recent).collect();
                events.map_or_else(|| segment.fetch(ordinals), Ok)
            }
            None => segment.fetch(ordinals),
        }
    }

    /// Returns the event with an id.
    pub(crate) fn event(&self, id: EventId) -> Result<Option<RecordedEvent>, ReadError> {
        self.newest(self.key.event_id(id), |event| event.id == id)
    }

    /// Returns the last event of a stream.
    pub(crate) fn last_of(&self, stream: &StreamId) -> Result<Option<RecordedEvent>, ReadError> {
        self.newest(self.stream_term(stream), |event| event.is_of(stream))
    }

    fn newest(
        &self,
        term: Term,
        wanted: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        let newest = Newest {
            segments: &self.segments(),
            known: &self.known(),
            term,
            last: self.head(),
        };
        newest.find(|segment, ordinal| self.fetch_one(segment, ordinal), wanted)
    }

    fn stream_term(&self, stream: &StreamId) -> u64 {
        self.key
            .stream(stream.aggregate_type.as_str(), stream.aggregate_id.as_str())
    }

    fn first_of(&self, stream: &StreamId) -> Result<Option<RecordedEvent>, ReadError> {
        let term = self.stream_term(stream);
        let head = self.head();
        for segment in self.segments().iter() {
            for ordinal in segment.bitmap(term, &segment.ordinals_to(head))? {
                let event = self.fetch_one(segment, ordinal)?;
                if event.is_of(stream) {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }

    /// Returns what is known of a stream.
    pub(crate) fn stream_info(&self, stream: StreamId) -> Result<Option<StreamInfo>, ReadError> {
        // Whether there is a last one is known sooner.
        let Some(last) = self.last_of(&stream)? else {
            return Ok(None);
        };
        let Some(first) = self.first_of(&stream)? else {
            return Ok(None);
        };
        Ok(Some(StreamInfo {
            stream,
            version: last.sequence_number,
            n_events: last.sequence_number.get(),
            first_timestamp: first.timestamp,
            last_timestamp: last.timestamp,
            first_position: first.position,
            last_position: last.position,
        }))
    }

    /// Returns the aggregate types under which an aggregate id has a stream.
    pub(crate) fn aggregate_types_of(
        &self,
        id: &AggregateId,
    ) -> Result<Vec<AggregateType>, ReadError> {
        let mut names = BTreeSet::new();
        for segment in self.segments().iter() {
            segment.add_aggregate_types(&mut names)?;
        }
        let mut found = Vec::new();
        for name in names {
            // Names that were stored have passed the rules.
            let Ok(aggregate_type) = name.parse::<AggregateType>() else {
                continue;
            };
            if self
                .last_of(&StreamId::new(aggregate_type.clone(), id.clone()))?
                .is_some()
            {
                found.push(aggregate_type);
            }
        }
        Ok(found)
    }

    /// Reads a page of a stream.
    pub(crate) fn read_stream(&self, read: &StreamRead) -> Result<StreamPage, ReadError> {
        let Some(last) = self.last_of(&read.stream)? else {
            return Ok(StreamPage {
                events: Vec::new(),
                has_more: false,
                version: None,
            });
        };
        let version = last.sequence_number;
        let from = read.from.unwrap_or(SequenceNumber::FIRST);
        let to = read.to.unwrap_or(version).min(version);
        let mut page = StreamPageBuilder {
            read,
            wanted: from..=to,
            whole_stream: from == SequenceNumber::FIRST && to == version,
            events: Vec::new(),
            bytes: 0,
            has_more: false,
        };
        if from <= to && read.limit > 0 {
            self.fill_stream_page(&mut page, last.position)?;
        }
        Ok(StreamPage {
            events: page.events,
            has_more: page.has_more,
            version: Some(version),
        })
    }

    fn fill_stream_page(
        &self,
        page: &mut StreamPageBuilder<'_>,
        last: Position,
    ) -> Result<(), ReadError> {
        let term = self.stream_term(&page.read.stream);
        let segments = self.segments();
        let mut ordered: Vec<_> = segments.iter().collect();
        if page.read.direction == Direction::Backwards {
            ordered.reverse();
        }
        for segment in ordered {
            let ordinals = segment.bitmap(term, &segment.ordinals_to(Some(last)))?;
            if ordinals.is_empty() {
                continue;
            }
            if self.fill_from_segment(page, segment, &ordinals)? {
                break;
            }
        }
        Ok(())
    }

    /// Adds what a segment has; returns whether the page is complete.
    fn fill_from_segment(
        &self,
        page: &mut StreamPageBuilder<'_>,
        segment: &Segment,
        ordinals: &RoaringBitmap,
    ) -> Result<bool, ReadError> {
        let ordinals = self.near_wanted(page, segment, ordinals)?;
        let backwards = page.read.direction == Direction::Backwards;
        let chunk = STREAM_CHUNK.min(page.read.limit.saturating_add(1));
        let mut rest = ordinals.as_slice();
        while !rest.is_empty() {
            let n_chunk = chunk.min(rest.len());
            let (now, later) = if backwards {
                let (later, now) = rest.split_at(rest.len() - n_chunk);
                (now, later)
            } else {
                rest.split_at(n_chunk)
            };
            for part in segment.parts(now, backwards)? {
                let mut events = self.fetch(segment, part)?;
                if backwards {
                    events.reverse();
                }
                for event in events {
                    if page.push(event) {
                        return Ok(true);
                    }
                }
            }
            rest = later;
        }
        Ok(false)
    }

    /// Leaves out the ordinals that stand before the wanted sequence numbers for certain.
    fn near_wanted(
        &self,
        page: &StreamPageBuilder<'_>,
        segment: &Segment,
        ordinals: &RoaringBitmap,
    ) -> Result<Vec<u32>, ReadError> {
        // Where events of the stream were given up, sequence numbers cannot be counted.
        if page.whole_stream || segment.has_quarantined() {
            return Ok(ordinals.iter().collect());
        }
        let first = ordinals
            .min()
            .map(|ordinal| self.fetch_one(segment, ordinal))
            .transpose()?;
        let Some(first) = first.filter(|event| event.is_of(&page.read.stream)) else {
            return Ok(ordinals.iter().collect());
        };
        // Ordinals of another stream with the same hash only push the wanted ones further back,
        // so starting here is never too late; and what is not wanted is dropped one by one.
        let first = first.sequence_number.get();
        let skipped = page.wanted.start().get().saturating_sub(first);
        let mut chosen: Vec<u32> = ordinals
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
            .collect();
        let n_wanted =
            (page.wanted.end().get() + 1).saturating_sub(first.max(page.wanted.start().get()));
        let last = usize::try_from(n_wanted)
            .ok()
            .and_then(|n| chosen.get(n.checked_sub(1)?))
            .copied();
        if let Some(last) = last
            && self.fetch_one(segment, last)?.sequence_number == *page.wanted.end()
        {
            chosen.truncate(usize::try_from(n_wanted).unwrap_or(usize::MAX));
        }
        Ok(chosen)
    }
}

struct StreamPageBuilder<'a> {
    read: &'a StreamRead,
    wanted: std::ops::RangeInclusive<SequenceNumber>,
    whole_stream: bool,
    events: Vec<RecordedEvent>,
    bytes: usize,
    has_more: bool,
}

impl StreamPageBuilder<'_> {
    /// Adds an event if it is wanted; returns whether the page is complete.
    fn push(&mut self, event: RecordedEvent) -> bool {
        if !event.is_of(&self.read.stream) || !self.wanted.contains(&event.sequence_number) {
            return false;
        }
        let full = !self.events.is_empty() && self.bytes >= self.read.page_bytes_max;
        if self.events.len() >= self.read.limit || full {
            self.has_more = true;
            return true;
        }
        self.bytes += event.text_bytes();
        self.events.push(event);
        false
    }
}
