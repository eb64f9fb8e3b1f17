//! Leases.

use std::time::Duration;

use factum_store::{
    Acquire, Acquired, Epoch, Fence, Lease, LeaseName, LeasePage, LeaseScan, StateError,
};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::call::{Place, micros, no_row, unreadable};
use super::reads::name;
use crate::values::{InvalidRow, Time, bigint};

pub(super) async fn acquire(place: &Place, acquire: Acquire) -> Result<Acquired, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT o_granted, o_owner, o_epoch, o_expires \
         FROM {schema}.state_acquire($1, $2, $3, $4, $5, $6)"
    );
    let (now, ttl) = (place.now(), micros(acquire.ttl));
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&place.lock_ms, Type::INT4),
                (&acquire.name.as_str(), Type::TEXT),
                (&acquire.owner.as_str(), Type::TEXT),
                (&ttl, Type::INT8),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(no_row)?;
    let granted: bool = row.try_get(0).map_err(unreadable)?;
    let lease = lease(row, acquire.name)?;
    Ok(if granted {
        Acquired::Granted(lease)
    } else {
        Acquired::Held(lease)
    })
}

/// Reads a lease from a row with owner, epoch and expiry behind its first column.
fn lease(row: &Row, of: LeaseName) -> Result<Lease, StateError> {
    let read = || -> Result<(String, i64, Time), InvalidRow> {
        Ok((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    let (owner, epoch, Time(expires_at)) = read().map_err(unreadable)?;
    Ok(Lease {
        name: of,
        owner: name(owner)?,
        epoch: Epoch::new(epoch.cast_unsigned()),
        expires_at,
    })
}

pub(super) async fn renew(place: &Place, fence: Fence, ttl: Duration) -> Result<Lease, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT '', o_owner, $5, o_expires FROM {schema}.state_renew($1, $2, $3, $4, $5, $6)"
    );
    let (now, ttl, epoch) = (place.now(), micros(ttl), bigint(fence.epoch.get()));
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&place.lock_ms, Type::INT4),
                (&fence.name.as_str(), Type::TEXT),
                (&epoch, Type::INT8),
                (&ttl, Type::INT8),
            ],
        )
        .await?;
    match rows.first() {
        Some(row) => lease(row, fence.name),
        None => Err(StateError::LeaseLost { fence }),
    }
}

/// Returns whether the lease was held.
pub(super) async fn release(place: &Place, fence: &Fence) -> Result<bool, StateError> {
    let schema = &place.schema;
    let sql = format!("SELECT {schema}.state_release($1, $2, $3, $4)");
    let epoch = bigint(fence.epoch.get());
    let rows = place
        .call(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&place.lock_ms, Type::INT4),
                (&fence.name.as_str(), Type::TEXT),
                (&epoch, Type::INT8),
            ],
        )
        .await?;
    let row = rows.first().ok_or_else(no_row)?;
    let n_released: i64 = row.try_get(0).map_err(unreadable)?;
    Ok(n_released > 0)
}

pub(super) async fn leases(place: &Place, scan: &LeaseScan) -> Result<LeasePage, StateError> {
    let schema = &place.schema;
    let sql = format!(
        "SELECT name, owner, epoch, expires_at FROM {schema}.state_leases \
         WHERE log_id = $1 AND expires_at > coalesce($2, clock_timestamp()) AND name > $3 \
         AND name >= $4 AND starts_with(name, $4) ORDER BY name LIMIT $5"
    );
    let now = place.now();
    let after = scan.after.as_ref().map_or("", |after| after.as_str());
    let prefix = scan.prefix.as_str();
    let limit = bigint(scan.limit as u64 + 1);
    let rows = place
        .ask(
            &sql,
            &[
                (&place.log, Type::INT4),
                (&now, Type::TIMESTAMPTZ),
                (&after, Type::TEXT),
                (&prefix, Type::TEXT),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    let mut leases = Vec::new();
    for row in rows {
        let text: String = row.try_get(0).map_err(unreadable)?;
        leases.push(lease(&row, name(text)?)?);
    }
    let has_more = leases.len() > scan.limit;
    leases.truncate(scan.limit);
    let last = leases.last().map(|last| last.name.clone());
    Ok(LeasePage {
        leases,
        next: last.filter(|_| has_more),
    })
}
