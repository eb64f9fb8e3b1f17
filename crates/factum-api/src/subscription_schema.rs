//! Durable subscriptions in the OpenAPI document: the shapes of requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::{EventDto, FilterDto};

/// What retries mean to the events behind them in their stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SubscriptionOrder)]
pub enum OrderDto {
    /// They wait as well.
    Strict,
    /// They pass it by.
    Relaxed,
}

/// What is to become of an event that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NackAction)]
pub enum NackActionDto {
    /// It is handed out again, or parked if this was its last attempt.
    Retry,
    /// It is set aside for a person to decide on.
    Park,
    /// It is passed over.
    Skip,
}

/// The waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SubscriptionRetry)]
pub struct RetryDto {
    /// The wait after the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 1000)]
    pub first_ms: Option<u64>,
    /// What each wait is multiplied with for the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10, default = 2)]
    pub factor: Option<u32>,
    /// The longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86_400_000, default = 300_000)]
    pub max_ms: Option<u64>,
}

/// What a subscription hands out, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SubscriptionDefinition)]
pub struct SubscriptionDefinitionDto {
    /// Which events; all, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterDto>,
    /// What retries mean to the events behind them in their stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderDto>,
    /// How long a consumer may have an event before it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 86_400_000, default = 30_000)]
    pub ack_deadline_ms: Option<u64>,
    /// After how many failed attempts an event is parked; 0 for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000, default = 10)]
    pub attempts_max: Option<u32>,
    /// How many events may be ready or out at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000, default = 1000)]
    pub in_flight_max: Option<u64>,
    /// How many events may wait for their retry; while there are as many, no more are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000, default = 10_000)]
    pub retries_max: Option<u64>,
    /// How many events may be parked; the oldest one makes room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000, default = 10_000)]
    pub parked_max: Option<u64>,
    /// The waits between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryDto>,
}

/// Where a pass over the log begins; at most one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SubscriptionStart)]
pub struct StartDto {
    /// `beginning` or `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(beginning|end)$")]
    pub start: Option<String>,
    /// After this cursor, or the number of a position as a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Before the first event that was recorded then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub since: Option<String>,
}

/// A subscription that is to be made. Without `start`, `after` and `since` it begins at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewSubscription)]
pub struct NewSubscriptionDto {
    /// Its name.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
    )]
    pub name: String,
    /// What it hands out, and how.
    #[serde(flatten)]
    pub definition: SubscriptionDefinitionDto,
    /// Where it begins.
    #[serde(flatten)]
    pub start: StartDto,
}

/// What is known of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DurableSubscription)]
pub struct DurableSubscriptionDto {
    /// Its name.
    pub name: String,
    /// Which events.
    pub filter: FilterDto,
    /// What retries mean to the events behind them in their stream.
    pub order: OrderDto,
    /// How long a consumer may have an event before it counts as failed.
    pub ack_deadline_ms: u64,
    /// After how many failed attempts an event is parked; 0 for never.
    pub attempts_max: u32,
    /// How many events may be ready or out at once.
    pub in_flight_max: u64,
    /// How many events may wait for their retry.
    pub retries_max: u64,
    /// How many events may be parked.
    pub parked_max: u64,
    /// The waits between attempts.
    pub retry: RetryDto,
    /// Nothing is handed out until it is resumed.
    pub paused: bool,
    /// The position after which the present pass over the log began; 0 before the first event.
    pub started_after: u64,
    /// When it was made.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it was changed last.
    #[schema(format = "date-time")]
    pub changed_at: String,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How it is; absent where it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SubscriptionStatusDto>,
}

/// How a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SubscriptionStatus)]
pub struct SubscriptionStatusDto {
    /// The position up to which the log was read for it.
    pub position: u64,
    /// Events that are ready to be handed out.
    pub ready: u64,
    /// Events that consumers have.
    pub in_flight: u64,
    /// Events that wait for their retry.
    pub waiting: u64,
    /// Events that are parked.
    pub parked: u64,
    /// How many events of the log are not done with, at most: those that were not read yet count
    /// whether the filter means them or not.
    pub lag_events: u64,
    /// How many seconds ago the oldest event that is not done with was recorded.
    pub lag_seconds: f64,
}

impl Eq for SubscriptionStatusDto {}

/// All subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DurableSubscriptionList)]
pub struct DurableSubscriptionListDto {
    /// The subscriptions, by name.
    pub items: Vec<DurableSubscriptionDto>,
    /// There is more; never, as yet.
    pub has_more: bool,
}

/// A request for events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Fetch)]
pub struct FetchDto {
    /// Who asks; requests of one key under one name are of one consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, default = "default")]
    pub consumer: Option<String>,
    /// The most events to hand out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// How long to wait for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = 0)]
    pub wait_ms: Option<u64>,
}

/// An event that was handed out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Handout)]
pub struct HandoutDto {
    /// What settles it.
    pub token: String,
    /// Which attempt this is; the first one is 1.
    pub attempt: u32,
    /// When others may get it.
    #[schema(format = "date-time")]
    pub deadline: String,
    /// The event.
    pub event: EventDto,
}

/// What a fetch gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = FetchAnswer)]
pub struct FetchAnswerDto {
    /// The events, each to be settled by its token.
    pub events: Vec<HandoutDto>,
    /// The subscription is paused.
    pub paused: bool,
}

/// A token as it was handed out: three numbers. It is no secret, and good for one settling.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = HandoutToken, pattern = "^(0|[1-9][0-9]{0,17})-[1-9][0-9]{0,17}-(0|[1-9][0-9]{0,17})$")]
pub struct TokenDto(pub String);

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Ack)]
pub struct AckDto {
    /// The tokens.
    #[schema(max_items = 1000, value_type = Vec<TokenDto>)]
    pub tokens: Vec<String>,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Nack)]
pub struct NackDto {
    /// The tokens.
    #[schema(max_items = 1000, value_type = Vec<TokenDto>)]
    pub tokens: Vec<String>,
    /// What is to become of the events; `retry` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<NackActionDto>,
    /// When to try again; as the subscription says where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 1000)]
    pub cause: Option<String>,
}

/// What became of a handout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SettledAs)]
pub enum SettledDto {
    /// It is done with, durably.
    Done,
    /// It will be handed out again.
    Waiting,
    /// It is parked.
    Parked,
    /// The token is good for nothing any more: the event was settled, was handed out again after
    /// its deadline, or the subscription was reset.
    Stale,
}

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Settled)]
pub struct SettledTokenDto {
    /// The token.
    pub token: String,
    /// What became of it.
    pub result: SettledDto,
    /// In how many milliseconds it is handed out again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
}

/// What became of the tokens of an ack or nack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SettledList)]
pub struct SettledListDto {
    /// In the order of the request.
    pub results: Vec<SettledTokenDto>,
    /// How many of them were stale.
    pub stale: u64,
}

/// A consumer needs more time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Extend)]
pub struct ExtendDto {
    /// The tokens of the events that it needs it for.
    #[schema(max_items = 1000, value_type = Vec<TokenDto>)]
    pub tokens: Vec<String>,
    /// How much, from now on; the subscription's `ackDeadlineMs` where it is absent. The server has
    /// a limit, one hour unless configured otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub extend_ms: Option<u64>,
}

/// What became of a wish for more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExtendedAs)]
pub enum ExtendedDto {
    /// The consumer has the event until the new deadline.
    Extended,
    /// The consumer does not have it any more: its deadline passed, the event was settled, or the
    /// subscription was reset.
    Stale,
}

/// What became of the wish for one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Extended)]
pub struct ExtendedTokenDto {
    /// The token; it stays good.
    pub token: String,
    /// What became of it.
    pub result: ExtendedDto,
    /// The new deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

/// What became of a wish for more time, by token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ExtendedList)]
pub struct ExtendedListDto {
    /// In the order of the request.
    pub results: Vec<ExtendedTokenDto>,
    /// How many of them were stale.
    pub stale: u64,
}

/// A consumer gives back what it has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Release)]
pub struct ReleaseDto {
    /// The consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, default = "default")]
    pub consumer: Option<String>,
}

/// Which parked events are meant: either of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ParkedChoice)]
pub struct ParkedChoiceDto {
    /// Those at these positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1000)]
    pub positions: Option<Vec<u64>>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
}

/// How many events something was done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EventCount)]
pub struct EventCountDto {
    /// How many.
    pub count: u64,
}

/// A parked event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ParkedEvent)]
pub struct ParkedEventDto {
    /// Its place in the log.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// Its stream, as `type/id`.
    pub stream: String,
    /// When it was recorded.
    #[schema(format = "date-time")]
    pub recorded_at: String,
    /// When it was parked.
    #[schema(format = "date-time")]
    pub parked_at: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why the last one failed.
    pub cause: String,
}

/// A page of parked events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ParkedList)]
pub struct ParkedListDto {
    /// The events, the oldest first.
    pub items: Vec<ParkedEventDto>,
    /// Where to go on, as `after`; absent when there is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// There is more.
    pub has_more: bool,
}
