//! Decides on a group of requests, one after the other, from what is known of the database.
//!
//! A plain function. What it takes for granted without having seen it at the head of the log is
//! in the plan, and the append refuses to go on where it does not hold; so an answer never rests
//! on what is only believed.

use std::collections::{HashMap, HashSet};

use factum_model::{
    EventId, EventOrigin, ExpectedVersion, NewEvent, Position, RecordedEvent, RecordedFields,
    SequenceNumber, StreamId, Timestamp,
};
use factum_store::{AppendCondition, AppendError, EventReceipt, PartialRepeat};

use crate::queue::Pending;

/// What is known of the database when a group is decided on.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The versions of streams; zero for a stream that is not there.
    pub(crate) versions: HashMap<StreamId, u64>,
    /// Events that are there already, by the request and the index in it. Where payload or
    /// metadata differ from the request's, they are empty.
    pub(crate) known: HashMap<(usize, usize), RecordedEvent>,
    /// The conversations of causes; `None` for a cause that has none or is not there.
    pub(crate) correlations: HashMap<EventId, Option<String>>,
    /// Of the causes, those that are not there.
    pub(crate) absent: HashSet<EventId>,
    /// For the requests with a condition: the first event up to the head that it must not find.
    pub(crate) matches: HashMap<usize, (Position, EventId)>,
    /// The requests with a condition for which too many events would have to be looked at.
    pub(crate) undecided: HashSet<usize>,
    /// Where the head is. With it, all the above is of one moment.
    pub(crate) head: Option<Head>,
}

/// The end of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) position: Option<Position>,
    pub(crate) recorded_at: Timestamp,
}

/// What is to become of a group.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The time that it was made with, and that the events are recorded with.
    pub(crate) now: Timestamp,
    pub(crate) streams: Vec<PlannedStream<'a>>,
    pub(crate) events: Vec<PlannedEvent<'a>>,
    /// Ids that must not be there, besides those of the events.
    pub(crate) absent: Vec<EventId>,
    /// One for each request that was decided on; those behind wait for the next group.
    pub(crate) answers: Vec<Result<Vec<Place>, AppendError>>,
    /// A decision rests on something that was never looked up.
    pub(crate) needs_facts: bool,
    /// The decisions hold only while the head is where it was.
    pub(crate) is_bound_to_head: bool,
}

/// A stream, and what the group does to it.
#[derive(Debug)]
pub(crate) struct PlannedStream<'a> {
    pub(crate) stream: &'a StreamId,
    /// The version that it is taken to have, if anything is known of it.
    version: Option<u64>,
    /// A decision rests on the version.
    is_relied_on: bool,
    /// How many events it gets.
    pub(crate) n_events: u64,
    /// Which of the events are its first and last, counted from one.
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
}

impl PlannedStream<'_> {
    /// Returns the version that it must have; `None` where that does not matter.
    pub(crate) fn guard(&self) -> Option<u64> {
        self.version.filter(|_| self.is_relied_on)
    }
}

/// An event that is to be appended.
#[derive(Debug)]
pub(crate) struct PlannedEvent<'a> {
    pub(crate) event: &'a NewEvent,
    pub(crate) id: EventId,
    /// Which of the streams.
    pub(crate) stream: usize,
    /// Which of the new events of its stream, counted from one.
    pub(crate) offset: u64,
    pub(crate) correlation: Option<String>,
    pub(crate) origin: EventOrigin,
    /// The event as it will be, where the head is known.
    recorded: Option<RecordedEvent>,
}

/// Where an event of a request is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// It was there already.
    Known(EventReceipt),
    /// It is one of the planned events.
    Planned(usize),
}

/// Decides on a group, as far as it can be decided on at once.
pub(crate) fn decide<'a>(requests: &'a [Pending], facts: &Facts, now: Timestamp) -> Plan<'a> {
    let mut group = Group {
        facts,
        recorded_at: facts.head.map(|head| head.recorded_at.max(now)),
        stream_indexes: HashMap::new(),
        planned_ids: HashMap::new(),
        plan: Plan {
            now,
            streams: Vec::new(),
            events: Vec::new(),
            absent: Vec::new(),
            answers: Vec::new(),
            needs_facts: false,
            is_bound_to_head: false,
        },
    };
    for (number, pending) in requests.iter().enumerate() {
        // A repeat of an event that is not there yet is easier to tell when it is.
        let repeats = |id: &EventId| group.planned_ids.contains_key(id);
        if pending.ids.iter().any(repeats) {
            break;
        }
        let answer = group.decide(number, pending);
        if answer.is_err() {
            group.guard_refusal(number, pending);
        }
        group.plan.answers.push(answer);
    }
    group.plan
}

struct Group<'a, 'f> {
    facts: &'f Facts,
    /// When the events are recorded, where the head is known.
    recorded_at: Option<Timestamp>,
    stream_indexes: HashMap<&'a StreamId, usize>,
    planned_ids: HashMap<EventId, usize>,
    plan: Plan<'a>,
}

impl<'a, 'f> Group<'a, 'f> {
    fn decide(&mut self, number: usize, pending: &'a Pending) -> Result<Vec<Place>, AppendError> {
        let known = self.known_events(number, pending)?;
        if known.iter().all(Option::is_some) {
            return Ok(known
                .iter()
                .flatten()
                .map(|event| known_place(event))
                .collect());
        }
        if known.iter().any(Option::is_some)
            && pending.request.partial_repeat == PartialRepeat::Refuse
        {
            return Err(partly_there(&known));
        }
        self.check_versions(pending, &known)?;
        if let Some(condition) = &pending.request.condition {
            self.check_condition(number, condition)?;
        }
        let correlations = self.correlations(pending, &known);
        // Nothing below this line can fail.
        let events = pending.request.events.iter().zip(&pending.ids);
        let mut places = Vec::with_capacity(known.len());
        for (((event, id), known), correlation) in events.zip(&known).zip(correlations) {
            places.push(match known {
                Some(known) => known_place(known),
                None => self.add(event, *id, correlation),
            });
        }
        Ok(places)
    }

    /// Returns, for each event of a request, the event with its id that is there already.
    fn known_events(
        &self,
        number: usize,
        pending: &Pending,
    ) -> Result<Vec<Option<&'f RecordedEvent>>, AppendError> {
        let facts = self.facts;
        let mut known = Vec::with_capacity(pending.ids.len());
        let mut seen = HashSet::new();
        for (index, event) in pending.request.events.iter().enumerate() {
            let found = facts.known.get(&(number, index));
            if let Some(id) = event.id {
                let taken = |position, rule| AppendError::DuplicateEvent {
                    index,
                    id,
                    position,
                    rule,
                };
                if !seen.insert(id) {
                    return Err(taken(None, "it stands twice in the request"));
                }
                if let Some(found) = found.filter(|found| !found.is_repeated_by(event)) {
                    let rule = "the event with it has other content";
                    return Err(taken(Some(found.position), rule));
                }
            }
            known.push(found);
        }
        Ok(known)
    }

    fn check_versions(
        &mut self,
        pending: &'a Pending,
        known: &[Option<&RecordedEvent>],
    ) -> Result<(), AppendError> {
        for expectation in &pending.request.expected {
            let stream = &expectation.stream;
            // The expectation was met when the first part of the request was appended.
            if known.iter().flatten().any(|known| known.is_of(stream)) {
                continue;
            }
            let index = self.stream(stream);
            let expected = expectation.version;
            let Some(version) = self.version_or_assume(index, expected) else {
                continue;
            };
            let actual = SequenceNumber::new(version);
            if !expected.is_met_by(actual) {
                return Err(AppendError::VersionConflict {
                    stream: stream.clone(),
                    expected,
                    actual,
                });
            }
        }
        Ok(())
    }

    /// Returns the version of a stream as the group leaves it. Where nothing is known of it, it is
    /// taken to be what is expected.
    fn version_or_assume(&mut self, index: usize, expected: ExpectedVersion) -> Option<u64> {
        let stream = self.plan.streams.get_mut(index)?;
        if stream.version.is_none() {
            let new = SequenceNumber::new(stream.n_events);
            match expected {
                ExpectedVersion::Any => return None,
                // What an earlier request of the group adds makes it so.
                ExpectedVersion::Exists if new.is_some() => return None,
                ExpectedVersion::Exists => self.plan.needs_facts = true,
                ExpectedVersion::NoStream => stream.version = Some(0),
                ExpectedVersion::Exact(version) => {
                    stream.version = Some(version.get().saturating_sub(stream.n_events));
                }
            }
        }
        stream.is_relied_on |= expected != ExpectedVersion::Any;
        Some(stream.version? + stream.n_events)
    }

    fn check_condition(
        &mut self,
        number: usize,
        condition: &AppendCondition,
    ) -> Result<(), AppendError> {
        self.plan.is_bound_to_head = true;
        if self.facts.head.is_none() {
            self.plan.needs_facts = true;
            return Ok(());
        }
        if self.facts.undecided.contains(&number) {
            return Err(AppendError::Overloaded {
                limit: "events that the condition would have to read",
                retry_after_ms: 500,
            });
        }
        let planned = self.plan.events.iter().filter_map(|event| {
            let event = event.recorded.as_ref()?;
            let is_meant = Some(event.position) > condition.after;
            (is_meant && condition.filter.matches(event)).then_some((event.position, event.id))
        });
        let stored = self.facts.matches.get(&number).copied();
        match stored.into_iter().chain(planned).next() {
            None => Ok(()),
            Some((position, id)) => Err(AppendError::ConditionFailed { position, id }),
        }
    }

    /// Returns the conversation of each event, and whether it is that of its cause.
    fn correlations(
        &mut self,
        pending: &Pending,
        known: &[Option<&RecordedEvent>],
    ) -> Vec<(Option<String>, bool)> {
        let mut correlations: Vec<(Option<String>, bool)> = Vec::with_capacity(known.len());
        for (index, (event, found)) in pending.request.events.iter().zip(known).enumerate() {
            let own = match (found, &event.correlation_id, event.causation_id) {
                (Some(found), ..) => (found.correlation_id().map(str::to_owned), false),
                (None, Some(id), _) => (Some(id.as_str().to_owned()), false),
                (None, None, None) => (None, false),
                (None, None, Some(cause)) => {
                    // The cause may stand earlier in the same request.
                    let earlier = pending.ids.iter().take(index).position(|id| *id == cause);
                    let inherited = match earlier.and_then(|at| correlations.get(at)) {
                        Some((correlation, _)) => correlation.clone(),
                        None => self.correlation_of(cause),
                    };
                    let is_inherited = inherited.is_some();
                    (inherited, is_inherited)
                }
            };
            correlations.push(own);
        }
        correlations
    }

    fn correlation_of(&mut self, cause: EventId) -> Option<String> {
        let planned = self.planned_ids.get(&cause);
        if let Some(planned) = planned.and_then(|&index| self.plan.events.get(index)) {
            return planned.correlation.clone();
        }
        match self.facts.correlations.get(&cause) {
            Some(correlation) => {
                if self.facts.absent.contains(&cause) {
                    self.plan.absent.push(cause);
                }
                correlation.clone()
            }
            None => {
                self.plan.needs_facts = true;
                None
            }
        }
    }

    fn add(
        &mut self,
        event: &'a NewEvent,
        id: EventId,
        (correlation, correlation_inherited): (Option<String>, bool),
    ) -> Place {
        let index = self.plan.events.len();
        let stream_index = self.stream(&event.stream);
        let mut offset = 0;
        let mut version = None;
        if let Some(stream) = self.plan.streams.get_mut(stream_index) {
            stream.n_events += 1;
            offset = stream.n_events;
            version = stream.version;
            let number = index as u64 + 1;
            stream.first.get_or_insert(number);
            stream.last = Some(number);
        }
        let mut planned = PlannedEvent {
            event,
            id,
            stream: stream_index,
            offset,
            correlation,
            origin: EventOrigin {
                timestamp_assigned: event.timestamp.is_none(),
                correlation_inherited,
            },
            recorded: None,
        };
        planned.recorded = self.record(&planned, index, version);
        self.planned_ids.insert(id, index);
        self.plan.events.push(planned);
        Place::Planned(index)
    }

    /// Makes the event as it will be if the head stays where it is.
    fn record(
        &self,
        planned: &PlannedEvent<'_>,
        index: usize,
        version: Option<u64>,
    ) -> Option<RecordedEvent> {
        let (head, recorded_at) = (self.facts.head?, self.recorded_at?);
        let event = planned.event;
        Some(RecordedEvent::new(RecordedFields {
            id: planned.id,
            position: Position::new(head.position.map_or(0, Position::get) + index as u64 + 1)?,
            sequence_number: SequenceNumber::new(version? + planned.offset)?,
            recorded_at,
            timestamp: event.timestamp.unwrap_or(recorded_at),
            schema_version: event.schema_version,
            origin: planned.origin,
            causation_id: event.causation_id,
            event_type: event.event_type.as_str(),
            aggregate_type: event.stream.aggregate_type.as_str(),
            aggregate_id: event.stream.aggregate_id.as_str(),
            correlation_id: planned.correlation.as_deref(),
            metadata: event.metadata.as_str(),
            payload: event.payload.as_str(),
        }))
    }

    /// Returns the index of a stream among those of the group.
    fn stream(&mut self, stream: &'a StreamId) -> usize {
        if let Some(index) = self.stream_indexes.get(stream) {
            return *index;
        }
        let index = self.plan.streams.len();
        self.plan.streams.push(PlannedStream {
            stream,
            version: self.facts.versions.get(stream).copied(),
            is_relied_on: false,
            n_events: 0,
            first: None,
            last: None,
        });
        self.stream_indexes.insert(stream, index);
        index
    }

    /// A refusal holds only if the ids that were not found are really not there.
    fn guard_refusal(&mut self, number: usize, pending: &Pending) {
        for (index, event) in pending.request.events.iter().enumerate() {
            if let Some(id) = event.id
                && !self.facts.known.contains_key(&(number, index))
            {
                self.plan.absent.push(id);
            }
        }
    }
}

fn known_place(event: &RecordedEvent) -> Place {
    Place::Known(EventReceipt {
        id: event.id,
        position: event.position,
        sequence_number: event.sequence_number,
        recorded_at: event.recorded_at,
        deduplicated: true,
    })
}

fn partly_there(known: &[Option<&RecordedEvent>]) -> AppendError {
    let first = known
        .iter()
        .enumerate()
        .find_map(|(index, known)| known.map(|event| (index, event)));
    match first {
        Some((index, event)) => AppendError::DuplicateEvent {
            index,
            id: event.id,
            position: Some(event.position),
            rule: "only part of the request is there already",
        },
        None => AppendError::Empty,
    }
}
