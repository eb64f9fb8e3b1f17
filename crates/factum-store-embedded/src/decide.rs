//! Decides on one request after the other, within a group that is being built.
//!
//! Every check sees what was appended before, earlier requests of the same group included. Only
//! when all checks have passed is anything changed, so a refused request leaves no trace.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use factum_model::{
    EventId, LimitExceeded, NewEvent, Position, RecordedEvent, SequenceNumber, Timestamp,
};
use factum_query::{Filter, narrowing};
use factum_store::{
    AppendCondition, AppendError, AppendReceipt, EventReceipt, PartialRepeat, ReadError,
    StreamExpectation,
};

use crate::frame::{GroupBuilder, RecordFields, decode_record};
use crate::index::{LOST, TailEntry};
use crate::known::Known;
use crate::log::{Log, Segments};
use crate::newest::Newest;
use crate::queue::{Pending, Prepared};
use crate::segment::Segment;
use crate::versions::Versions;

/// A condition is not decided if more events than this would have to be read for it, because
/// they are not indexed yet, or have more than is indexed.
const CONDITION_DOUBTFUL_MAX: u64 = 50_000;

/// A group that is being built, and what it is checked against.
pub(crate) struct GroupPlan<'a> {
    pub(crate) log: &'a Log,
    pub(crate) segments: Segments,
    pub(crate) known: Known,
    /// The last of the segments, which the group goes to.
    pub(crate) active: &'a Segment,
    pub(crate) versions: &'a mut Versions,
    pub(crate) builder: GroupBuilder,
    /// Where in the group each record starts.
    pub(crate) starts: Vec<usize>,
    /// The first position of the group.
    pub(crate) first: Position,
    pub(crate) recorded_at: Timestamp,
    /// Where in the file the group starts.
    pub(crate) offset: u64,
}

impl GroupPlan<'_> {
    /// Checks a request and, if it passes, adds its events to the group.
    pub(crate) fn decide(&mut self, pending: &Pending) -> Result<AppendReceipt, AppendError> {
        let known = self.known_events(pending)?;
        if known.iter().all(Option::is_some) {
            let receipt = |event: &RecordedEvent| receipt(event, true);
            return Ok(AppendReceipt {
                events: known.iter().flatten().map(receipt).collect(),
            });
        }
        if known.iter().any(Option::is_some)
            && pending.request.partial_repeat == PartialRepeat::Refuse
        {
            return Err(partly_there(pending, &known));
        }
        let mut versions = self.check_versions(pending, &known)?;
        if let Some(condition) = &pending.request.condition {
            self.check_condition(condition)?;
        }
        let inherited = self.inherited_correlations(pending, &known)?;
        // Nothing below this line can fail.
        let mut receipts = Vec::with_capacity(known.len());
        let last = known.iter().rposition(Option::is_none);
        let parts = pending
            .request
            .events
            .iter()
            .zip(&pending.prepared)
            .zip(known)
            .zip(inherited);
        for (index, (((event, prepared), known), inherited)) in parts.enumerate() {
            if let Some(known) = known {
                receipts.push(receipt(&known, true));
                continue;
            }
            let version = versions.entry(prepared.stream_key).or_default();
            *version += 1;
            self.versions.set(prepared.stream_key, *version);
            let record = RecordFields {
                event,
                id: prepared.id,
                position: self.next_position(),
                // The version has just been raised, so it is not zero.
                sequence_number: SequenceNumber::new(*version).unwrap_or(SequenceNumber::FIRST),
                recorded_at: self.recorded_at,
                inherited_correlation: inherited.as_deref(),
                last_of_request: Some(index) == last,
            };
            receipts.push(self.push(&record, prepared));
        }
        Ok(AppendReceipt { events: receipts })
    }

    fn next_position(&self) -> Position {
        let next = self.first.get() + u64::from(self.builder.n_records());
        Position::new(next).unwrap_or(self.first)
    }

    pub(crate) fn push(&mut self, record: &RecordFields<'_>, prepared: &Prepared) -> EventReceipt {
        let start = self.builder.push(record);
        self.starts.push(start);
        let offset = (self.offset + start as u64) / 8;
        let entry = TailEntry {
            // A segment is far smaller than 32 GiB.
            offset: u32::try_from(offset).unwrap_or(LOST),
            event_type: record.event.event_type.as_str(),
            aggregate_type: record.event.stream.aggregate_type.as_str(),
            timestamp: record
                .event
                .timestamp
                .unwrap_or(record.recorded_at)
                .as_micros(),
            recorded_at: record.recorded_at.as_micros(),
        };
        let inherited = record
            .inherited_correlation
            .map(|id| self.log.key.correlation(id));
        let terms = prepared.terms.iter().copied().chain(inherited);
        self.active.with_tail(|tail| tail.push(entry, terms));
        EventReceipt {
            id: record.id,
            position: record.position,
            sequence_number: record.sequence_number,
            recorded_at: record.recorded_at,
            deduplicated: false,
        }
    }

    /// Returns, for each event of a request, the event with its id that is there already.
    fn known_events(&self, pending: &Pending) -> Result<Vec<Option<RecordedEvent>>, AppendError> {
        let mut known = Vec::with_capacity(pending.prepared.len());
        let mut seen = HashMap::new();
        let several = pending.prepared.len() > 1;
        for (index, (event, prepared)) in pending
            .request
            .events
            .iter()
            .zip(&pending.prepared)
            .enumerate()
        {
            if !prepared.id_given {
                known.push(None);
                continue;
            }
            let taken = |position, rule| AppendError::DuplicateEvent {
                index,
                id: prepared.id,
                position,
                rule,
            };
            if several && seen.insert(prepared.id, index).is_some() {
                return Err(taken(None, "it stands twice in the request"));
            }
            let found = self.event(prepared.id)?;
            if let Some(found) = &found
                && !found.is_repeated_by(event)
            {
                return Err(taken(
                    Some(found.position),
                    "the event with it has other content",
                ));
            }
            known.push(found);
        }
        Ok(known)
    }

    /// Checks the expected versions and returns the versions of all streams of the request.
    fn check_versions(
        &mut self,
        pending: &Pending,
        known: &[Option<RecordedEvent>],
    ) -> Result<HashMap<u128, u64>, AppendError> {
        let mut versions = HashMap::new();
        let mut partly_known = Vec::new();
        for ((event, prepared), known) in pending
            .request
            .events
            .iter()
            .zip(&pending.prepared)
            .zip(known)
        {
            if known.is_some() {
                partly_known.push(prepared.stream_key);
            }
            if let Entry::Vacant(entry) = versions.entry(prepared.stream_key) {
                entry.insert(self.version(event, prepared.stream_key)?);
            }
        }
        for StreamExpectation {
            stream,
            version: expected,
        } in &pending.request.expected
        {
            let key = self.log.key.stream_key(stream);
            // The expectation was met when the first part of the request was appended.
            if partly_known.contains(&key) {
                continue;
            }
            let version = match versions.get(&key) {
                Some(version) => *version,
                None => self.look_up_version(stream)?,
            };
            let actual = SequenceNumber::new(version);
            if !expected.is_met_by(actual) {
                let (stream, expected) = (stream.clone(), *expected);
                return Err(AppendError::VersionConflict {
                    stream,
                    expected,
                    actual,
                });
            }
        }
        Ok(versions)
    }

    pub(crate) fn version(
        &mut self,
        event: &NewEvent,
        stream_key: u128,
    ) -> Result<u64, AppendError> {
        if let Some(version) = self.versions.get(stream_key) {
            return Ok(version);
        }
        let version = self.look_up_version(&event.stream)?;
        self.versions.set(stream_key, version);
        Ok(version)
    }

    fn look_up_version(&self, stream: &factum_model::StreamId) -> Result<u64, ReadError> {
        let term = self
            .log
            .key
            .stream(stream.aggregate_type.as_str(), stream.aggregate_id.as_str());
        let last = self.newest(term, |event| event.is_of(stream))?;
        Ok(last.map_or(0, |event| event.sequence_number.get()))
    }

    pub(crate) fn event(&self, id: EventId) -> Result<Option<RecordedEvent>, ReadError> {
        self.newest(self.log.key.event_id(id), |event| event.id == id)
    }

    /// Returns the newest event with a term, those of this group included.
    fn newest(
        &self,
        term: u64,
        wanted: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        let newest = Newest {
            segments: &self.segments,
            known: &self.known,
            term,
            last: self.next_position().previous(),
        };
        newest.find(|segment, ordinal| self.fetch_one(segment, ordinal), wanted)
    }

    /// Reads an event that may still be in the group.
    fn fetch_one(&self, segment: &Segment, ordinal: u32) -> Result<RecordedEvent, ReadError> {
        let position = segment.position(ordinal);
        let Some(index) = position.get().checked_sub(self.first.get()) else {
            return self.log.fetch_one(segment, ordinal);
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let start = self.starts.get(index).copied().unwrap_or(usize::MAX);
        let end = self
            .starts
            .get(index + 1)
            .copied()
            .unwrap_or_else(|| self.builder.group_bytes());
        let record = self.builder.bytes().get(start..end).unwrap_or_default();
        decode_record(&Bytes::copy_from_slice(record), 0)
            .map_err(|error| segment.corrupt(ordinal, &error))
    }

    /// Returns, for each event that names a cause but no conversation, that of the cause.
    fn inherited_correlations(
        &self,
        pending: &Pending,
        all_known: &[Option<RecordedEvent>],
    ) -> Result<Vec<Option<String>>, AppendError> {
        let mut inherited: Vec<Option<String>> = Vec::with_capacity(all_known.len());
        let events = &pending.request.events;
        for (index, (event, known)) in events.iter().zip(all_known).enumerate() {
            let (Some(cause), None, None) = (event.causation_id, &event.correlation_id, known)
            else {
                inherited.push(None);
                continue;
            };
            // The cause may stand earlier in the same request.
            let earlier = pending
                .prepared
                .iter()
                .take(index)
                .position(|event| event.id == cause);
            let correlation = match earlier.and_then(|at| events.get(at).map(|event| (at, event))) {
                Some((at, cause)) => match (&cause.correlation_id, all_known.get(at)) {
                    (Some(id), _) => Some(id.as_str().to_owned()),
                    (None, Some(Some(known))) => known.correlation_id().map(str::to_owned),
                    (None, Some(None) | None) => inherited.get(at).cloned().flatten(),
                },
                None => self
                    .event(cause)?
                    .and_then(|cause| cause.correlation_id().map(str::to_owned)),
            };
            inherited.push(correlation);
        }
        Ok(inherited)
    }

    fn check_condition(&self, condition: &AppendCondition) -> Result<(), AppendError> {
        match self.first_match(&condition.filter, condition.after)? {
            None => Ok(()),
            Some(event) => Err(AppendError::ConditionFailed {
                position: event.position,
                id: event.id,
            }),
        }
    }

    fn first_match(
        &self,
        filter: &Filter,
        after: Option<Position>,
    ) -> Result<Option<RecordedEvent>, AppendError> {
        let first = Position::after(after);
        let Some(last) = self
            .next_position()
            .previous()
            .filter(|last| first <= *last)
        else {
            return Ok(None);
        };
        let narrowing = narrowing(filter);
        let mut possible = Vec::new();
        let (mut n_doubtful, mut n_missing) = (0, 0);
        for segment in self.segments.iter() {
            let end = segment.ordinals_to(Some(last)).end;
            let start = if segment.entry.base >= first {
                0
            } else {
                segment.ordinal(first)
            };
            if start >= end {
                continue;
            }
            let bounds = segment.bounds(&narrowing, &(start..end))?;
            n_doubtful += bounds.doubtful().len();
            n_missing += u64::from(end.saturating_sub(segment.documents().end().max(start)));
            if n_doubtful > CONDITION_DOUBTFUL_MAX {
                // All other appends wait meanwhile.
                return Err(too_doubtful(n_doubtful, n_missing));
            }
            possible.push((segment, bounds.possible));
        }
        for (segment, ordinals) in possible {
            for ordinal in ordinals {
                let event = self.fetch_one(segment, ordinal)?;
                if filter.matches(&event) {
                    return Ok(Some(event));
                }
            }
        }
        Ok(None)
    }
}

/// Refuses a condition for which too many events would have to be read: for now if that is because
/// they are not indexed yet.
fn too_doubtful(n_doubtful: u64, n_missing: u64) -> AppendError {
    if n_missing > 0 {
        return AppendError::Overloaded {
            limit: "events that the condition would have to read",
            retry_after_ms: 500,
        };
    }
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    AppendError::Limit(LimitExceeded {
        what: "number of events to read for the condition, which the index leaves out in part",
        limit: number(CONDITION_DOUBTFUL_MAX),
        actual: number(n_doubtful),
    })
}

const fn receipt(event: &RecordedEvent, deduplicated: bool) -> EventReceipt {
    EventReceipt {
        id: event.id,
        position: event.position,
        sequence_number: event.sequence_number,
        recorded_at: event.recorded_at,
        deduplicated,
    }
}

fn partly_there(pending: &Pending, known: &[Option<RecordedEvent>]) -> AppendError {
    let first =
        known
            .iter()
            .zip(&pending.prepared)
            .enumerate()
            .find_map(|(index, (known, prepared))| {
                known.as_ref().map(|event| (index, event, prepared))
            });
    match first {
        Some((index, event, prepared)) => AppendError::DuplicateEvent {
            index,
            id: prepared.id,
            position: Some(event.position),
            rule: "only part of the request is there already",
        },
        None => AppendError::Empty,
    }
}
