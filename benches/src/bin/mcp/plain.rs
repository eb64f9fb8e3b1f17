//! The same records in a plain table of PostgreSQL, with the indexes that such a table would have.

use factum_testkit::postgres::PrivateServer;
use postgres::{Client, NoTls};

use crate::agent::{event, instance};
use crate::{Act, Outcome, Size};

/// The calls that a plain table can answer with a statement or two.
pub(crate) const KNOWS: &[&str] = &[
    "mcp_meta_emit_event",
    "mcp_meta_heartbeat",
    "mcp_meta_query_events",
    "mcp_meta_get_latest_events",
    "mcp_meta_replay_events",
    "mcp_meta_get_event_aggregates",
    "mcp_meta_list_instances",
];

const SCHEMA: &str = "
CREATE TABLE supervisor_sessions (instance_id varchar(32) PRIMARY KEY, project text NOT NULL, status text NOT NULL,
  context_percent int, current_epic text, last_heartbeat timestamptz NOT NULL DEFAULT now());
CREATE TABLE event_store (event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  instance_id varchar(32) NOT NULL REFERENCES supervisor_sessions (instance_id), event_type varchar(64) NOT NULL,
  sequence_num bigint NOT NULL, timestamp timestamptz NOT NULL DEFAULT now(), event_data jsonb NOT NULL, metadata jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT unique_sequence UNIQUE (instance_id, sequence_num));
CREATE INDEX ON event_store (event_type, timestamp DESC);
CREATE INDEX ON event_store (instance_id, created_at DESC);
CREATE INDEX ON event_store (timestamp DESC);";

const EMIT: &str = "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)
  SELECT $1::varchar, $2::varchar, coalesce(max(sequence_num), 0) + 1, $3::text::jsonb FROM event_store WHERE instance_id = $1::varchar
  RETURNING event_id::text, sequence_num, timestamp::text";

/// The table, full.
pub(crate) struct Table {
    server: PrivateServer,
    size: Size,
}

impl Table {
    pub(crate) fn fill(size: Size) -> Outcome<Self> {
        let server = PrivateServer::start();
        let mut client = Client::connect(&server.url(), NoTls)?;
        client.batch_execute(SCHEMA)?;
        for of in 0..size.n_instances {
            let id = instance(of);
            client.execute(
                "INSERT INTO supervisor_sessions (instance_id, project, status) VALUES ($1, 'load', 'active')",
                &[&id],
            )?;
            let events: Vec<_> = (0..size.events_each).map(event).collect();
            let types: Vec<&str> = events.iter().map(|(event_type, _)| *event_type).collect();
            let data: Vec<&str> = events.iter().map(|(_, data)| data.as_str()).collect();
            client.execute(
                "INSERT INTO event_store (instance_id, event_type, sequence_num, event_data)
                 SELECT $1::varchar, type, number, data::jsonb FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS e (type, data, number)",
                &[&id, &types, &data],
            )?;
        }
        client.batch_execute("ANALYZE")?;
        Ok(Self { server, size })
    }

    /// Makes a client with a connection of its own.
    pub(crate) fn act<'a>(&'a self, call: &'a str, client: usize) -> Outcome<Act<'a>> {
        let mut connection = Client::connect(&self.server.url(), NoTls)?;
        let emit = connection.prepare(EMIT)?;
        let beat = connection.prepare(
            "UPDATE supervisor_sessions SET context_percent = $2, last_heartbeat = now() WHERE instance_id = $1",
        )?;
        let query = connection.prepare(
            "SELECT event_id::text, event_type, sequence_num, timestamp::text, event_data::text FROM event_store
             WHERE instance_id = $1 AND event_type = ANY ('{test_passed,commit_created}') ORDER BY sequence_num LIMIT 100",
        )?;
        let count = connection.prepare(
            "SELECT count(*) FROM event_store WHERE instance_id = $1 AND event_type = ANY ('{test_passed,commit_created}')",
        )?;
        let latest = connection.prepare(
            "SELECT event_id::text, event_type, event_data::text FROM event_store WHERE instance_id = $1
             ORDER BY sequence_num DESC LIMIT 10",
        )?;
        let replay = connection.prepare(
            "SELECT event_type, event_data::text FROM event_store WHERE instance_id = $1 AND sequence_num <= 100 ORDER BY sequence_num",
        )?;
        let aggregates = connection.prepare(
            "SELECT event_type, count(*) FROM event_store WHERE instance_id = $1 GROUP BY event_type",
        )?;
        let list = connection.prepare(
            "SELECT instance_id, status, context_percent, last_heartbeat::text FROM supervisor_sessions
             WHERE project = 'load' ORDER BY last_heartbeat DESC LIMIT 100",
        )?;
        Ok(Box::new(move |number| {
            let id = instance((client * 31 + number * 7) % self.size.n_instances);
            let (event_type, data) = event(1 + number);
            match call {
                "mcp_meta_emit_event" => emitted(&mut connection, &emit, (&id, event_type, &data))?,
                "mcp_meta_heartbeat" => {
                    let percent = i32::try_from(number % 70)?;
                    connection.execute(&beat, &[&id, &percent])?;
                    emitted(&mut connection, &emit, (&id, "instance_heartbeat", &data))?;
                }
                "mcp_meta_query_events" => {
                    connection.query(&query, &[&id])?;
                    connection.query(&count, &[&id])?;
                }
                "mcp_meta_get_latest_events" => drop(connection.query(&latest, &[&id])?),
                "mcp_meta_replay_events" => drop(connection.query(&replay, &[&id])?),
                "mcp_meta_get_event_aggregates" => drop(connection.query(&aggregates, &[&id])?),
                _ => drop(connection.query(&list, &[])?),
            }
            Ok(())
        }))
    }
}

/// Two that take the same number at once: one of them tries again.
fn emitted(
    connection: &mut Client,
    emit: &postgres::Statement,
    (id, event_type, data): (&String, &str, &String),
) -> Outcome<()> {
    loop {
        match connection.query(emit, &[id, &event_type, data]) {
            Ok(_) => return Ok(()),
            Err(error) if error.code().is_some_and(|code| code.code() == "23505") => {}
            Err(error) => return Err(error.into()),
        }
    }
}
