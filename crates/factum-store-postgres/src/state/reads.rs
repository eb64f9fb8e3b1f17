//! What is read.

use std::ops::Bound;

use factum_model::Timestamp;
use factum_store::{
    Direction, GroupCount, GroupPage, GroupScan, HeldClaim, InvalidStateName, QueueStatus, Record,
    RecordId, RecordKind, RecordPage, RecordScan, RecordVersion, StateError,
};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::call::{Place, no_row, unreadable};
use crate::values::{InvalidRow, Time, bigint};

/// The columns that [`record`] reads; the instant is the second parameter.
const COLUMNS: &str = "kind, key, version, written_at, due_at, grp, \
     CASE WHEN claim_until > coalesce($2, clock_timestamp()) THEN claim_owner END, claim_until, \
     n_claims, body";

/// Reads a name, which a whole table has only as it was checked.
pub(super) fn name<T: TryFrom<String, Error = InvalidStateName>>(
    text: String,
) -> Result<T, StateError> {
    let wrong = |error: InvalidStateName| StateError::Corrupt {
        detail: error.to_string(),
    };
    T::try_from(text).map_err(wrong)
}

fn record(row: &Row) -> Result<Record, StateError> {
    let text =
        |column: usize| -> Result<String, StateError> { row.try_get(column).map_err(unreadable) };
    let optional = |column: usize| -> Result<Option<String>, StateError> {
        row.try_get(column).map_err(unreadable)
    };
    let instants = || -> Result<_, InvalidRow> {
        let (Time(written_at), due_at): (Time, Option<Time>) = (row.try_get(3)?, row.try_get(4)?);
        let until: Option<Time> = row.try_get(7)?;
        Ok((written_at, due_at, until))
    };
    let numbers = || -> Result<(i64, i32), InvalidRow> { Ok((row.try_get(2)?, row.try_get(8)?)) };
    let (written_at, due_at, until) = instants().map_err(unreadable)?;
    let (version, n_claims) = numbers().map_err(unreadable)?;
    let claim = match (optional(6)?, until) {
        (Some(owner), Some(Time(until))) => Some(HeldClaim {
            owner: name(owner)?,
            until,
        }),
        (_, _) => None,
    };
    Ok(Record {
        id: RecordId::new(name(text(0)?)?, name(text(1)?)?),
        version: RecordVersion::new(version.cast_unsigned()),
        body: row.try_get(9).map_err(unreadable)?,
        due_at: due_at.map(|Time(at)| at),
        group: optional(5)?.map(name).transpose()?,
        claim,
        n_claims: n_claims.cast_unsigned(),
        written_at,
    })
}

pub(super) async fn now(place: &Place) -> Result<Timestamp, StateError> {
    let now = place.now();
    let sql = "SELECT coalesce($1, clock_timestamp())";
    let rows = place.ask(sql, &[(&now, Type::TIMESTAMPTZ)]).await?;
    let row = rows.first().ok_or_else(no_row)?;
    let Time(now) = row.try_get(0).map_err(unreadable)?;
    Ok(now)
}

pub(super) async fn one(place: &Place, id: &RecordId) -> Result<Option<Record>, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT {COLUMNS} FROM {schema}.state_records WHERE log_id = $1 AND kind = $3 AND key = $4"
    );
    let now = place.now();
    let rows = place
        .ask(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&id.kind.as_str(), Type::TEXT),
                (&id.key.as_str(), Type::TEXT),
            ],
        )
        .await?;
    rows.first().map(record).transpose()
}

pub(super) async fn scan(place: &Place, scan: &RecordScan) -> Result<RecordPage, StateError> {
    let mut page = RecordPage {
        records: Vec::new(),
        next: None,
    };
    let Some(bounds) = scan.bounds() else {
        return Ok(page);
    };
    let (schema, now) = (&place.schema, place.now());
    let kind = scan.kind.as_str();
    let mut texts = Vec::new();
    let mut wanted = String::new();
    let mut condition = |what: &'static str, text| {
        texts.push(text);
        let number = texts.len() + 3;
        wanted.push_str(&[" AND ", what, " $", &number.to_string()].concat());
    };
    if let Some(group) = &scan.group {
        condition("grp =", group.as_str());
    }
    match bounds.lower {
        Bound::Included(key) => condition("key >=", key),
        Bound::Excluded(key) => condition("key >", key),
        Bound::Unbounded => {}
    }
    let upper = bounds.upper();
    match upper {
        Bound::Included(key) => condition("key <=", key),
        Bound::Excluded(key) => condition("key <", key),
        Bound::Unbounded => {}
    }
    let order = match scan.direction {
        Direction::Forwards => "ASC",
        Direction::Backwards => "DESC",
    };
    // The bodies before a record decide whether it is still part of the page; one more says that
    // there is more.
    let (limit, bytes_max) = (scan.limit + 1, place.options.limits.page_bytes_max);
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT *, sum(octet_length(body)) OVER (ORDER BY key {order} \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before FROM (\
         SELECT * FROM {schema}.state_records WHERE log_id = $1 AND kind = $3{wanted} \
         ORDER BY key {order} LIMIT {limit}) r) r \
         WHERE coalesce(before, 0) < {bytes_max} ORDER BY key {order}"
    );
    let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
        (&place.log, Type::INT4),
        (&now, Type::TIMESTAMPTZ),
        (&kind, Type::TEXT),
    ];
    parameters.extend(texts.iter().map(|text| (text as _, Type::TEXT)));
    let mut bytes = 0;
    for row in place.ask(&sql, &parameters).await? {
        if page.records.len() == scan.limit || bytes >= bytes_max {
            page.next = page.records.last().map(|last: &Record| last.id.key.clone());
            break;
        }
        let record = record(&row)?;
        bytes += record.body.len();
        page.records.push(record);
    }
    Ok(page)
}

pub(super) async fn groups(place: &Place, scan: &GroupScan) -> Result<GroupPage, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT grp, count(*) FROM {schema}.state_records \
         WHERE log_id = $1 AND kind = $2 AND grp IS NOT NULL AND grp > $3 \
         GROUP BY grp ORDER BY grp LIMIT $4"
    );
    let after = scan.after.as_ref().map_or("", |after| after.as_str());
    let limit = bigint(scan.limit as u64 + 1);
    let rows = place
        .ask(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&scan.kind.as_str(), Type::TEXT),
                (&after, Type::TEXT),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    let mut groups = Vec::new();
    for row in rows {
        let group: String = row.try_get(0).map_err(unreadable)?;
        let n_records: i64 = row.try_get(1).map_err(unreadable)?;
        groups.push(GroupCount {
            group: name(group)?,
            n_records: n_records.cast_unsigned(),
        });
    }
    let has_more = groups.len() > scan.limit;
    groups.truncate(scan.limit);
    let last = groups.last().map(|last| last.group.clone());
    Ok(GroupPage {
        groups,
        next: last.filter(|_| has_more),
    })
}

pub(super) async fn queue(place: &Place, kind: &RecordKind) -> Result<QueueStatus, StateError> {
    let schema = &place.schema;
    // The instant is read once, so that the counts agree with each other.
    let sql = format!(
        "WITH now AS MATERIALIZED (SELECT coalesce($2, clock_timestamp()) AS at) \
         SELECT count(*), count(*) FILTER (WHERE claimed), \
         count(*) FILTER (WHERE NOT claimed AND due_at > at), \
         count(*) FILTER (WHERE NOT claimed AND due_at <= at), \
         min(due_at) FILTER (WHERE NOT claimed AND due_at <= at), \
         (SELECT {schema}.state_next($1, $3, at) FROM now) \
         FROM (SELECT due_at, at, coalesce(claim_until > at, FALSE) AS claimed \
         FROM {schema}.state_records, now WHERE log_id = $1 AND kind = $3) r"
    );
    let now = place.now();
    let rows = place
        .ask(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&kind.as_str(), Type::TEXT),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(no_row)?;
    let read = || -> Result<QueueStatus, InvalidRow> {
        let count = |column: usize| -> Result<u64, InvalidRow> {
            let count: i64 = row.try_get(column)?;
            Ok(count.cast_unsigned())
        };
        let instant = |column: usize| -> Result<Option<Timestamp>, InvalidRow> {
            let at: Option<Time> = row.try_get(column)?;
            Ok(at.map(|Time(at)| at))
        };
        Ok(QueueStatus {
            n_records: count(0)?,
            n_claimed: count(1)?,
            n_waiting: count(2)?,
            n_due: count(3)?,
            oldest_due_at: instant(4)?,
            next_at: instant(5)?,
        })
    };
    read().map_err(unreadable)
}
