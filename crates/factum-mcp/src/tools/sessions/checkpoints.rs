//! `mcp_meta_create_checkpoint` and what else is about checkpoints.

use factum_sessions::{
    Checkpoint, CheckpointList, CleanedCheckpoints, CleanupCheckpoints, CreateCheckpoint,
    CreatedCheckpoint, ListCheckpoints,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::sessions::of;

pub(crate) static CREATE: Tool = Tool {
    name: "mcp_meta_create_checkpoint",
    title: "Make a checkpoint",
    about: "Records where the work stands, so that another instance can take over: what you \
            say of it, and what your events come to. Make one before your context runs out.",
    effect: Effect::Adds,
    input: schema::input::<CreateCheckpoint>,
    output: schema::output::<CreatedCheckpoint>,
    run: |call, arguments| Box::pin(create(call, arguments)),
};

pub(crate) static GET: Tool = Tool {
    name: "mcp_meta_get_checkpoint",
    title: "Show a checkpoint",
    about: "Returns a checkpoint and how to go on from it, as Markdown with numbered steps.",
    effect: Effect::Reads,
    input: schema::input::<CheckpointInput>,
    output: schema::output::<Checkpoint>,
    run: |call, arguments| Box::pin(get(call, arguments)),
};

pub(crate) static LIST: Tool = Tool {
    name: "mcp_meta_list_checkpoints",
    title: "List checkpoints",
    about: "Lists the checkpoints of an instance, the newest first.",
    effect: Effect::Reads,
    input: schema::input::<ListCheckpoints>,
    output: schema::output::<CheckpointList>,
    run: |call, arguments| Box::pin(list(call, arguments)),
};

pub(crate) static CLEANUP: Tool = Tool {
    name: "mcp_meta_cleanup_checkpoints",
    title: "Delete old checkpoints",
    about: "Deletes the checkpoints of all instances that are older than so many days; 30 by \
            default. They are no longer offered.",
    effect: Effect::Removes,
    input: schema::input::<CleanupCheckpoints>,
    output: schema::output::<CleanedCheckpoints>,
    run: |call, arguments| Box::pin(cleanup(call, arguments)),
};

/// Which checkpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckpointInput {
    /// Its id.
    checkpoint_id: String,
}

async fn create(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let made = call
        .sessions()?
        .create_checkpoint(arguments.read()?)
        .await?;
    let text = format!(
        "Checkpoint {} of {} bytes.",
        made.checkpoint_id, made.size_bytes
    );
    Answer::of(&made, text)
}

async fn get(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: CheckpointInput = arguments.read()?;
    let checkpoint = call
        .sessions()?
        .get_checkpoint(&input.checkpoint_id)
        .await?;
    let text = checkpoint.recovery_instructions.clone();
    Ok(Answer::of(&checkpoint, text)?.within_members(call.own_bytes_max()))
}

async fn list(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let list = call.sessions()?.list_checkpoints(arguments.read()?).await?;
    let text = format!("{}.", of(list.total_count, "checkpoint", "checkpoints"));
    Ok(Answer::of(&list, text)?.within("checkpoints", call.own_bytes_max()))
}

async fn cleanup(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let done = call
        .sessions()?
        .cleanup_checkpoints(arguments.read()?)
        .await?;
    let text = format!(
        "{} deleted.",
        of(done.deleted_count, "checkpoint", "checkpoints")
    );
    Answer::of(&done, text)
}
