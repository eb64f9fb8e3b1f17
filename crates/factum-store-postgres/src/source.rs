//! Where a statement is asked.

use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::Failure;
use crate::pool::{Query, run};
use crate::shared::Shared;

/// Where a statement is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// For a reader: at the standby while it has all that this node knows of, else where it is
    /// written.
    Reader,
    /// For what this node does by itself: where it is written, over connections that readers do
    /// not use up.
    Own,
    /// In a transaction that has the head, which nobody is ahead of.
    Locked(&'a Client),
}

/// Where a statement is asked, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) deadline: Instant,
}

impl<'a> Asking<'a> {
    pub(crate) const fn for_reader(deadline: Instant) -> Self {
        let source = Source::Reader;
        Self { source, deadline }
    }

    pub(crate) const fn own(deadline: Instant) -> Self {
        let source = Source::Own;
        Self { source, deadline }
    }

    pub(crate) const fn locked(client: &'a Client, deadline: Instant) -> Self {
        let source = Source::Locked(client);
        Self { source, deadline }
    }
}

impl Shared {
    /// Runs queries in one snapshot, in one round trip.
    ///
    /// A future that is dropped leaves a connection that is in order: all was sent before.
    pub(crate) async fn ask(
        &self,
        asking: Asking<'_>,
        queries: &[Query<'_>],
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let deadline = asking.deadline;
        match asking.source {
            Source::Reader => {
                if let Some(rows) = self.ask_standby(queries, deadline).await? {
                    return Ok(rows);
                }
                self.pool.read(queries, deadline).await
            }
            Source::Own => self.own.read(queries, deadline).await,
            Source::Locked(client) => run(client, queries, deadline).await,
        }
    }

    /// Runs one query; see [`Shared::ask`].
    pub(crate) async fn ask_one(
        &self,
        asking: Asking<'_>,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Failure> {
        let query = Query { sql, parameters };
        let mut rows = self.ask(asking, &[query]).await?;
        Ok(rows.pop().unwrap_or_default())
    }
}
