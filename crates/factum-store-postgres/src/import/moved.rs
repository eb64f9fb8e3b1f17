//! Logs that were given away: they say where they went, and take no appends.

use factum_model::Position;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};

use super::ImportOpenError;
use crate::error::OpenError;
use crate::options::Options;
use crate::pool::connect;
use crate::schema;
use crate::statements::Statements;
use crate::values::position;

/// Closes a log for appends because it moves elsewhere, or opens it again; returns its head, which
/// does not move as long as the log is closed. Appends that were on their way are in it. The URL
/// must be that of the owner.
///
/// # Errors
/// See [`ImportOpenError`].
pub async fn set_moved(
    options: &Options,
    to: Option<&str>,
) -> Result<Option<Position>, ImportOpenError> {
    let statements = Statements::new(&options.schema, options.log)?;
    let connected = connect(&options.url, options.connect_timeout).await?;
    let (schema, log) = (&statements.schema, statements.log);
    let update = format!("UPDATE {schema}.logs SET moved_to = $2 WHERE log_id = $1 RETURNING head");
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4), (&to, Type::TEXT)];
    let work = connected.client.query_typed_opt(&update, parameters);
    let row = timeout(options.append_timeout, work)
        .await
        .map_err(|_| OpenError::Timeout)??;
    let row = row.ok_or(OpenError::NoLog { log })?;
    Ok(position(row.try_get(0)?))
}

/// Returns where a log was moved to; `None` for one that takes appends, or is being imported.
///
/// # Errors
/// See [`OpenError`].
pub async fn moved_to(options: &Options) -> Result<Option<String>, OpenError> {
    let statements = Statements::new(&options.schema, options.log)?;
    let connected = connect(&options.url, options.connect_timeout).await?;
    let (schema, log) = (&statements.schema, statements.log);
    let ask = format!("SELECT moved_to FROM {schema}.logs WHERE log_id = $1");
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&log, Type::INT4)];
    let work = async {
        schema::check(&connected.client, &options.schema).await?;
        Ok::<_, OpenError>(connected.client.query_typed_opt(&ask, parameters).await?)
    };
    let row = timeout(options.read_timeout, work)
        .await
        .map_err(|_| OpenError::Timeout)??;
    Ok(row.ok_or(OpenError::NoLog { log })?.try_get(0)?)
}
