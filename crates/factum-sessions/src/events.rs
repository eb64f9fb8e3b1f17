//! The names of the streams and events of sessions that the code itself speaks of.

/// The aggregate type of instances.
pub(crate) const AGGREGATE_TYPE: &str = factum_model::AGENT_SESSION_AGGREGATE_TYPE;

pub(crate) const REGISTERED: &str = "instance_registered";
pub(crate) const HEARTBEAT: &str = "instance_heartbeat";
pub(crate) const STALE: &str = "instance_stale";
pub(crate) const CLOSED: &str = "instance_closed";
pub(crate) const RESUMED: &str = "instance_resumed";
pub(crate) const EPIC_COMPLETED: &str = "epic_completed";
pub(crate) const CONTEXT_WINDOW_UPDATED: &str = "context_window_updated";
pub(crate) const CHECKPOINT_CREATED: &str = "checkpoint_created";
pub(crate) const CHECKPOINT_LOADED: &str = "checkpoint_loaded";
pub(crate) const CHECKPOINT_DELETED: &str = "checkpoint_deleted";
pub(crate) const COMMAND_LOGGED: &str = "command_logged";

/// Tells whether an event is written by the server, and so says nothing about whether the agent
/// is there.
pub(crate) fn is_of_the_server(event_type: &str) -> bool {
    matches!(
        event_type,
        STALE | CLOSED | RESUMED | CHECKPOINT_LOADED | CHECKPOINT_DELETED
    )
}
