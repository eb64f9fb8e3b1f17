//! Reads of one stream, and of single events.

use factum_model::{AggregateId, AggregateType, EventId, RecordedEvent, SequenceNumber, StreamId};
use factum_store::{Direction, StreamInfo, StreamPage, StreamRead};
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

use crate::error::Failure;
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::{EVENT_COLUMNS, InvalidRow, Time, Uuid, bigint, event, position};

/// How many events one statement returns at most.
const CHUNK_EVENTS: usize = 1000;
/// How many bytes of documents one statement returns, about.
const CHUNK_BYTES: usize = 4 << 20;
/// What an event takes besides its documents, about.
const EVENT_BYTES: i64 = 512;

/// A row of the table of streams.
struct StreamRow {
    version: SequenceNumber,
    first_position: i64,
    last_position: i64,
    info: StreamInfo,
}

impl Shared {
    /// Reads a page of a stream; see `EventStore::read_stream`.
    pub(crate) async fn read_stream(&self, read: &StreamRead) -> Result<StreamPage, Failure> {
        let deadline = Instant::now() + self.options.read_timeout;
        let mut page = StreamPage {
            events: Vec::new(),
            has_more: false,
            version: None,
        };
        let Some(stream) = self.stream_row(&read.stream, deadline).await? else {
            return Ok(page);
        };
        page.version = Some(stream.version);
        let mut first = read.from.map_or(1, |from| bigint(from.get()));
        let mut last = bigint(stream.version.get());
        last = read.to.map_or(last, |to| last.min(bigint(to.get())));
        let mut bytes = 0;
        while first <= last {
            let is_full = !page.events.is_empty() && bytes >= read.page_bytes_max;
            if page.events.len() >= read.limit || is_full {
                page.has_more = true;
                break;
            }
            let wanted = Wanted {
                range: (first, last),
                direction: read.direction,
                events_max: (read.limit - page.events.len()).min(CHUNK_EVENTS),
                bytes_max: read.page_bytes_max.saturating_sub(bytes).min(CHUNK_BYTES),
            };
            let events = self.stream_events(&stream, &wanted, deadline).await?;
            let Some(end) = events.last().map(|event| event.sequence_number) else {
                break;
            };
            match read.direction {
                Direction::Forwards => first = bigint(end.get()) + 1,
                Direction::Backwards => last = bigint(end.get()) - 1,
            }
            for event in events {
                if !page.events.is_empty() && bytes >= read.page_bytes_max {
                    // It is read again for the next page.
                    page.has_more = true;
                    return Ok(page);
                }
                bytes += event.text_bytes();
                page.events.push(event);
            }
        }
        Ok(page)
    }

    async fn stream_events(
        &self,
        stream: &StreamRow,
        wanted: &Wanted,
        deadline: Instant,
    ) -> Result<Vec<RecordedEvent>, Failure> {
        let (schema, log) = (&self.statements.schema, self.statements.log);
        let order = match wanted.direction {
            Direction::Forwards => "",
            Direction::Backwards => " DESC",
        };
        let size = format!("(octet_length(e.metadata) + octet_length(e.payload) + {EVENT_BYTES})");
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM (SELECT e.*, sum({size}) \
             OVER (ORDER BY e.sequence{order} ROWS UNBOUNDED PRECEDING) AS total \
             FROM {schema}.events e WHERE e.log_id = $1 AND e.leaf BETWEEN $2 AND $3 \
             AND e.stream = $4 AND e.sequence BETWEEN $5 AND $6 \
             ORDER BY e.sequence{order} LIMIT $7) e \
             WHERE e.total - {size} < $8 ORDER BY e.sequence{order}"
        );
        let (low, high) = self
            .leaves
            .range(stream.first_position, stream.last_position);
        let limit = bigint(wanted.events_max as u64);
        // One event at least.
        let bytes = bigint(wanted.bytes_max as u64).max(1);
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&log, Type::INT4),
            (&low, Type::INT4),
            (&high, Type::INT4),
            (&stream.first_position, Type::INT8),
            (&wanted.range.0, Type::INT8),
            (&wanted.range.1, Type::INT8),
            (&limit, Type::INT8),
            (&bytes, Type::INT8),
        ];
        let rows = self
            .ask_one(Asking::for_reader(deadline), &sql, parameters)
            .await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(event(row)?);
        }
        Ok(events)
    }

    async fn stream_row(
        &self,
        stream: &StreamId,
        deadline: Instant,
    ) -> Result<Option<StreamRow>, Failure> {
        let id = stream.aggregate_id.as_str();
        let name = stream.aggregate_type.as_str();
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&self.statements.log, Type::INT4),
            (&id, Type::TEXT),
            (&name, Type::TEXT),
        ];
        let sql = &self.statements.stream;
        let rows = self
            .ask_one(Asking::for_reader(deadline), sql, parameters)
            .await?;
        Ok(match rows.first() {
            None => None,
            Some(row) => Some(stream_row(row, stream)?),
        })
    }

    /// See `EventStore::stream_info`.
    pub(crate) async fn stream_info(
        &self,
        stream: &StreamId,
    ) -> Result<Option<StreamInfo>, Failure> {
        let deadline = Instant::now() + self.options.read_timeout;
        let row = self.stream_row(stream, deadline).await?;
        Ok(row.map(|row| row.info))
    }

    /// See `EventStore::event`.
    pub(crate) async fn event(&self, id: EventId) -> Result<Option<RecordedEvent>, Failure> {
        let deadline = Instant::now() + self.options.read_timeout;
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&self.statements.log, Type::INT4),
            (&Uuid::from(id), Type::UUID),
        ];
        let sql = &self.statements.event;
        let rows = self
            .ask_one(Asking::for_reader(deadline), sql, parameters)
            .await?;
        Ok(rows.first().map(event).transpose()?)
    }

    /// See `EventStore::aggregate_types_of`.
    pub(crate) async fn aggregate_types_of(
        &self,
        aggregate_id: &AggregateId,
    ) -> Result<Vec<AggregateType>, Failure> {
        let deadline = Instant::now() + self.options.read_timeout;
        let id = aggregate_id.as_str();
        let parameters: &[(&(dyn ToSql + Sync), Type)] =
            &[(&self.statements.log, Type::INT4), (&id, Type::TEXT)];
        let sql = &self.statements.types_of;
        let rows = self
            .ask_one(Asking::for_reader(deadline), sql, parameters)
            .await?;
        let mut types = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: &str = row.try_get(0)?;
            types.extend(name.parse::<AggregateType>());
        }
        Ok(types)
    }
}

/// What one statement is asked for.
struct Wanted {
    range: (i64, i64),
    direction: Direction,
    events_max: usize,
    bytes_max: usize,
}

fn stream_row(row: &tokio_postgres::Row, stream: &StreamId) -> Result<StreamRow, InvalidRow> {
    let (number, first, last): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (Time(first_timestamp), Time(last_timestamp)) = (row.try_get(3)?, row.try_get(4)?);
    let not = |column, value| InvalidRow::Number { column, value };
    let n_events = u64::try_from(number).unwrap_or_default();
    let version = SequenceNumber::new(n_events).ok_or_else(|| not("version", number))?;
    Ok(StreamRow {
        version,
        first_position: first,
        last_position: last,
        info: StreamInfo {
            stream: stream.clone(),
            version,
            n_events,
            first_timestamp,
            last_timestamp,
            first_position: position(first).ok_or_else(|| not("first_position", first))?,
            last_position: position(last).ok_or_else(|| not("last_position", last))?,
        },
    })
}
