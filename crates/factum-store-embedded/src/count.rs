//! Counts events from the index, and reads only those that are in doubt.

use std::ops::Range;

use factum_model::{RecordedEvent, SYSTEM_AGGREGATE_TYPE, Timestamp};
use factum_query::{Answer, Leaf, Narrowing, narrowing};
use factum_store::{CountBy, CountRead, Counts, ReadError, Tally, Visibility};
use roaring::RoaringBitmap;

use crate::background::Stopwatch;
use crate::documents::Documents;
use crate::log::Log;
use crate::segment::Segment;
use crate::term::Term;

/// How many events are read at once.
const CHUNK: usize = 512;
/// How many events of the segment that is written are looked up at once.
const WINDOW_EVENTS: usize = 1 << 16;

/// A bound of the request was reached.
struct Exhausted;

type Step = Result<Result<(), Exhausted>, ReadError>;

impl Log {
    /// Counts; see `EventStore::count`.
    pub(crate) fn count(&self, read: &CountRead) -> Result<Counts, ReadError> {
        let Some(head) = self.head() else {
            return Ok(Tally::default().finish(read, true));
        };
        let last = read.until.map_or(head, |until| until.min(head));
        let mut counting = Counting {
            log: self,
            read,
            narrowing: visible(read),
            tally: Tally::default(),
            started: Stopwatch::start(),
        };
        for segment in self.segments().iter() {
            let range = segment.ordinals_to(Some(last));
            // The writer changes the index of the last segment, so nobody holds it for long.
            let window = if segment.is_sealed() {
                range.len().max(1)
            } else {
                WINDOW_EVENTS
            };
            for start in range.clone().step_by(window) {
                let end = start.saturating_add(u32::try_from(window).unwrap_or(u32::MAX));
                let window = start..end.min(range.end);
                if counting.is_late() || counting.window(segment, &window)?.is_err() {
                    return Ok(counting.tally.finish(read, false));
                }
            }
        }
        Ok(counting.tally.finish(read, true))
    }
}

/// Returns what the index can say of the filter and of what the reader may see.
fn visible(read: &CountRead) -> Narrowing {
    let filter = narrowing(&read.filter);
    let Ok(system) = SYSTEM_AGGREGATE_TYPE.parse() else {
        return filter;
    };
    match read.visibility {
        Visibility::Everything => filter,
        Visibility::Application => {
            let own = Narrowing::Leaf {
                leaf: Leaf::AggregateTypes(vec![system]),
                answer: Answer::Exact,
            };
            Narrowing::And(vec![filter, Narrowing::Not(Box::new(own))])
        }
    }
}

/// Returns names out of documents, and up to which ordinal they are known.
fn documents_names(
    segment: &Segment,
    names: impl FnOnce(&Documents) -> Option<Vec<String>>,
) -> (u32, Option<Vec<String>>) {
    let documents = segment.documents();
    (documents.end(), names(&documents))
}

struct Counting<'a> {
    log: &'a Log,
    read: &'a CountRead,
    narrowing: Narrowing,
    tally: Tally,
    started: Stopwatch,
}

impl Counting<'_> {
    fn window(&mut self, segment: &Segment, range: &Range<u32>) -> Step {
        let bounds = segment.bounds(&self.narrowing, range)?;
        // What is lost is nothing that can be counted: reading it says so.
        let lost = segment.lost(range) & &bounds.possible;
        let doubtful = bounds.doubtful() | &lost;
        let mut found = bounds.certain - lost;
        let (filter, visibility) = (&self.read.filter, self.read.visibility);
        let looked = self.look_at(segment, &doubtful, |_, ordinal, event| {
            if visibility.includes(event) && filter.matches(event) {
                found.insert(ordinal);
            }
        })?;
        if let (Some(first), Some(last)) = (found.min(), found.max()) {
            let (first, last) = (segment.position(first), segment.position(last));
            self.tally.add_many(found.len(), first, last);
            if let Some(by) = self.read.by
                && self.groups(by, segment, &found)?.is_err()
            {
                return Ok(Err(Exhausted));
            }
        }
        Ok(looked)
    }

    fn groups(&mut self, by: CountBy, segment: &Segment, found: &RoaringBitmap) -> Step {
        let key = &self.log.key;
        match by {
            CountBy::EventType => {
                let names = segment.event_types()?;
                self.by_names(segment, found, &names, |name| key.event_type(name))
            }
            CountBy::AggregateType => {
                let names = segment.aggregate_types()?;
                self.by_names(segment, found, &names, |name| key.aggregate_type(name))
            }
            CountBy::User => {
                let names = documents_names(segment, Documents::users);
                self.by_dictionary(segment, found, names, |name| key.user(name))
            }
            CountBy::Tag => {
                let names = documents_names(segment, Documents::tags);
                self.by_dictionary(segment, found, names, |name| key.tag(name))
            }
            CountBy::Day | CountBy::Hour => self.by_time(by, segment, found),
            CountBy::Stream => self.one_by_one(segment, found),
        }
    }

    /// Counts by names that are known of the events before an ordinal only.
    fn by_dictionary(
        &mut self,
        segment: &Segment,
        found: &RoaringBitmap,
        (end, names): (u32, Option<Vec<String>>),
        term: impl Fn(&str) -> Term,
    ) -> Step {
        let Some(names) = names else {
            return self.one_by_one(segment, found);
        };
        let (mut covered, mut rest) = (found.clone(), found.clone());
        covered.remove_range(end..);
        rest.remove_range(..end);
        if self.by_names(segment, &covered, &names, term)?.is_err() {
            return Ok(Err(Exhausted));
        }
        self.one_by_one(segment, &rest)
    }

    /// Counts by names whose terms the index has.
    fn by_names(
        &mut self,
        segment: &Segment,
        found: &RoaringBitmap,
        names: &[String],
        term: impl Fn(&str) -> Term,
    ) -> Step {
        let range = 0..found.max().map_or(0, |last| last + 1);
        for name in names {
            let with_name = segment.bitmap(term(name), &range)?;
            self.tally.add_to(name, with_name.intersection_len(found));
            if self.is_late() {
                return Ok(Err(Exhausted));
            }
        }
        Ok(Ok(()))
    }

    /// Counts by spans of time: whole blocks where the index tells that they are in one.
    fn by_time(&mut self, by: CountBy, segment: &Segment, found: &RoaringBitmap) -> Step {
        let mut mixed = RoaringBitmap::new();
        let mut next = found.min();
        while let Some(ordinal) = next {
            let (bucket, end) = segment.time_block(ordinal, |at| {
                Timestamp::from_micros(at).map(|at| by.bucket(at))
            });
            let end = end.max(ordinal + 1);
            match bucket {
                Some(bucket) => {
                    let n_events = found.range_cardinality(ordinal..end);
                    self.tally.add_to(&bucket, n_events);
                }
                None => mixed |= RoaringBitmap::from_iter(found.range(ordinal..end)),
            }
            next = found.range(end..).next();
        }
        self.one_by_one(segment, &mixed)
    }

    /// Reads events to see what groups they are in.
    fn one_by_one(&mut self, segment: &Segment, events: &RoaringBitmap) -> Step {
        let by = self.read.by;
        self.look_at(segment, events, |tally, _, event| {
            if let Some(by) = by {
                by.groups(event, |group| tally.add_to(group, 1));
            }
        })
    }

    fn look_at(
        &mut self,
        segment: &Segment,
        events: &RoaringBitmap,
        mut look: impl FnMut(&mut Tally, u32, &RecordedEvent),
    ) -> Step {
        let mut rest = events.iter();
        let mut chunk: Vec<u32> = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            chunk.extend(rest.by_ref().take(CHUNK));
            if chunk.is_empty() {
                return Ok(Ok(()));
            }
            if self.is_late() || self.tally.examined() >= self.read.examine_max {
                return Ok(Err(Exhausted));
            }
            for part in segment.parts(&chunk, false)? {
                for event in self.log.fetch(segment, part)? {
                    if self.is_late() {
                        return Ok(Err(Exhausted));
                    }
                    self.tally.examine(1);
                    look(&mut self.tally, segment.ordinal(event.position), &event);
                }
            }
        }
    }

    fn is_late(&self) -> bool {
        self.started.elapsed() >= self.read.time_max
    }
}
