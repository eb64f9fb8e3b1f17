//! `factum_read`: the events of one aggregate.

use factum_api::EventDto;
use factum_model::{AggregateId, AggregateType, ErrorCode, SequenceNumber, StreamId};
use factum_store::{Direction, StreamRead};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};
use crate::tools::events::write_list;
use crate::tools::query::limit;

pub(crate) static TOOL: Tool = Tool {
    name: "factum_read",
    title: "Read an aggregate",
    about: "Reads the events of one aggregate in order, oldest or newest first. The aggregate \
            type may be left out where the id is of one type only.",
    effect: Effect::Reads,
    input: schema::input::<Input>,
    output: schema::output::<Output>,
    run: |call, arguments| Box::pin(run(call, arguments)),
};

/// Which aggregate, and which of its events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    /// The aggregate.
    aggregate_id: String,
    /// Its type.
    aggregate_type: Option<String>,
    /// From this sequence number on.
    #[schema(minimum = 1)]
    from: Option<u64>,
    /// Up to this sequence number, inclusive.
    #[schema(minimum = 1)]
    to: Option<u64>,
    /// The newest first.
    newest_first: Option<bool>,
    /// At most so many events, 1 to 1000; 50 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// At most so many bytes of answer.
    #[schema(minimum = 1024)]
    max_bytes: Option<u32>,
}

/// Events of an aggregate.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes an output")]
struct Output {
    /// The events.
    events: Vec<EventDto>,
    /// There are more in this direction: go on with `from` or `to`.
    has_more: bool,
    /// The sequence number of the newest event of the aggregate.
    version: u64,
}

async fn run(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let input: Input = arguments.read()?;
    let bytes_max = call.bytes_max(input.max_bytes)?;
    let stream = stream(&call, &input).await?;
    let direction = if input.newest_first.unwrap_or(false) {
        Direction::Backwards
    } else {
        Direction::Forwards
    };
    let read = StreamRead {
        direction,
        from: number("from", input.from)?,
        to: number("to", input.to)?,
        limit: limit(input.limit, 50)?,
        page_bytes_max: bytes_max,
        ..StreamRead::forwards(stream.clone())
    };
    let page = call
        .engine
        .read_stream(read, call.principal.visibility())
        .await?;
    let Some(version) = page.version else {
        let detail = format!("there is no aggregate {stream}");
        return Err(Fault::new(ErrorCode::NotFound, detail));
    };
    let written = write_list(&page.events, bytes_max);
    let whole = written.n_events == page.events.len();
    let has_more = page.has_more || !whole;
    let n_events = written.n_events;
    let mut json = b"{\"events\":".to_vec();
    json.extend_from_slice(&written.json);
    json.extend_from_slice(format!(",\"hasMore\":{has_more},\"version\":{version}}}").as_bytes());
    let mut text = format!("{n_events} of {version} events of {stream}.");
    if has_more {
        text.push_str(match direction {
            Direction::Forwards => " There are more: ask on with from.",
            Direction::Backwards => " There are more: ask on with to.",
        });
    }
    Ok(Answer {
        json,
        text,
        cut: !whole || written.omitted,
    })
}

async fn stream(call: &Call, input: &Input) -> Result<StreamId, Fault> {
    let id: AggregateId =
        input
            .aggregate_id
            .parse()
            .map_err(|error: factum_model::InvalidName| {
                Fault::invalid("aggregateId", error.to_string())
            })?;
    match &input.aggregate_type {
        Some(aggregate_type) => {
            let aggregate_type: AggregateType =
                aggregate_type
                    .parse()
                    .map_err(|error: factum_model::InvalidName| {
                        Fault::invalid("aggregateType", error.to_string())
                    })?;
            Ok(StreamId::new(aggregate_type, id))
        }
        None => {
            let found = call
                .engine
                .resolve(id.clone(), call.principal.visibility())
                .await?;
            found.ok_or_else(|| {
                Fault::new(ErrorCode::NotFound, format!("there is no aggregate {id}"))
            })
        }
    }
}

fn number(field: &str, given: Option<u64>) -> Result<Option<SequenceNumber>, Fault> {
    given
        .map(|number| {
            SequenceNumber::new(number).ok_or_else(|| Fault::invalid(field, "must be at least 1"))
        })
        .transpose()
}
