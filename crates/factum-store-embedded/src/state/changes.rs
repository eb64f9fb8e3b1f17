//! Batches: fences, then preconditions, then the writes.

use factum_store::{
    Action, Applied, Batch, Change, Fence, Put, RecordId, RecordVersion, StateError,
};
use rusqlite::{OptionalExtension as _, params};

use super::leases::is_held;
use super::reads::later;
use super::writer::{Halt, Work};

/// What a precondition is about.
struct Present {
    version: RecordVersion,
    is_claimed: bool,
}

pub(super) fn apply(work: &mut Work<'_>, batch: &Batch) -> Result<Applied, Halt> {
    check_fences(work, &batch.fences)?;
    for (index, change) in batch.changes.iter().enumerate() {
        check(work, index, change)?;
    }
    let version = RecordVersion::new(work.next_number());
    for change in &batch.changes {
        match &change.action {
            Action::Put(record) => put(work, &change.id, record, version)?,
            Action::Delete => delete(work, &change.id)?,
            Action::Extend(hold) => {
                let sql = "UPDATE record SET claim_until = ?3 WHERE kind = ?1 AND key = ?2";
                let until = later(work.now, *hold).as_micros();
                let (kind, key) = (change.id.kind.as_str(), change.id.key.as_str());
                let mut statement = work.connection.prepare_cached(sql)?;
                statement.execute(params![kind, key, until])?;
            }
            Action::Check => {}
        }
    }
    work.wakes = !batch.changes.is_empty();
    let at = work.now;
    Ok(Applied { version, at })
}

fn check_fences(work: &Work<'_>, fences: &[Fence]) -> Result<(), Halt> {
    for fence in fences {
        if !is_held(work, fence)? {
            let fence = fence.clone();
            return Err(StateError::LeaseLost { fence }.into());
        }
    }
    Ok(())
}

fn check(work: &Work<'_>, index: usize, change: &Change) -> Result<(), Halt> {
    let sql = "SELECT version, coalesce(claim_until > ?3, FALSE) FROM record
        WHERE kind = ?1 AND key = ?2";
    let mut statement = work.connection.prepare_cached(sql)?;
    let (kind, key) = (change.id.kind.as_str(), change.id.key.as_str());
    let present = statement
        .query_row(params![kind, key, work.now.as_micros()], |row| {
            Ok(Present {
                version: RecordVersion::new(row.get(0)?),
                is_claimed: row.get(1)?,
            })
        })
        .optional()?;
    let actual = present.as_ref().map(|present| present.version);
    let is_claimed = present.is_some_and(|present| present.is_claimed);
    let lacks_claim = matches!(change.action, Action::Extend(_)) && !is_claimed;
    if lacks_claim || !change.precondition.is_met(actual) {
        let id = change.id.clone();
        return Err(StateError::Conflict { index, id, actual }.into());
    }
    Ok(())
}

fn put(work: &Work<'_>, id: &RecordId, put: &Put, version: RecordVersion) -> Result<(), Halt> {
    let sql = "INSERT INTO record (kind, key, version, written_at, due_at, grp, n_claims, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)
        ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version,
            written_at = excluded.written_at, due_at = excluded.due_at, grp = excluded.grp,
            claim_owner = NULL, claim_until = NULL, n_claims = 0, body = excluded.body";
    let mut statement = work.connection.prepare_cached(sql)?;
    statement.execute(params![
        id.kind.as_str(),
        id.key.as_str(),
        version.get(),
        work.now.as_micros(),
        put.due.at(work.now).map(|at| at.as_micros()),
        put.group.as_ref().map(|group| group.as_str()),
        put.body,
    ])?;
    Ok(())
}

fn delete(work: &Work<'_>, id: &RecordId) -> Result<(), Halt> {
    let sql = "DELETE FROM record WHERE kind = ?1 AND key = ?2";
    let mut statement = work.connection.prepare_cached(sql)?;
    statement.execute([id.kind.as_str(), id.key.as_str()])?;
    Ok(())
}
