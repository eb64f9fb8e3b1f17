//! Leases. One that has run out is as one that is not there, so it may be forgotten at any time:
//! epochs come from the counter of the store, and grow without it.

use std::time::Duration;

use factum_store::{Acquire, Acquired, Epoch, Fence, Lease, LeasePage, LeaseScan, StateError};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::reads::{instant, later, name};
use super::writer::{Halt, Work};

/// How many leases that have run out are forgotten when one is granted.
const FORGET_MAX: usize = 16;

pub(super) fn is_held(work: &Work<'_>, fence: &Fence) -> Result<bool, Halt> {
    let sql = "SELECT 1 FROM lease WHERE name = ?1 AND epoch = ?2 AND expires_at > ?3";
    let mut statement = work.connection.prepare_cached(sql)?;
    let name = fence.name.as_str();
    Ok(statement.exists(params![name, fence.epoch.get(), work.now.as_micros()])?)
}

pub(super) fn acquire(work: &mut Work<'_>, acquire: Acquire) -> Result<Acquired, Halt> {
    let now = work.now.as_micros();
    let sql = "SELECT name, owner, epoch, expires_at FROM lease
        WHERE name = ?1 AND expires_at > ?2 AND owner <> ?3";
    let mut statement = work.connection.prepare_cached(sql)?;
    let (name, owner) = (acquire.name.as_str(), acquire.owner.as_str());
    let held = statement.query_row(params![name, now, owner], lease);
    if let Some(held) = held.optional()? {
        return Ok(Acquired::Held(held));
    }
    let sql = "DELETE FROM lease WHERE name IN
        (SELECT name FROM lease WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
    let mut statement = work.connection.prepare_cached(sql)?;
    statement.execute(params![now, FORGET_MAX])?;
    let granted = Lease {
        epoch: Epoch::new(work.next_number()),
        expires_at: later(work.now, acquire.ttl),
        name: acquire.name,
        owner: acquire.owner,
    };
    let sql = "INSERT OR REPLACE INTO lease (name, owner, epoch, expires_at)
        VALUES (?1, ?2, ?3, ?4)";
    let mut statement = work.connection.prepare_cached(sql)?;
    statement.execute(params![
        granted.name.as_str(),
        granted.owner.as_str(),
        granted.epoch.get(),
        granted.expires_at.as_micros(),
    ])?;
    Ok(Acquired::Granted(granted))
}

pub(super) fn renew(work: &Work<'_>, fence: Fence, ttl: Duration) -> Result<Lease, Halt> {
    let sql = "UPDATE lease SET expires_at = ?4
        WHERE name = ?1 AND epoch = ?2 AND expires_at > ?3
        RETURNING name, owner, epoch, expires_at";
    let mut statement = work.connection.prepare_cached(sql)?;
    let (now, until) = (work.now.as_micros(), later(work.now, ttl).as_micros());
    let params = params![fence.name.as_str(), fence.epoch.get(), now, until];
    let renewed = statement.query_row(params, lease).optional()?;
    Ok(renewed.ok_or(StateError::LeaseLost { fence })?)
}

pub(super) fn release(work: &mut Work<'_>, fence: &Fence) -> Result<(), Halt> {
    let sql = "DELETE FROM lease WHERE name = ?1 AND epoch = ?2";
    let mut statement = work.connection.prepare_cached(sql)?;
    let n_released = statement.execute(params![fence.name.as_str(), fence.epoch.get()])?;
    work.wakes = n_released > 0;
    Ok(())
}

pub(super) fn leases(
    connection: &Connection,
    now: factum_model::Timestamp,
    scan: &LeaseScan,
) -> Result<LeasePage, rusqlite::Error> {
    let sql = "SELECT name, owner, epoch, expires_at FROM lease
        WHERE name >= ?1 AND name > ?2 AND expires_at > ?3 ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let after = scan.after.as_ref().map_or("", |after| after.as_str());
    let mut rows = statement.query(params![scan.prefix, after, now.as_micros()])?;
    let mut leases: Vec<Lease> = Vec::new();
    while let Some(row) = rows.next()? {
        let found = lease(row)?;
        if !found.name.as_str().starts_with(&scan.prefix) {
            break;
        }
        if leases.len() == scan.limit {
            let next = leases.last().map(|last| last.name.clone());
            return Ok(LeasePage { leases, next });
        }
        leases.push(found);
    }
    Ok(LeasePage { leases, next: None })
}

fn lease(row: &Row<'_>) -> Result<Lease, rusqlite::Error> {
    Ok(Lease {
        name: name(row, 0)?,
        owner: name(row, 1)?,
        epoch: Epoch::new(row.get(2)?),
        expires_at: instant(row, 3)?.unwrap_or(factum_model::Timestamp::MIN),
    })
}
