//! Checks what no constraint of a partitioned table can: that the log is dense, in all its leaves
//! together, and that what is kept beside the events says the same as they do.
//!
//! The pages of the tables have checksums of PostgreSQL's own, where the cluster was made with them.

use std::path::Path;

use factum_store::{
    BackupReport, BoxFuture, Finding, FindingKind, Maintenance, MaintenanceError, VerifyReport,
};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::error::Failure;
use crate::pool::{Query, run};
use crate::shared::Shared;
use crate::values::position;

/// How long a verification may take.
const TIME_MAX: Duration = Duration::from_secs(6 * 3600);
/// How many findings each check reports.
const FINDINGS_MAX: u32 = 100;

/// A question that returns the first and the last position of what is wrong, and what that is.
struct Check {
    kind: FindingKind,
    table: &'static str,
    sql: String,
}

/// Returns the checks of the log `$1` in a schema.
fn checks(schema: &str) -> Vec<Check> {
    let with_limit = |sql: String| format!("{sql} LIMIT {FINDINGS_MAX}");
    let check = |kind, table, sql| Check {
        kind,
        table,
        sql: with_limit(sql),
    };
    let before = format!(
        "SELECT position, recorded_at, lag(position) OVER w AS p, lag(recorded_at) OVER w AS r \
         FROM {schema}.events WHERE log_id = $1 WINDOW w AS (ORDER BY position)"
    );
    vec![
        check(
            FindingKind::Gap,
            "events",
            format!(
                "SELECT coalesce(p, 0) + 1, position - 1, 'positions are missing' FROM ({before}) b \
                 WHERE position > coalesce(p, 0) + 1 UNION ALL \
                 SELECT position, position, 'a position stands twice' FROM ({before}) b \
                 WHERE position = p UNION ALL \
                 SELECT position, position, 'recorded before the event before it' FROM ({before}) b \
                 WHERE recorded_at < r UNION ALL \
                 SELECT least(l.head, m.last) + 1, greatest(l.head, m.last), \
                 'the head is at ' || l.head || ', the last event at ' || m.last \
                 FROM {schema}.logs l, (SELECT coalesce(max(position), 0) AS last \
                 FROM {schema}.events WHERE log_id = $1) m \
                 WHERE l.log_id = $1 AND l.head <> m.last"
            ),
        ),
        check(
            FindingKind::Gap,
            "streams",
            format!(
                "SELECT coalesce(s.first_position, e.stream), coalesce(s.last_position, e.last), \
                 'a stream and its events do not agree' \
                 FROM (SELECT * FROM {schema}.streams WHERE log_id = $1) s FULL JOIN \
                 (SELECT stream, min(position) AS first, max(position) AS last, count(*) AS n, \
                 count(DISTINCT sequence) AS n_sequences, min(sequence) AS low, max(sequence) AS high, \
                 min(aggregate_id) AS id, max(aggregate_id) AS id_too, min(aggregate_type) AS type, \
                 max(aggregate_type) AS type_too FROM {schema}.events WHERE log_id = $1 GROUP BY stream) e \
                 ON e.stream = s.first_position \
                 WHERE (s.version, s.version, s.version, 1::bigint, s.first_position, s.last_position, \
                 s.aggregate_id, s.aggregate_id, s.aggregate_type, s.aggregate_type) IS DISTINCT FROM \
                 (e.n, e.n_sequences, e.high, e.low, e.first, e.last, e.id, e.id_too, e.type, e.type_too)"
            ),
        ),
        check(
            FindingKind::Index,
            "event_ids",
            format!(
                "SELECT coalesce(e.position, i.position), coalesce(e.position, i.position), \
                 'an event and its id do not agree' \
                 FROM (SELECT * FROM {schema}.event_ids WHERE log_id = $1) i FULL JOIN \
                 (SELECT event_id, position, leaf FROM {schema}.events WHERE log_id = $1) e \
                 ON e.event_id = i.event_id \
                 WHERE (e.position, e.leaf) IS DISTINCT FROM (i.position, i.leaf)"
            ),
        ),
        check(
            FindingKind::Index,
            "leaves",
            format!(
                "SELECT e.first, e.last, 'leaf ' || e.leaf || ' has other positions than it says' \
                 FROM (SELECT leaf, min(position) AS first, max(position) AS last FROM {schema}.events \
                 WHERE log_id = $1 GROUP BY leaf) e LEFT JOIN {schema}.leaves l \
                 ON l.leaf = e.leaf AND l.log_id = $1 \
                 WHERE l.first_position IS DISTINCT FROM e.first OR e.last > l.last_position"
            ),
        ),
    ]
}

impl Shared {
    async fn verify(&self) -> Result<VerifyReport, Failure> {
        let deadline = Instant::now() + TIME_MAX;
        let (schema, log) = (&self.statements.schema, self.statements.log);
        let object = self.pool.get(deadline).await?;
        // If this is given up on the way, the transaction ends with the connection.
        let client = deadpool_postgres::Object::take(object);
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = 0; SET LOCAL jit = off";
        let begun = timeout_at(deadline, client.batch_execute(begin)).await;
        begun.map_err(|_| Failure::Timeout)??;
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4)];
        let totals = format!(
            "SELECT (SELECT count(*) FROM {schema}.events WHERE log_id = $1), \
             (SELECT count(*) FROM {schema}.streams WHERE log_id = $1), \
             (SELECT count(*) FROM {schema}.leaves WHERE log_id = $1 AND first_position IS NOT NULL), \
             (SELECT coalesce(sum(octet_length(metadata) + octet_length(payload)), 0)::bigint \
             FROM {schema}.events WHERE log_id = $1)"
        );
        let ask = async |sql: &str| {
            let query = Query { sql, parameters };
            let mut rows = run(&client, &[query], deadline).await?;
            Ok::<_, Failure>(rows.pop().unwrap_or_default())
        };
        let mut report = VerifyReport::default();
        if let Some(row) = ask(&totals).await?.first() {
            let number = |index| Ok::<_, Failure>(row.try_get::<_, i64>(index)?.cast_unsigned());
            report.n_events = number(0)?;
            report.n_streams = number(1)?;
            report.n_files = number(2)?;
            report.n_bytes = number(3)?;
        }
        for check in checks(schema) {
            for row in ask(&check.sql).await? {
                report.findings.push(finding(&check, &row)?);
            }
        }
        let ended = timeout_at(deadline, client.batch_execute("COMMIT")).await;
        ended.map_err(|_| Failure::Timeout)??;
        Ok(report)
    }
}

fn finding(check: &Check, row: &Row) -> Result<Finding, Failure> {
    let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let first = first.and_then(position);
    Ok(Finding {
        kind: check.kind,
        file: check.table.to_owned(),
        offset: None,
        positions: first.zip(last.and_then(position)),
        detail: row.try_get(2)?,
    })
}

impl Maintenance for Shared {
    fn verify(&self) -> BoxFuture<'_, Result<VerifyReport, MaintenanceError>> {
        Box::pin(async move {
            let report = Self::verify(self).await;
            report.map_err(|failure| std::io::Error::other(failure).into())
        })
    }

    fn backup<'a>(
        &'a self,
        _target: &'a Path,
    ) -> BoxFuture<'a, Result<BackupReport, MaintenanceError>> {
        Box::pin(async {
            Err(MaintenanceError::NotOffered {
                instead: "PostgreSQL is backed up with its own tools, such as pg_basebackup",
            })
        })
    }
}
