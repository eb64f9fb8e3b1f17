//! `factum_count`: how many events match, and of which kinds they are.

use factum_api::{CountByDto, CountsDto, GroupDto};
use factum_model::Position;
use factum_store::{CountBy, CountRead};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::filter::{self, FilterInput};
use crate::tools::query::limit;

pub(crate) static TOOL: Tool = Tool {
    name: "factum_count",
    title: "Count events",
    about: "Counts the events that match, in all and by type, aggregate type, stream, user, tag, \
            day or hour. The cheapest way to see what there is.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<CountsDto>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Which events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// A filter in words, as `type:order.* payload.country=DE`.
    q: Option<String>,
    /// A filter as an object.
    #[schema(value_type = Option<FilterInput>)]
    filter: Option<Box<RawValue>>,
    /// What to count by; without it there is only the total.
    by: Option<CountByDto>,
    /// At most so many groups, 1 to 1000; 50 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let filter = filter::read(&call.engine, input.q.as_deref(), input.filter.as_deref())?;
    let by = input.by.map(count_by);
    let read = CountRead {
        visibility: call.principal.visibility(),
        by,
        groups_max: limit(input.limit, 50)?,
        ..CountRead::all(filter)
    };
    let counts = call.engine.count(read).await?;
    let (total, n_groups) = (counts.total, counts.n_groups);
    let groups = counts.groups.into_iter().map(|group| GroupDto {
        key: group.key,
        count: group.n_events,
    });
    let counted = CountsDto {
        total,
        complete: counts.complete,
        groups: by.map(|_| groups.collect()),
        group_count: by.map(|_| n_groups),
        first_position: counts.first.map(Position::get),
        last_position: counts.last.map(Position::get),
        examined: counts.examined,
    };
    let mut text = format!("{total} events.");
    if by.is_some() {
        say(&mut text, format_args!(" {n_groups} groups."));
    }
    if !counts.complete {
        text.push_str(" At least: a bound on the work was reached.");
    }
    Ok(Answer::of(&counted, text)?.within("groups", call.own_bytes_max()))
}

const fn count_by(by: CountByDto) -> CountBy {
    match by {
        CountByDto::EventType => CountBy::EventType,
        CountByDto::AggregateType => CountBy::AggregateType,
        CountByDto::Stream => CountBy::Stream,
        CountByDto::User => CountBy::User,
        CountByDto::Tag => CountBy::Tag,
        CountByDto::Day => CountBy::Day,
        CountByDto::Hour => CountBy::Hour,
    }
}
