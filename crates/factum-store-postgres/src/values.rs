//! How values stand in columns and parameters.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use factum_model::{
    EventId, EventOrigin, Position, RecordedEvent, RecordedFields, SchemaVersion, SequenceNumber,
    Timestamp,
};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type Failure = Box<dyn Error + Sync + Send>;

/// Microseconds from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The columns that [`event`] reads, of a table or subquery `e`.
pub(crate) const EVENT_COLUMNS: &str = "e.position, e.sequence, e.event_id, e.recorded_at, \
     e.timestamp, e.schema_version, e.origin, e.causation_id, e.event_type, e.aggregate_type, \
     e.aggregate_id, e.correlation_id, e.metadata, e.payload";

const TIMESTAMP_ASSIGNED: i16 = 1;
const CORRELATION_INHERITED: i16 = 2;

/// An instant as `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.put_i64(self.0.as_micros() - EPOCH_MICROS);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        let at = micros
            .checked_add(EPOCH_MICROS)
            .and_then(Timestamp::from_micros);
        at.map(Self).ok_or_else(|| "time out of range".into())
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

/// An id of sixteen bytes as `uuid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

impl From<EventId> for Uuid {
    fn from(id: EventId) -> Self {
        Self(*id.as_bytes())
    }
}

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }
}

/// Returns a number as a `bigint`; one that is too large for it stands for the largest.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a position as a `bigint`, zero for none.
pub(crate) fn position_bigint(position: Option<Position>) -> i64 {
    bigint(position.map_or(0, Position::get))
}

/// Returns the position of a `bigint`; none for zero.
pub(crate) fn position(number: i64) -> Option<Position> {
    Position::new(u64::try_from(number).unwrap_or_default())
}

/// Returns the number of an event's origin.
pub(crate) const fn origin_smallint(origin: EventOrigin) -> i16 {
    let mut number = 0;
    if origin.timestamp_assigned {
        number |= TIMESTAMP_ASSIGNED;
    }
    if origin.correlation_inherited {
        number |= CORRELATION_INHERITED;
    }
    number
}

/// A stored value that no store writes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidRow {
    /// A column has another type than it should.
    #[error("a column cannot be read")]
    Column(#[from] tokio_postgres::Error),
    /// A number that starts at one is not positive, or too large.
    #[error("{column} is {value}")]
    Number {
        /// The column.
        column: &'static str,
        /// What it has.
        value: i64,
    },
}

/// Reads an event from a row that begins with [`EVENT_COLUMNS`].
pub(crate) fn event(row: &Row) -> Result<RecordedEvent, InvalidRow> {
    event_at(row, 0)
}

/// Reads an event from a row that has [`EVENT_COLUMNS`] behind some others.
pub(crate) fn event_at(row: &Row, first: usize) -> Result<RecordedEvent, InvalidRow> {
    let number = |index: usize, column: &'static str| -> Result<u64, InvalidRow> {
        let value: i64 = row.try_get(first + index)?;
        u64::try_from(value).map_err(|_| InvalidRow::Number { column, value })
    };
    let zero = |column| InvalidRow::Number { column, value: 0 };
    let position = Position::new(number(0, "position")?).ok_or_else(|| zero("position"))?;
    let sequence_number =
        SequenceNumber::new(number(1, "sequence")?).ok_or_else(|| zero("sequence"))?;
    let schema_version = u32::try_from(number(5, "schema_version")?).unwrap_or_default();
    let schema_version =
        SchemaVersion::new(schema_version).ok_or_else(|| zero("schema_version"))?;
    let (Uuid(id), Time(recorded_at), Time(timestamp)) = (
        row.try_get(first + 2)?,
        row.try_get(first + 3)?,
        row.try_get(first + 4)?,
    );
    let origin: i16 = row.try_get(first + 6)?;
    let causation_id: Option<Uuid> = row.try_get(first + 7)?;
    Ok(RecordedEvent::new(RecordedFields {
        id: EventId::from_bytes(id),
        position,
        sequence_number,
        recorded_at,
        timestamp,
        schema_version,
        origin: EventOrigin {
            timestamp_assigned: origin & TIMESTAMP_ASSIGNED != 0,
            correlation_inherited: origin & CORRELATION_INHERITED != 0,
        },
        causation_id: causation_id.map(|Uuid(id)| EventId::from_bytes(id)),
        event_type: row.try_get(first + 8)?,
        aggregate_type: row.try_get(first + 9)?,
        aggregate_id: row.try_get(first + 10)?,
        correlation_id: row.try_get(first + 11)?,
        metadata: row.try_get(first + 12)?,
        payload: row.try_get(first + 13)?,
    }))
}

/// Tells whether PostgreSQL can surely read a JSON text as `jsonb`. Its numbers have bounds that
/// those of JSON do not have; whatever might be beyond them counts as beyond. What stands in a
/// string is no number: random names are full of digits and of `e`.
pub(crate) fn is_searchable(json: &str) -> bool {
    let (mut n_digits, mut in_exponent) = (0, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'0'..=b'9' => {
                n_digits += 1;
                if n_digits > if in_exponent { 3 } else { 1000 } {
                    return false;
                }
            }
            b'e' | b'E' if n_digits > 0 => (n_digits, in_exponent) = (0, true),
            b'+' | b'-' if in_exponent && n_digits == 0 => {}
            b'.' if !in_exponent => {}
            _ => (n_digits, in_exponent) = (0, false),
        }
    }
    true
}

/// Goes on behind the end of a string, which is valid.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_postgresql_may_refuse_are_found() {
        let check =
            |json: &str, expected: bool| assert_eq!(is_searchable(json), expected, "{json}");
        check("{}", true);
        check(r#"{"a":1.5e300,"b":-1E-20,"c":"1e9999x"}"#, true);
        check(r#"{"id":"1e9999","\"1e9999":"\\","c":"1e9999"}"#, true);
        check(r#"{"id":"\\","a":1e9999}"#, false);
        check(r#"{"1":1,"a":"\"","b":1e9999}"#, false);
        check(
            r#"{"a":1.5e300,"b":-1E-20,"c":123456789012345678901}"#,
            true,
        );
        check(r#"{"a":1e1000}"#, false);
        check(r#"{"a":1e+1000}"#, false);
        check(r#"{"a":1e-0999}"#, false);
        check(&format!(r#"{{"a":{}}}"#, "9".repeat(1001)), false);
        check(&format!(r#"{{"a":0.{}}}"#, "9".repeat(1001)), false);
        check(&format!(r#"{{"a":{}}}"#, "9".repeat(1000)), true);
    }
}
