//! The rules as the log says they are: a fold of their events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use factum_model::{Position, RecordedEvent, SequenceNumber};
use factum_query::Filter;

use super::definition::{self, Document};
use super::error::{InvalidRule, RuleError};
use super::record::{self, Change};
use super::registry::RuleLimits;
use super::rule::{Rule, RuleId, RuleTarget};

/// The rules of a store.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: BTreeMap<RuleId, Arc<Rule>>,
    /// Rules that ask for event types by name.
    by_type: HashMap<String, BTreeSet<RuleId>>,
    /// The others.
    of_any_type: BTreeSet<RuleId>,
    /// Rules that were deleted by an event after `folded_to`: an earlier event of theirs, which
    /// is still to come round through the log, must not bring them back.
    gone: BTreeMap<RuleId, (SequenceNumber, Position)>,
    /// Streams of rules with an event that could not be read, and that no later one makes up for.
    unread: BTreeMap<String, Unread>,
    /// Everything up to here is folded.
    folded_to: Option<Position>,
}

/// What is known of a rule of which an event could not be read.
#[derive(Debug)]
struct Unread {
    revision: SequenceNumber,
    /// Where the change stands that made each target, if the event says that much.
    since: Option<BTreeMap<String, Position>>,
}

impl Book {
    /// Returns the rules of which it is not known which targets they have, as an event of theirs
    /// could not be read. What a target has left must not be deleted while there are any.
    pub(super) fn unread(&self) -> Vec<String> {
        let streams = self.unread.keys();
        let id = |stream: &String| match record::rule_of(stream) {
            Some(id) => id.to_string(),
            None => stream.clone(),
        };
        streams.map(id).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<Rule>> {
        self.rules.get(&id.parse::<RuleId>().ok()?)
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns all rules, the greatest priority first, then by id.
    pub(super) fn list(&self) -> Vec<Arc<Rule>> {
        let mut rules: Vec<_> = self.rules.values().cloned().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        rules
    }

    /// Returns the rules that could be for an event of a type.
    pub(super) fn candidates(&self, event_type: &str) -> Vec<Arc<Rule>> {
        let named = self.by_type.get(event_type).into_iter().flatten();
        let mut rules: Vec<_> = named
            .chain(&self.of_any_type)
            .filter_map(|id| self.rules.get(id).cloned())
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        rules
    }

    /// Returns up to where everything is folded.
    pub(super) const fn folded_to(&self) -> Option<Position> {
        self.folded_to
    }

    /// Notes up to where everything is folded; who reads beside another does not take it back.
    pub(super) fn has_folded_to(&mut self, through: Option<Position>) {
        self.folded_to = self.folded_to.max(through);
        let folded_to = self.folded_to;
        self.gone
            .retain(|_, (_, position)| folded_to.is_none_or(|to| *position > to));
    }

    /// Takes over what an event says. Taking it over twice changes nothing, since an act of this
    /// node comes round again through the log. Returns whether something changed.
    pub(super) fn apply(
        &mut self,
        event: &RecordedEvent,
        limits: &RuleLimits,
    ) -> Result<bool, RuleError> {
        if self.folded_to.is_some_and(|to| event.position <= to) {
            return Ok(false);
        }
        let applied = self.apply_new(event, limits);
        if applied.is_err() {
            self.note_unread(event);
        }
        applied
    }

    fn apply_new(&mut self, event: &RecordedEvent, limits: &RuleLimits) -> Result<bool, RuleError> {
        let Some(said) = record::read(event)? else {
            return Ok(false);
        };
        if self.is_past(&said.id, event) {
            return Ok(false);
        }
        let known = self.rules.get(&said.id);
        match said.change {
            Change::Defined(document) => {
                let unread = self.unread.get(event.aggregate_id());
                let before = Before { known, unread };
                let rule = rule(said.id, *document, (event, &said.by), before, limits);
                let rule = rule.map_err(|error| RuleError::Record {
                    position: event.position,
                    detail: error.to_string(),
                })?;
                if unread.is_some_and(|unread| unread.since.is_some()) {
                    self.unread.remove(event.aggregate_id());
                }
                self.insert(rule);
            }
            Change::Switched { on } => {
                let Some(rule) = known else {
                    return Ok(false);
                };
                let mut rule = (**rule).clone();
                rule.enabled = on;
                rule.revision = event.sequence_number;
                rule.changed_at = event.recorded_at;
                rule.changed_by = said.by;
                self.insert(rule);
            }
            Change::Deleted => {
                self.remove(&said.id);
                self.unread.remove(event.aggregate_id());
                let place = (event.sequence_number, event.position);
                self.gone.insert(said.id, place);
            }
        }
        Ok(true)
    }

    /// Tells whether something later of the rule is known than this event.
    fn is_past(&self, id: &RuleId, event: &RecordedEvent) -> bool {
        let gone = self.gone.get(id).map(|(revision, _)| *revision);
        let known = self.rules.get(id).map(|rule| rule.revision);
        gone.max(known) >= Some(event.sequence_number)
    }

    fn note_unread(&mut self, event: &RecordedEvent) {
        let stream = event.aggregate_id();
        let id = record::rule_of(stream);
        let unread = self.unread.get(stream);
        let noted = unread.is_some_and(|unread| event.sequence_number <= unread.revision);
        if noted || id.as_ref().is_some_and(|id| self.is_past(id, event)) {
            return;
        }
        let known = id.and_then(|id| self.rules.get(&id));
        let before = Before { known, unread };
        let since = record::target_ids(event).map(|ids| {
            let since = |id: String| {
                let position = before.since(&id).unwrap_or(event.position);
                (id, position)
            };
            ids.into_iter().map(since).collect()
        });
        let revision = event.sequence_number;
        self.unread
            .insert(stream.to_owned(), Unread { revision, since });
    }

    fn insert(&mut self, rule: Rule) {
        self.remove(&rule.id);
        match exact_types(&rule.filter()) {
            Some(types) => {
                for event_type in types {
                    let ids = self.by_type.entry(event_type).or_default();
                    ids.insert(rule.id.clone());
                }
            }
            None => {
                self.of_any_type.insert(rule.id.clone());
            }
        }
        self.rules.insert(rule.id.clone(), Arc::new(rule));
    }

    fn remove(&mut self, id: &RuleId) {
        if self.rules.remove(id).is_none() {
            return;
        }
        self.of_any_type.remove(id);
        self.by_type.retain(|_, ids| {
            ids.remove(id);
            !ids.is_empty()
        });
    }
}

/// Returns the event types that a filter asks for, if it names all of them.
fn exact_types(filter: &Filter) -> Option<Vec<String>> {
    let named = &filter.event_types;
    if !named.is_empty() && named.iter().all(|pattern| pattern.is_exact()) {
        return Some(named.iter().map(|name| name.as_str().to_owned()).collect());
    }
    filter.all_of.iter().find_map(exact_types)
}

/// What was known of a rule before an event.
#[derive(Clone, Copy)]
struct Before<'b> {
    known: Option<&'b Arc<Rule>>,
    unread: Option<&'b Unread>,
}

impl Before<'_> {
    /// Returns where the change stands that made a target. An event that could not be read is later
    /// than what is known: the target is the same one only if it stood there, too.
    fn since(self, target: &str) -> Option<Position> {
        match self.unread.and_then(|unread| unread.since.as_ref()) {
            Some(since) => since.get(target).copied(),
            None => Some(self.known?.target(target)?.since),
        }
    }
}

fn rule(
    id: RuleId,
    document: Document,
    (event, by): (&RecordedEvent, &str),
    before: Before<'_>,
    limits: &RuleLimits,
) -> Result<Rule, InvalidRule> {
    let text = document.to_json()?;
    let checked = definition::read(&text, limits)?;
    let targets: Result<Vec<RuleTarget>, InvalidRule> = document
        .targets
        .iter()
        .map(|target| {
            Ok(RuleTarget {
                id: target.id.parse()?,
                definition: target.to.get().to_owned(),
                enabled: target.enabled,
                retry: target.retry.policy(),
                concurrency: target.concurrency,
                since: before.since(&target.id).unwrap_or(event.position),
            })
        })
        .collect();
    Ok(Rule {
        id,
        targets: targets?,
        rate_limit: document.rate_limit(),
        start: document.start(),
        order: document.order.into(),
        enabled: document.enabled,
        priority: document.priority,
        condition: checked.condition,
        conditions_text: document.conditions.get().to_owned(),
        name: document.name,
        description: document.description,
        revision: event.sequence_number,
        created_at: before
            .known
            .map_or(event.recorded_at, |rule| rule.created_at),
        changed_at: event.recorded_at,
        changed_by: by.to_owned(),
    })
}
