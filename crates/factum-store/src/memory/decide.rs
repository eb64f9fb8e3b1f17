//! Decides on one request, against everything that was appended before. A plain function: the
//! checks in the order that [`EventStore::append`](crate::EventStore::append) promises.

use factum_model::{
    Clock, EventId, EventOrigin, IdSource, NewEvent, Position, RecordedEvent, RecordedFields,
    SequenceNumber, StreamId, Timestamp,
};

use crate::append::{
    AppendCondition, AppendError, AppendReceipt, AppendRequest, EventReceipt, PartialRepeat,
};

/// What a request leads to.
#[derive(Debug)]
pub(super) struct Decision {
    /// What is to be added to the log.
    pub(super) events: Vec<RecordedEvent>,
    /// What the writer is told.
    pub(super) receipt: AppendReceipt,
}

/// Checks a request and makes its events.
pub(super) fn decide(
    log: &[RecordedEvent],
    request: &AppendRequest,
    clock: &dyn Clock,
    ids: &dyn IdSource,
) -> Result<Decision, AppendError> {
    if request.events.is_empty() {
        return Err(AppendError::Empty);
    }
    let known = known_events(log, &request.events)?;
    check_partial_repeat(request, &known)?;
    if known.iter().any(Option::is_none) {
        check_versions(log, request, &known)?;
        if let Some(condition) = &request.condition {
            check_condition(log, condition)?;
        }
    }
    let now = clock.now();
    let recorded_at = log.last().map_or(now, |last| now.max(last.recorded_at));
    let mut decision = Decision {
        events: Vec::new(),
        receipt: AppendReceipt { events: Vec::new() },
    };
    for (proposed, known) in request.events.iter().zip(known) {
        let receipt = match known {
            Some(known) => receipt_of(known, true),
            None => {
                let id = proposed.id.unwrap_or_else(|| ids.next_id(now));
                let event = record(log, &decision.events, proposed, id, recorded_at);
                let receipt = receipt_of(&event, false);
                decision.events.push(event);
                receipt
            }
        };
        decision.receipt.events.push(receipt);
    }
    Ok(decision)
}

/// Returns, for each event of a request, the event that it repeats.
fn known_events<'a>(
    log: &'a [RecordedEvent],
    proposed: &[NewEvent],
) -> Result<Vec<Option<&'a RecordedEvent>>, AppendError> {
    let mut known = Vec::new();
    for (index, event) in proposed.iter().enumerate() {
        let Some(id) = event.id else {
            known.push(None);
            continue;
        };
        let taken = |position, rule| AppendError::DuplicateEvent {
            index,
            id,
            position,
            rule,
        };
        let earlier = proposed.iter().take(index);
        if earlier.into_iter().any(|earlier| earlier.id == Some(id)) {
            return Err(taken(None, "it stands twice in the request"));
        }
        let found = find(log, id);
        if let Some(found) = found
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

/// Refuses a request that is partly there, unless it asks for the rest to be appended.
fn check_partial_repeat(
    request: &AppendRequest,
    known: &[Option<&RecordedEvent>],
) -> Result<(), AppendError> {
    if request.partial_repeat == PartialRepeat::Skip || known.iter().all(Option::is_some) {
        return Ok(());
    }
    let first_known = known
        .iter()
        .enumerate()
        .find_map(|(index, known)| known.map(|known| (index, known)));
    match first_known {
        None => Ok(()),
        Some((index, known)) => Err(AppendError::DuplicateEvent {
            index,
            id: known.id,
            position: Some(known.position),
            rule: "only part of the request is there already",
        }),
    }
}

fn check_versions(
    log: &[RecordedEvent],
    request: &AppendRequest,
    known: &[Option<&RecordedEvent>],
) -> Result<(), AppendError> {
    for expectation in &request.expected {
        // The expectation was met when the first part of the request was appended, and that part
        // has raised the version since.
        let partly_there = known
            .iter()
            .flatten()
            .any(|known| known.is_of(&expectation.stream));
        let actual = version(log, &expectation.stream);
        if !partly_there && !expectation.version.is_met_by(actual) {
            return Err(AppendError::VersionConflict {
                stream: expectation.stream.clone(),
                expected: expectation.version,
                actual,
            });
        }
    }
    Ok(())
}

fn check_condition(log: &[RecordedEvent], condition: &AppendCondition) -> Result<(), AppendError> {
    let found = log
        .iter()
        .find(|event| Some(event.position) > condition.after && condition.filter.matches(event));
    match found {
        None => Ok(()),
        Some(event) => Err(AppendError::ConditionFailed {
            position: event.position,
            id: event.id,
        }),
    }
}

/// Makes the event that comes after `log` and then `request`.
fn record(
    log: &[RecordedEvent],
    request: &[RecordedEvent],
    proposed: &NewEvent,
    id: EventId,
    recorded_at: Timestamp,
) -> RecordedEvent {
    let last = request.last().or_else(|| log.last());
    let stream = &proposed.stream;
    let cause = proposed
        .causation_id
        .and_then(|cause| find(request, cause).or_else(|| find(log, cause)));
    let given = proposed.correlation_id.as_ref().map(AsRef::as_ref);
    let inherited = cause.and_then(RecordedEvent::correlation_id);
    RecordedEvent::new(RecordedFields {
        id,
        position: Position::after(last.map(|last| last.position)),
        sequence_number: SequenceNumber::after(
            version(request, stream).or_else(|| version(log, stream)),
        ),
        recorded_at,
        timestamp: proposed.timestamp.unwrap_or(recorded_at),
        schema_version: proposed.schema_version,
        origin: EventOrigin {
            timestamp_assigned: proposed.timestamp.is_none(),
            correlation_inherited: given.is_none() && inherited.is_some(),
        },
        causation_id: proposed.causation_id,
        event_type: proposed.event_type.as_str(),
        aggregate_type: stream.aggregate_type.as_str(),
        aggregate_id: stream.aggregate_id.as_str(),
        correlation_id: given.or(inherited),
        metadata: proposed.metadata.as_str(),
        payload: proposed.payload.as_str(),
    })
}

fn find(events: &[RecordedEvent], id: EventId) -> Option<&RecordedEvent> {
    events.iter().find(|event| event.id == id)
}

fn version(events: &[RecordedEvent], stream: &StreamId) -> Option<SequenceNumber> {
    let last = events.iter().rfind(|event| event.is_of(stream));
    last.map(|last| last.sequence_number)
}

const fn receipt_of(event: &RecordedEvent, deduplicated: bool) -> EventReceipt {
    EventReceipt {
        id: event.id,
        position: event.position,
        sequence_number: event.sequence_number,
        recorded_at: event.recorded_at,
        deduplicated,
    }
}
