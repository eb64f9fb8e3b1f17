//! Sessions over a store in a directory of their own, with a clock that stands still.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use factum_engine::{Engine, EngineOptions};
use factum_model::{Clock, LogicalClock, Timestamp};
use factum_sessions::{
    CreateCheckpoint, EmitEvent, EmittedEvent, Heartbeat, HeartbeatAnswer, InstanceDetails,
    InstanceReport, InstanceType, LogCommand, RegisterInstance, ReplayEvents, SessionError,
    SessionOptions, SessionState, Sessions,
};
use factum_store::EventStore;
use factum_store_embedded::{EmbeddedStore, Options};
use factum_store_postgres::{PostgresStore, Setup};
use factum_testkit::agents::Call;
use factum_testkit::postgres::Database;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What kind of store keeps a log.
pub(crate) enum Log {
    Directory,
    Database,
}

/// Where a log is: in a directory, or in a database.
pub(crate) struct Place {
    directory: TempDir,
    database: Option<Database>,
}

impl Place {
    pub(crate) async fn new(log: Log) -> Self {
        let database = match log {
            Log::Directory => None,
            Log::Database => {
                let database = Database::create();
                Setup::default().run(&database.url()).await.unwrap();
                Some(database)
            }
        };
        Self {
            directory: tempfile::tempdir().unwrap(),
            database,
        }
    }

    /// Opens a node at the instant at which every test begins.
    pub(crate) async fn node(&self) -> Node {
        self.open(start()).await
    }

    pub(crate) async fn open(&self, now: Timestamp) -> Node {
        self.open_with(now, SessionOptions::default()).await
    }

    pub(crate) async fn open_with(&self, now: Timestamp, options: SessionOptions) -> Node {
        let clock = Arc::new(LogicalClock::at(now));
        let engine = self.engine(&clock).await;
        Node::over(engine, clock, options)
    }

    /// Makes another node over the same log: where a log has several nodes, with a store of its
    /// own.
    pub(crate) async fn beside(&self, node: &Node) -> Node {
        let options = node.sessions.options().clone();
        let clock = Arc::clone(&node.clock);
        let engine = if self.database.is_some() {
            self.engine(&clock).await
        } else {
            node.engine.clone()
        };
        Node::over(engine, clock, options)
    }

    async fn engine(&self, clock: &Arc<LogicalClock>) -> Engine {
        let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<_>;
        let store: Arc<dyn EventStore> = match &self.database {
            Some(database) => {
                let opened = PostgresStore::open(factum_store_postgres::Options {
                    clock: Arc::clone(&clock),
                    ..factum_store_postgres::Options::at(database.url())
                });
                Arc::new(opened.await.unwrap())
            }
            None => {
                let opened = EmbeddedStore::open(Options {
                    clock: Arc::clone(&clock),
                    ..Options::at(self.directory.path())
                });
                Arc::new(opened.unwrap())
            }
        };
        let options = EngineOptions {
            clock,
            ..EngineOptions::default()
        };
        Engine::new(store, options)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns everything that the database holds of events, as text.
    pub(crate) fn rows(&self) -> Option<String> {
        let database = self.database.as_ref()?;
        let sql = "SELECT query_to_xml(format('SELECT * FROM factum.%I', tablename), true, false, '') \
                   FROM pg_tables WHERE schemaname = 'factum'";
        Some(database.psql(sql))
    }
}

/// Sessions, and what they stand on.
pub(crate) struct Node {
    pub(crate) sessions: Sessions,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<LogicalClock>,
    shutdown: CancellationToken,
    running: JoinSet<()>,
}

/// The instant at which every test begins.
pub(crate) const START: &str = "2026-11-21T09:00:00Z";

impl Node {
    fn over(engine: Engine, clock: Arc<LogicalClock>, options: SessionOptions) -> Self {
        // Tests look for silent instances themselves.
        let sessions = Sessions::new(
            engine.clone(),
            SessionOptions {
                sweep_interval: Duration::from_secs(1_000_000),
                cleanup_interval: Duration::from_secs(1_000_000),
                ..options
            },
        );
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        let (background, until) = (sessions.clone(), shutdown.clone());
        running.spawn(async move { background.run(until).await });
        Self {
            sessions,
            engine,
            clock,
            shutdown,
            running,
        }
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(seconds * 1_000_000);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.engine.clock().now()
    }

    /// Ends everything at once and without order; the store is not even closed.
    pub(crate) async fn kill(mut self) -> Timestamp {
        let now = self.now();
        self.running.abort_all();
        while self.running.join_next().await.is_some() {}
        now
    }

    /// Ends in order.
    pub(crate) async fn stop(mut self) -> Timestamp {
        let now = self.now();
        self.shutdown.cancel();
        while self.running.join_next().await.is_some() {}
        self.engine.close().await;
        now
    }

    pub(crate) async fn register(&self, project: &str) -> String {
        let made = self.sessions.register_instance(RegisterInstance {
            project: project.to_owned(),
            instance_type: InstanceType::ProjectSupervisor,
            initial_context: None,
        });
        made.await.unwrap().instance_id
    }

    pub(crate) async fn heartbeat(
        &self,
        id: &str,
        context_percent: f64,
    ) -> Result<HeartbeatAnswer, SessionError> {
        let heartbeat = Heartbeat {
            instance_id: id.to_owned(),
            context_percent,
            current_epic: None,
        };
        self.sessions.heartbeat(heartbeat).await
    }

    pub(crate) async fn emit(
        &self,
        id: &str,
        event_type: &str,
        data: Value,
    ) -> Result<EmittedEvent, SessionError> {
        self.sessions.emit_event(emit(id, event_type, &data)).await
    }

    pub(crate) async fn log(&self, id: &str, action: &str, details: Value) {
        self.sessions
            .log_command(command(id, action, &details))
            .await
            .unwrap();
    }

    pub(crate) async fn checkpoint(&self, id: &str, work_state: Option<Value>) -> String {
        let mut input = json!({ "instance_id": id, "checkpoint_type": "manual" });
        if let Some(work_state) = work_state {
            input["work_state"] = work_state;
        }
        let input: CreateCheckpoint = serde_json::from_value(input).unwrap();
        let made = self.sessions.create_checkpoint(input).await;
        made.unwrap().checkpoint_id
    }

    pub(crate) async fn report(&self, id: &str) -> InstanceReport {
        match self.sessions.instance_details(id).await.unwrap() {
            InstanceDetails::Found(report) => *report,
            InstanceDetails::Choose { matches, .. } => panic!("{matches:?}"),
        }
    }

    /// Returns the state that a replay of all events gives.
    pub(crate) async fn replay(&self, id: &str) -> SessionState {
        let replayed = self.sessions.replay_events(ReplayEvents {
            instance_id: id.to_owned(),
            to_sequence_num: None,
        });
        replayed.await.unwrap().final_state
    }

    /// Counts the events of a type.
    pub(crate) async fn count(&self, id: &str, event_type: &str) -> u64 {
        let state = self.replay(id).await;
        state.event_counts.get(event_type).copied().unwrap_or(0)
    }
}

pub(crate) fn start() -> Timestamp {
    START.parse().unwrap()
}

pub(crate) fn emit(id: &str, event_type: &str, data: &Value) -> EmitEvent {
    let input = json!({ "instance_id": id, "event_type": event_type, "event_data": data });
    serde_json::from_value(input).unwrap()
}

pub(crate) fn command(id: &str, action: &str, details: &Value) -> LogCommand {
    let input = json!({ "instance_id": id, "action": action, "details": details });
    serde_json::from_value(input).unwrap()
}

/// Makes a call of a tool, as the function behind it.
pub(crate) async fn done(sessions: &Sessions, call: Call) -> Result<Value, SessionError> {
    let given = &call.arguments;
    let answer = match call.tool {
        "mcp_meta_register_instance" => to(sessions.register_instance(of(given)).await?),
        "mcp_meta_heartbeat" => to(sessions.heartbeat(of(given)).await?),
        "mcp_meta_emit_event" => to(sessions.emit_event(of(given)).await?),
        "mcp_meta_log_command" => to(sessions.log_command(of(given)).await?),
        "mcp_meta_create_checkpoint" => to(sessions.create_checkpoint(of(given)).await?),
        "mcp_meta_resume_instance" => to(sessions.resume_instance(of(given)).await?),
        "mcp_meta_close_instance" => to(sessions.close_instance(of(given)).await?),
        other => panic!("{other} is not called here"),
    };
    Ok(answer)
}

/// Registers an instance, and returns its id.
pub(crate) async fn registered(sessions: &Sessions, call: Call) -> String {
    let made = done(sessions, call).await.unwrap();
    made["instance_id"].as_str().unwrap().to_owned()
}

fn of<T: DeserializeOwned>(arguments: &Value) -> T {
    // Payloads are kept as they are written, which only a text shows.
    serde_json::from_str(&arguments.to_string()).unwrap()
}

fn to(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}
