//! The shapes of requests and responses, as clients see them and the OpenAPI document tells them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::query_schema::{JsonQueryDto, NotFilterDto, SequenceRangeDto, TextQueryDto};

/// What a writer expects of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ExpectedVersion)]
pub enum ExpectedVersionDto {
    /// A demand by name.
    Named(ExpectedVersionName),
    /// The sequence number of the last event; 0 means that there is no stream.
    Exact(u64),
}

/// A demand on a stream by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExpectedVersionName)]
pub enum ExpectedVersionName {
    /// Anything will do.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    Exists,
}

/// An event as a writer proposes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewEvent)]
pub struct NewEventDto {
    /// The identity; a UUID of version 7 is assigned where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub id: Option<String>,
    /// What happened: a dotted name.
    #[serde(rename = "type")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
    )]
    pub event_type: String,
    /// The version of the shape of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, default = 1)]
    pub version: Option<u32>,
    /// When it happened; the time of recording where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub timestamp: Option<String>,
    /// The kind of aggregate. `factum` belongs to the engine.
    #[schema(min_length = 1, max_length = 50, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub aggregate_type: String,
    /// The aggregate.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub aggregate_id: String,
    /// The event that caused this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub causation_id: Option<String>,
    /// The conversation; inherited from the cause where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub correlation_id: Option<String>,
    /// Context, kept byte for byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataDto>,
    /// The fact itself, kept byte for byte.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// What must hold of the stream; on the first event of the stream in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<ExpectedVersionDto>,
}

/// A word that classifies an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = Tag, min_length = 1, max_length = 255)]
pub struct TagDto(pub String);

/// The keys of metadata that the store knows; further keys are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = Metadata)]
pub struct MetadataDto {
    /// Who caused the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub user_id: Option<String>,
    /// The session in which it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub session_id: Option<String>,
    /// The system that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub source_system: Option<String>,
    /// The version of that system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub source_version: Option<String>,
    /// Words that classify the event; filters ask for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub tags: Option<Vec<TagDto>>,
    /// The trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub trace_id: Option<String>,
    /// The span it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub span_id: Option<String>,
}

/// Many events as one atomic unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = AppendRequest)]
pub struct AppendRequestDto {
    /// The events, in order.
    #[schema(min_items = 1)]
    pub events: Vec<NewEventDto>,
    /// What must not have happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<AppendConditionDto>,
}

/// One event, or many as one atomic unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AppendBody)]
pub enum AppendBodyDto {
    /// One event.
    One(Box<NewEventDto>),
    /// Many.
    Many(Box<AppendRequestDto>),
}

/// Refuses the append if an event that matches the filter stands after a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = AppendCondition)]
pub struct AppendConditionDto {
    /// The events that must not be there.
    #[schema(value_type = ConditionFilterDto)]
    pub filter: FilterDto,
    /// Looks only at events after this position; the whole log where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterDto>,
}

/// A place in the log: a cursor, or the number of a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = After)]
pub enum AfterDto {
    /// The number of a position; 0 stands before the first event.
    Position(u64),
    /// A cursor as the server gave it.
    Cursor(String),
}

/// A span of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schema(as = TimeRange)]
pub struct TimeRangeDto {
    /// The first instant inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub from: Option<String>,
    /// The first instant after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub to: Option<String>,
}

/// The name of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = StreamName)]
pub struct StreamNameDto {
    /// The kind of aggregate.
    #[schema(min_length = 1, max_length = 50, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub aggregate_type: String,
    /// The aggregate.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub aggregate_id: String,
}

/// Which events are meant: every condition that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schema(as = Filter)]
pub struct FilterDto {
    /// The type matches one of these: exact, or with `*` for one segment and a final `>` for the
    /// rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<TypePatternDto>)]
    pub event_types: Vec<String>,
    /// The aggregate type is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<AggregateTypeDto>)]
    pub aggregate_types: Vec<String>,
    /// The aggregate id is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<AggregateIdDto>)]
    pub aggregate_ids: Vec<String>,
    /// The stream is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamNameDto>,
    /// The event id is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<EventIdDto>)]
    pub ids: Vec<String>,
    /// The event has all of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The event belongs to this conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub correlation_id: Option<String>,
    /// The event was caused by this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub causation_id: Option<String>,
    /// The event was caused by this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_range: Option<TimeRangeDto>,
    /// When it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_range: Option<TimeRangeDto>,
    /// The place in its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_range: Option<SequenceRangeDto>,
    /// What is in the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_query: Option<JsonQueryDto>,
    /// What is in the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_query: Option<JsonQueryDto>,
    /// What the string values of the payload say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextQueryDto>,
    /// At least one of these holds too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub any_of: Vec<Self>,
    /// All of these hold too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub all_of: Vec<Self>,
    /// None of these holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<NotFilterDto>,
}

/// Which events an append condition is about: what an index decides, so no ranges, no phrases, and
/// of payload and metadata that members exist or have a value.
#[derive(Debug, ToSchema)]
#[schema(as = ConditionFilter, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body in the document")]
pub struct ConditionFilterDto {
    /// The type matches one of these: exact, or with `*` for one segment and a final `>` for the
    /// rest.
    #[schema(required = false)]
    event_types: Vec<TypePatternDto>,
    /// The aggregate type is one of these.
    #[schema(required = false)]
    aggregate_types: Vec<AggregateTypeDto>,
    /// The aggregate id is one of these.
    #[schema(required = false)]
    aggregate_ids: Vec<AggregateIdDto>,
    /// The stream is one of these.
    #[schema(required = false)]
    streams: Vec<StreamNameDto>,
    /// The event id is one of these.
    #[schema(required = false)]
    ids: Vec<EventIdDto>,
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
    /// What is in the payload: `equals`, `notEquals`, `in` and `exists` at a path of names.
    payload_query: Option<JsonQueryDto>,
    /// What is in the metadata, likewise.
    metadata_query: Option<JsonQueryDto>,
    /// Words in the string values of the payload.
    text: Option<TextQueryDto>,
    /// At least one of these holds too.
    #[schema(no_recursion, required = false)]
    any_of: Vec<Self>,
    /// All of these hold too.
    #[schema(no_recursion, required = false)]
    all_of: Vec<Self>,
    /// None of these holds.
    not: Option<NotConditionFilterDto>,
}

/// What does not hold of an event that stands in the way: a filter, or several.
#[derive(Debug, ToSchema)]
#[schema(as = NotConditionFilter)]
#[serde(untagged)]
pub enum NotConditionFilterDto {
    /// None of these holds.
    #[schema(no_recursion)]
    List(Vec<ConditionFilterDto>),
    /// This does not hold.
    #[schema(no_recursion)]
    One(Box<ConditionFilterDto>),
}

/// An event type, or a pattern: `*` for one segment, a final `>` for the rest.
#[derive(Debug, ToSchema)]
#[schema(as = TypePattern, min_length = 1, max_length = 100, pattern = r"^(>|([A-Za-z0-9_-]+|\*)(\.([A-Za-z0-9_-]+|\*))*(\.>)?)$")]
#[expect(dead_code, reason = "describes a text in the document")]
pub struct TypePatternDto(String);

/// The kind of an aggregate.
#[derive(Debug, ToSchema)]
#[schema(as = AggregateType, min_length = 1, max_length = 50, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
#[expect(dead_code, reason = "describes a text in the document")]
pub struct AggregateTypeDto(String);

/// The id of an aggregate.
#[derive(Debug, ToSchema)]
#[schema(as = AggregateId, min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
#[expect(dead_code, reason = "describes a text in the document")]
pub struct AggregateIdDto(String);

/// The id of an event.
#[derive(Debug, ToSchema)]
#[schema(as = EventId, format = "uuid")]
#[expect(dead_code, reason = "describes a text in the document")]
pub struct EventIdDto(String);

/// One message of a Server-Sent Events stream.
#[derive(Debug, ToSchema)]
#[schema(as = ServerSentEvent)]
#[expect(dead_code, reason = "describes a stream in the document")]
pub struct ServerSentEventDto {
    /// `event`, `caught_up`, `heartbeat` or `error`; absent on the first message, which gives the
    /// place where the stream starts.
    event: Option<String>,
    /// The cursor after this message: what `Last-Event-ID` sends back.
    id: Option<String>,
    /// The event as JSON, or what there is to say of the stream.
    data: Option<String>,
    /// How long to wait before connecting again.
    retry: Option<u64>,
}

/// Which way a read walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Direction)]
pub enum DirectionDto {
    /// From the oldest to the newest.
    #[default]
    Forwards,
    /// From the newest to the oldest.
    Backwards,
}

/// A query of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schema(as = EventQuery)]
pub struct EventQueryDto {
    /// Which events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterDto>,
    /// Which way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<DirectionDto>,
    /// Where to start, exclusive, in reading direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<AfterDto>,
    /// The largest number of events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Event)]
pub struct EventDto {
    /// The identity.
    #[schema(format = "uuid")]
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of the shape of the payload.
    #[schema(minimum = 1)]
    pub version: u32,
    /// When it happened, by the writer's clock.
    #[schema(format = "date-time")]
    pub timestamp: String,
    /// When it was recorded; never decreases as the position grows.
    #[schema(format = "date-time")]
    pub recorded_at: String,
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate_id: String,
    /// The place in the stream, from 1 without a gap.
    #[schema(minimum = 1)]
    pub sequence_number: u64,
    /// The place in the log, from 1 without a gap.
    #[schema(minimum = 1)]
    pub position: u64,
    /// The event that caused this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub causation_id: Option<String>,
    /// The conversation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Context, as it came.
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// The fact itself, as it came.
    #[schema(value_type = Object)]
    pub payload: Value,
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EventPage)]
pub struct EventPageDto {
    /// The events, in reading direction.
    pub events: Vec<EventDto>,
    /// Where to read on: give it as `after`.
    pub cursor: String,
    /// There is, or may be, more in this direction.
    pub has_more: bool,
    /// How many events match in all, where the query asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_count: Option<u64>,
    /// The total is exact; otherwise a bound on the work was reached, and there are at least as
    /// many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_count_complete: Option<bool>,
    /// How the answer was found, where the query asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<crate::count_body::ExplanationDto>,
}

/// Where one event is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EventReceipt)]
pub struct EventReceiptDto {
    /// The identity, given or assigned.
    #[schema(format = "uuid")]
    pub id: String,
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate_id: String,
    /// The place in the stream.
    #[schema(minimum = 1)]
    pub sequence_number: u64,
    /// The place in the log.
    #[schema(minimum = 1)]
    pub position: u64,
    /// When it was recorded.
    #[schema(format = "date-time")]
    pub recorded_at: String,
    /// The event was there already; this is its original receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplicated: Option<bool>,
    /// Reading on after it finds what was appended later; in the answer to one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Where the events of a request are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = AppendReceipt)]
pub struct AppendReceiptDto {
    /// One receipt per event, in order.
    pub events: Vec<EventReceiptDto>,
    /// Reading on after it finds what was appended later.
    pub cursor: String,
}

/// The answer to an append: one receipt for one event, a list for a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AppendAnswer)]
pub enum AppendAnswerDto {
    /// To one event.
    One(Box<EventReceiptDto>),
    /// To a list.
    Many(AppendReceiptDto),
}

/// Lines of a bulk append, from 1, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LineRange)]
pub struct LineRangeDto {
    /// The first line.
    pub from: u64,
    /// The last line.
    pub to: u64,
}

/// One line of the answer to a bulk append: a chunk that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChunkReceipt)]
pub struct ChunkReceiptDto {
    /// The number of the chunk, from 1.
    pub chunk: u64,
    /// The lines of the input that it covers.
    pub lines: LineRangeDto,
    /// How many events are new.
    pub appended: u64,
    /// How many were there already.
    pub deduplicated: u64,
    /// The smallest position of its events.
    pub first_position: u64,
    /// The largest position of its events.
    pub last_position: u64,
    /// Reading on after it finds what was appended later.
    pub cursor: String,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Aggregate)]
pub struct AggregateDto {
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate_id: String,
    /// The sequence number of its last event.
    pub version: u64,
    /// How many events it has.
    pub event_count: u64,
    /// When its first event happened.
    #[schema(format = "date-time")]
    pub first_timestamp: String,
    /// When its last event happened.
    #[schema(format = "date-time")]
    pub last_timestamp: String,
    /// The position of its first event.
    pub first_position: u64,
    /// The position of its last event.
    pub last_position: u64,
}

/// A page of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = StreamPage)]
pub struct StreamPageDto {
    /// The events, in reading direction.
    pub events: Vec<EventDto>,
    /// There are more events in this direction.
    pub has_more: bool,
    /// The sequence number of the last event of the stream.
    pub version: u64,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Scope)]
pub enum ScopeDto {
    /// Read events.
    Read,
    /// Append events.
    Append,
    /// Everything, including keys and maintenance.
    Admin,
}

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewKey)]
pub struct NewKeyDto {
    /// A name for people.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    pub name: String,
    /// What it may do.
    #[schema(min_items = 1, max_items = 16)]
    pub scopes: Vec<ScopeDto>,
    /// When it ends by itself; never where it is absent. A time that is past makes a key that
    /// never works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub expires_at: Option<String>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Key)]
pub struct KeyDto {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<ScopeDto>,
    /// When it was made.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub expires_at: Option<String>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub revoked_at: Option<String>,
    /// The key itself; in the answer that makes it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// All keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = KeyList)]
pub struct KeyListDto {
    /// The keys, oldest first.
    pub items: Vec<KeyDto>,
    /// There is more; never, as yet.
    pub has_more: bool,
}

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HealthStatus)]
pub enum HealthStatusDto {
    /// All is well.
    Ok,
    /// It works in part.
    Degraded,
    /// It does not work.
    Failed,
}

/// A part of the server and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HealthComponent)]
pub struct HealthComponentDto {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub status: HealthStatusDto,
    /// What is wrong or worth knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Health)]
pub struct HealthDto {
    /// The worst of its components.
    pub status: HealthStatusDto,
    /// The version of the server.
    pub version: String,
    /// The position of the last event; 0 where there is none.
    pub head: u64,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// Its parts.
    pub components: Vec<HealthComponentDto>,
}

/// Whether the server lives, or takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Liveness)]
pub struct LivenessDto {
    /// `ok`, or what is not.
    pub status: HealthStatusDto,
}

/// One thing that is wrong with stored data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Finding)]
pub struct FindingDto {
    /// The kind of damage.
    pub kind: String,
    /// The file, relative to the data directory.
    pub file: String,
    /// Where in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The first position that cannot be served because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_position: Option<u64>,
    /// The last position that cannot be served because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_position: Option<u64>,
    /// What is wrong.
    pub detail: String,
}

/// What a verification found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = VerifyReport)]
pub struct VerifyReportDto {
    /// Nothing is wrong.
    pub ok: bool,
    /// How many events were checked.
    pub events: u64,
    /// How many streams they are of.
    pub streams: u64,
    /// How many files were read.
    pub files: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<FindingDto>,
}

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BackupRequest)]
pub struct BackupRequestDto {
    /// A directory of the server's machine that is new or empty, as an absolute path.
    #[schema(min_length = 1, pattern = "^/")]
    pub path: String,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BackupReport)]
pub struct BackupReportDto {
    /// The directory.
    pub path: String,
    /// The last position in it; 0 where it has no events.
    pub head: u64,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
}
