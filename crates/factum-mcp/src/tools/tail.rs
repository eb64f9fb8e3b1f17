//! `factum_tail`: what is new since a cursor, and waiting for it.

use std::time::Duration;

use factum_engine::{LiveRead, LiveStart, LiveStep};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::events::{EventsOut, page_text, write_list};
use crate::tools::filter::{self, FilterInput};
use crate::tools::query::{Cursor, limit};

pub(crate) static TOOL: Tool = Tool {
    name: "factum_tail",
    title: "Follow events",
    about: "Returns the events since a cursor, and waits for some if asked to. Without a cursor \
            it begins now. Call it again with the cursor that it returned: nothing is missed and \
            nothing comes twice.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<EventsOut>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Where to go on, and which events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// The cursor that was returned before, or the number of a position, where 0 stands before
    /// the first event.
    cursor: Option<Cursor>,
    /// A filter in words.
    q: Option<String>,
    /// A filter as an object.
    #[schema(value_type = Option<FilterInput>)]
    filter: Option<Box<RawValue>>,
    /// At most so many events, 1 to 1000; 50 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// How long to wait where there is nothing yet, in seconds; not at all by default.
    #[schema(minimum = 0)]
    wait_seconds: Option<f64>,
    /// At most so many bytes of answer.
    #[schema(minimum = 1024)]
    max_bytes: Option<u32>,
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let bytes_max = call.bytes_max(input.max_bytes)?;
    let wait = wait(&call, input.wait_seconds)?;
    let start = match &input.cursor {
        None => LiveStart::End,
        Some(cursor) => match cursor.resolve(&call)? {
            None => LiveStart::Beginning,
            Some(position) => LiveStart::After(position),
        },
    };
    let mut reader = call.engine.live(LiveRead {
        filter: filter::read(&call.engine, input.q.as_deref(), input.filter.as_deref())?,
        visibility: call.principal.visibility(),
        start,
        batch_events_max: limit(input.limit, 50)?,
        batch_bytes_max: bytes_max,
        ..LiveRead::default()
    })?;
    // What is there already is read within the time for any read, whether or not one may wait.
    let began = Instant::now();
    let read_until = began + call.engine.options().read_time_max;
    let mut events = Vec::new();
    while events.is_empty() {
        let until = if reader.has_more() {
            read_until.max(began + wait)
        } else {
            began + wait
        };
        if Instant::now() >= until {
            break;
        }
        match timeout_at(until, reader.next()).await {
            Ok(Ok(LiveStep::Batch { events: batch, .. })) => events = batch,
            Ok(Ok(LiveStep::CaughtUp { .. })) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => break,
        }
    }
    let written = write_list(&events, bytes_max);
    let whole = written.n_events == events.len();
    let last = written
        .n_events
        .checked_sub(1)
        .and_then(|last| events.get(last));
    let through = if whole {
        reader.position()
    } else {
        last.map(|event| event.position)
    };
    let has_more = !whole || reader.lag() > 0;
    let cursor = call.engine.cursor(through);
    let mut json = b"{\"events\":".to_vec();
    json.extend_from_slice(&written.json);
    json.extend_from_slice(format!(",\"cursor\":\"{cursor}\",\"hasMore\":{has_more}}}").as_bytes());
    Ok(Answer {
        json,
        text: page_text(&written, has_more, None),
        cut: !whole || written.omitted,
    })
}

fn wait(call: &Call, asked: Option<f64>) -> Result<Duration, Fault> {
    let most = call.options.wait_time_max;
    let asked = asked.unwrap_or(0.0);
    let wait = Duration::try_from_secs_f64(asked)
        .ok()
        .filter(|wait| *wait <= most);
    wait.ok_or_else(|| {
        let rule = format!("must be from 0 to {}", most.as_secs());
        Fault::invalid("waitSeconds", rule)
    })
}
