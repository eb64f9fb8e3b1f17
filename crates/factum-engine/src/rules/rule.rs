//! A rule as it stands.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use factum_model::{Position, RecordedEvent, SequenceNumber, Timestamp};
use factum_query::{Condition, Explanation, Filter, Reason};

use super::error::InvalidRule;
use super::retry::RetryPolicy;
use crate::subscriptions::Order;

/// The identity of a rule, or of a target within a rule: a word that people choose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(Box<str>);

impl RuleId {
    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RuleId {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
            let rule = "must have 1 to 64 letters, digits, '_' and '-'";
            return Err(InvalidRule::at("", rule).with_value(text));
        }
        Ok(Self(text.into()))
    }
}

/// Where the first event stands that a target gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleStart {
    /// After the change that made the target.
    #[default]
    Now,
    /// At the first event of the log.
    Beginning,
    /// After a position.
    After(Position),
}

/// How many events a rule may send in a while, on each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The largest number of events.
    pub max_events: u32,
    /// The while.
    pub time_window: Duration,
}

/// Explains a condition with pointers into the text that it was read from.
pub(super) fn explained(condition: &Condition, text: &str, event: &RecordedEvent) -> Explanation {
    match condition.explain(event) {
        Explanation::Matched => Explanation::Matched,
        Explanation::NotMatched(reason) => Explanation::NotMatched(Reason {
            pointer: written(reason.pointer, text),
            ..reason
        }),
        Explanation::Failed { pointer, failure } => Explanation::Failed {
            pointer: written(pointer, text),
            failure,
        },
    }
}

/// Returns the pointer of a predicate in the text from which the condition was read.
fn written(pointer: String, text: &str) -> String {
    // A list of conditions means all of them, without saying so.
    match pointer.strip_prefix("/all") {
        Some(rest) if text.starts_with('[') => rest.to_owned(),
        Some(_) | None => pointer,
    }
}

/// One target of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTarget {
    /// Which one of the rule it is.
    pub id: RuleId,
    /// Its definition as it is stored: secrets are sealed.
    pub definition: String,
    /// Whether anything is sent to it. What comes meanwhile waits.
    pub enabled: bool,
    /// How often and when a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// How many deliveries may be under way at once.
    pub concurrency: usize,
    /// Where the change stands that made it.
    pub since: Position,
}

/// A rule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its identity.
    pub id: RuleId,
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it sends anything. What comes meanwhile waits.
    pub enabled: bool,
    /// Where it stands among others when they are listed and tested; the greatest first.
    pub priority: i32,
    /// Which events.
    pub condition: Condition,
    /// The conditions as they were written.
    pub conditions_text: String,
    /// Where they go.
    pub targets: Vec<RuleTarget>,
    /// How many events it may send in a while.
    pub rate_limit: Option<RateLimit>,
    /// What retries of an event mean to the later ones of its stream.
    pub order: Order,
    /// Where a target begins.
    pub start: RuleStart,
    /// How often it was changed: the place of its last change in its stream.
    pub revision: SequenceNumber,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// Who changed it last.
    pub changed_by: String,
}

impl Rule {
    /// Says why the rule is not for an event that is not among its candidates: as [`Rule::explain`]
    /// does, but without an expression where that can be said without.
    pub(super) fn explain_refusal(&self, event: &RecordedEvent) -> Explanation {
        match self.condition.refusal(event) {
            Some(reason) => Explanation::NotMatched(Reason {
                pointer: written(reason.pointer, &self.conditions_text),
                ..reason
            }),
            None => self.explain(event),
        }
    }

    /// Says whether the rule is for an event, and if not, why.
    #[must_use]
    pub fn explain(&self, event: &RecordedEvent) -> Explanation {
        explained(&self.condition, &self.conditions_text, event)
    }

    /// Returns a filter that leaves out no event that the rule is for.
    #[must_use]
    pub fn filter(&self) -> Filter {
        self.condition.to_filter()
    }

    /// Returns a target.
    #[must_use]
    pub fn target(&self, id: &str) -> Option<&RuleTarget> {
        self.targets.iter().find(|target| target.id.as_str() == id)
    }

    /// Returns where a target begins, exclusive.
    #[must_use]
    pub const fn starts_after(&self, target: &RuleTarget) -> Option<Position> {
        match self.start {
            RuleStart::Now => Some(target.since),
            RuleStart::Beginning => None,
            RuleStart::After(position) => Some(position),
        }
    }
}
