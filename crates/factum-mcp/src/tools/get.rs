//! `factum_get`: one event.

use factum_model::{ErrorCode, EventId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::events::{EventOut, in_short, write_one};

pub(crate) static TOOL: Tool = Tool {
    name: "factum_get",
    title: "Get an event",
    about: "Reads one event by its id.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<EventOut>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Which event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// At most so many bytes of answer.
    #[schema(minimum = 1024)]
    max_bytes: Option<u32>,
}

/// Reads the id of an event.
pub(super) fn event_id(text: &str) -> Result<EventId, Fault> {
    text.parse()
        .map_err(|error: factum_model::InvalidEventId| Fault::invalid("id", error.to_string()))
}

/// Says that there is no such event.
pub(super) fn missing(id: EventId) -> Fault {
    Fault::new(ErrorCode::NotFound, format!("there is no event {id}"))
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let bytes_max = call.bytes_max(input.max_bytes)?;
    let id = event_id(&input.id)?;
    let event = call.engine.event(id, call.principal.visibility()).await?;
    let event = event.ok_or_else(|| missing(id))?;
    let (written, n_omitted) = write_one(&event, bytes_max);
    let mut text = format!("{}.", in_short(&event));
    if n_omitted > 0 {
        text.push_str(" What was too large says its size as omittedBytes; maxBytes allows more.");
    }
    Ok(Answer {
        json: format!("{{\"event\":{written}}}").into_bytes(),
        text,
        cut: n_omitted > 0,
    })
}
