//! `factum_query`: the events that match a filter.

use factum_model::Position;
use factum_store::{Direction, LogRead};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::events::{EventsOut, page_text, write_list};
use crate::tools::filter::{self, FilterInput};

pub(crate) static TOOL: Tool = Tool {
    name: "factum_query",
    title: "Query events",
    about: "Finds events by type, aggregate, time, tags, user, payload or words, in order of \
            position. Give q, a filter, or both. Pages: go on with the cursor.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<EventsOut>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Which events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// A filter in words, as `type:order.* payload.country=DE payload.amount>100 user:ann`.
    q: Option<String>,
    /// A filter as an object.
    #[schema(value_type = Option<FilterInput>)]
    filter: Option<Box<RawValue>>,
    /// The order by position; `asc` by default.
    #[schema(value_type = Option<factum_api::SortDto>)]
    sort: Option<Sort>,
    /// At most so many events, 1 to 1000; 50 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The cursor of the page before, or the number of a position.
    cursor: Option<Cursor>,
    /// Say how many match in all.
    total_count: Option<bool>,
    /// At most so many bytes of answer.
    #[schema(minimum = 1024)]
    max_bytes: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Sort {
    Asc,
    Desc,
}

/// A cursor, or the number of a position.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Cursor {
    /// A cursor, as a tool gave it.
    Text(String),
    /// The number of a position.
    Number(u64),
}

impl Cursor {
    pub(super) fn resolve(&self, call: &Call) -> Result<Option<Position>, Fault> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        Ok(call.engine.resolve_after(&text)?)
    }
}

/// Reads how many are asked for.
pub(super) fn limit(asked: Option<u32>, default: usize) -> Result<usize, Fault> {
    let limit = asked.map_or(default, |asked| {
        usize::try_from(asked).unwrap_or(usize::MAX)
    });
    if (1..=1000).contains(&limit) {
        return Ok(limit);
    }
    Err(Fault::invalid("limit", "must be from 1 to 1000"))
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let bytes_max = call.bytes_max(input.max_bytes)?;
    let filter = filter::read(&call.engine, input.q.as_deref(), input.filter.as_deref())?;
    let (direction, base) = match input.sort {
        None | Some(Sort::Asc) => (Direction::Forwards, LogRead::forwards()),
        Some(Sort::Desc) => (Direction::Backwards, LogRead::backwards()),
    };
    let after = input.cursor.as_ref().map(|cursor| cursor.resolve(&call));
    let read = LogRead {
        filter,
        visibility: call.principal.visibility(),
        direction,
        after: after.transpose()?.flatten(),
        limit: limit(input.limit, 50)?,
        page_bytes_max: bytes_max,
        ..base
    };
    let count = input.total_count.unwrap_or(false);
    let (page, counts) = call.engine.query(read.clone(), count).await?;
    let written = write_list(&page.events, bytes_max);
    let whole = written.n_events == page.events.len();
    let last = written.n_events.checked_sub(1);
    let through = if whole {
        page.scanned_to
    } else {
        last.and_then(|last| page.events.get(last))
            .map(|event| event.position)
    };
    let has_more = page.has_more || !whole;
    let cursor = call.engine.cursor(through.or(read.after));
    let total = counts.map(|counts| counts.total);
    let mut json = b"{\"events\":".to_vec();
    json.extend_from_slice(&written.json);
    json.extend_from_slice(format!(",\"cursor\":\"{cursor}\",\"hasMore\":{has_more}").as_bytes());
    if let Some(total) = total {
        json.extend_from_slice(format!(",\"totalCount\":{total}").as_bytes());
    }
    json.push(b'}');
    Ok(Answer {
        json,
        text: page_text(&written, has_more, total),
        cut: !whole || written.omitted,
    })
}
