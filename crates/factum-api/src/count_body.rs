//! A request to count events: which, and by what.

use bytes::Bytes;
use factum_model::ErrorCode;
use factum_query::{Filter, FilterLimits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::envelope::utf8;
use crate::fields::{Fields, Shape};
use crate::filter::{read_conditions, read_filter};
use crate::input::{InputError, InputFault, Path, excerpt};
use crate::log_query::check_limit;
use crate::schema::FilterDto;

/// Names of a filter, then those of a count.
static COUNT: Shape<21> = Shape {
    of: "a count",
    code: ErrorCode::InvalidRequest,
    names: [
        "eventTypes",
        "aggregateTypes",
        "aggregateIds",
        "streams",
        "ids",
        "tags",
        "correlationId",
        "causationId",
        "userId",
        "timestampRange",
        "recordedRange",
        "sequenceRange",
        "payloadQuery",
        "metadataQuery",
        "text",
        "anyOf",
        "allOf",
        "not",
        "filter",
        "by",
        "limit",
    ],
};

/// How many groups an answer has where the client does not say.
pub const GROUPS_DEFAULT: usize = 100;

/// What events are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CountBy)]
pub enum CountByDto {
    /// Their type.
    EventType,
    /// The type of their aggregate.
    AggregateType,
    /// Their stream, as `type/id`.
    Stream,
    /// The user who caused them.
    User,
    /// Their tags; an event is in the group of each.
    Tag,
    /// The day of their timestamp, in UTC.
    Day,
    /// The hour of their timestamp, in UTC.
    Hour,
}

impl std::str::FromStr for CountByDto {
    type Err = InputFault;

    fn from_str(text: &str) -> Result<Self, InputFault> {
        Ok(match text {
            "eventType" => Self::EventType,
            "aggregateType" => Self::AggregateType,
            "stream" => Self::Stream,
            "user" => Self::User,
            "tag" => Self::Tag,
            "day" => Self::Day,
            "hour" => Self::Hour,
            other => {
                return Err(InputFault::Value {
                    expected: "\"eventType\", \"aggregateType\", \"stream\", \"user\", \"tag\", \"day\" or \"hour\"",
                    found: excerpt(other),
                });
            }
        })
    }
}

/// A request to count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountQuery {
    /// Which events.
    pub filter: Filter,
    /// What to count by.
    pub by: Option<CountByDto>,
    /// The largest number of groups; `None` where the client does not say.
    pub limit: Option<usize>,
}

/// Reads the body of a count. The names of a filter stand in it beside `by` and `limit`; a `filter`
/// of its own must hold too.
///
/// # Errors
/// [`InputError`] with the JSON pointer of the first fault.
pub fn parse_count_query(body: &Bytes, limits: &FilterLimits) -> Result<CountQuery, InputError> {
    let body = utf8(body)?;
    let path = Path::ROOT;
    let fields = Fields::read(&body, &COUNT, &path)?;
    let mut filter = read_conditions(&fields, limits)?;
    if let Some(inner) = fields.get("filter") {
        let inner = read_filter(inner.text, &path.key("filter"), limits)?;
        if filter.is_empty() {
            filter = inner;
        } else if !inner.is_empty() {
            filter.all_of.push(inner);
        }
    }
    filter
        .check(*limits)
        .map_err(|error| path.error(ErrorCode::InvalidFilter, error.into()))?;
    let by = fields.get("by").map(|field| field.parse(str::parse));
    let limit = fields.get("limit").map(|field| {
        let number = field.integer("an integer of 1 to 1000")?;
        check_limit(usize::try_from(number).unwrap_or(usize::MAX))
            .map_err(|fault| field.error(fault))
    });
    Ok(CountQuery {
        filter,
        by: by.transpose()?,
        limit: limit.transpose()?,
    })
}

/// A request to count. The conditions of a filter may stand in it as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CountQuery)]
pub struct CountQueryDto {
    /// Which events; all, if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterDto>,
    /// What to count by; without it there is only the total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<CountByDto>,
    /// The largest number of groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
}

/// How many events match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Counts)]
pub struct CountsDto {
    /// How many events match.
    pub total: u64,
    /// Every event was accounted for; otherwise a bound on the work was reached, and there are at
    /// least as many as the numbers say.
    pub complete: bool,
    /// The groups: by time in order of time, others by number of events, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupDto>>,
    /// How many groups there are, those that were left out included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_count: Option<u64>,
    /// The position of the first event that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_position: Option<u64>,
    /// The position of the last event that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_position: Option<u64>,
    /// How many events were read, because the index alone did not tell.
    pub examined: u64,
}

/// Events that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Group)]
pub struct GroupDto {
    /// What they have in common.
    pub key: String,
    /// How many there are.
    pub count: u64,
}

/// How an answer was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Explanation)]
pub struct ExplanationDto {
    /// The index decides the filter alone: only events that match are read.
    pub decided_by_index: bool,
    /// What the index cannot decide, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecided: Option<String>,
    /// How many events were looked at for the page, those on it included.
    pub examined: u64,
    /// How many events were looked at for the total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub examined_for_total: Option<u64>,
}

/// An event in a tree of causes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TreeEvent)]
pub struct TreeEventDto {
    /// How many causes lie between it and the root of its tree; 0 for the root.
    pub depth: u32,
    /// The event.
    pub event: crate::schema::EventDto,
}

/// What led to an event and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CausalTree)]
pub struct CausalTreeDto {
    /// The chain of causes, the first cause first, the direct cause last.
    pub ancestors: Vec<crate::schema::EventDto>,
    /// The cause that is named where the chain ends, and is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_cause: Option<String>,
    /// The event and all that came of it, each followed by what came of it.
    pub tree: Vec<TreeEventDto>,
    /// Everything is there; otherwise a bound was reached.
    pub complete: bool,
}

/// The events of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Conversation)]
pub struct ConversationDto {
    /// The events, each followed by what came of it.
    pub tree: Vec<TreeEventDto>,
    /// Everything is there; otherwise a bound was reached, and these are the oldest.
    pub complete: bool,
}
