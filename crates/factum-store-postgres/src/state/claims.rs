//! Claims.

use factum_store::{
    Claim, ClaimOrder, Claimed, HeldClaim, OwnerName, Record, RecordId, RecordKind, RecordVersion,
    StateError,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::call::{Place, micros, no_row, unreadable};
use super::reads::name;
use crate::values::{InvalidRow, Time, bigint};

pub(super) async fn claim(place: &Place, claim: &Claim) -> Result<Claimed, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT o_now, o_until, o_next, o_version, o_keys, o_written, o_dues, o_groups, o_claims, \
         o_bodies FROM {schema}.state_claim($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    );
    let order: i16 = match claim.order {
        ClaimOrder::Free => 0,
        ClaimOrder::OneAtATime => 1,
        ClaimOrder::InOrder => 2,
    };
    let now = place.now();
    let (kind, owner) = (claim.kind.as_str(), claim.owner.as_str());
    let limit = bigint(claim.limit as u64);
    let bytes = bigint(place.options.limits.page_bytes_max as u64);
    let hold = micros(claim.visibility);
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&place.lock_ms, Type::INT4),
                (&kind, Type::TEXT),
                (&owner, Type::TEXT),
                (&limit, Type::INT8),
                (&hold, Type::INT8),
                (&order, Type::INT2),
                (&bytes, Type::INT8),
            ],
        )
        .await?;
    claimed(rows.first().ok_or_else(no_row)?, claim)
}

/// What a row says of the records that were claimed, each in an array.
struct Columns {
    now: Time,
    until: Time,
    next: Option<Time>,
    version: Option<i64>,
    keys: Option<Vec<String>>,
    written: Option<Vec<Time>>,
    dues: Option<Vec<Option<Time>>>,
    groups: Option<Vec<Option<String>>>,
    claims: Option<Vec<i32>>,
    bodies: Option<Vec<Vec<u8>>>,
}

impl Columns {
    fn read(row: &Row) -> Result<Self, InvalidRow> {
        Ok(Self {
            now: row.try_get(0)?,
            until: row.try_get(1)?,
            next: row.try_get(2)?,
            version: row.try_get(3)?,
            keys: row.try_get(4)?,
            written: row.try_get(5)?,
            dues: row.try_get(6)?,
            groups: row.try_get(7)?,
            claims: row.try_get(8)?,
            bodies: row.try_get(9)?,
        })
    }
}

fn claimed(row: &Row, claim: &Claim) -> Result<Claimed, StateError> {
    let columns = Columns::read(row).map_err(unreadable)?;
    let version = RecordVersion::new(columns.version.unwrap_or_default().cast_unsigned());
    let mut written = columns.written.unwrap_or_default().into_iter();
    let mut dues = columns.dues.unwrap_or_default().into_iter();
    let mut groups = columns.groups.unwrap_or_default().into_iter();
    let mut claims = columns.claims.unwrap_or_default().into_iter();
    let mut bodies = columns.bodies.unwrap_or_default().into_iter();
    let mut records = Vec::new();
    for key in columns.keys.unwrap_or_default() {
        let group = groups.next().flatten();
        records.push(Record {
            id: RecordId::new(claim.kind.clone(), name(key)?),
            version,
            body: bodies.next().ok_or_else(no_row)?,
            due_at: dues.next().flatten().map(|Time(at)| at),
            group: group.map(name).transpose()?,
            claim: Some(HeldClaim {
                owner: claim.owner.clone(),
                until: columns.until.0,
            }),
            n_claims: claims.next().unwrap_or_default().cast_unsigned(),
            written_at: written.next().ok_or_else(no_row)?.0,
        });
    }
    Ok(Claimed {
        records,
        now: columns.now.0,
        next_at: columns.next.map(|Time(at)| at),
    })
}

pub(super) async fn abandon(
    place: &Place,
    kind: &RecordKind,
    owner: &OwnerName,
) -> Result<u64, StateError> {
    let schema = &place.schema;
    let sql = format!("SELECT {schema}.state_abandon($1, $2, $3, $4, $5)");
    let now = place.now();
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&place.lock_ms, Type::INT4),
                (&kind.as_str(), Type::TEXT),
                (&owner.as_str(), Type::TEXT),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(no_row)?;
    let n_abandoned: i64 = row.try_get(0).map_err(unreadable)?;
    Ok(n_abandoned.cast_unsigned())
}
