//! Scheduled events in the OpenAPI document: the shapes of requests and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema::NewEventDto;

/// An event to be appended at a time: `at`, after `delayMs`, or whenever `cron` says. One of the three
/// is given.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewScheduledEvent)]
pub struct NewScheduledEventDto {
    /// Its name; one is made where it is absent. The same request with the same name is a repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_.:-]+$")]
    pub id: Option<String>,
    /// When it is appended. What has passed is appended at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub at: Option<String>,
    /// How long from now it is appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Five fields, or six with seconds first: `30 9 * * MON-FRI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub cron: Option<String>,
    /// The IANA name of the time zone of `cron`, such as `Europe/Vienna`; UTC where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub time_zone: Option<String>,
    /// Whether all firings of `cron` that were missed happen late, or the latest alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedDto>,
    /// What is appended, without `id`, `timestamp` and `expectedVersion`. Its metadata get
    /// `scheduleId` and `scheduledFor`.
    pub event: NewEventDto,
}

/// Which of the firings that were missed happen, late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MissedFirings)]
pub enum MissedDto {
    /// All of them, in order.
    All,
    /// The latest one alone.
    Latest,
}

/// A firing that was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduleFiring)]
pub struct FiringDto {
    /// When it was due.
    #[schema(format = "date-time")]
    pub due_at: String,
    /// When the event was recorded.
    #[schema(format = "date-time")]
    pub recorded_at: String,
    /// The event.
    #[schema(format = "uuid")]
    pub event_id: String,
}

/// A scheduled event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledEvent)]
pub struct ScheduledEventDto {
    /// Its name.
    pub id: String,
    /// The type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The kind of aggregate that it is of.
    pub aggregate_type: String,
    /// The aggregate that it is of.
    pub aggregate_id: String,
    /// When it is due next.
    #[schema(format = "date-time")]
    pub due_at: String,
    /// The pattern, for one that fires again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of the pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of what was missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<MissedDto>,
    /// When it was scheduled.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// The name of the key that scheduled it.
    pub created_by: String,
    /// How often it fired.
    pub fired: u64,
    /// The last firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<FiringDto>,
    /// Why it does not fire; it stays until it is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Scheduled events, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledEventList)]
pub struct ScheduledEventListDto {
    /// The scheduled events.
    pub items: Vec<ScheduledEventDto>,
    /// Where to go on: the `after` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// There are more.
    pub has_more: bool,
}
