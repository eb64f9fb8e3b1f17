//! The tables and functions in the database: made by numbered steps, each once.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::OpenError;
use crate::pool::connect;

/// The steps, in order. One that was released is never changed: its checksum is in databases.
const STEPS: &[(i32, &str, &str)] = &[
    (1, "log", include_str!("../migrations/0001_log.sql")),
    (
        2,
        "functions",
        include_str!("../migrations/0002_functions.sql"),
    ),
    (3, "state", include_str!("../migrations/0003_state.sql")),
    (4, "import", include_str!("../migrations/0004_import.sql")),
];

/// The version of the schema that this program works with.
pub(crate) const VERSION: i32 = 4;
/// The oldest PostgreSQL that it works with, as `server_version_num` has it.
const SERVER_MIN: i32 = 140_000;
/// How many leaves a new log has.
const FIRST_LEAVES: i32 = 3;
/// How long setting up may take.
const SETUP_TIMEOUT: Duration = Duration::from_secs(300);

/// When a leaf of the events table is closed and the next one begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafPolicy {
    /// With the first event that is recorded in a new month, UTC.
    Monthly,
    /// With the first event that is recorded in a new week, which begins on Monday, UTC.
    Weekly,
    /// With the first event that is recorded on a new day, UTC.
    Daily,
    /// When it has about so many events.
    Events(u32),
}

impl LeafPolicy {
    const fn name(self) -> &'static str {
        match self {
            Self::Monthly => "monthly",
            Self::Weekly => "weekly",
            Self::Daily => "daily",
            Self::Events(_) => "events",
        }
    }

    fn events(self) -> u32 {
        match self {
            Self::Events(events) => events.max(1),
            Self::Monthly | Self::Weekly | Self::Daily => 1,
        }
    }
}

/// What is set up in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The schema: a lower-case letter, then lower-case letters, digits and `_`, at most 40.
    pub schema: String,
    /// The number of the log.
    pub log: i32,
    /// The role that engine nodes connect as. It is made if it is not there, and may then read,
    /// append and change the bookkeeping, and nothing else. Without one only the owner may.
    pub application_role: Option<String>,
    /// When leaves are closed.
    pub leaves: LeafPolicy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            schema: "factum".to_owned(),
            log: 1,
            application_role: None,
            leaves: LeafPolicy::Monthly,
        }
    }
}

impl Setup {
    /// Returns the SQL that sets up an empty database, to be read or to be run by hand.
    ///
    /// # Errors
    /// [`OpenError::Name`] for a schema or a role with a name that is not allowed.
    pub fn sql(&self) -> Result<String, OpenError> {
        let mut sql = String::from("BEGIN;\n\n");
        sql += &self.begin()?;
        for step in STEPS {
            sql += &self.step(*step)?;
        }
        sql += &self.finish()?;
        sql += "\nCOMMIT;\n";
        Ok(sql)
    }

    /// Sets up the database at a URL, as the role that is to own everything: makes what is missing
    /// and leaves what is there. In one transaction, under a lock, so several may try at once, and
    /// whoever was interrupted tries again.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then.
    pub async fn run(&self, url: &str) -> Result<(), OpenError> {
        let connected = connect(url, Duration::from_secs(10)).await?;
        let work = async {
            let done = self.run_on(&connected.client).await;
            if done.is_err() {
                // The transaction ends with the connection, whatever becomes of this.
                drop(connected.client.batch_execute("ROLLBACK").await);
            }
            done
        };
        tokio::time::timeout(SETUP_TIMEOUT, work)
            .await
            .map_err(|_| OpenError::Timeout)?
    }

    async fn run_on(&self, client: &Client) -> Result<(), OpenError> {
        let (begin, finish) = (self.begin()?, self.finish()?);
        check_server(client).await?;
        client.batch_execute("BEGIN").await?;
        client.batch_execute(&begin).await?;
        let applied = format!(
            "SELECT number, checksum FROM \"{}\".migrations ORDER BY number",
            self.schema
        );
        let mut present = 0;
        for row in client.query_typed(&applied, &[]).await? {
            let (number, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            let known = STEPS.iter().find(|(known, ..)| *known == number);
            let Some((.., text)) = known else {
                return Err(OpenError::Version {
                    found: number,
                    expected: VERSION,
                });
            };
            if checksum_of(text) != checksum {
                return Err(OpenError::Changed { number });
            }
            present = number;
        }
        for step in STEPS.iter().filter(|(number, ..)| *number > present) {
            client.batch_execute(&self.step(*step)?).await?;
        }
        client.batch_execute(&finish).await?;
        client.batch_execute("COMMIT").await?;
        Ok(())
    }

    fn begin(&self) -> Result<String, OpenError> {
        let schema = quoted_schema(&self.schema)?;
        let name = &self.schema;
        Ok(format!(
            "SET LOCAL lock_timeout = '60s';\n\
             SET LOCAL client_min_messages = warning;\n\
             SELECT pg_advisory_xact_lock(hashtextextended('factum.{name}.migrations', 0));\n\
             CREATE SCHEMA IF NOT EXISTS {schema};\n\
             CREATE TABLE IF NOT EXISTS {schema}.migrations (\n  number int PRIMARY KEY,\n  \
             name text NOT NULL,\n  checksum text NOT NULL,\n  \
             applied_at timestamptz NOT NULL DEFAULT now()\n);\n\n"
        ))
    }

    fn step(&self, (number, name, text): (i32, &str, &str)) -> Result<String, OpenError> {
        let schema = quoted_schema(&self.schema)?;
        let body = text
            .replace("{schema_text}", &format!("'{}'", self.schema))
            .replace("{schema}", &schema);
        let checksum = checksum_of(text);
        Ok(format!(
            "{body}\nINSERT INTO {schema}.migrations (number, name, checksum)\n  \
             VALUES ({number}, '{name}', '{checksum}');\n\n"
        ))
    }

    /// Makes the log and says who may do what.
    fn finish(&self) -> Result<String, OpenError> {
        let schema = quoted_schema(&self.schema)?;
        let (log, policy, events) = (self.log, self.leaves.name(), self.leaves.events());
        let mut sql = format!(
            "INSERT INTO {schema}.logs (log_id, store_id, lineage, leaf_policy, leaf_events)\n  \
             VALUES ({log}, gen_random_uuid(), \
             ('x' || left(replace(gen_random_uuid()::text, '-', ''), 12))::bit(48)::bigint + 1, \
             '{policy}', {events})\n  ON CONFLICT (log_id) DO NOTHING;\n\
             SELECT {schema}.make_leaves({log}, {FIRST_LEAVES});\n\
             REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;\n\
             REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;\n\
             REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;\n"
        );
        if let Some(role) = &self.application_role {
            let role = quoted_role(role)?;
            let text = role.replace('"', "'");
            // Made only by who may; a role that is there may belong to somebody else.
            let grants = format!(
                "DO $$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN\n    \
                 CREATE ROLE {role} LOGIN;\n  END IF;\n\
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN\n  \
                 NULL; -- made for another database meanwhile\nEND $$;\n\
                 GRANT USAGE ON SCHEMA {schema} TO {role};\n\
                 GRANT SELECT ON {schema}.migrations, {schema}.logs, {schema}.lineages, {schema}.leaves, \
                 {schema}.streams, {schema}.events, {schema}.event_ids, \
                 {schema}.state_records, {schema}.state_leases TO {role};\n\
                 GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};\n"
            );
            sql += &grants;
        }
        Ok(sql)
    }
}

async fn check_server(client: &Client) -> Result<(), OpenError> {
    let ask =
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')";
    let row = client.query_typed_one(ask, &[]).await?;
    let (version, encoding): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    if version < SERVER_MIN {
        return Err(OpenError::ServerTooOld { version });
    }
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { encoding });
    }
    Ok(())
}

/// Checks that a database has the schema that this program works with.
pub(crate) async fn check(client: &Client, schema: &str) -> Result<(), OpenError> {
    let quoted = quoted_schema(schema)?;
    check_server(client).await?;
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    let table = format!("{quoted}.migrations");
    let row = client
        .query_typed_one(exists, &[(&table, Type::TEXT)])
        .await?;
    if !row.try_get::<_, bool>(0)? {
        return Err(OpenError::NotSetUp {
            schema: schema.to_owned(),
        });
    }
    let newest = format!("SELECT coalesce(max(number), 0) FROM {quoted}.migrations");
    let row = client.query_typed_one(&newest, &[]).await?;
    let found: i32 = row.try_get(0)?;
    if found != VERSION {
        let expected = VERSION;
        return Err(OpenError::Version { found, expected });
    }
    Ok(())
}

fn checksum_of(text: &str) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref().iter();
    bytes
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Returns the name of a schema as it stands in SQL. It goes into statements as it is, so it is
/// made of characters that need no care.
pub(crate) fn quoted_schema(name: &str) -> Result<String, OpenError> {
    quoted("schema", name)
}

fn quoted_role(name: &str) -> Result<String, OpenError> {
    quoted("role", name)
}

fn quoted(what: &'static str, name: &str) -> Result<String, OpenError> {
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let reserved = name.starts_with("pg_");
    if starts && !reserved && name.len() <= 40 && name.bytes().all(plain) {
        return Ok(format!("\"{name}\""));
    }
    Err(OpenError::Name {
        what,
        name: name.chars().take(64).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_sql_are_refused() {
        for name in ["", "1a", "A", "a\"b", "a;b", "pg_x", "a b", &"a".repeat(41)] {
            assert!(quoted_schema(name).is_err(), "{name}");
        }
        assert_eq!(quoted_schema("factum_2").unwrap(), "\"factum_2\"");
    }

    #[test]
    fn steps_are_numbered_without_a_gap() {
        let numbers: Vec<_> = STEPS.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, (1..=VERSION).collect::<Vec<_>>());
    }

    #[test]
    fn printed_sql_has_no_place_left_open() {
        let setup = Setup {
            application_role: Some("app".to_owned()),
            ..Setup::default()
        };
        assert!(!setup.sql().unwrap().contains("{schema"));
    }
}
