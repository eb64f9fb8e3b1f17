//! Named subscriptions: what an administrator says of one, and what is known of it.

use std::fmt;

use factum_model::{Position, Timestamp};
use factum_query::Filter;

use super::error::SubscriptionError;
use super::spec::FeedSettings;

/// What a subscription hands out, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definition {
    /// Which events.
    pub filter: Filter,
    /// How they are handed out.
    pub settings: FeedSettings,
}

/// Where a pass over the log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Before the first event.
    Beginning,
    /// After the last event of the moment in which that is said.
    #[default]
    End,
    /// After a position; after it is read, however far it is ahead.
    After(Position),
    /// Before the first event that was recorded at this instant or later.
    At(Timestamp),
}

/// A subscription that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its name.
    pub name: String,
    /// What it hands out, and how.
    pub definition: Definition,
    /// Where it begins.
    pub start: Start,
}

/// What is known of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// Its name.
    pub name: String,
    /// What it hands out, and how. What cannot be understood here is as if it was not said; see
    /// `fault`.
    pub definition: Definition,
    /// Nothing is handed out until it is resumed.
    pub is_paused: bool,
    /// Where the present pass over the log began, exclusive; `None` before the first event.
    pub after: Option<Position>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything of this was changed last.
    pub changed_at: Timestamp,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

/// Reads and writes filters as they stand in the events of subscriptions: a port, since the engine
/// knows no JSON of filters.
#[derive(Clone, Copy)]
pub struct FilterForm {
    /// Reads a filter; the error says what is wrong, in words.
    pub read: fn(&str) -> Result<Filter, String>,
    /// Writes a filter, as a JSON object.
    pub write: fn(&Filter) -> String,
}

impl fmt::Debug for FilterForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterForm").finish_non_exhaustive()
    }
}

/// Checks a name: 1 to 100 letters, digits and `_ - .`, of which the first is a letter or digit.
pub(super) fn check_name(name: &str) -> Result<(), SubscriptionError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins || name.len() > 100 || !name.bytes().all(allowed) {
        return Err(SubscriptionError::Invalid {
            field: "name",
            rule: "must have 1 to 100 letters, digits and _ - . and begin with a letter or digit",
        });
    }
    Ok(())
}
