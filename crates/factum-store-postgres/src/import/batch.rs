//! One batch of an import: one transaction under the lock of the head row, events and ids by COPY.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use factum_model::{EventId, Position, RecordedEvent, SequenceNumber, Timestamp};
use factum_store::{ImportCheck, ImportError, ImportFault};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::Failure;
use crate::statements::Statements;
use crate::values::{
    Time, Uuid, bigint, is_searchable, origin_smallint, position, position_bigint,
};

/// Where the log is, under the lock of its head.
struct Head {
    position: Option<Position>,
    recorded_at: Timestamp,
    leaf: Leaf,
}

/// The leaf that takes events, and what ends it.
struct Leaf {
    number: Option<i32>,
    until: Option<Timestamp>,
    last_position: Option<i64>,
}

impl Leaf {
    /// Reads three columns.
    fn of(row: &Row, first: usize) -> Result<Self, tokio_postgres::Error> {
        let until: Option<Time> = row.try_get(first + 1)?;
        Ok(Self {
            number: row.try_get(first)?,
            until: until.map(|Time(until)| until),
            last_position: row.try_get(first + 2)?,
        })
    }

    /// Tells whether the event after a head goes to this leaf.
    fn takes(&self, head: i64, recorded_at: Timestamp) -> bool {
        self.number.is_some()
            && self.until.is_none_or(|until| recorded_at < until)
            && self.last_position.is_none_or(|last| head < last)
    }
}

/// What is known of a stream before an event of it.
#[derive(Clone, Copy)]
struct Stream {
    version: u64,
    first_position: i64,
}

/// What a batch makes of a stream.
struct Grown<'a> {
    event: &'a RecordedEvent,
    last: &'a RecordedEvent,
    first_position: i64,
}

/// Why a batch was not imported.
pub(super) enum Refused {
    Statement(Failure),
    Import(ImportError),
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error.into())
    }
}

impl From<ImportError> for Refused {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

/// Imports a batch behind a head in one transaction, and returns the head after it.
pub(super) async fn import(
    client: &Client,
    statements: &Statements,
    before: Option<Position>,
    events: &[RecordedEvent],
) -> Result<Option<Position>, Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; \
             SET LOCAL lock_timeout = '60s'",
        )
        .await?;
    let head = lock_head(client, statements).await?;
    if head.position != before {
        return Err(ImportError::Ended.into());
    }
    let mut check = ImportCheck::after(head.position, head.recorded_at);
    for event in events {
        check.next(event)?;
    }
    let streams = known_streams(client, statements, events).await?;
    let starts = check_sequences(events, &streams)?;
    let leaves = open_leaves(client, statements, head, events).await?;
    copy_ids(client, statements, events, &leaves).await?;
    copy_events(client, statements, (events, &leaves, &starts)).await?;
    grow_streams(client, statements, grown(events, &starts)).await?;
    let Some(last) = events.last() else {
        return Ok(before);
    };
    let update = format!(
        "UPDATE {schema}.logs SET head = $2, recorded_at = $3, import_step = import_step + 1 \
         WHERE log_id = $1"
    );
    let new_head = position_bigint(Some(last.position));
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&new_head, Type::INT8),
        (&Time(last.recorded_at), Type::TIMESTAMPTZ),
    ];
    client.execute_typed(&update, parameters).await?;
    client.batch_execute("COMMIT").await?;
    Ok(Some(last.position))
}

/// Locks the head of a log that is being imported. The lock lets a row of a leaf be made meanwhile,
/// which names the log: whoever makes one may have the lock that [`open_leaves`] needs.
async fn lock_head(client: &Client, statements: &Statements) -> Result<Head, Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!(
        "SELECT head, recorded_at, leaf, leaf_until, leaf_last_position FROM {schema}.logs \
         WHERE log_id = $1 AND import_step IS NOT NULL FOR NO KEY UPDATE"
    );
    let row = client.query_typed_opt(&ask, &[(&log, Type::INT4)]).await?;
    let row = row.ok_or(ImportError::Ended)?;
    let Time(recorded_at) = row.try_get(1)?;
    Ok(Head {
        position: position(row.try_get(0)?),
        recorded_at,
        leaf: Leaf::of(&row, 2)?,
    })
}

type Name<'a> = (&'a str, &'a str);

fn name(event: &RecordedEvent) -> Name<'_> {
    (event.aggregate_type(), event.aggregate_id())
}

/// Looks up the streams of a batch.
async fn known_streams<'a>(
    client: &Client,
    statements: &Statements,
    events: &'a [RecordedEvent],
) -> Result<HashMap<Name<'a>, Stream>, Refused> {
    let names: HashSet<Name<'_>> = events.iter().map(name).collect();
    let names: Vec<Name<'_>> = names.into_iter().collect();
    let (types, ids): (Vec<&str>, Vec<&str>) = names.iter().copied().unzip();
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!(
        "SELECT u.n, s.version, s.first_position FROM unnest($2, $3) WITH ORDINALITY AS u (type, id, n) \
         JOIN {schema}.streams s ON s.log_id = $1 AND s.aggregate_id = u.id AND s.aggregate_type = u.type"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&types, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
    ];
    let mut streams = HashMap::new();
    for row in client.query_typed(&ask, parameters).await? {
        let (number, version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let stream = Stream {
            version: u64::try_from(version).unwrap_or_default(),
            first_position: row.try_get(2)?,
        };
        let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
        streams.extend(names.get(at).map(|name| (*name, stream)));
    }
    Ok(streams)
}

/// Checks that events are the next ones of their streams, and returns where each stream begins.
fn check_sequences(
    events: &[RecordedEvent],
    known: &HashMap<Name<'_>, Stream>,
) -> Result<Vec<i64>, ImportError> {
    let mut streams = known.clone();
    let mut starts = Vec::with_capacity(events.len());
    for event in events {
        let stream = streams.entry(name(event)).or_insert_with(|| Stream {
            version: 0,
            first_position: position_bigint(Some(event.position)),
        });
        if SequenceNumber::new(stream.version + 1) != Some(event.sequence_number) {
            let position = event.position;
            let found = event.sequence_number;
            let fault = match event.stream() {
                Ok(name) => ImportFault::Sequence {
                    stream: name,
                    version: stream.version,
                    found,
                },
                Err(_) => ImportFault::Content { part: "aggregate" },
            };
            return Err(ImportError::Invalid { position, fault });
        }
        stream.version += 1;
        starts.push(stream.first_position);
    }
    Ok(starts)
}

/// Returns the leaf of each event, and opens those that are not open yet.
async fn open_leaves(
    client: &Client,
    statements: &Statements,
    head: Head,
    events: &[RecordedEvent],
) -> Result<Vec<i32>, Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let open = format!(
        "SELECT o_leaf, o_until, o_last_position FROM {schema}.import_leaf($1, $2, $3, $4)"
    );
    let mut leaf = head.leaf;
    let (mut before, mut before_at) = (position_bigint(head.position), head.recorded_at);
    let mut leaves = Vec::with_capacity(events.len());
    for event in events {
        if !leaf.takes(before, event.recorded_at) {
            let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
                (&log, Type::INT4),
                (&before, Type::INT8),
                (&Time(before_at), Type::TIMESTAMPTZ),
                (&Time(event.recorded_at), Type::TIMESTAMPTZ),
            ];
            let row = client.query_typed_one(&open, parameters).await?;
            leaf = Leaf::of(&row, 0)?;
        }
        leaves.push(leaf.number.unwrap_or_default());
        before = position_bigint(Some(event.position));
        before_at = event.recorded_at;
    }
    Ok(leaves)
}

async fn copy_ids(
    client: &Client,
    statements: &Statements,
    events: &[RecordedEvent],
    leaves: &[i32],
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let copy = format!(
        "COPY {schema}.event_ids (event_id, log_id, leaf, position) FROM STDIN (FORMAT binary)"
    );
    let sink = client.copy_in(&copy).await?;
    let types = [Type::UUID, Type::INT4, Type::INT4, Type::INT8];
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
    for (event, leaf) in events.iter().zip(leaves) {
        let (id, at) = (Uuid::from(event.id), position_bigint(Some(event.position)));
        rows.as_mut().write(&[&id, &log, leaf, &at]).await?;
    }
    rows.finish().await?;
    Ok(())
}

/// Events, their leaves, and where their streams begin.
type Placed<'a> = (&'a [RecordedEvent], &'a [i32], &'a [i64]);

async fn copy_events(
    client: &Client,
    statements: &Statements,
    (events, leaves, starts): Placed<'_>,
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let copy = format!(
        "COPY {schema}.events (position, stream, sequence, recorded_at, timestamp, schema_version, \
         event_id, causation_id, log_id, leaf, origin, searchable, event_type, aggregate_type, \
         aggregate_id, correlation_id, metadata, payload) FROM STDIN (FORMAT binary)"
    );
    let sink = client.copy_in(&copy).await?;
    let types = [
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::UUID,
        Type::UUID,
        Type::INT4,
        Type::INT4,
        Type::INT2,
        Type::BOOL,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
    ];
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
    for ((event, leaf), start) in events.iter().zip(leaves).zip(starts) {
        let row: &[&(dyn ToSql + Sync)] = &[
            &position_bigint(Some(event.position)),
            start,
            &bigint(event.sequence_number.get()),
            &Time(event.recorded_at),
            &Time(event.timestamp),
            &i64::from(event.schema_version.get()),
            &Uuid::from(event.id),
            &event.causation_id.map(|id: EventId| Uuid::from(id)),
            &log,
            leaf,
            &origin_smallint(event.origin),
            &(is_searchable(event.metadata()) && is_searchable(event.payload())),
            &event.event_type(),
            &event.aggregate_type(),
            &event.aggregate_id(),
            &event.correlation_id(),
            &event.metadata(),
            &event.payload(),
        ];
        rows.as_mut().write(row).await?;
    }
    rows.finish().await?;
    Ok(())
}

/// Returns what a batch makes of its streams.
fn grown<'a>(events: &'a [RecordedEvent], starts: &[i64]) -> Vec<Grown<'a>> {
    let mut grown: HashMap<Name<'_>, Grown<'_>> = HashMap::new();
    for (event, start) in events.iter().zip(starts) {
        grown
            .entry(name(event))
            .and_modify(|grown| grown.last = event)
            .or_insert(Grown {
                event,
                last: event,
                first_position: *start,
            });
    }
    grown.into_values().collect()
}

async fn grow_streams(
    client: &Client,
    statements: &Statements,
    grown: Vec<Grown<'_>>,
) -> Result<(), Refused> {
    let (schema, log) = (&statements.schema, statements.log);
    let (types, ids): (Vec<_>, Vec<_>) = grown.iter().map(|grown| name(grown.event)).unzip();
    let last = |grown: &Grown<'_>| position_bigint(Some(grown.last.position));
    let versions: Vec<_> = grown
        .iter()
        .map(|grown| bigint(grown.last.sequence_number.get()))
        .collect();
    let firsts: Vec<_> = grown.iter().map(|grown| grown.first_position).collect();
    let lasts: Vec<_> = grown.iter().map(last).collect();
    let first_times: Vec<_> = grown
        .iter()
        .map(|grown| Time(grown.event.timestamp))
        .collect();
    let last_times: Vec<_> = grown
        .iter()
        .map(|grown| Time(grown.last.timestamp))
        .collect();
    let add = format!(
        "INSERT INTO {schema}.streams AS s (log_id, aggregate_id, aggregate_type, version, \
         first_position, last_position, first_timestamp, last_timestamp) \
         SELECT $1, u.id, u.type, u.version, u.first, u.last, u.first_time, u.last_time \
         FROM unnest($2, $3, $4, $5, $6, $7, $8) \
         AS u (type, id, version, first, last, first_time, last_time) \
         ON CONFLICT (log_id, aggregate_id, aggregate_type) DO UPDATE SET version = excluded.version, \
         last_position = excluded.last_position, last_timestamp = excluded.last_timestamp"
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&log, Type::INT4),
        (&types, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&versions, Type::INT8_ARRAY),
        (&firsts, Type::INT8_ARRAY),
        (&lasts, Type::INT8_ARRAY),
        (&first_times, Type::TIMESTAMPTZ_ARRAY),
        (&last_times, Type::TIMESTAMPTZ_ARRAY),
    ];
    client.execute_typed(&add, parameters).await?;
    Ok(())
}
