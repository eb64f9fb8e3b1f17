//! Dead letters: what could not be delivered, and why.

use factum_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{DeliveryKey, DeliveryRecord, cut};

/// How a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterStatus {
    /// It waits for somebody to decide.
    PendingRetry,
    /// It is to be tried again.
    Retrying,
    /// It was delivered after all.
    Resolved,
    /// Somebody has decided that it will not be delivered.
    PermanentFailure,
}

impl DeadLetterStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [
        Self::PendingRetry,
        Self::Retrying,
        Self::Resolved,
        Self::PermanentFailure,
    ];

    /// Returns the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingRetry => "pending_retry",
            Self::Retrying => "retrying",
            Self::Resolved => "resolved",
            Self::PermanentFailure => "permanent_failure",
        }
    }

    /// Returns the status with a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Why something could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// The kind of failure: that of a target, or `rule` where the rule itself failed.
    pub class: String,
    /// What happened.
    pub message: String,
    /// The status of the last answer, where the protocol has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl Cause {
    /// Returns the message without what differs from one event to the next: numbers and ids.
    #[must_use]
    pub fn normalised(&self) -> String {
        normalised(&self.message)
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The delivery that has died, with its attempts.
    pub delivery: DeliveryRecord,
    /// Why the last attempt failed.
    pub cause: Cause,
    /// Which group it is of: those of one target that died of the same thing.
    pub group: String,
    /// How it stands.
    pub status: DeadLetterStatus,
    /// When the first attempt was made, in microseconds since 1970.
    pub first_micros: i64,
    /// When the last one was.
    pub last_micros: i64,
    /// When it died.
    pub dead_micros: i64,
    /// Why somebody decided that it will not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who changed its status last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
}

impl DeadLetter {
    pub(super) fn new(delivery: DeliveryRecord, cause: Cause, now: Timestamp) -> Self {
        let at = |attempt: Option<&super::record::Attempt>| {
            attempt.map_or(now.as_micros(), |attempt| attempt.at_micros)
        };
        Self {
            group: group_of(&delivery.rule, &delivery.target, &cause),
            status: DeadLetterStatus::PendingRetry,
            first_micros: at(delivery.attempts.first()),
            last_micros: at(delivery.attempts.last()),
            dead_micros: now.as_micros(),
            reason: None,
            changed_by: None,
            delivery,
            cause,
        }
    }

    /// Takes over what another attempt has come to.
    pub(super) fn failed_again(&mut self, cause: Cause) {
        self.group = group_of(&self.delivery.rule, &self.delivery.target, &cause);
        self.cause = cause;
        self.status = DeadLetterStatus::PendingRetry;
        if let Some(last) = self.delivery.attempts.last() {
            self.last_micros = last.at_micros;
        }
    }

    /// Returns what names it.
    #[must_use]
    pub fn key(&self) -> Option<DeliveryKey> {
        self.delivery.key()
    }
}

/// Which dead letters are meant. Every condition that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterFilter {
    /// Those of a rule.
    pub rule: Option<String>,
    /// Those of a target.
    pub target: Option<String>,
    /// Those that failed in a way.
    pub class: Option<String>,
    /// Those of a group.
    pub group: Option<String>,
    /// Those of an event.
    pub event: Option<String>,
    /// Those of events of a type.
    pub event_type: Option<String>,
    /// Those that stand so.
    pub status: Option<DeadLetterStatus>,
}

impl DeadLetterFilter {
    /// Tells whether a dead letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let delivery = &letter.delivery;
        let is = |wanted: &Option<String>, actual: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == actual)
        };
        is(&self.rule, &delivery.rule)
            && is(&self.target, &delivery.target)
            && is(&self.class, &letter.cause.class)
            && is(&self.group, &letter.group)
            && is(&self.event, &delivery.event_id)
            && is(&self.event_type, &delivery.event_type)
            && self.status.is_none_or(|status| status == letter.status)
    }

    /// Tells whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which dead letters an act is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterChoice {
    /// These.
    Keys(Vec<DeliveryKey>),
    /// All that match.
    Matching(DeadLetterFilter),
}

/// What an act on dead letters came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// How many were meant.
    pub matched: usize,
    /// How many were changed; in a dry run how many would be.
    pub changed: usize,
}

/// Dead letters that died of the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterGroup {
    /// The group.
    pub group: String,
    /// The rule.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The kind of failure.
    pub class: String,
    /// The message without what differs.
    pub message: String,
    /// How many there are of each status.
    pub pending_retry: u64,
    /// Those that are to be tried again.
    pub retrying: u64,
    /// Those that were delivered after all.
    pub resolved: u64,
    /// Those that will not be delivered.
    pub permanent_failure: u64,
    /// When the first of them died, in microseconds since 1970.
    pub first_micros: i64,
    /// When the last of them died.
    pub last_micros: i64,
    /// One of them.
    pub example: DeliveryKey,
}

/// A page of dead letters, the newest events first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub letters: Vec<DeadLetter>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<DeliveryKey>,
}

fn group_of(rule: &str, target: &str, cause: &Cause) -> String {
    let message = cause.normalised();
    let status = cause.status.unwrap_or_default().to_string();
    let id = factum_model::EventId::derived(&[rule, target, &cause.class, &status, &message]);
    let id = id.to_string();
    id.chars()
        .filter(|character| *character != '-')
        .take(16)
        .collect()
}

/// The longest normalised message in bytes.
const MESSAGE_BYTES_MAX: usize = 200;

/// Leaves out what differs from one event to the next: words with a digit in them.
fn normalised(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut word = String::new();
    let is_part = |character: char| character.is_alphanumeric() || "-_".contains(character);
    for character in message.chars().chain([' ']) {
        if is_part(character) {
            word.push(character);
            continue;
        }
        if word.chars().any(|character| character.is_ascii_digit()) {
            text.push('#');
        } else {
            text.push_str(&word);
        }
        word.clear();
        text.push(character);
    }
    cut(text.trim_end(), MESSAGE_BYTES_MAX)
}

/// Returns the cause of a rule that could not say whether it is for an event.
pub(super) fn rule_cause(pointer: &str, failure: &str) -> Cause {
    Cause {
        class: "rule".to_owned(),
        message: format!("the condition at /conditions{pointer} failed: {failure}"),
        status: None,
        excerpt: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docs/format/deliveries.md says. What was written so is read for ever.
    #[test]
    fn the_format_stays() {
        let text = concat!(
            r#"{"delivery":{"deliveryId":"d","eventId":"e","position":7,"eventType":"a.b","#,
            r#""aggregateType":"form","aggregateId":"f-1","rule":"r","target":"t","#,
            r#""status":"dead","attemptsMade":0,"attempts":[]},"cause":{"class":"rejected","#,
            r#""message":"status 503","status":503,"excerpt":"down"},"group":"GROUP","#,
            r#""status":"permanent_failure","firstMicros":1,"lastMicros":2,"deadMicros":3,"#,
            r#""reason":"nobody wants it","changedBy":"ann"}"#,
        );
        let letter: DeadLetter = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&letter).unwrap(), text);
        assert_eq!(letter.status, DeadLetterStatus::PermanentFailure);
        // The group of what died of the same thing stays the same, too.
        let group = group_of("r", "t", &letter.cause);
        assert_eq!(group, "459e651d29095b69");
    }

    #[test]
    fn what_differs_is_left_out() {
        let check = |message: &str, expected: &str| assert_eq!(normalised(message), expected);
        check("status 503", "status #");
        check(
            "event 0192-ab7f of f-17 was refused",
            "event # of # was refused",
        );
        check("connection refused", "connection refused");
        check("", "");
    }
}
