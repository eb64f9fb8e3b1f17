//! Connections, and statements over them.
//!
//! Every statement is sent whole, unnamed, with the types of its parameters, so nothing is kept in
//! a session that a pooler between here and the server could lose. For the same reason there are
//! no session settings and no session locks: what a transaction needs it sets for itself.

use std::str::FromStr as _;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime};
use futures_util::future::{join, join_all};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Failure, Meaning, OpenError, meaning};
use crate::options::Options;
use crate::tls::Trust;

/// How long to wait before a read is tried again on another connection.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Which of several servers in a URL is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that takes writes, after a failover the new one.
    Writer,
    /// Any of them.
    Any,
}

/// A statement with its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) sql: &'a str,
    pub(crate) parameters: &'a [(&'a (dyn ToSql + Sync), Type)],
}

/// A connection outside of the pool.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// What moves the bytes; it ends with this.
    _mover: JoinSet<()>,
}

/// Reads a URL.
pub(crate) fn parse(
    url: &str,
    connect_timeout: Duration,
    role: Role,
) -> Result<(Config, MakeRustlsConnect), OpenError> {
    let (url, trust) = Trust::split(url)?;
    let mut config = Config::from_str(&url).map_err(OpenError::Url)?;
    let tls = trust.connector(&mut config)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(connect_timeout);
    }
    if config.get_application_name().is_none() {
        config.application_name("factum");
    }
    if role == Role::Writer && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    Ok((config, tls))
}

/// Makes one connection.
pub(crate) async fn connect(url: &str, limit: Duration) -> Result<Connected, OpenError> {
    let (config, tls) = parse(url, limit, Role::Writer)?;
    let (client, connection) = tokio::time::timeout(limit, config.connect(tls))
        .await
        .map_err(|_| OpenError::Timeout)??;
    let mut mover = JoinSet::new();
    mover.spawn(async move {
        // Whoever waits for an answer is told as well.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok(Connected {
        client,
        _mover: mover,
    })
}

/// The connections of a store.
#[derive(Debug)]
pub(crate) struct Pool {
    pool: deadpool_postgres::Pool,
    begin: String,
}

impl Pool {
    pub(crate) fn new(options: &Options, size: usize) -> Result<Self, OpenError> {
        Self::to((&options.url, Role::Writer), options, size)
    }

    /// Makes a pool of connections to one server, or to one of several.
    pub(crate) fn to(
        (url, role): (&str, Role),
        options: &Options,
        size: usize,
    ) -> Result<Self, OpenError> {
        let (config, tls) = parse(url, options.connect_timeout, role)?;
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(config, tls, recycling);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(size.max(1))
            .create_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| OpenError::Row(error.into()))?;
        // What is joined is looked up by keys, however few rows a table had at its last ANALYZE.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {}; SET LOCAL jit = off; \
             SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off",
            options.statement_timeout.as_millis()
        );
        Ok(Self { pool, begin })
    }

    /// Takes a connection out of the pool.
    pub(crate) async fn get(&self, deadline: Instant) -> Result<Object, Failure> {
        match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(PoolError::Closed)) => Err(Failure::Closed),
            Ok(Err(error)) => Err(Failure::NoConnection(error.into())),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Runs queries in one snapshot, in one round trip. When the connection breaks they are run
    /// again on another one, until the deadline.
    ///
    /// A future that is dropped leaves a connection that is in order: all was sent before.
    pub(crate) async fn read(
        &self,
        queries: &[Query<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Row>>, Failure> {
        loop {
            let failure = match self.read_once(queries, (deadline, deadline)).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            let again = match &failure {
                Failure::NoConnection(_) => true,
                Failure::Statement(error) => meaning(error) == Meaning::Lost,
                Failure::Timeout | Failure::Row(_) | Failure::Closed => false,
            };
            if !again || Instant::now() + RETRY_DELAY >= deadline {
                return Err(failure);
            }
            tracing::debug!(%failure, "a read is tried again");
            sleep(RETRY_DELAY).await;
        }
    }

    /// Runs queries in one snapshot, in one round trip, over a connection that is there in time.
    pub(crate) async fn read_once(
        &self,
        queries: &[Query<'_>],
        (connected_by, deadline): (Instant, Instant),
    ) -> Result<Vec<Vec<Row>>, Failure> {
        let object = self.get(connected_by).await?;
        let Ok(rows) = timeout_at(deadline, self.read_on(&object, queries)).await else {
            // The server may be at it for a while, or be gone without a word.
            drop(Object::take(object));
            return Err(Failure::Timeout);
        };
        Ok(rows?)
    }

    /// Runs one query; see [`Pool::read`].
    pub(crate) async fn read_one(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        deadline: Instant,
    ) -> Result<Vec<Row>, Failure> {
        let query = Query { sql, parameters };
        let mut rows = self.read(&[query], deadline).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    async fn read_on(
        &self,
        client: &Client,
        queries: &[Query<'_>],
    ) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
        let each = queries
            .iter()
            .map(|query| client.query_typed(query.sql, query.parameters));
        // Each is sent when it is first polled, in this order, before any answer is waited for.
        let (begun, (rows, ended)) = join(
            client.batch_execute(&self.begin),
            join(join_all(each), client.batch_execute("COMMIT")),
        )
        .await;
        begun?;
        let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
        ended?;
        Ok(rows)
    }

    /// Returns how many connections there are, and how many of them nobody uses.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }
}

/// Runs queries in the transaction that a connection is in, in one round trip.
pub(crate) async fn run(
    client: &Client,
    queries: &[Query<'_>],
    deadline: Instant,
) -> Result<Vec<Vec<Row>>, Failure> {
    let each = queries
        .iter()
        .map(|query| client.query_typed(query.sql, query.parameters));
    let rows = timeout_at(deadline, join_all(each))
        .await
        .map_err(|_| Failure::Timeout)?;
    Ok(rows.into_iter().collect::<Result<_, _>>()?)
}
