//! `mcp_meta_get_event_tree`, `mcp_meta_get_parent_chain`.

use factum_sessions::{EventTree, ParentChain};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};

pub(crate) static TREE: Tool = Tool {
    name: "mcp_meta_get_event_tree",
    title: "Show the effects of an event",
    about: "Returns an event and all that it caused, each followed by its own effects.",
    effect: Effect::Reads,
    input: schema::input::<EventInput>,
    output: schema::output::<EventTree>,
    run: |call, arguments| Box::pin(tree(call, arguments)),
};

pub(crate) static CHAIN: Tool = Tool {
    name: "mcp_meta_get_parent_chain",
    title: "Show the causes of an event",
    about: "Returns an event, its cause, the cause of that, and so on.",
    effect: Effect::Reads,
    input: schema::input::<EventInput>,
    output: schema::output::<ParentChain>,
    run: |call, arguments| Box::pin(chain(call, arguments)),
};

/// Which event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EventInput {
    /// Its id.
    event_id: String,
}

async fn tree(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: EventInput = arguments.read()?;
    let tree = call.sessions()?.event_tree(&input.event_id).await?;
    let n_effects = tree.tree.len().saturating_sub(1);
    let text = format!("{n_effects} events came of it.");
    Ok(Answer::of(&tree, text)?.within("tree", call.own_bytes_max()))
}

async fn chain(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: EventInput = arguments.read()?;
    let chain = call.sessions()?.parent_chain(&input.event_id).await?;
    let n_causes = chain.chain.len().saturating_sub(1);
    let text = format!("{n_causes} causes.");
    Ok(Answer::of(&chain, text)?.within("chain", call.own_bytes_max()))
}
