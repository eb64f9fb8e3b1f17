//! Counts: by the server where it can decide on the filter alone, else of the events read.

use factum_model::Position;
use factum_store::{CountBy, CountRead, Counts, Direction, LogRead, Tally};
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

use crate::error::Failure;
use crate::pushdown::Condition;
use crate::read_log::{WINDOW_EVENTS, next_window};
use crate::shared::Shared;
use crate::source::Asking;
use crate::values::{position, position_bigint};

/// How many parameters a statement has besides those of the condition.
const N_PARAMETERS: usize = 5;
/// How many groups the server returns of one window; more are more than a count keeps.
const GROUPS_MAX: i64 = 100_001;

impl Shared {
    /// Counts; see `EventStore::count`.
    pub(crate) async fn count(&self, read: &CountRead) -> Result<Counts, Failure> {
        let started = Instant::now();
        let deadline = started + read.time_max.saturating_add(self.options.read_timeout);
        let head = self.fetch_head(Asking::for_reader(deadline)).await?;
        let last = read.until.map_or(head, |until| Some(until).min(head));
        let condition = self.condition(&read.filter, read.visibility, N_PARAMETERS);
        if !condition.is_exact || matches!(read.by, Some(CountBy::User | CountBy::Tag)) {
            return self.count_read(read, last, started).await;
        }
        let key = read.by.and_then(key);
        let mut tally = Tally::default();
        let (mut first, last) = (1, position_bigint(last));
        let mut window = WINDOW_EVENTS;
        while first <= last {
            if started.elapsed() >= read.time_max {
                return Ok(tally.finish(read, false));
            }
            let asked = Instant::now();
            let end = last.min(first.saturating_add(window - 1));
            self.count_window((first, end), key, &condition, (&mut tally, deadline))
                .await?;
            first = end + 1;
            window = next_window(window, asked);
        }
        Ok(tally.finish(read, true))
    }

    async fn count_window(
        &self,
        (first, last): (i64, i64),
        key: Option<Key>,
        condition: &Condition,
        (tally, deadline): (&mut Tally, Instant),
    ) -> Result<(), Failure> {
        let (schema, log) = (&self.statements.schema, self.statements.log);
        let from = format!(
            "FROM {schema}.events e WHERE e.log_id = $1 AND e.leaf BETWEEN $2 AND $3 \
             AND e.position BETWEEN $4 AND $5{}",
            condition.sql
        );
        let totals = format!("SELECT count(*), min(e.position), max(e.position) {from}");
        let (low_leaf, high_leaf) = self.leaves.range(first, last);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&log, Type::INT4),
            (&low_leaf, Type::INT4),
            (&high_leaf, Type::INT4),
            (&first, Type::INT8),
            (&last, Type::INT8),
        ];
        for (value, kind) in &condition.values {
            parameters.push((&**value as &(dyn ToSql + Sync), kind.clone()));
        }
        let asking = Asking::for_reader(deadline);
        if let Some(key) = key {
            let groups = format!(
                "SELECT {}, n, first, last FROM (SELECT {} AS key, count(*) AS n, \
                 min(e.position) AS first, max(e.position) AS last {from} GROUP BY 1 LIMIT {GROUPS_MAX}) g",
                key.shown, key.grouped
            );
            let rows = self.ask_one(asking, &groups, &parameters).await?;
            let is_all = (rows.len() as u64) < GROUPS_MAX.cast_unsigned();
            for row in &rows {
                let (n_events, first, last) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                tally.add_to(row.try_get(0)?, i64::cast_unsigned(n_events));
                if is_all {
                    add(tally, n_events, Some((first, last)));
                }
            }
            if is_all {
                return Ok(());
            }
        }
        for row in &self.ask_one(asking, &totals, &parameters).await? {
            let n_events: i64 = row.try_get(0)?;
            let (first, last): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
            add(tally, n_events, first.zip(last));
        }
        Ok(())
    }

    /// Reads the events that the server cannot tell not to match, and counts those that do.
    async fn count_read(
        &self,
        read: &CountRead,
        last: Option<Position>,
        started: Instant,
    ) -> Result<Counts, Failure> {
        let mut tally = Tally::default();
        let mut page_read = LogRead {
            filter: read.filter.clone(),
            visibility: read.visibility,
            direction: Direction::Forwards,
            until: last,
            ..LogRead::forwards()
        };
        let mut is_complete = last.is_none();
        while !is_complete {
            let left = read.time_max.saturating_sub(started.elapsed());
            if tally.examined() >= read.examine_max || left.is_zero() {
                break;
            }
            page_read.time_max = left;
            let page = self.read_log(&page_read).await?;
            for event in &page.events {
                tally.add(read.by, event);
            }
            tally.examine(page.examined);
            is_complete = !page.has_more || page.scanned_to == page_read.after;
            page_read.after = page.scanned_to;
        }
        Ok(tally.finish(read, is_complete))
    }
}

/// How the server groups events, and how a group is called.
#[derive(Debug, Clone, Copy)]
struct Key {
    grouped: &'static str,
    /// As text, of the column `key`: said once a group.
    shown: &'static str,
}

/// Returns how the server groups; `None` for what is in the metadata, of which the evaluator says
/// what it is.
const fn key(by: CountBy) -> Option<Key> {
    let (grouped, shown) = match by {
        CountBy::EventType => ("e.event_type", "key"),
        CountBy::AggregateType => ("e.aggregate_type", "key"),
        CountBy::Stream => ("e.aggregate_type || '/' || e.aggregate_id", "key"),
        CountBy::Day => (
            "date_trunc('day', e.timestamp AT TIME ZONE 'UTC')",
            "to_char(key, 'YYYY-MM-DD')",
        ),
        CountBy::Hour => (
            "date_trunc('hour', e.timestamp AT TIME ZONE 'UTC')",
            "to_char(key, 'YYYY-MM-DD\"T\"HH24')",
        ),
        CountBy::User | CountBy::Tag => return None,
    };
    Some(Key { grouped, shown })
}

/// Adds events between two positions to the total.
fn add(tally: &mut Tally, n_events: i64, positions: Option<(i64, i64)>) {
    let positions = positions.and_then(|(first, last)| position(first).zip(position(last)));
    if let Some((first, last)) = positions {
        tally.add_many(n_events.cast_unsigned(), first, last);
    }
}
