//! What is scheduled, as callers see it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use factum_model::{EventId, IdSource, NewEvent, Timestamp};

use super::calendar::Calendar;
use super::error::{InvalidScheduleId, ScheduleError};

/// Names a scheduled event: 1–100 characters of `[A-Za-z0-9_.:-]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(String);

impl ScheduleId {
    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn fresh(ids: &dyn IdSource, now: Timestamp) -> Result<Self, ScheduleError> {
        Ok(ids.next_id(now).to_string().parse()?)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScheduleId {
    type Err = InvalidScheduleId;

    fn from_str(text: &str) -> Result<Self, InvalidScheduleId> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if text.is_empty() || text.len() > 100 || !text.bytes().all(is_plain) {
            return Err(InvalidScheduleId {
                text: text.chars().take(100).collect(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

/// When an event is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for each request, and kept nowhere"
)]
pub enum When {
    /// At this instant.
    At(Timestamp),
    /// This long from now.
    After(Duration),
    /// Again and again.
    Calendar(Calendar),
}

/// An event to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewScheduled {
    /// The name; one is made where there is none.
    pub id: Option<ScheduleId>,
    /// When it is appended.
    pub when: When,
    /// What is appended, without an id and a timestamp: both follow from the firing.
    pub event: NewEvent,
}

/// A firing that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// When it was due.
    pub due_at: Timestamp,
    /// When the event was recorded.
    pub recorded_at: Timestamp,
    /// The event.
    pub event_id: EventId,
}

/// A scheduled event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The name.
    pub id: ScheduleId,
    /// What is appended.
    pub event: NewEvent,
    /// The pattern, for one that fires again and again.
    pub calendar: Option<Calendar>,
    /// When it is due next.
    pub due_at: Timestamp,
    /// When it was scheduled.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// How often it fired.
    pub n_fired: u64,
    /// The last firing.
    pub last: Option<Firing>,
    /// Why it does not fire; it stays until it is cancelled.
    pub failure: Option<String>,
}

/// Which scheduled events to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleScan {
    /// Those after this one.
    pub after: Option<ScheduleId>,
    /// How many, at most 1,000.
    pub limit: usize,
}

/// Scheduled events, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulePage {
    /// The events.
    pub items: Vec<Scheduled>,
    /// There are more.
    pub has_more: bool,
}
