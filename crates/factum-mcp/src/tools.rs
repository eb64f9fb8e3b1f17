//! The tools: one list, one module for each or for those of one subject.

mod append;
mod count;
mod events;
mod explain;
mod filter;
mod get;
mod query;
mod read;
mod sessions;
mod tail;

use bytes::Bytes;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::tool::{Call, Tool};

/// Every tool, in the order in which they are listed.
pub(crate) static ALL: &[&Tool] = &[
    &query::TOOL,
    &count::TOOL,
    &read::TOOL,
    &get::TOOL,
    &explain::TOOL,
    &tail::TOOL,
    &append::TOOL,
    &sessions::instances::REGISTER,
    &sessions::instances::HEARTBEAT,
    &sessions::instances::LIST,
    &sessions::instances::DETAILS,
    &sessions::instances::CLOSE,
    &sessions::instances::LIST_STALE,
    &sessions::commands::LOG,
    &sessions::commands::SEARCH,
    &sessions::events::EMIT,
    &sessions::events::QUERY,
    &sessions::events::REPLAY,
    &sessions::events::TYPES,
    &sessions::events::AGGREGATES,
    &sessions::events::LATEST,
    &sessions::causes::TREE,
    &sessions::causes::CHAIN,
    &sessions::checkpoints::CREATE,
    &sessions::checkpoints::GET,
    &sessions::checkpoints::LIST,
    &sessions::checkpoints::CLEANUP,
    &sessions::resume::RESUME,
];

/// Tells whether a tool is one of agent sessions.
pub(crate) fn is_of_sessions(tool: &Tool) -> bool {
    tool.name.starts_with("mcp_meta_")
}

/// Reads one event, as `factum_get` does.
pub(crate) async fn event_json(call: &Call, id: &str) -> Result<Answer, Fault> {
    let arguments = serde_json::json!({"id": id}).to_string();
    (get::TOOL.run)(call.clone(), Arguments::new(Some(Bytes::from(arguments)))).await
}
