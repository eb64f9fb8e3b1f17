//! The registry: makes, changes and deletes rules, and follows what other nodes do to them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use factum_model::{ExpectedVersion, NewEvent, Position, RecordedEvent, SYSTEM_AGGREGATE_TYPE};
use factum_query::{CelLimits, Filter, FilterLimits};
use factum_store::{AppendError, AppendRequest, LogRead, ReadError, StreamExpectation, Visibility};
use tokio::sync::watch;

use super::book::Book;
use super::definition;
use super::error::{InvalidRule, RuleError};
use super::record::{self, Change};
use super::rule::{Rule, RuleId, RuleTarget};
use crate::deliver::Targets;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::live::{LiveRead, LiveStart, LiveStep};

/// The bounds on rules.
#[derive(Debug, Clone, Copy)]
pub struct RuleLimits {
    /// The largest number of rules.
    pub rules_max: usize,
    /// The largest number of targets of a rule.
    pub targets_max: usize,
    /// The largest number of predicates of a rule.
    pub predicates_max: usize,
    /// The longest definition in bytes.
    pub definition_bytes_max: usize,
    /// The bounds on the filter that the conditions come to.
    pub filter: FilterLimits,
    /// The bounds on an expression.
    pub cel: CelLimits,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self {
            rules_max: 500,
            targets_max: 10,
            predicates_max: 100,
            definition_bytes_max: 256 << 10,
            filter: FilterLimits::DEFAULT,
            cel: CelLimits::DEFAULT,
        }
    }
}

impl RuleLimits {
    /// Returns the bounds on what is stored already: it was within those that held then, and must
    /// not be lost sight of because they were lowered since. The memory of a regular expression
    /// stays bounded.
    fn of_stored(&self) -> Self {
        let compiled = self.filter.regex_compiled_bytes_max;
        let least = FilterLimits::DEFAULT.regex_compiled_bytes_max;
        Self {
            rules_max: usize::MAX,
            targets_max: usize::MAX,
            predicates_max: usize::MAX,
            definition_bytes_max: usize::MAX,
            filter: FilterLimits {
                values_max: usize::MAX,
                depth_max: usize::MAX,
                path_bytes_max: usize::MAX,
                path_parts_max: usize::MAX,
                path_filters_max: usize::MAX,
                regexes_max: usize::MAX,
                regex_bytes_max: usize::MAX,
                regex_compiled_bytes_max: compiled.max(least),
                needle_bytes_max: usize::MAX,
            },
            cel: self.cel,
        }
    }
}

/// The rules of a store. Cloning is cheap and gives another handle to the same registry.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) targets: Arc<dyn Targets>,
    pub(super) limits: RuleLimits,
    book: RwLock<Book>,
    changed: watch::Sender<u64>,
}

/// How long to wait before the rules are asked for again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Rules {
    /// Reads all rules of a store.
    ///
    /// # Errors
    /// [`RuleError`]; an event of a rule that cannot be read is left out and logged, so that one
    /// rule that a newer release wrote does not stop the others.
    pub async fn open(
        engine: Engine,
        targets: Arc<dyn Targets>,
        limits: RuleLimits,
    ) -> Result<Self, RuleError> {
        let rules = Self {
            inner: Arc::new(Inner {
                engine,
                targets,
                limits,
                book: RwLock::default(),
                changed: watch::Sender::new(0),
            }),
        };
        rules.refresh().await?;
        Ok(rules)
    }

    /// Reads what the log says of rules up to its head.
    pub(crate) async fn refresh(&self) -> Result<(), RuleError> {
        let mut after = self.read().folded_to();
        loop {
            let page = self.inner.engine.read_log(LogRead {
                filter: rule_events(),
                visibility: Visibility::Everything,
                after,
                ..LogRead::forwards()
            });
            let page = page.await?;
            self.fold(&page.events);
            self.folded_to(page.scanned_to);
            if !page.has_more {
                return Ok(());
            }
            after = page.scanned_to;
        }
    }

    /// Returns the rules with an event that could not be read, and that no later one makes up for.
    pub(crate) fn unread(&self) -> Vec<String> {
        self.read().unread()
    }

    fn folded_to(&self, through: Option<Position>) {
        self.write().has_folded_to(through);
    }

    /// Follows the log, so that what other nodes do to rules is known here. Runs until the store
    /// is closed or the future is dropped.
    ///
    /// # Errors
    /// [`RuleError`]; what was known until then stays known.
    pub async fn follow(&self) -> Result<(), RuleError> {
        let start = match self.read().folded_to() {
            Some(position) => LiveStart::After(position),
            None => LiveStart::Beginning,
        };
        let mut reader = self.inner.engine.live(LiveRead {
            filter: rule_events(),
            visibility: Visibility::Everything,
            start,
            ..LiveRead::default()
        })?;
        loop {
            match reader.next().await {
                Ok(LiveStep::Batch { events, through }) => {
                    self.fold(&events);
                    self.folded_to(through);
                }
                Ok(LiveStep::CaughtUp { .. }) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(ReadError::Unavailable(error)) => {
                    tracing::warn!(%error, "changes of rules are not seen for now");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes every change of a rule up to a position known, reading what [`Rules::follow`] has not
    /// read yet. Who asks rules about an event asks this first, where it matters that the rules
    /// are no older than the event.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn know(&self, through: Position) -> Result<(), ReadError> {
        loop {
            let after = self.read().folded_to();
            if after >= Some(through) {
                return Ok(());
            }
            let page = self.inner.engine.store().read_log(LogRead {
                filter: rule_events(),
                visibility: Visibility::Everything,
                after,
                ..LogRead::forwards()
            });
            let page = page.await?;
            self.fold(&page.events);
            self.folded_to(page.scanned_to);
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Returns all rules, the greatest priority first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Rule>> {
        self.read().list()
    }

    /// Returns a rule.
    ///
    /// # Errors
    /// [`RuleError::NotFound`].
    pub fn get(&self, id: &str) -> Result<Arc<Rule>, RuleError> {
        let rule = self.read().get(id).cloned();
        rule.ok_or_else(|| not_found(id))
    }

    /// Returns a count that changes whenever a rule does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Writes the definition of a rule as JSON, without its secrets. Sent back as it is, it changes
    /// nothing.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] when a target cannot be shown, as its kind is not known here.
    pub fn show(&self, rule: &Rule) -> Result<String, RuleError> {
        let document = definition::show(rule, &*self.inner.targets)?;
        Ok(document.to_json()?)
    }

    /// Makes a rule. It is durable and sends from now on when this returns.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] with the place of the first fault, [`RuleError::Exists`],
    /// [`RuleError::TooMany`], or what the engine says.
    pub async fn create(&self, text: &str, by: &str) -> Result<Arc<Rule>, RuleError> {
        let checked = definition::read(text, &self.inner.limits)?;
        let mut document = checked.document;
        let id: RuleId = match &document.id {
            Some(id) => id.parse()?,
            None => self.fresh_id()?,
        };
        if self.read().get(id.as_str()).is_some() {
            return Err(RuleError::Exists { id: id.to_string() });
        }
        let limit = self.inner.limits.rules_max;
        if self.read().len() >= limit {
            return Err(RuleError::TooMany { limit });
        }
        document.id = Some(id.to_string());
        definition::accept(&mut document, None, &*self.inner.targets)?;
        let event = record::event(
            record::CREATED,
            &id,
            Change::Defined(Box::new(document)),
            (by, None),
        )?;
        // A rule of this id may have been deleted; its stream goes on.
        self.record(&id, event, None).await?;
        self.get(id.as_str())
    }

    /// Replaces the definition of a rule. Deliveries that are under way are not called back.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] with the place of the first fault, [`RuleError::NotFound`],
    /// [`RuleError::Changed`] when somebody else was faster, or what the engine says.
    pub async fn replace(&self, id: &str, text: &str, by: &str) -> Result<Arc<Rule>, RuleError> {
        let before = self.get(id)?;
        let checked = definition::read(text, &self.inner.limits)?;
        let mut document = checked.document;
        if document.id.as_deref().is_some_and(|given| given != id) {
            let rule = "must be the id of the rule, or be left out";
            return Err(InvalidRule::at("/id", rule).into());
        }
        document.id = Some(before.id.to_string());
        definition::accept(&mut document, Some(&before), &*self.inner.targets)?;
        let event = record::event(
            record::CHANGED,
            &before.id,
            Change::Defined(Box::new(document)),
            (by, None),
        )?;
        self.record(&before.id, event, Some(&before)).await?;
        self.get(id)
    }

    /// Switches a rule on or off; the reason is recorded where there is one. What comes while it is
    /// off waits.
    ///
    /// # Errors
    /// [`RuleError::NotFound`], [`RuleError::Changed`], or what the engine says.
    pub async fn switch(
        &self,
        id: &str,
        on: bool,
        (by, reason): (&str, Option<&str>),
    ) -> Result<Arc<Rule>, RuleError> {
        let before = self.get(id)?;
        if before.enabled == on {
            return Ok(before);
        }
        let event_type = if on {
            record::ENABLED
        } else {
            record::DISABLED
        };
        let event = record::event(
            event_type,
            &before.id,
            Change::Switched { on },
            (by, reason),
        )?;
        self.record(&before.id, event, Some(&before)).await?;
        self.get(id)
    }

    /// Switches one target of a rule off; the reason is recorded.
    ///
    /// # Errors
    /// As [`Rules::switch`].
    pub(crate) async fn disable_target(
        &self,
        id: &str,
        target: &str,
        reason: &str,
    ) -> Result<(), RuleError> {
        let before = self.get(id)?;
        let mut document = definition::stored(&before)?;
        let known = document.targets.iter_mut().find(|known| known.id == target);
        let Some(known) = known.filter(|known| known.enabled) else {
            return Ok(());
        };
        known.enabled = false;
        let change = Change::Defined(Box::new(document));
        let event = record::event(
            record::CHANGED,
            &before.id,
            change,
            ("factum", Some(reason)),
        )?;
        self.record(&before.id, event, Some(&before)).await
    }

    /// Deletes a rule. What it was about to send is not sent; its dead letters stay.
    ///
    /// # Errors
    /// [`RuleError::NotFound`], [`RuleError::Changed`], or what the engine says.
    pub async fn delete(&self, id: &str, by: &str) -> Result<(), RuleError> {
        let before = self.get(id)?;
        let event = record::event(record::DELETED, &before.id, Change::Deleted, (by, None))?;
        self.record(&before.id, event, Some(&before)).await
    }

    /// Returns the rules that are for an event, the greatest priority first; those that ask for
    /// other event types are not looked at.
    #[must_use]
    pub fn candidates(&self, event: &RecordedEvent) -> Vec<Arc<Rule>> {
        self.read().candidates(event.event_type())
    }

    /// Returns the rules whose events those who listen to a channel get: the ones that are switched
    /// on and have a target that names it and is switched on.
    #[must_use]
    pub fn of_channel(&self, channel: &str) -> Vec<Arc<Rule>> {
        let leads_there = |target: &RuleTarget| {
            target.enabled && self.channel_of(target).is_some_and(|name| name == channel)
        };
        let rules = self.list().into_iter();
        rules
            .filter(|rule| rule.enabled && rule.targets.iter().any(leads_there))
            .collect()
    }

    /// Returns the channel that a target is, if it is one.
    pub(crate) fn channel_of(&self, target: &RuleTarget) -> Option<String> {
        self.inner.targets.channel(&target.definition)
    }

    pub(crate) fn targets(&self) -> &Arc<dyn Targets> {
        &self.inner.targets
    }

    fn fresh_id(&self) -> Result<RuleId, RuleError> {
        let now = self.inner.engine.clock().now().to_string();
        for attempt in 0_u32..100 {
            let id = factum_model::EventId::derived(&["rule", &now, &attempt.to_string()]);
            let id: String = id
                .to_string()
                .chars()
                .filter(|c| *c != '-')
                .take(12)
                .collect();
            let id: RuleId = format!("rule-{id}").parse()?;
            if self.read().get(id.as_str()).is_none() {
                return Ok(id);
            }
        }
        Err(RuleError::Internal {
            detail: "no id is free".to_owned(),
        })
    }

    /// Appends an event of a rule and takes it over.
    pub(super) async fn record(
        &self,
        id: &RuleId,
        event: NewEvent,
        before: Option<&Rule>,
    ) -> Result<(), RuleError> {
        let stream = event.stream.clone();
        let info = self
            .inner
            .engine
            .stream_info(stream.clone(), Visibility::Everything)
            .await?;
        // The place that was read last; who was faster makes this one fail.
        let version = match (before, info) {
            (Some(rule), _) => ExpectedVersion::Exact(rule.revision),
            (None, Some(info)) => ExpectedVersion::Exact(info.version),
            (None, None) => ExpectedVersion::NoStream,
        };
        let request = AppendRequest {
            events: vec![event],
            expected: vec![StreamExpectation { stream, version }],
            ..AppendRequest::default()
        };
        let receipt = match self.inner.engine.append_own(request).await {
            Ok(receipt) => receipt,
            Err(EngineError::Append(AppendError::VersionConflict { .. })) => {
                return Err(RuleError::Changed { id: id.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        let Some(written) = receipt.events.first() else {
            return Ok(());
        };
        let written = self.inner.engine.event(written.id, Visibility::Everything);
        if let Some(event) = written.await? {
            self.fold(&[event]);
        }
        Ok(())
    }

    fn fold(&self, events: &[RecordedEvent]) {
        let mut changed = false;
        let limits = self.inner.limits.of_stored();
        for event in events {
            match self.write().apply(event, &limits) {
                Ok(did) => changed |= did,
                Err(error) => tracing::error!(
                    %error,
                    "a change of a rule is left out, and what targets that are gone have left stays"
                ),
            }
        }
        if changed {
            self.inner.changed.send_modify(|count| *count += 1);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Book> {
        let book = self.inner.book.read();
        book.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Book> {
        let book = self.inner.book.write();
        book.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many rules are switched on and off, for metrics.
    #[must_use]
    pub fn counts(&self) -> HashMap<bool, usize> {
        self.list().iter().fold(HashMap::new(), |mut counts, rule| {
            *counts.entry(rule.enabled).or_default() += 1;
            counts
        })
    }
}

fn not_found(id: &str) -> RuleError {
    RuleError::NotFound {
        id: id.chars().take(100).collect(),
    }
}

fn rule_events() -> Filter {
    Filter {
        event_types: record::TYPES
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        aggregate_types: SYSTEM_AGGREGATE_TYPE.parse().into_iter().collect(),
        ..Filter::default()
    }
}
