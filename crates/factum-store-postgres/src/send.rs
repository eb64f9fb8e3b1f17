//! Sends a planned group to the server: one call of one function, with arrays.

use factum_model::{Position, Timestamp};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::decide::{Head, Plan};
use crate::error::Failure;
use crate::options::Options;
use crate::statements::Statements;
use crate::values::{
    InvalidRow, Time, Uuid, bigint, is_searchable, origin_smallint, position, position_bigint,
};

/// What the server made of a group.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// It is as the plan takes it to be, and the events are appended.
    pub(crate) is_appended: bool,
    /// The head before the group.
    pub(crate) head: Option<Position>,
    pub(crate) recorded_at: Timestamp,
    /// The versions of the streams before the group.
    pub(crate) versions: Vec<u64>,
}

/// The arrays that the function takes.
#[derive(Default)]
struct Arrays<'a> {
    absent: Vec<Uuid>,
    stream_types: Vec<&'a str>,
    stream_ids: Vec<&'a str>,
    stream_versions: Vec<Option<i64>>,
    stream_counts: Vec<i64>,
    stream_firsts: Vec<Option<i64>>,
    stream_lasts: Vec<Option<i64>>,
    ids: Vec<Uuid>,
    streams: Vec<i32>,
    offsets: Vec<i64>,
    types: Vec<&'a str>,
    schema_versions: Vec<i64>,
    timestamps: Vec<Option<Time>>,
    causes: Vec<Option<Uuid>>,
    correlations: Vec<Option<&'a str>>,
    origins: Vec<i16>,
    searchable: Vec<bool>,
    metadata: Vec<&'a str>,
    payloads: Vec<&'a str>,
}

impl<'a> Arrays<'a> {
    fn of(plan: &'a Plan<'_>) -> Self {
        let mut arrays = Self {
            absent: plan.absent.iter().map(|id| Uuid::from(*id)).collect(),
            ..Self::default()
        };
        for planned in &plan.streams {
            arrays
                .stream_types
                .push(planned.stream.aggregate_type.as_str());
            arrays.stream_ids.push(planned.stream.aggregate_id.as_str());
            arrays.stream_versions.push(planned.guard().map(bigint));
            arrays.stream_counts.push(bigint(planned.n_events));
            arrays.stream_firsts.push(planned.first.map(bigint));
            arrays.stream_lasts.push(planned.last.map(bigint));
        }
        for planned in &plan.events {
            let event = planned.event;
            let (metadata, payload) = (event.metadata.as_str(), event.payload.as_str());
            arrays.ids.push(Uuid::from(planned.id));
            // A group has far fewer streams than this could not hold.
            arrays
                .streams
                .push(i32::try_from(planned.stream + 1).unwrap_or(i32::MAX));
            arrays.offsets.push(bigint(planned.offset));
            arrays.types.push(event.event_type.as_str());
            arrays
                .schema_versions
                .push(i64::from(event.schema_version.get()));
            arrays.timestamps.push(event.timestamp.map(Time));
            arrays.causes.push(event.causation_id.map(Uuid::from));
            arrays.correlations.push(planned.correlation.as_deref());
            arrays.origins.push(origin_smallint(planned.origin));
            arrays
                .searchable
                .push(is_searchable(metadata) && is_searchable(payload));
            arrays.metadata.push(metadata);
            arrays.payloads.push(payload);
        }
        arrays
    }
}

/// Sends a group, which holds only if the head is where `head` says. When this fails it is not known whether the server has appended it, unless the
/// server says so.
pub(crate) async fn send(
    client: &Client,
    statements: &Statements,
    options: &Options,
    plan: &Plan<'_>,
    (head, deadline): (Option<Head>, Instant),
) -> Result<Outcome, Failure> {
    let arrays = Arrays::of(plan);
    let lock_ms = i32::try_from(options.lock_timeout.as_millis()).unwrap_or(i32::MAX);
    let head = head.map(|head| position_bigint(head.position));
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
        (&statements.log, Type::INT4),
        (&Time(plan.now), Type::TIMESTAMPTZ),
        (&lock_ms, Type::INT4),
        (&head, Type::INT8),
        (&arrays.absent, Type::UUID_ARRAY),
        (&arrays.stream_types, Type::TEXT_ARRAY),
        (&arrays.stream_ids, Type::TEXT_ARRAY),
        (&arrays.stream_versions, Type::INT8_ARRAY),
        (&arrays.stream_counts, Type::INT8_ARRAY),
        (&arrays.stream_firsts, Type::INT8_ARRAY),
        (&arrays.stream_lasts, Type::INT8_ARRAY),
        (&arrays.ids, Type::UUID_ARRAY),
        (&arrays.streams, Type::INT4_ARRAY),
        (&arrays.offsets, Type::INT8_ARRAY),
        (&arrays.types, Type::TEXT_ARRAY),
        (&arrays.schema_versions, Type::INT8_ARRAY),
        (&arrays.timestamps, Type::TIMESTAMPTZ_ARRAY),
        (&arrays.causes, Type::UUID_ARRAY),
        (&arrays.correlations, Type::TEXT_ARRAY),
        (&arrays.origins, Type::INT2_ARRAY),
        (&arrays.searchable, Type::BOOL_ARRAY),
        (&arrays.metadata, Type::TEXT_ARRAY),
        (&arrays.payloads, Type::TEXT_ARRAY),
    ];
    let call = client.query_typed_one(&statements.append, parameters);
    let row = timeout_at(deadline, call)
        .await
        .map_err(|_| Failure::Timeout)??;
    Ok(read(&row)?)
}

fn read(row: &tokio_postgres::Row) -> Result<Outcome, InvalidRow> {
    let outcome: i32 = row.try_get(0)?;
    let Time(recorded_at) = row.try_get(2)?;
    let versions: Option<Vec<i64>> = row.try_get(3)?;
    let versions = versions.unwrap_or_default().into_iter();
    Ok(Outcome {
        is_appended: outcome == 0,
        head: position(row.try_get(1)?),
        recorded_at,
        versions: versions
            .map(|version| u64::try_from(version).unwrap_or_default())
            .collect(),
    })
}
