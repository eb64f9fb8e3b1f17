//! Looks up what a group of requests is decided on: one moment of the database, in one round trip.

use std::collections::HashSet;

use factum_model::{EventId, RecordedEvent, RecordedFields, StreamId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::decide::{Facts, Head};
use crate::error::Failure;
use crate::pool::Query;
use crate::queue::Pending;
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::{InvalidRow, Time, Uuid, position};

/// What is asked of the database for a group.
struct Wanted<'a> {
    streams: Vec<&'a StreamId>,
    /// The request and the index in it of each event whose id may be there.
    places: Vec<(usize, usize)>,
    causes: Vec<EventId>,
}

/// Looks up everything that the requests depend on, but for their conditions. Ids that were made
/// for events are looked up only if the events were sent before.
pub(crate) async fn fetch(
    shared: &Shared,
    asking: Asking<'_>,
    requests: &[Pending],
    sent: &HashSet<EventId>,
) -> Result<Facts, Failure> {
    let statements = &shared.statements;
    let wanted = Wanted::by(requests, sent);
    let types: Vec<_> = wanted
        .streams
        .iter()
        .map(|stream| stream.aggregate_type.as_str())
        .collect();
    let stream_ids: Vec<_> = wanted
        .streams
        .iter()
        .map(|stream| stream.aggregate_id.as_str())
        .collect();
    let mut event_ids = Vec::new();
    let (mut metadata, mut payloads) = (Vec::new(), Vec::new());
    for &(request, index) in &wanted.places {
        let pending = requests.get(request);
        let event = pending.and_then(|pending| pending.request.events.get(index));
        let id = pending.and_then(|pending| pending.ids.get(index));
        if let (Some(event), Some(id)) = (event, id) {
            event_ids.push(Uuid::from(*id));
            metadata.push(event.metadata.as_str());
            payloads.push(event.payload.as_str());
        }
    }
    let causes: Vec<_> = wanted.causes.iter().map(|id| Uuid::from(*id)).collect();
    let log = statements.log;
    let queries = [
        Query {
            sql: &statements.head,
            parameters: &[(&log, Type::INT4)],
        },
        Query {
            sql: &statements.versions,
            parameters: &[
                (&log, Type::INT4),
                (&types, Type::TEXT_ARRAY),
                (&stream_ids, Type::TEXT_ARRAY),
            ],
        },
        Query {
            sql: &statements.known,
            parameters: &[
                (&log, Type::INT4),
                (&event_ids, Type::UUID_ARRAY),
                (&metadata, Type::TEXT_ARRAY),
                (&payloads, Type::TEXT_ARRAY),
            ],
        },
        Query {
            sql: &statements.correlations,
            parameters: &[(&log, Type::INT4), (&causes, Type::UUID_ARRAY)],
        },
    ];
    let answers = shared.ask(asking, &queries).await?;
    read(&answers, &wanted, requests)
}

impl<'a> Wanted<'a> {
    fn by(requests: &'a [Pending], sent: &HashSet<EventId>) -> Self {
        let (mut streams, mut causes) = (HashSet::new(), HashSet::new());
        let mut places = Vec::new();
        for (number, pending) in requests.iter().enumerate() {
            let events = pending.request.events.iter().zip(&pending.ids);
            for (index, (event, id)) in events.enumerate() {
                streams.insert(&event.stream);
                if event.id.is_some() || sent.contains(id) {
                    places.push((number, index));
                }
                if event.correlation_id.is_none() {
                    causes.extend(event.causation_id);
                }
            }
            let expected = pending.request.expected.iter();
            streams.extend(expected.map(|expectation| &expectation.stream));
        }
        Self {
            streams: streams.into_iter().collect(),
            places,
            causes: causes.into_iter().collect(),
        }
    }
}

fn read(answers: &[Vec<Row>], wanted: &Wanted<'_>, requests: &[Pending]) -> Result<Facts, Failure> {
    let [head, versions, known, correlations] = answers else {
        return Err(Failure::Closed);
    };
    let mut facts = Facts {
        head: head.first().map(head_of).transpose()?,
        ..Facts::default()
    };
    for stream in &wanted.streams {
        facts.versions.insert((*stream).clone(), 0);
    }
    for row in versions {
        let (number, version): (i64, i64) = (column(row, 0)?, column(row, 1)?);
        if let Some(stream) = place(number).and_then(|at| wanted.streams.get(at)) {
            let version = u64::try_from(version).unwrap_or_default();
            facts.versions.insert((*stream).clone(), version);
        }
    }
    for row in known {
        let number: i64 = column(row, 0)?;
        let at = place(number).and_then(|at| wanted.places.get(at));
        if let Some(&(request, index)) = at
            && let Some(pending) = requests.get(request)
            && let Some(event) = known_event(row, pending, index)?
        {
            facts.known.insert((request, index), event);
        }
    }
    facts.absent = wanted.causes.iter().copied().collect();
    for cause in &wanted.causes {
        facts.correlations.insert(*cause, None);
    }
    for row in correlations {
        let Uuid(id) = column(row, 0)?;
        let id = EventId::from_bytes(id);
        facts.absent.remove(&id);
        facts.correlations.insert(id, column(row, 1)?);
    }
    Ok(facts)
}

/// Reads the end of the log.
pub(crate) fn head_of(row: &Row) -> Result<Head, InvalidRow> {
    let Time(recorded_at) = row.try_get(1)?;
    Ok(Head {
        position: position(row.try_get(0)?),
        recorded_at,
    })
}

/// Reads an event that is there; it has the documents of the request if they are the same.
fn known_event(
    row: &Row,
    pending: &Pending,
    index: usize,
) -> Result<Option<RecordedEvent>, InvalidRow> {
    let stored = crate::values::event_at(row, 2)?;
    let same: bool = row.try_get(1)?;
    let Some(event) = pending.request.events.get(index) else {
        return Ok(None);
    };
    let (metadata, payload) = if same {
        (event.metadata.as_str(), event.payload.as_str())
    } else {
        ("", "")
    };
    Ok(Some(RecordedEvent::new(RecordedFields {
        id: stored.id,
        position: stored.position,
        sequence_number: stored.sequence_number,
        recorded_at: stored.recorded_at,
        timestamp: stored.timestamp,
        schema_version: stored.schema_version,
        origin: stored.origin,
        causation_id: stored.causation_id,
        event_type: stored.event_type(),
        aggregate_type: stored.aggregate_type(),
        aggregate_id: stored.aggregate_id(),
        correlation_id: stored.correlation_id(),
        metadata,
        payload,
    })))
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T, InvalidRow> {
    Ok(row.try_get(index)?)
}

/// Returns the index of a number that counts from one.
fn place(number: i64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}
