//! The shapes of rules, deliveries and dead letters.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::few_schema::{DeadLetterStatusDto, DeliveryStatusDto, JitterDto, RetryStrategyDto};

/// A rule as it is defined. Read with the place of each fault; a definition that is sent back as it
/// was shown keeps the secrets of its targets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleDefinition)]
pub struct RuleDefinitionDto {
    /// The id; one is made where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = r"^[A-Za-z0-9_-]{1,64}$")]
    pub id: Option<String>,
    /// A name for people.
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub description: Option<String>,
    /// Whether it sends anything. What comes meanwhile waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = true)]
    pub enabled: Option<bool>,
    /// Where it stands among others; the greatest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = 0)]
    pub priority: Option<i32>,
    /// Which events: a condition, or a list of which all hold. A condition is `{"all": [...]}`,
    /// `{"any": [...]}`, `{"not": {...}}`, or a predicate `{"type", "operator", "field", "value"}`;
    /// of the type `custom` it has an `expression` in CEL.
    #[schema(value_type = Object)]
    pub conditions: Value,
    /// What retries of an event mean to the later ones of its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<RuleOrderDto>,
    /// How many events each target gets in a while, from each node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitDto>,
    /// Where a target begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<RuleStartDto>,
    /// Where they go.
    #[schema(min_items = 1)]
    pub targets: Vec<RuleTargetDto>,
}

/// What retries of an event mean to the later ones of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RuleOrder)]
pub enum RuleOrderDto {
    /// They wait until it is delivered or a dead letter.
    Strict,
    /// They pass by what waits for its retry.
    Relaxed,
}

/// How many events a target gets in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RateLimit)]
pub struct RateLimitDto {
    /// The largest number of events.
    #[schema(minimum = 1)]
    pub max_events: u32,
    /// The while, in milliseconds.
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub time_window_ms: u64,
}

/// Where a target begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleStart)]
pub struct RuleStartDto {
    /// `now` is after the change that makes the target.
    #[schema(default = "now")]
    pub from: RuleStartFromDto,
    /// The position after which it begins, for `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// Where a target begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RuleStartFrom)]
pub enum RuleStartFromDto {
    /// After the change that makes it.
    Now,
    /// At the first event of the log.
    Beginning,
    /// After a position.
    After,
}

/// A target of a rule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleTarget)]
pub struct RuleTargetDto {
    /// Which one of the rule it is.
    #[schema(pattern = r"^[A-Za-z0-9_-]{1,64}$")]
    pub id: String,
    /// Whether anything is sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = true)]
    pub enabled: Option<bool>,
    /// How often and when a failed delivery is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicyDto>,
    /// How many deliveries may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 256, default = 4)]
    pub concurrency: Option<usize>,
    /// The target itself: an object with a `type`, such as `webhook`. Its secrets are taken in and
    /// never shown.
    #[schema(value_type = Object)]
    pub to: Value,
}

/// How often and when a failed delivery is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RetryPolicy)]
pub struct RetryPolicyDto {
    /// How waits grow: `fixed`, `linear` or `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = "exponential", value_type = Option<RetryStrategyDto>)]
    pub strategy: Option<String>,
    /// The wait after the first attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = 1000, minimum = 1, maximum = 86_400_000)]
    pub base_delay_ms: Option<u64>,
    /// The longest wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = 1_800_000, maximum = 86_400_000)]
    pub max_delay_ms: Option<u64>,
    /// How many attempts there are, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = 40, minimum = 1, maximum = 1000)]
    pub max_attempts: Option<u32>,
    /// Whether waits are spread: `none` or `full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = "full", value_type = Option<JitterDto>)]
    pub jitter: Option<String>,
}

/// A rule as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Rule)]
pub struct RuleDto {
    /// Its id.
    pub id: String,
    /// Its definition, without secrets.
    #[schema(value_type = RuleDefinitionDto)]
    pub definition: Box<RawValue>,
    /// The number of its last change.
    pub revision: u64,
    /// When it was made.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it was last changed.
    #[schema(format = "date-time")]
    pub changed_at: String,
    /// Who changed it last.
    pub changed_by: String,
}

/// All rules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleList)]
pub struct RuleListDto {
    /// The rules, the greatest priority first.
    pub items: Vec<RuleDto>,
    /// There is more; never, as yet.
    pub has_more: bool,
}

/// What a dry run looks at.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleTest)]
pub struct RuleTestDto {
    /// A rule that is not recorded; all recorded ones where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RuleDefinitionDto>)]
    pub definition: Option<Value>,
    /// The event to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    pub event: Option<String>,
    /// How many of the last events to look at instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    pub last: Option<usize>,
}

/// What rules say of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleTestResult)]
pub struct RuleTestResultDto {
    /// What rules say of each event, in the order of the log.
    pub items: Vec<TestedEventDto>,
}

/// What rules say of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TestedEvent)]
pub struct TestedEventDto {
    /// The event.
    #[schema(format = "uuid")]
    pub id: String,
    /// Its place in the log.
    pub position: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// Its aggregate.
    pub aggregate_id: String,
    /// What each rule says, the greatest priority first.
    pub rules: Vec<RuleOutcomeDto>,
}

/// What a rule says of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RuleOutcome)]
pub struct RuleOutcomeDto {
    /// The rule; absent for a definition that is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether it is for the event.
    pub outcome: RuleOutcomeName,
    /// The condition that decided it, as a JSON pointer into the definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The member that the event does not have, where an expression asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Why it could not be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether a rule is for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RuleOutcomeName)]
pub enum RuleOutcomeName {
    /// It is.
    Matched,
    /// It is not.
    NotMatched,
    /// It cannot be said.
    Failed,
}

/// One attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Attempt)]
pub struct AttemptDto {
    /// Which one it was, from 1.
    pub number: u32,
    /// When it began.
    #[schema(format = "date-time")]
    pub at: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The status of the answer, where the protocol has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The kind of failure; absent where it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// What happened, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The beginning of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

/// An event on its way to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Delivery)]
pub struct DeliveryDto {
    /// Its id here.
    pub id: String,
    /// Its id as the receiver sees it, the same at every attempt.
    #[schema(format = "uuid")]
    pub delivery_id: String,
    /// The event.
    #[schema(format = "uuid")]
    pub event_id: String,
    /// Where the event stands.
    pub position: u64,
    /// Its type.
    pub event_type: String,
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// Its aggregate.
    pub aggregate_id: String,
    /// The rule that sends it.
    pub rule: String,
    /// The target of the rule.
    pub target: String,
    /// How it stands: `delivered`, `retrying` or `dead`.
    #[schema(value_type = DeliveryStatusDto)]
    pub status: String,
    /// How many attempts were made.
    pub attempts_made: u32,
    /// The attempts, as far as they are kept: the first and the last ones.
    pub attempts: Vec<AttemptDto>,
    /// When the next one is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub next_attempt_at: Option<String>,
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeliveryList)]
pub struct DeliveryListDto {
    /// The deliveries, the newest events first.
    pub items: Vec<DeliveryDto>,
    /// There may be more.
    pub has_more: bool,
    /// What to give as `after` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How a target of a rule is on the node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TargetStatus)]
pub struct TargetStatusDto {
    /// The rule.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The kind of target; absent where it cannot be sent to from here, which the log explains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether attempts are let through: `closed`, `open` or `half_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<String>,
    /// How many attempts are under way.
    pub in_flight: usize,
    /// What it leads to; absent before it was first used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointStatusDto>,
    /// Events that are ready to be sent.
    pub ready: u64,
    /// Events that wait for their retry.
    pub waiting: u64,
    /// Events of the log that are not done with, at most.
    pub lag_events: u64,
    /// How long ago the oldest of them was recorded, in milliseconds.
    pub lag_ms: u64,
    /// Events delivered from here since the start.
    pub delivered: u64,
    /// Attempts that failed from here since the start.
    pub failed: u64,
    /// Deliveries that became dead letters here since the start.
    pub dead: u64,
}

/// How an endpoint is on the node that answers. All targets that lead to the same URL, but for its
/// query, or to the same server share one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EndpointStatus)]
pub struct EndpointStatusDto {
    /// Tells it from others of this node; two paths of a host have the same name.
    pub number: u64,
    /// Where it is: protocol, host and port.
    pub name: String,
    /// Whether attempts of any target are let through: `closed`, `open` or `half_open`.
    pub breaker: String,
    /// How many attempts are under way, of all targets.
    pub in_flight: usize,
    /// How many may be: the smallest `concurrency` of its targets.
    pub in_flight_max: usize,
    /// How many targets lead to it.
    pub targets: usize,
}

/// How the targets of all rules are on the node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TargetStatusList)]
pub struct TargetStatusListDto {
    /// The targets.
    pub items: Vec<TargetStatusDto>,
    /// There is more; never, as yet.
    pub has_more: bool,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetter)]
pub struct DeadLetterDto {
    /// Its id, that of its delivery.
    pub id: String,
    /// How it stands: `pending_retry`, `retrying`, `resolved` or `permanent_failure`.
    #[schema(value_type = DeadLetterStatusDto)]
    pub status: String,
    /// The group of those that died of the same thing.
    pub group: String,
    /// The kind of failure.
    pub error_class: String,
    /// What happened.
    pub error: String,
    /// The status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_status: Option<u16>,
    /// The beginning of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// When the first attempt was made.
    #[schema(format = "date-time")]
    pub first_attempt_at: String,
    /// When the last one was.
    #[schema(format = "date-time")]
    pub last_attempt_at: String,
    /// When it died.
    #[schema(format = "date-time")]
    pub dead_at: String,
    /// Why somebody decided that it will not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who changed its status last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// The delivery, with its attempts.
    pub delivery: DeliveryDto,
    /// The event, where one dead letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub event: Option<Box<RawValue>>,
    /// The rule as it is now, where one dead letter is asked for and there still is the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RuleDefinitionDto>)]
    pub rule: Option<Box<RawValue>>,
}

/// A page of dead letters.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetterList)]
pub struct DeadLetterListDto {
    /// The dead letters, the newest events first.
    pub items: Vec<DeadLetterDto>,
    /// There may be more.
    pub has_more: bool,
    /// What to give as `after` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Dead letters that died of the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetterGroup)]
pub struct DeadLetterGroupDto {
    /// The group.
    pub group: String,
    /// The rule.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The kind of failure.
    pub error_class: String,
    /// What happened, without what differs from one to the next.
    pub error: String,
    /// How many wait for somebody to decide.
    pub pending_retry: u64,
    /// How many are to be tried again.
    pub retrying: u64,
    /// How many were delivered after all.
    pub resolved: u64,
    /// How many will not be delivered.
    pub permanent_failure: u64,
    /// When the first of them died.
    #[schema(format = "date-time")]
    pub first_at: String,
    /// When the last of them died.
    #[schema(format = "date-time")]
    pub last_at: String,
    /// One of them.
    pub example: String,
}

/// Groups of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetterGroupList)]
pub struct DeadLetterGroupListDto {
    /// The groups, the largest first.
    pub items: Vec<DeadLetterGroupDto>,
    /// There is more; never, as yet.
    pub has_more: bool,
}

/// Which dead letters an act is for, and how it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetterAct)]
pub struct DeadLetterActDto {
    /// These; or else all that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// All that match, also if nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// Those of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Those of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Those of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Those that failed in a way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// Those of events of a type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Those that stand so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DeadLetterStatusDto>)]
    pub status: Option<String>,
    /// How many a second are tried again; as many as the targets take where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub per_second: Option<u32>,
    /// Why they will not be delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Change nothing, and say what would be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(default = false)]
    pub dry_run: Option<bool>,
}

/// What an act on dead letters came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeadLetterMoved)]
pub struct DeadLetterMovedDto {
    /// How many were meant.
    pub matched: usize,
    /// How many were changed; in a dry run how many would be.
    pub changed: usize,
    /// Nothing was changed.
    pub dry_run: bool,
}
