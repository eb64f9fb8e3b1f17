//! Agent sessions: what every agent instance did, recorded so that another one can take over.
//!
//! An instance is a stream of the aggregate type `agent_session`, each record is an event, and
//! every view is a fold of them. There is no second database. Each operation is one function of
//! [`Sessions`] with an input and an output of its own, whose names are those of the contract: the
//! doors (HTTP, tools of agents, the command line) parse, call, and render. No transport is known
//! here.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use factum_engine::{Engine, EngineOptions};
//! use factum_sessions::{Heartbeat, InstanceType, RegisterInstance, SessionOptions, Sessions};
//! use factum_store::MemoryStore;
//! use tokio_util::sync::CancellationToken;
//!
//! let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default());
//! let sessions = Sessions::new(engine, SessionOptions::default());
//! let shutdown = CancellationToken::new();
//! let work = async {
//!     let made = sessions
//!         .register_instance(RegisterInstance {
//!             project: "shop".to_owned(),
//!             instance_type: InstanceType::ProjectSupervisor,
//!             initial_context: None,
//!         })
//!         .await?;
//!     let heartbeat = sessions
//!         .heartbeat(Heartbeat {
//!             instance_id: made.instance_id,
//!             context_percent: 81.0,
//!             current_epic: Some("epic-003".to_owned()),
//!         })
//!         .await?;
//!     assert!(heartbeat.checkpoint_id.is_some());
//!     shutdown.cancel();
//!     Ok::<(), factum_sessions::SessionError>(())
//! };
//! let ((), done) = tokio::join!(sessions.run(shutdown.clone()), work);
//! # Ok(done?)
//! # }
//! ```

mod background;
mod checkpoint;
mod confidence;
mod error;
mod events;
mod handoff;
mod id;
mod input;
mod metrics;
mod ops;
mod options;
mod pages;
mod recovery;
mod redact;
mod registry;
mod report;
mod resolve;
mod sessions;
mod state;
mod view;
mod wire;

pub use crate::error::SessionError;
pub use crate::id::{InstanceId, InstanceType};
pub use crate::metrics::SessionMetrics;
pub use crate::ops::{
    Checkpoint, CheckpointList, CheckpointType, CleanedCheckpoints, CleanupCheckpoints,
    CloseInstance, ClosedInstance, CommandDetails, CommandList, CommandView, CreateCheckpoint,
    CreatedCheckpoint, EmitEvent, EmittedEvent, EventAggregates, EventFilters, EventList,
    EventTree, EventTypeList, EventTypeView, EventTypes, Heartbeat, HeartbeatAnswer,
    InstanceDetails, InstanceList, InstanceMatch, InstanceReport, LatestEvents, ListCheckpoints,
    ListInstances, LogCommand, LoggedCommand, ParentChain, QueryEvents, RegisterInstance,
    RegisteredInstance, ReplayEvents, ReplayedState, ResumeAnswer, ResumeInstance, ResumeSource,
    ResumedInstance, SearchCommands, StaleInstance, StaleList, TreeNode, UserChoice,
};
pub use crate::options::SessionOptions;
pub use crate::redact::{Redacted, RedactionError, Redactor};
pub use crate::sessions::Sessions;
pub use crate::state::{
    CheckpointSummary, CommandSummary, Commit, Deployment, DeploymentStatus, Epic, EpicStatus,
    InstanceStatus, PullRequest, SessionState, TestRun, TestTotals, ValidationTotals,
};
pub use crate::view::{EventView, InstanceView};
