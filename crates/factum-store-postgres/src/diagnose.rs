//! Looks at a server and a database before a store is opened there, and says what is in the way.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::OpenError;
use crate::options::Options;
use crate::pool::connect;
use crate::schema::{self, quoted_schema};

/// What a diagnosis has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The version of the server, as it says it.
    pub server: String,
    /// The role that is connected.
    pub role: String,
    /// The server acknowledges only what is on its disk: `fsync` and `synchronous_commit` are on.
    pub is_durable: bool,
    /// A standby confirms every commit too.
    pub has_synchronous_standby: bool,
    /// How many connections the server takes, and how many it has.
    pub connections: (i64, i64),
    /// How far the clock of the server is ahead of that of this machine, in microseconds.
    pub clock_ahead_us: i64,
    /// Why the database cannot be used as it is; then nothing is known of what follows.
    pub not_ready: Option<String>,
    /// The role may change tables, so that only triggers keep it from changing events.
    pub role_owns_tables: bool,
    /// The role may append.
    pub may_append: bool,
    /// How many partitions stand ready for events to come.
    pub leaves_ready: i64,
    /// How many events the log has.
    pub n_events: i64,
}

const SERVER: &str = "SELECT current_setting('server_version'), current_user::text,
  current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off',
  current_setting('synchronous_standby_names') <> '',
  current_setting('max_connections')::bigint, (SELECT count(*) FROM pg_stat_activity),
  (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Looks at the database that a store would be opened in. Changes nothing.
///
/// # Errors
/// See [`OpenError`]: there is no connection, or the server is not one that can be used.
pub async fn diagnose(options: &Options) -> Result<Diagnosis, OpenError> {
    let connected = connect(&options.url, options.connect_timeout).await?;
    tokio::time::timeout(options.read_timeout, look(&connected.client, options))
        .await
        .map_err(|_| OpenError::Timeout)?
}

async fn look(client: &Client, options: &Options) -> Result<Diagnosis, OpenError> {
    let row = client.query_typed_one(SERVER, &[]).await?;
    let here = options.clock.now().as_micros();
    let mut found = Diagnosis {
        server: row.try_get(0)?,
        role: row.try_get(1)?,
        is_durable: row.try_get(2)?,
        has_synchronous_standby: row.try_get(3)?,
        connections: (row.try_get(4)?, row.try_get(5)?),
        clock_ahead_us: row.try_get::<_, i64>(6)?.saturating_sub(here),
        not_ready: None,
        role_owns_tables: false,
        may_append: false,
        leaves_ready: 0,
        n_events: 0,
    };
    if let Err(error) = schema::check(client, &options.schema).await {
        found.not_ready = Some(error.to_string());
        return Ok(found);
    }
    let quoted = quoted_schema(&options.schema)?;
    let sql = format!(
        "SELECT has_table_privilege('{quoted}.events', 'UPDATE'),
           (SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc
            WHERE pronamespace = '{quoted}'::regnamespace AND proname = 'append'),
           (SELECT count(*) FROM {quoted}.leaves WHERE log_id = $1 AND first_position IS NULL),
           (SELECT head FROM {quoted}.logs WHERE log_id = $1)"
    );
    let log = options.log;
    let row = client.query_typed_one(&sql, &[(&log, Type::INT4)]).await?;
    found.role_owns_tables = row.try_get(0)?;
    found.may_append = row.try_get::<_, Option<bool>>(1)?.unwrap_or(false);
    found.leaves_ready = row.try_get(2)?;
    match row.try_get(3)? {
        Some(head) => found.n_events = head,
        None => found.not_ready = Some(OpenError::NoLog { log }.to_string()),
    }
    Ok(found)
}
