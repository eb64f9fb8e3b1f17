//! Claims: which records are taken, and the taking.

use std::collections::HashSet;

use factum_model::Timestamp;
use factum_store::{Claim, ClaimOrder, Claimed, OwnerName, Record, RecordKind, RecordVersion};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::reads::{COLUMNS, instant, later, record};
use super::writer::{Halt, Work};

pub(super) fn claim(
    work: &mut Work<'_>,
    claim: &Claim,
    page_bytes_max: usize,
) -> Result<Claimed, Halt> {
    let now = work.now;
    let mut records = choose(work, claim, page_bytes_max)?;
    if !records.is_empty() {
        let version = RecordVersion::new(work.next_number());
        let until = later(now, claim.visibility);
        for record in &mut records {
            take(work, record, claim, (version, until))?;
        }
    }
    let next_at = next_at(work.connection, claim.kind.as_str(), now)?;
    Ok(Claimed {
        records,
        now,
        next_at,
    })
}

/// Returns the records that a claim takes, as they were before.
fn choose(work: &Work<'_>, claim: &Claim, page_bytes_max: usize) -> Result<Vec<Record>, Halt> {
    let kind = claim.kind.as_str();
    let now = work.now.as_micros();
    let mut busy = match claim.order {
        ClaimOrder::Free => HashSet::new(),
        ClaimOrder::OneAtATime | ClaimOrder::InOrder => busy_groups(work.connection, kind, now)?,
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM record
        WHERE kind = ?1 AND due_at <= ?2 AND (claim_until IS NULL OR claim_until <= ?2)
        ORDER BY due_at, key"
    );
    let mut statement = work.connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![kind, now])?;
    let mut chosen = Vec::new();
    let mut bytes = 0;
    while chosen.len() < claim.limit
        && bytes < page_bytes_max
        && let Some(row) = rows.next()?
    {
        if may_be_taken(work.connection, row, claim, &mut busy)? {
            let record = record(row, work.now)?;
            bytes += record.body.len();
            chosen.push(record);
        }
    }
    Ok(chosen)
}

fn busy_groups(connection: &Connection, kind: &str, now: i64) -> rusqlite::Result<HashSet<String>> {
    let sql = "SELECT DISTINCT grp FROM record
        WHERE kind = ?1 AND claim_until > ?2 AND grp IS NOT NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let groups = statement.query_map(params![kind, now], |row| row.get(0))?;
    groups.collect()
}

/// Tells whether the group of a record lets it be taken, and notes that it is.
fn may_be_taken(
    connection: &Connection,
    row: &Row<'_>,
    claim: &Claim,
    busy: &mut HashSet<String>,
) -> rusqlite::Result<bool> {
    if claim.order == ClaimOrder::Free {
        return Ok(true);
    }
    let Some(group) = row.get::<_, Option<String>>("grp")? else {
        return Ok(true);
    };
    if busy.contains(&group) {
        return Ok(false);
    }
    if claim.order == ClaimOrder::InOrder {
        let sql = "SELECT key FROM record
            WHERE kind = ?1 AND grp = ?2 AND due_at IS NOT NULL ORDER BY key LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let kind = claim.kind.as_str();
        let first = statement.query_row([kind, &group], |first| first.get::<_, String>(0));
        if first.optional()? != Some(row.get("key")?) {
            return Ok(false);
        }
    }
    Ok(busy.insert(group))
}

/// Writes the claim, into the record too.
fn take(
    work: &Work<'_>,
    record: &mut Record,
    claim: &Claim,
    (version, until): (RecordVersion, Timestamp),
) -> Result<(), Halt> {
    let sql = "UPDATE record SET version = ?3, claim_owner = ?4, claim_until = ?5,
        n_claims = n_claims + 1 WHERE kind = ?1 AND key = ?2";
    let mut statement = work.connection.prepare_cached(sql)?;
    statement.execute(params![
        record.id.kind.as_str(),
        record.id.key.as_str(),
        version.get(),
        claim.owner.as_str(),
        until.as_micros(),
    ])?;
    record.version = version;
    record.n_claims += 1;
    let owner = claim.owner.clone();
    record.claim = Some(factum_store::HeldClaim { owner, until });
    Ok(())
}

/// Returns the next instant at which time alone changes what can be claimed.
pub(super) fn next_at(
    connection: &Connection,
    kind: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let sql = "SELECT min(at) FROM (
        SELECT min(due_at) AS at FROM record WHERE kind = ?1 AND due_at > ?2
        UNION ALL
        SELECT min(claim_until) FROM record WHERE kind = ?1 AND claim_until > ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    let params = params![kind, now.as_micros()];
    statement.query_row(params, |row| instant(row, 0))
}

pub(super) fn abandon(
    work: &mut Work<'_>,
    kind: &RecordKind,
    owner: &OwnerName,
) -> Result<u64, Halt> {
    let sql = "UPDATE record SET version = ?3, claim_owner = NULL, claim_until = NULL
        WHERE kind = ?1 AND claim_owner = ?2 AND claim_until > ?4";
    let version = work.next_number();
    let (kind, owner) = (kind.as_str(), owner.as_str());
    let mut statement = work.connection.prepare_cached(sql)?;
    let params = params![kind, owner, version, work.now.as_micros()];
    let n_abandoned = statement.execute(params)?;
    work.wakes = n_abandoned > 0;
    Ok(n_abandoned as u64)
}
