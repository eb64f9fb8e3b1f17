//! The definition of a rule: what a client sends, what is stored, and what is shown.
//!
//! The three have the same shape. In what is stored the secrets of targets are sealed, in what is
//! shown they are left out.

use std::time::Duration;

use factum_model::{JsonLimits, JsonObject, Position};
use factum_query::Condition;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::condition::{self, child};
use super::error::InvalidRule;
use super::registry::RuleLimits;
use super::retry::{Jitter, RetryPolicy, RetryStrategy};
use super::rule::{RateLimit, Rule, RuleId, RuleStart};
use crate::deliver::Targets;
use crate::subscriptions::Order;

/// The longest a wait may be, and a window.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The largest number of deliveries of one target at once.
const CONCURRENCY_MAX: usize = 256;

/// A definition that was checked.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) document: Document,
    pub(super) condition: Condition,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) priority: i32,
    pub(super) conditions: Box<RawValue>,
    #[serde(default)]
    pub(super) order: OrderName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_limit: Option<RateLimitFields>,
    #[serde(default)]
    pub(super) start: StartFields,
    pub(super) targets: Vec<TargetFields>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum OrderName {
    #[default]
    Strict,
    Relaxed,
}

impl From<OrderName> for Order {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Strict => Self::Strict,
            OrderName::Relaxed => Self::Relaxed,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RateLimitFields {
    max_events: u32,
    time_window_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StartFields {
    #[serde(default)]
    from: StartName,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StartName {
    #[default]
    Now,
    Beginning,
    After,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TargetFields {
    pub(super) id: String,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) retry: RetryFields,
    #[serde(default = "four")]
    pub(super) concurrency: usize,
    /// The definition of the target itself.
    pub(super) to: Box<RawValue>,
}

const fn four() -> usize {
    4
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RetryFields {
    strategy: StrategyName,
    base_delay_ms: u64,
    max_delay_ms: u64,
    max_attempts: u32,
    jitter: JitterName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StrategyName {
    Fixed,
    Linear,
    Exponential,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum JitterName {
    None,
    Full,
}

impl Default for RetryFields {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(DAY_MS);
        Self {
            strategy: StrategyName::Exponential,
            base_delay_ms: millis(policy.base_delay),
            max_delay_ms: millis(policy.max_delay),
            max_attempts: policy.max_attempts,
            jitter: JitterName::Full,
        }
    }
}

impl RetryFields {
    pub(super) const fn policy(self) -> RetryPolicy {
        RetryPolicy {
            strategy: match self.strategy {
                StrategyName::Fixed => RetryStrategy::Fixed,
                StrategyName::Linear => RetryStrategy::Linear,
                StrategyName::Exponential => RetryStrategy::Exponential,
            },
            base_delay: Duration::from_millis(self.base_delay_ms),
            max_delay: Duration::from_millis(self.max_delay_ms),
            max_attempts: self.max_attempts,
            jitter: match self.jitter {
                JitterName::None => Jitter::None,
                JitterName::Full => Jitter::Full,
            },
        }
    }

    fn check(self, pointer: &str) -> Result<(), InvalidRule> {
        let at = |name: &str, rule: &str| Err(InvalidRule::at(&child(pointer, name), rule));
        if !(1..=DAY_MS).contains(&self.base_delay_ms) {
            return at("baseDelayMs", "must be from 1 ms to 24 h");
        }
        if self.max_delay_ms < self.base_delay_ms || self.max_delay_ms > DAY_MS {
            return at("maxDelayMs", "must be from baseDelayMs to 24 h");
        }
        if !(1..=1000).contains(&self.max_attempts) {
            return at("maxAttempts", "must be from 1 to 1000");
        }
        Ok(())
    }
}

impl Document {
    pub(super) fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit.map(|fields| RateLimit {
            max_events: fields.max_events,
            time_window: Duration::from_millis(fields.time_window_ms),
        })
    }

    pub(super) fn start(&self) -> RuleStart {
        match (self.start.from, self.start.position) {
            (StartName::Now, _) => RuleStart::Now,
            (StartName::Beginning, _) => RuleStart::Beginning,
            (StartName::After, position) => position
                .and_then(Position::new)
                .map_or(RuleStart::Beginning, RuleStart::After),
        }
    }

    pub(super) fn to_json(&self) -> Result<String, InvalidRule> {
        serde_json::to_string(self).map_err(|error| InvalidRule::at("", error.to_string()))
    }
}

/// Reads a definition of a client under limits. Targets are checked by [`accept`].
pub(super) fn read(text: &str, limits: &RuleLimits) -> Result<Definition, InvalidRule> {
    if text.len() > limits.definition_bytes_max {
        let limit = limits.definition_bytes_max;
        let rule = format!("has {} bytes, the limit is {limit}", text.len());
        return Err(InvalidRule::at("", rule));
    }
    JsonObject::parse_within(text.to_owned(), JsonLimits::default())
        .map_err(|fault| InvalidRule::at("", fault.to_string()))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let document: Document = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer_of(error.path());
        // What the reader says ends with a place in the text, which the pointer says better.
        let said = error.into_inner().to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        InvalidRule::at(&pointer, said.chars().take(200).collect::<String>())
    })?;
    check(&document, limits)?;
    let condition = condition::read(&document.conditions, "/conditions", limits)?;
    Ok(Definition {
        document,
        condition,
    })
}

fn check(document: &Document, limits: &RuleLimits) -> Result<(), InvalidRule> {
    let n_characters = document.name.chars().count();
    if !(1..=100).contains(&n_characters) || document.name.chars().any(char::is_control) {
        let rule = "must have 1 to 100 characters, none of them a control character";
        return Err(InvalidRule::at("/name", rule));
    }
    let description = document.description.as_deref().unwrap_or_default();
    if description.chars().count() > 2000 {
        return Err(InvalidRule::at(
            "/description",
            "must have at most 2000 characters",
        ));
    }
    if let Some(id) = &document.id {
        under("/id", id.parse::<RuleId>())?;
    }
    if let Some(limit) = &document.rate_limit {
        if limit.max_events == 0 {
            return Err(InvalidRule::at(
                "/rateLimit/maxEvents",
                "must be at least 1",
            ));
        }
        if !(1..=DAY_MS).contains(&limit.time_window_ms) {
            let rule = "must be from 1 ms to 24 h";
            return Err(InvalidRule::at("/rateLimit/timeWindowMs", rule));
        }
    }
    if (document.start.from == StartName::After) != document.start.position.is_some() {
        let rule = "stands with \"from\": \"after\", and only there";
        return Err(InvalidRule::at("/start/position", rule));
    }
    let limit = limits.targets_max;
    if document.targets.is_empty() || document.targets.len() > limit {
        let rule = format!("must have 1 to {limit} targets");
        return Err(InvalidRule::at("/targets", rule));
    }
    for (index, target) in document.targets.iter().enumerate() {
        let pointer = child("/targets", &index.to_string());
        under(&child(&pointer, "id"), target.id.parse::<RuleId>())?;
        let mut before = document.targets.iter().take(index);
        if before.any(|other| other.id == target.id) {
            let rule = "is the id of another target of the rule";
            return Err(InvalidRule::at(&child(&pointer, "id"), rule).with_value(&target.id));
        }
        target.retry.check(&child(&pointer, "retry"))?;
        if !(1..=CONCURRENCY_MAX).contains(&target.concurrency) {
            let rule = format!("must be from 1 to {CONCURRENCY_MAX}");
            return Err(InvalidRule::at(&child(&pointer, "concurrency"), rule));
        }
    }
    Ok(())
}

fn under<T>(pointer: &str, result: Result<T, InvalidRule>) -> Result<T, InvalidRule> {
    result.map_err(|error| InvalidRule {
        pointer: format!("{pointer}{}", error.pointer),
        ..error
    })
}

/// Checks the targets and seals their secrets; `before` is the rule that is being replaced.
pub(super) fn accept(
    document: &mut Document,
    before: Option<&Rule>,
    targets: &dyn Targets,
) -> Result<(), InvalidRule> {
    for (index, target) in document.targets.iter_mut().enumerate() {
        let pointer = format!("/targets/{index}/to");
        let known = before.and_then(|rule| rule.target(&target.id));
        let known = known.map(|target| target.definition.as_str());
        let stored = targets
            .accept(target.to.get(), known)
            .map_err(|error| InvalidRule::from(error.under(&pointer)))?;
        target.to = raw(stored, &pointer)?;
    }
    Ok(())
}

/// Writes a rule without its secrets.
pub(super) fn show(rule: &Rule, targets: &dyn Targets) -> Result<Document, InvalidRule> {
    document_of(rule, |stored| Ok(targets.show(stored)?))
}

/// Writes a rule as it is stored.
pub(super) fn stored(rule: &Rule) -> Result<Document, InvalidRule> {
    document_of(rule, |stored| Ok(stored.to_owned()))
}

fn document_of(
    rule: &Rule,
    to: impl Fn(&str) -> Result<String, InvalidRule>,
) -> Result<Document, InvalidRule> {
    let mut shown = Vec::with_capacity(rule.targets.len());
    for target in &rule.targets {
        shown.push(TargetFields {
            id: target.id.to_string(),
            enabled: target.enabled,
            retry: fields_of(target.retry),
            concurrency: target.concurrency,
            to: raw(to(&target.definition)?, "/targets")?,
        });
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(DAY_MS);
    let (from, position) = match rule.start {
        RuleStart::Now => (StartName::Now, None),
        RuleStart::Beginning => (StartName::Beginning, None),
        RuleStart::After(position) => (StartName::After, Some(position.get())),
    };
    Ok(Document {
        id: Some(rule.id.to_string()),
        name: rule.name.clone(),
        description: rule.description.clone(),
        enabled: rule.enabled,
        priority: rule.priority,
        conditions: raw(rule.conditions_text.clone(), "/conditions")?,
        order: match rule.order {
            Order::Strict => OrderName::Strict,
            Order::Relaxed => OrderName::Relaxed,
        },
        rate_limit: rule.rate_limit.map(|limit| RateLimitFields {
            max_events: limit.max_events,
            time_window_ms: millis(limit.time_window),
        }),
        start: StartFields { from, position },
        targets: shown,
    })
}

fn fields_of(policy: RetryPolicy) -> RetryFields {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(DAY_MS);
    RetryFields {
        strategy: match policy.strategy {
            RetryStrategy::Fixed => StrategyName::Fixed,
            RetryStrategy::Linear => StrategyName::Linear,
            RetryStrategy::Exponential => StrategyName::Exponential,
        },
        base_delay_ms: millis(policy.base_delay),
        max_delay_ms: millis(policy.max_delay),
        max_attempts: policy.max_attempts,
        jitter: match policy.jitter {
            Jitter::None => JitterName::None,
            Jitter::Full => JitterName::Full,
        },
    }
}

pub(super) fn raw(text: String, pointer: &str) -> Result<Box<RawValue>, InvalidRule> {
    RawValue::from_string(text).map_err(|error| InvalidRule::at(pointer, error.to_string()))
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } => pointer = child(&pointer, key),
            Segment::Seq { index } => pointer = child(&pointer, &index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}
