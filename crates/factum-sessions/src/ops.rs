//! The operations, one file each: input, output and behaviour.

mod aggregates;
mod causes;
mod checkpoints;
mod cleanup;
mod close;
mod commands;
mod details;
mod emit;
mod event_types;
mod heartbeat;
mod instances;
mod query;
mod register;
mod replay;
mod resume;

pub use self::aggregates::EventAggregates;
pub use self::causes::{EventTree, ParentChain, TreeNode};
pub use self::checkpoints::{
    Checkpoint, CheckpointList, CheckpointType, CreateCheckpoint, CreatedCheckpoint,
    ListCheckpoints,
};
pub use self::cleanup::{CleanedCheckpoints, CleanupCheckpoints};
pub use self::close::{CloseInstance, ClosedInstance};
pub use self::commands::{
    CommandDetails, CommandList, CommandView, LogCommand, LoggedCommand, SearchCommands,
};
pub use self::details::{InstanceDetails, InstanceMatch, InstanceReport};
pub use self::emit::{EmitEvent, EmittedEvent};
pub use self::event_types::{EventTypeList, EventTypeView};
pub use self::heartbeat::{Heartbeat, HeartbeatAnswer};
pub use self::instances::{InstanceList, ListInstances, StaleInstance, StaleList};
pub use self::query::{EventFilters, EventList, EventTypes, LatestEvents, QueryEvents};
pub use self::register::{RegisterInstance, RegisteredInstance};
pub use self::replay::{ReplayEvents, ReplayedState};
pub use self::resume::{ResumeAnswer, ResumeInstance, ResumeSource, ResumedInstance, UserChoice};
