//! `mcp_meta_emit_event` and what reads the events of an instance.

use factum_sessions::{
    EmitEvent, EmittedEvent, EventAggregates, EventList, EventTypeList, LatestEvents, QueryEvents,
    ReplayEvents, ReplayedState, Sessions,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::sessions::of;

pub(crate) static EMIT: Tool = Tool {
    name: "mcp_meta_emit_event",
    title: "Emit an event",
    about: "Records an event of an instance, of one of the types that \
            mcp_meta_list_event_types lists, with the fields that the type requires. Secrets \
            are taken out before anything is stored.",
    effect: Effect::Adds,
    input: schema::input::<EmitEvent>,
    output: schema::output::<EmittedEvent>,
    run: |call, arguments| Box::pin(emit(call, arguments)),
};

pub(crate) static QUERY: Tool = Tool {
    name: "mcp_meta_query_events",
    title: "Query the events of an instance",
    about: "Finds the events of an instance by type, time or words, the oldest first.",
    effect: Effect::Reads,
    input: schema::input::<QueryEvents>,
    output: schema::output::<EventList>,
    run: |call, arguments| Box::pin(query(call, arguments)),
};

pub(crate) static REPLAY: Tool = Tool {
    name: "mcp_meta_replay_events",
    title: "Replay an instance",
    about: "Folds the events of an instance to its state, now or as it was at a sequence \
            number.",
    effect: Effect::Reads,
    input: schema::input::<ReplayEvents>,
    output: schema::output::<ReplayedState>,
    run: |call, arguments| Box::pin(replay(call, arguments)),
};

pub(crate) static TYPES: Tool = Tool {
    name: "mcp_meta_list_event_types",
    title: "List event types",
    about: "Lists the event types that can be emitted, with the fields that each requires \
            and takes, all or those of a category: instance, epic, testing, git, deployment, \
            work_state, planning.",
    effect: Effect::Reads,
    input: schema::input::<CategoryInput>,
    output: schema::output::<EventTypeList>,
    run: |_, arguments| Box::pin(std::future::ready(types(&arguments))),
};

pub(crate) static AGGREGATES: Tool = Tool {
    name: "mcp_meta_get_event_aggregates",
    title: "Count the events of an instance",
    about: "Counts the events of an instance by type.",
    effect: Effect::Reads,
    input: schema::input::<InstanceInput>,
    output: schema::output::<EventAggregates>,
    run: |call, arguments| Box::pin(aggregates(call, arguments)),
};

pub(crate) static LATEST: Tool = Tool {
    name: "mcp_meta_get_latest_events",
    title: "Show the newest events",
    about: "Returns the newest events of an instance, the newest first.",
    effect: Effect::Reads,
    input: schema::input::<LatestEvents>,
    output: schema::output::<EventList>,
    run: |call, arguments| Box::pin(latest(call, arguments)),
};

/// Which instance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InstanceInput {
    /// Its id.
    instance_id: String,
}

/// Which types.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CategoryInput {
    /// Those of this category.
    category: Option<String>,
}

async fn emit(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let emitted = call.sessions()?.emit_event(arguments.read()?).await?;
    let mut text = format!(
        "Recorded as event {} of the instance.",
        emitted.sequence_num
    );
    if let Some(checkpoint) = &emitted.checkpoint_id {
        say(
            &mut text,
            format_args!(" Checkpoint {checkpoint} was made with it."),
        );
    }
    Answer::of(&emitted, text)
}

fn page_text(list: &EventList) -> String {
    let (shown, total) = (list.events.len(), of(list.total_count, "event", "events"));
    let mut text = format!("{shown} of {total}.");
    if list.has_more {
        text.push_str(" There are more: ask on with offset.");
    }
    text
}

async fn query(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let list = call.sessions()?.query_events(arguments.read()?).await?;
    Ok(Answer::of(&list, page_text(&list))?.within("events", call.own_bytes_max()))
}

async fn replay(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let replayed = call.sessions()?.replay_events(arguments.read()?).await?;
    let n_events = of(replayed.events_replayed, "event", "events");
    let text = format!("{n_events} replayed in {:.1} ms.", replayed.duration_ms);
    Answer::of(&replayed, text)
}

fn types(arguments: &Arguments) -> Result<Answer, Fault> {
    let input: CategoryInput = arguments.read()?;
    let list = Sessions::list_event_types(input.category.as_deref())?;
    let text = format!("{}.", of(list.total_count, "event type", "event types"));
    Answer::of(&list, text)
}

async fn aggregates(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: InstanceInput = arguments.read()?;
    let counts = call
        .sessions()?
        .event_aggregates(&input.instance_id)
        .await?;
    let n_types = counts.counts.len();
    let text = format!(
        "{} of {n_types} types.",
        of(counts.total, "event", "events")
    );
    Answer::of(&counts, text)
}

async fn latest(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let list = call.sessions()?.latest_events(arguments.read()?).await?;
    let (shown, total) = (list.events.len(), of(list.total_count, "event", "events"));
    let text = format!("The newest {shown} of {total}.");
    Ok(Answer::of(&list, text)?.within("events", call.own_bytes_max()))
}
