//! What led to an event and what came of it: causes, effects and conversations.

use std::collections::{HashMap, HashSet};

use factum_model::{CorrelationId, EventId, Position, RecordedEvent};
use factum_query::Filter;
use factum_store::{LogRead, Visibility};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::EngineError;

/// How many causes are asked for at once.
const CAUSES_AT_ONCE: usize = 100;
/// The longest chain of causes that is followed.
const DEPTH_MAX: u32 = 1000;
/// How many bytes of texts one answer holds, about.
const BYTES_MAX: usize = 16 << 20;

/// What is left of the bounds on one answer.
struct Budget {
    bytes: usize,
    deadline: Instant,
}

impl Budget {
    fn new(engine: &Engine) -> Self {
        Self {
            bytes: BYTES_MAX,
            deadline: Instant::now() + engine.options().read_time_max,
        }
    }

    fn take(&mut self, events: &[RecordedEvent]) {
        let taken: usize = events.iter().map(RecordedEvent::text_bytes).sum();
        self.bytes = self.bytes.saturating_sub(taken);
    }

    fn is_spent(&self) -> bool {
        self.bytes == 0 || Instant::now() >= self.deadline
    }
}

/// An event in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEvent {
    /// How many events lie between it and the root of its tree, plus one; 0 for the root.
    pub depth: u32,
    /// The event.
    pub event: RecordedEvent,
}

/// What led to an event and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CausalTree {
    /// The chain of causes, the first cause first, the direct cause last.
    pub ancestors: Vec<RecordedEvent>,
    /// The cause of the first ancestor, or of the event itself, that is named and not there.
    pub missing_cause: Option<EventId>,
    /// The event, its effects, and theirs, each followed by what came of it, in order of position.
    pub tree: Vec<TreeEvent>,
    /// Everything is there; otherwise a bound was reached.
    pub complete: bool,
}

/// The events of a conversation, as the trees that they form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The events, each followed by what came of it, in order of position.
    pub forest: Vec<TreeEvent>,
    /// Everything is there; otherwise a bound was reached, and the oldest events are given.
    pub complete: bool,
}

impl Engine {
    /// Returns the causes and effects of an event, or `None` where there is no such event that the
    /// reader may see. At most `events_max` effects are given, those nearest to the event.
    ///
    /// # Errors
    /// [`EngineError::Read`].
    pub async fn causal_tree(
        &self,
        id: EventId,
        visibility: Visibility,
        events_max: usize,
    ) -> Result<Option<CausalTree>, EngineError> {
        let Some(event) = self.event(id, visibility).await? else {
            return Ok(None);
        };
        let mut budget = Budget::new(self);
        let chain = self.ancestors(&event, visibility, &mut budget);
        let (ancestors, missing_cause, whole_chain) = chain.await?;
        let effects = self.effects(&event, visibility, events_max, &mut budget);
        let (effects, all_effects) = effects.await?;
        let mut events = vec![event];
        events.extend(effects);
        Ok(Some(CausalTree {
            ancestors,
            missing_cause,
            tree: forest(events),
            complete: whole_chain && all_effects,
        }))
    }

    /// Returns the events of a conversation, at most `events_max`, the oldest.
    ///
    /// # Errors
    /// [`EngineError::Read`].
    pub async fn conversation(
        &self,
        id: CorrelationId,
        visibility: Visibility,
        events_max: usize,
    ) -> Result<Conversation, EngineError> {
        let filter = Filter {
            correlation_id: Some(id),
            ..Filter::default()
        };
        let mut budget = Budget::new(self);
        let events = self.all(filter, visibility, events_max, &mut budget);
        let (events, complete) = events.await?;
        Ok(Conversation {
            forest: forest(events),
            complete,
        })
    }

    /// Follows the causes back.
    async fn ancestors(
        &self,
        event: &RecordedEvent,
        visibility: Visibility,
        budget: &mut Budget,
    ) -> Result<(Vec<RecordedEvent>, Option<EventId>, bool), EngineError> {
        let mut ancestors: Vec<RecordedEvent> = Vec::new();
        let mut seen = HashSet::from([event.id]);
        let mut cause = event.causation_id;
        while let Some(id) = cause {
            // A cause is named before it is there when events are imported, so a chain may close.
            let too_long = ancestors.len() as u64 >= u64::from(DEPTH_MAX);
            if too_long || budget.is_spent() || !seen.insert(id) {
                ancestors.reverse();
                return Ok((ancestors, None, false));
            }
            let Some(found) = self.event(id, visibility).await? else {
                break;
            };
            cause = found.causation_id;
            budget.take(std::slice::from_ref(&found));
            ancestors.push(found);
        }
        ancestors.reverse();
        Ok((ancestors, cause, true))
    }

    /// Collects the effects of an event, level by level.
    async fn effects(
        &self,
        root: &RecordedEvent,
        visibility: Visibility,
        events_max: usize,
        budget: &mut Budget,
    ) -> Result<(Vec<RecordedEvent>, bool), EngineError> {
        let mut effects: Vec<RecordedEvent> = Vec::new();
        let mut seen = HashSet::from([root.id]);
        let mut level = vec![root.id];
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for causes in level.chunks(CAUSES_AT_ONCE) {
                let caused_by = |id: &EventId| Filter {
                    causation_id: Some(*id),
                    ..Filter::default()
                };
                let filter = Filter {
                    any_of: causes.iter().map(caused_by).collect(),
                    ..Filter::default()
                };
                let left = events_max.saturating_sub(effects.len());
                let (found, complete) = self.all(filter, visibility, left, budget).await?;
                for event in found {
                    if seen.insert(event.id) {
                        next.push(event.id);
                        effects.push(event);
                    }
                }
                if !complete {
                    return Ok((effects, false));
                }
            }
            if next.is_empty() {
                return Ok((effects, true));
            }
            level = next;
        }
        Ok((effects, false))
    }

    /// Reads all events that match, at most so many, the oldest; says whether that is all.
    async fn all(
        &self,
        filter: Filter,
        visibility: Visibility,
        events_max: usize,
        budget: &mut Budget,
    ) -> Result<(Vec<RecordedEvent>, bool), EngineError> {
        let mut events = Vec::new();
        let mut after = None;
        loop {
            let read = LogRead {
                filter: filter.clone(),
                visibility,
                after,
                limit: events_max.saturating_sub(events.len()).saturating_add(1),
                time_max: self.options().read_time_max,
                ..LogRead::forwards()
            };
            let page = self.store().read_log(read).await?;
            let stuck = page.scanned_to == after;
            budget.take(&page.events);
            events.extend(page.events);
            after = page.scanned_to;
            if events.len() > events_max {
                events.truncate(events_max);
                return Ok((events, false));
            }
            if !page.has_more {
                return Ok((events, true));
            }
            if stuck || budget.is_spent() {
                return Ok((events, false));
            }
        }
    }
}

/// Puts events into the order of the trees that they form: each is followed by what came of it.
/// Events whose cause is not among them are roots.
fn forest(mut events: Vec<RecordedEvent>) -> Vec<TreeEvent> {
    events.sort_by_key(|event| event.position);
    let ids: HashSet<EventId> = events.iter().map(|event| event.id).collect();
    let mut effects: HashMap<EventId, Vec<Position>> = HashMap::new();
    let mut roots: Vec<Position> = Vec::new();
    for event in &events {
        match event.causation_id.filter(|cause| ids.contains(cause)) {
            Some(cause) if cause != event.id => {
                effects.entry(cause).or_default().push(event.position);
            }
            Some(_) | None => roots.push(event.position),
        }
    }
    let mut by_position: HashMap<Position, RecordedEvent> = events
        .into_iter()
        .map(|event| (event.position, event))
        .collect();
    let mut ordered = Vec::with_capacity(by_position.len());
    let mut place = |roots: Vec<Position>, left: &mut HashMap<Position, RecordedEvent>| {
        let mut stack: Vec<(Position, u32)> =
            roots.into_iter().rev().map(|root| (root, 0)).collect();
        while let Some((position, depth)) = stack.pop() {
            let Some(event) = left.remove(&position) else {
                continue;
            };
            let below = effects.get(&event.id).into_iter().flatten().rev();
            stack.extend(below.map(|effect| (*effect, depth.saturating_add(1))));
            ordered.push(TreeEvent { depth, event });
        }
    };
    place(roots, &mut by_position);
    // What is left lies on chains that close; the oldest of each is taken for its root.
    while let Some(first) = by_position.keys().min().copied() {
        place(vec![first], &mut by_position);
    }
    ordered
}
