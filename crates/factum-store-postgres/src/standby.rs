//! Reads from a standby: it answers only while it has all that this node knows of.
//!
//! What it has is looked at in the snapshot of the very read, so an answer is never of an earlier
//! moment, whatever the standby does meanwhile. Whatever goes wrong, the server that takes appends
//! is asked instead.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use crate::counters::add;
use crate::error::Failure;
use crate::pool::{Pool, Query};
use crate::shared::Shared;
use crate::values::{Uuid, position_bigint};

/// How long a standby is left alone after it has failed.
const REST: Duration = Duration::from_secs(1);
/// How often a standby that is behind is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// A standby of the server that takes appends.
#[derive(Debug)]
pub(crate) struct Standby {
    pool: Pool,
    /// The log that it must have.
    store_id: Uuid,
    lineage: i64,
    /// The head that it was seen to have.
    head: AtomicI64,
    /// Until when it is left alone.
    rest_until: Mutex<Option<Instant>>,
}

/// Why a standby does not answer.
enum Unfit {
    /// It does not have yet what it must.
    Behind,
    /// It cannot be asked, or has another log.
    Failed,
    /// It has refused the question itself, as any other server would.
    Refused(Failure),
}

impl Standby {
    pub(crate) const fn new(pool: Pool, store_id: Uuid, lineage: i64) -> Self {
        Self {
            pool,
            store_id,
            lineage,
            head: AtomicI64::new(-1),
            rest_until: Mutex::new(None),
        }
    }

    /// Returns how many connections there are, and how many of them nobody uses.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        self.pool.sizes()
    }

    fn rests(&self) -> bool {
        let until = self
            .rest_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        let mut until = self
            .rest_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REST);
    }

    /// Takes note of the head of a snapshot; an error when it is not enough.
    fn look_at(&self, rows: &[Row], needed: i64) -> Result<(), Unfit> {
        let Some(row) = rows.first() else {
            tracing::error!("the standby has another log than the server it should follow");
            return Err(Unfit::Failed);
        };
        let head: i64 = row.try_get(0).map_err(|_| Unfit::Failed)?;
        self.head.store(head, Ordering::Relaxed);
        if head < needed {
            return Err(Unfit::Behind);
        }
        Ok(())
    }
}

impl Shared {
    /// Asks the standby; `None` if it is not to answer, and the other server has to.
    pub(crate) async fn ask_standby(
        &self,
        queries: &[Query<'_>],
        deadline: Instant,
    ) -> Result<Option<Vec<Vec<Row>>>, Failure> {
        let Some(standby) = &self.standby else {
            return Ok(None);
        };
        if standby.rests() || self.head_age() > self.options.standby_stale_max {
            add(&self.counters.standby_passed_over, 1);
            return Ok(None);
        }
        match self.ask_it(standby, queries, deadline).await {
            Ok(rows) => {
                add(&self.counters.standby_reads, 1);
                Ok(Some(rows))
            }
            Err(Unfit::Behind) => {
                add(&self.counters.standby_behind, 1);
                Ok(None)
            }
            Err(Unfit::Failed) => {
                add(&self.counters.standby_failed, 1);
                standby.rest();
                Ok(None)
            }
            Err(Unfit::Refused(failure)) => Err(failure),
        }
    }

    async fn ask_it(
        &self,
        standby: &Standby,
        queries: &[Query<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Row>>, Unfit> {
        let needed = position_bigint(*self.head.borrow());
        let patience = deadline.min(Instant::now() + self.options.standby_wait);
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[
            (&self.statements.log, Type::INT4),
            (&standby.store_id, Type::UUID),
            (&standby.lineage, Type::INT8),
        ];
        let head = || Query {
            sql: &self.statements.head_of_history,
            parameters,
        };
        let mut has_answered = false;
        while standby.head.load(Ordering::Relaxed) < needed {
            let asked = standby
                .pool
                .read_once(&[head()], (patience, patience))
                .await;
            let rows = match asked {
                // It is there, and the time was over in the midst of a question.
                Err(Failure::Timeout) if has_answered => return Err(Unfit::Behind),
                asked => asked.map_err(unfit)?,
            };
            has_answered = true;
            let rows = rows.first().map(Vec::as_slice).unwrap_or_default();
            match standby.look_at(rows, needed) {
                Err(Unfit::Behind) if Instant::now() + ASK_AGAIN < patience => {
                    sleep(ASK_AGAIN).await;
                }
                looked => looked?,
            }
        }
        // Of several servers behind one name this one may be another than before.
        let all: Vec<_> = std::iter::once(head())
            .chain(queries.iter().copied())
            .collect();
        let asked = standby.pool.read_once(&all, (patience, deadline)).await;
        let mut rows = asked.map_err(unfit)?.into_iter();
        standby.look_at(&rows.next().unwrap_or_default(), needed)?;
        Ok(rows.collect())
    }
}

/// Says what a failure means for who asked a standby.
fn unfit(failure: Failure) -> Unfit {
    match &failure {
        // A question that takes too long here would there as well.
        Failure::Statement(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
            Unfit::Refused(failure)
        }
        Failure::Statement(_)
        | Failure::NoConnection(_)
        | Failure::Timeout
        | Failure::Row(_)
        | Failure::Closed => {
            tracing::debug!(%failure, "the standby does not answer");
            Unfit::Failed
        }
    }
}
