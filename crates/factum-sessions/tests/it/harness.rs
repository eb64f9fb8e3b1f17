//! Sessions over a store in a directory of their own, with a clock that stands still.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use factum_engine::{Engine, EngineOptions};
use factum_model::{LogicalClock, Timestamp};
use factum_sessions::{
    CreateCheckpoint, EmitEvent, EmittedEvent, Heartbeat, HeartbeatAnswer, InstanceDetails,
    InstanceReport, InstanceType, LogCommand, RegisterInstance, ReplayEvents, SessionError,
    SessionOptions, SessionState, Sessions,
};
use factum_store_embedded::{EmbeddedStore, Options};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    /// Opens the store of a directory, at an instant.
    pub(crate) fn open(directory: &Path, now: Timestamp) -> Self {
        Self::open_with(directory, now, SessionOptions::default())
    }

    pub(crate) fn open_with(directory: &Path, now: Timestamp, options: SessionOptions) -> Self {
        let clock = Arc::new(LogicalClock::at(now));
        let store = EmbeddedStore::open(Options {
            clock: Arc::clone(&clock) as Arc<_>,
            ..Options::at(directory)
        });
        let engine_options = EngineOptions {
            clock: Arc::clone(&clock) as Arc<_>,
            ..EngineOptions::default()
        };
        let engine = Engine::new(Arc::new(store.unwrap()), engine_options);
        Self::over(engine, clock, options)
    }

    /// Makes another node over the same store.
    pub(crate) fn beside(&self) -> Self {
        let options = self.sessions.options().clone();
        Self::over(self.engine.clone(), Arc::clone(&self.clock), options)
    }

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

/// Opens a node in a new directory.
pub(crate) fn node() -> (Node, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Node::open(directory.path(), start()), directory)
}

pub(crate) fn emit(id: &str, event_type: &str, data: &Value) -> EmitEvent {
    let input = json!({ "instance_id": id, "event_type": event_type, "event_data": data });
    serde_json::from_value(input).unwrap()
}

pub(crate) fn command(id: &str, action: &str, details: &Value) -> LogCommand {
    let input = json!({ "instance_id": id, "action": action, "details": details });
    serde_json::from_value(input).unwrap()
}
