//! Dry runs: which rules an event would be for, and why the others are not.

use std::collections::HashSet;
use std::sync::Arc;

use factum_model::{EventId, RecordedEvent};
use factum_query::{Condition, Explanation};
use factum_store::{LogRead, Visibility};

use super::definition;
use super::error::RuleError;
use super::registry::Rules;
use super::rule::{Rule, explained};

/// Which events a dry run looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DryRun {
    /// This one.
    Event(EventId),
    /// The last ones of the log, at most 1000.
    Last(usize),
}

/// What a rule says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOutcome {
    /// The rule; `None` for a definition that is not recorded.
    pub rule: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether the rule is for the event, and if not, why. Pointers begin at its conditions.
    pub explanation: Explanation,
}

/// What rules say of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestedEvent {
    /// The event.
    pub event: RecordedEvent,
    /// What each rule says, the greatest priority first.
    pub outcomes: Vec<RuleOutcome>,
}

/// The most events that a dry run looks at.
const EVENTS_MAX: usize = 1000;

impl Rules {
    /// Says which rules are for which events, without sending anything.
    ///
    /// # Errors
    /// What the engine says; [`RuleError::NotFound`] for an event that is not there.
    pub async fn dry_run(&self, run: &DryRun) -> Result<Vec<TestedEvent>, RuleError> {
        let rules = self.list();
        let events = self.events(run).await?;
        Ok(tested(events, |event| {
            let candidates = self.candidates(event);
            let candidates: HashSet<&str> =
                candidates.iter().map(|rule| rule.id.as_str()).collect();
            let outcome = |rule: &Arc<Rule>| RuleOutcome {
                rule: Some(rule.id.to_string()),
                enabled: rule.enabled,
                // Most rules ask for other types, and need not be asked further.
                explanation: if candidates.contains(rule.id.as_str()) {
                    rule.explain(event)
                } else {
                    rule.explain_refusal(event)
                },
            };
            rules.iter().map(outcome).collect()
        }))
    }

    /// Says which events one rule is for.
    ///
    /// # Errors
    /// As [`Rules::dry_run`], and [`RuleError::NotFound`] for a rule that is not there.
    pub async fn dry_run_of(&self, id: &str, run: &DryRun) -> Result<Vec<TestedEvent>, RuleError> {
        let rule = self.get(id)?;
        let events = self.events(run).await?;
        Ok(tested(events, |event| {
            vec![RuleOutcome {
                rule: Some(rule.id.to_string()),
                enabled: rule.enabled,
                explanation: rule.explain(event),
            }]
        }))
    }

    /// Says which events a definition would be for, without recording it. The whole definition is
    /// checked as if it were made.
    ///
    /// # Errors
    /// As [`Rules::dry_run`], and [`RuleError::Invalid`].
    pub async fn dry_run_definition(
        &self,
        text: &str,
        run: &DryRun,
    ) -> Result<Vec<TestedEvent>, RuleError> {
        let checked = definition::read(text, &self.inner.limits)?;
        let mut document = checked.document;
        let id = document.id.clone().unwrap_or_default();
        let before = self.get(&id).ok();
        definition::accept(&mut document, before.as_deref(), &*self.inner.targets)?;
        let condition: Condition = checked.condition;
        let events = self.events(run).await?;
        Ok(tested(events, |event| {
            vec![RuleOutcome {
                rule: None,
                enabled: document.enabled,
                explanation: explained(&condition, document.conditions.get(), event),
            }]
        }))
    }

    async fn events(&self, run: &DryRun) -> Result<Vec<RecordedEvent>, RuleError> {
        match run {
            DryRun::Event(id) => {
                let event = self
                    .inner
                    .engine
                    .event(*id, Visibility::Application)
                    .await?;
                let event = event.ok_or_else(|| RuleError::NoEvent { id: *id })?;
                Ok(vec![event])
            }
            DryRun::Last(n) => {
                let page = self.inner.engine.read_log(LogRead {
                    visibility: Visibility::Application,
                    limit: (*n).clamp(1, EVENTS_MAX),
                    ..LogRead::backwards()
                });
                let mut events = page.await?.events;
                events.reverse();
                Ok(events)
            }
        }
    }
}

fn tested(
    events: Vec<RecordedEvent>,
    outcomes: impl Fn(&RecordedEvent) -> Vec<RuleOutcome>,
) -> Vec<TestedEvent> {
    let of = |event: RecordedEvent| TestedEvent {
        outcomes: outcomes(&event),
        event,
    };
    events.into_iter().map(of).collect()
}
