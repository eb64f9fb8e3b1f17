//! The shapes of queries of payload, metadata and text, for the OpenAPI document.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::schema::{AfterDto, FilterDto, StreamNameDto, TimeRangeDto};

/// Asks for members of a JSON text: one condition, a list of which all hold, or some joined with
/// `and`, `or` and `not`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = JsonQuery)]
pub enum JsonQueryDto {
    /// All of these hold.
    #[schema(no_recursion)]
    List(Vec<JsonTermDto>),
    /// One condition, or some joined.
    Term(JsonTermDto),
}

/// A condition, or some joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = JsonTerm)]
pub enum JsonTermDto {
    /// A condition.
    Condition(JsonConditionDto),
    /// All of these hold.
    And(AndDto),
    /// One of these holds.
    Or(OrDto),
    /// This does not hold.
    Not(NotDto),
}

/// Conditions that all hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonAnd)]
pub struct AndDto {
    /// The conditions.
    #[schema(no_recursion)]
    pub and: Vec<JsonTermDto>,
}

/// Conditions of which one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonOr)]
pub struct OrDto {
    /// The conditions.
    #[schema(no_recursion)]
    pub or: Vec<JsonTermDto>,
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonNot)]
pub struct NotDto {
    /// The condition.
    #[schema(no_recursion)]
    pub not: Box<JsonTermDto>,
}

/// Something about the values that a path selects; it holds when one of them passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JsonCondition)]
pub struct JsonConditionDto {
    /// A JSONPath (RFC 9535).
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^\$",
        example = "$.country"
    )]
    pub path: String,
    /// What must be true of a value.
    pub operator: JsonOperatorDto,
    /// What to compare with: a text, a number, `true`, `false` or `null`; a list of these for
    /// `in`; a text for `regex`; a number or a text for `gt`, `gte`, `lt` and `lte`; absent for
    /// `exists`. Numbers are compared exactly, with all their digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    pub value: Option<Value>,
}

/// A test of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JsonOperator)]
pub enum JsonOperatorDto {
    /// It is this value.
    Equals,
    /// It is another value.
    NotEquals,
    /// It is one of these values.
    In,
    /// It has this part, or this element.
    Contains,
    /// It is there; `null` is.
    Exists,
    /// A regular expression matches somewhere in it.
    Regex,
    /// It is greater.
    Gt,
    /// It is greater or equal.
    Gte,
    /// It is less.
    Lt,
    /// It is less or equal.
    Lte,
}

/// Words and phrases that occur in the string values of the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = TextQuery)]
pub enum TextQueryDto {
    /// Words, and phrases in double quotes.
    Text(String),
    /// Words or a phrase by name.
    Named(NamedTextDto),
}

/// Words or a phrase; one of both at least.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = NamedText)]
pub struct NamedTextDto {
    /// All of these words occur, each anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// These words follow each other in one string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phrase: Option<String>,
}

/// A span of places in a stream, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = SequenceRange)]
pub struct SequenceRangeDto {
    /// The smallest number inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub from: Option<u64>,
    /// The largest number inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub to: Option<u64>,
}

/// The order of the events of a page, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sort)]
pub enum SortDto {
    /// From the oldest to the newest.
    #[default]
    Asc,
    /// From the newest to the oldest.
    Desc,
}

/// A query: which events, in which order, how many. Every condition that is there must hold.
#[derive(Debug, ToSchema)]
#[schema(as = Query, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body in the document")]
pub struct QueryDto {
    /// The type matches one of these: exact, or with `*` for one segment and a final `>` for the
    /// rest.
    #[schema(required = false)]
    event_types: Vec<crate::schema::TypePatternDto>,
    /// The aggregate type is one of these.
    #[schema(required = false)]
    aggregate_types: Vec<crate::schema::AggregateTypeDto>,
    /// The aggregate id is one of these.
    #[schema(required = false)]
    aggregate_ids: Vec<crate::schema::AggregateIdDto>,
    /// The stream is one of these.
    #[schema(required = false)]
    streams: Vec<StreamNameDto>,
    /// The event id is one of these.
    #[schema(required = false)]
    ids: Vec<crate::schema::EventIdDto>,
    /// The event has all of these tags.
    #[schema(required = false)]
    tags: Vec<String>,
    /// The event belongs to this conversation.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    correlation_id: Option<String>,
    /// The event was caused by this one.
    #[schema(format = "uuid")]
    causation_id: Option<String>,
    /// The event was caused by this user.
    user_id: Option<String>,
    /// When it happened.
    timestamp_range: Option<TimeRangeDto>,
    /// When it was recorded.
    recorded_range: Option<TimeRangeDto>,
    /// The place in its stream.
    sequence_range: Option<SequenceRangeDto>,
    /// What is in the payload.
    payload_query: Option<JsonQueryDto>,
    /// What is in the metadata.
    metadata_query: Option<JsonQueryDto>,
    /// What the string values of the payload say.
    text: Option<TextQueryDto>,
    /// At least one of these holds too.
    #[schema(required = false)]
    any_of: Vec<FilterDto>,
    /// All of these hold too.
    #[schema(required = false)]
    all_of: Vec<FilterDto>,
    /// None of these holds.
    not: Option<NotFilterDto>,
    /// The order, by position.
    sort: Option<SortDto>,
    /// The largest number of events on a page.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The cursor of the page before.
    cursor: Option<AfterDto>,
    /// The answer says how many events match in all.
    total_count: Option<bool>,
    /// The answer says how it was found.
    explain: Option<bool>,
    /// A filter that must hold too.
    filter: Option<FilterDto>,
    /// The order by its older name; not beside `sort`.
    direction: Option<crate::schema::DirectionDto>,
    /// Where to start by its older name; not beside `cursor`.
    after: Option<AfterDto>,
}

/// What does not hold: a filter, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = NotFilter)]
pub enum NotFilterDto {
    /// None of these holds.
    #[schema(no_recursion)]
    List(Vec<FilterDto>),
    /// This does not hold.
    #[schema(no_recursion)]
    One(Box<FilterDto>),
}
