//! `mcp_meta_register_instance` and what else is about instances themselves.

use factum_sessions::{
    CloseInstance, ClosedInstance, Heartbeat, HeartbeatAnswer, InstanceDetails, InstanceList,
    ListInstances, RegisterInstance, RegisteredInstance, StaleList,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::sessions::of;

pub(crate) static REGISTER: Tool = Tool {
    name: "mcp_meta_register_instance",
    title: "Register an instance",
    about: "Registers an agent instance under a project and returns its id. Call it once, at \
            the start; every other call takes the id.",
    effect: Effect::Adds,
    input: schema::input::<RegisterInstance>,
    output: schema::output::<RegisteredInstance>,
    run: |call, arguments| Box::pin(register(call, arguments)),
};

pub(crate) static HEARTBEAT: Tool = Tool {
    name: "mcp_meta_heartbeat",
    title: "Send a heartbeat",
    about: "Says that an instance is at work, how much of its context is used and which epic \
            it works on. A checkpoint is made by itself when the context reaches the \
            threshold. Send one at least every 120 seconds.",
    effect: Effect::Adds,
    input: schema::input::<Heartbeat>,
    output: schema::output::<HeartbeatAnswer>,
    run: |call, arguments| Box::pin(heartbeat(call, arguments)),
};

pub(crate) static LIST: Tool = Tool {
    name: "mcp_meta_list_instances",
    title: "List instances",
    about: "Lists agent instances, all or those of a project, those first that were heard of \
            last.",
    effect: Effect::Reads,
    input: schema::input::<ListInstances>,
    output: schema::output::<InstanceList>,
    run: |call, arguments| Box::pin(list(call, arguments)),
};

pub(crate) static DETAILS: Tool = Tool {
    name: "mcp_meta_get_instance_details",
    title: "Show an instance",
    about: "Shows one instance and what its events come to: epic, tests, commits, pull \
            requests, deployments. Takes a whole id or the beginning of one; where several \
            fit, the answer lists them.",
    effect: Effect::Reads,
    input: schema::input::<InstanceInput>,
    output: schema::output::<InstanceDetails>,
    run: |call, arguments| Box::pin(details(call, arguments)),
};

pub(crate) static CLOSE: Tool = Tool {
    name: "mcp_meta_close_instance",
    title: "Close an instance",
    about: "Closes an instance whose work is done. It takes no events afterwards.",
    effect: Effect::AddsOnce,
    input: schema::input::<CloseInstance>,
    output: schema::output::<ClosedInstance>,
    run: |call, arguments| Box::pin(close(call, arguments)),
};

pub(crate) static LIST_STALE: Tool = Tool {
    name: "mcp_meta_list_stale_instances",
    title: "List stale instances",
    about: "Lists the instances that have sent no heartbeat for too long: those that can be \
            taken over.",
    effect: Effect::Reads,
    input: schema::input::<ProjectInput>,
    output: schema::output::<StaleList>,
    run: |call, arguments| Box::pin(list_stale(call, arguments)),
};

/// Which instance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InstanceInput {
    /// Its id, the digits that end it, or the beginning of it.
    instance_id: String,
}

/// Of which project.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProjectInput {
    /// Those of this project.
    project: Option<String>,
}

async fn register(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let made = call
        .sessions()?
        .register_instance(arguments.read()?)
        .await?;
    let text = format!("Registered as {}.", made.instance_id);
    Answer::of(&made, text)
}

async fn heartbeat(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let answer = call.sessions()?.heartbeat(arguments.read()?).await?;
    let mut text = "Noted.".to_owned();
    if answer.stale {
        let silent = answer.age_seconds;
        text = format!("Noted. The instance was stale: silent for {silent} s.");
    }
    if let Some(checkpoint) = &answer.checkpoint_id {
        say(
            &mut text,
            format_args!(" The context is nearly used up: checkpoint {checkpoint} was made."),
        );
    }
    Answer::of(&answer, text)
}

async fn list(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let list = call.sessions()?.list_instances(arguments.read()?).await?;
    let text = format!(
        "{}: {} active, {} stale.",
        of(list.total_count, "instance", "instances"),
        list.active_count,
        list.stale_count
    );
    Ok(Answer::of(&list, text)?.within("instances", call.own_bytes_max()))
}

async fn details(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: InstanceInput = arguments.read()?;
    let details = call
        .sessions()?
        .instance_details(&input.instance_id)
        .await?;
    let text = match &details {
        InstanceDetails::Found(report) => {
            let instance = &report.instance;
            let events = of(instance.event_count, "event", "events");
            format!(
                "{} of project {}: {events}.",
                instance.instance_id, instance.project
            )
        }
        InstanceDetails::Choose { total_count, .. } => {
            format!(
                "{} fit; name one by its whole id.",
                of(*total_count, "instance", "instances")
            )
        }
    };
    Ok(Answer::of(&details, text)?.within("matches", call.own_bytes_max()))
}

async fn close(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let closed = call.sessions()?.close_instance(arguments.read()?).await?;
    let text = format!("{} is closed.", closed.instance_id);
    Answer::of(&closed, text)
}

async fn list_stale(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: ProjectInput = arguments.read()?;
    let list = call
        .sessions()?
        .list_stale_instances(input.project.as_deref())
        .await?;
    let text = format!(
        "{}.",
        of(list.total_count, "stale instance", "stale instances")
    );
    Ok(Answer::of(&list, text)?.within("instances", call.own_bytes_max()))
}
