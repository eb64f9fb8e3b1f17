//! `mcp_meta_log_command`, `mcp_meta_search_commands`.

use factum_sessions::{CommandList, LogCommand, LoggedCommand, SearchCommands};

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::sessions::of;

pub(crate) static LOG: Tool = Tool {
    name: "mcp_meta_log_command",
    title: "Log a command",
    about: "Records what an instance did: a tool that it used, with parameters and result. \
            Secrets are taken out before anything is stored.",
    effect: Effect::Adds,
    input: schema::input::<LogCommand>,
    output: schema::output::<LoggedCommand>,
    run: |call, arguments| Box::pin(log(call, arguments)),
};

pub(crate) static SEARCH: Tool = Tool {
    name: "mcp_meta_search_commands",
    title: "Search commands",
    about: "Finds the commands of an instance by action, tool, time or success, the newest \
            first.",
    effect: Effect::Reads,
    input: schema::input::<SearchCommands>,
    output: schema::output::<CommandList>,
    run: |call, arguments| Box::pin(search(call, arguments)),
};

async fn log(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let logged = call.sessions()?.log_command(arguments.read()?).await?;
    Answer::of(&logged, "Logged.".to_owned())
}

async fn search(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let bytes_max = call.own_bytes_max();
    let input = SearchCommands {
        bytes_max: Some(bytes_max),
        ..arguments.read()?
    };
    let list = call.sessions()?.search_commands(input).await?;
    let (shown, total) = (
        list.commands.len(),
        of(list.total_count, "command", "commands"),
    );
    let mut text = format!("{shown} of {total}.");
    if list.has_more {
        text.push_str(" There are more: ask on with offset.");
    }
    Ok(Answer::of(&list, text)?.within("commands", bytes_max))
}
