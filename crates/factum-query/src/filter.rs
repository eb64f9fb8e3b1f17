//! The filter and its plain evaluator.

use std::cell::{Cell, OnceCell};

use factum_model::{
    AggregateId, AggregateType, CorrelationId, EventId, KnownMetadata, RecordedEvent,
    SequenceNumber, StreamId, Timestamp,
};

use crate::costly::{Counts, PATH_FILTERS, REGEXES};
use crate::document::Document;
use crate::invalid::{FilterLimits, InvalidFilter, at_most};
use crate::json::JsonQuery;
use crate::narrowing::narrowing;
use crate::pattern::TypePattern;
use crate::text::TextQuery;

/// A span of time: from `from`, inclusive, to `to`, exclusive. A side that is absent is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct TimeRange {
    /// The first instant inside.
    pub from: Option<Timestamp>,
    /// The first instant after the span.
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// Tells whether an instant is inside.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }

    /// Tells whether every instant is inside.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// A span of places in a stream, both ends inclusive. A side that is absent is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SequenceRange {
    /// The smallest number inside.
    pub from: Option<SequenceNumber>,
    /// The largest number inside.
    pub to: Option<SequenceNumber>,
}

impl SequenceRange {
    /// Tells whether a number is inside.
    #[must_use]
    pub fn contains(self, number: SequenceNumber) -> bool {
        self.from.is_none_or(|from| from <= number) && self.to.is_none_or(|to| number <= to)
    }

    /// Tells whether every number is inside.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// Says which events are meant. Every condition that is set must hold; an empty filter means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The event type matches one of these.
    pub event_types: Vec<TypePattern>,
    /// The aggregate type is one of these.
    pub aggregate_types: Vec<AggregateType>,
    /// The aggregate id is one of these, under whatever type.
    pub aggregate_ids: Vec<AggregateId>,
    /// The stream is one of these.
    pub streams: Vec<StreamId>,
    /// The event id is one of these.
    pub ids: Vec<EventId>,
    /// The event has all of these tags.
    pub tags: Vec<String>,
    /// The event belongs to this conversation.
    pub correlation_id: Option<CorrelationId>,
    /// The event was caused by this one.
    pub causation_id: Option<EventId>,
    /// The event was caused by this user.
    pub user_id: Option<String>,
    /// When it happened.
    pub timestamp: TimeRange,
    /// When it was recorded.
    pub recorded_at: TimeRange,
    /// The place in its stream.
    pub sequence: SequenceRange,
    /// What is in the payload.
    pub payload: Option<JsonQuery>,
    /// What is in the metadata.
    pub metadata: Option<JsonQuery>,
    /// Words and phrases in the string values of the payload.
    pub text: Option<TextQuery>,
    /// At least one of these holds too, where there are any.
    pub any_of: Vec<Self>,
    /// All of these hold too.
    pub all_of: Vec<Self>,
    /// None of these holds.
    pub not: Vec<Self>,
}

/// What a filter says of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The event is meant.
    pub matches: bool,
    /// A path with a filter expression had to stop in this event, as it had visited
    /// [`crate::PATH_STEPS_MAX`] values, and only what it had selected until then counted.
    pub cut: bool,
}

impl Filter {
    /// Tells whether the filter sets no condition at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether an event is meant. This is the definition.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.examine(event).matches
    }

    /// Tells whether an event is meant, and whether its cost had to be cut.
    ///
    /// Payload and metadata are taken apart once at most, and only if no cheaper condition has
    /// decided before.
    #[must_use]
    pub fn examine(&self, event: &RecordedEvent) -> Verdict {
        let view = View::of(event);
        let matches = self.holds(&view);
        Verdict {
            matches,
            cut: view.cut.get(),
        }
    }

    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        self.envelope_matches(view.event)
            && self.metadata_matches(view)
            && self.not.iter().all(|inner| !inner.holds(view))
            && self.all_of.iter().all(|inner| inner.holds(view))
            && one_of(&self.any_of, |inner| inner.holds(view))
            && self
                .metadata
                .as_ref()
                .is_none_or(|query| query.matches(view.metadata(), &view.cut))
            && self
                .payload
                .as_ref()
                .is_none_or(|query| query.matches(view.payload(), &view.cut))
            && self
                .text
                .as_ref()
                .is_none_or(|query| query.matches(view.payload().strings()))
    }

    fn envelope_matches(&self, event: &RecordedEvent) -> bool {
        one_of(&self.event_types, |pattern| {
            pattern.matches(event.event_type())
        }) && one_of(&self.aggregate_types, |wanted| {
            wanted.as_str() == event.aggregate_type()
        }) && one_of(&self.aggregate_ids, |wanted| {
            wanted.as_str() == event.aggregate_id()
        }) && one_of(&self.streams, |wanted| event.is_of(wanted))
            && one_of(&self.ids, |wanted| *wanted == event.id)
            && self
                .correlation_id
                .as_ref()
                .is_none_or(|wanted| event.correlation_id() == Some(wanted.as_str()))
            && self
                .causation_id
                .is_none_or(|wanted| event.causation_id == Some(wanted))
            && self.timestamp.contains(event.timestamp)
            && self.recorded_at.contains(event.recorded_at)
            && self.sequence.contains(event.sequence_number)
    }

    fn metadata_matches(&self, view: &View<'_>) -> bool {
        // Most filters ask nothing of the metadata; those events need not be parsed.
        if self.tags.is_empty() && self.user_id.is_none() {
            return true;
        }
        let known = view.known();
        let user = self.user_id.as_ref();
        user.is_none_or(|wanted| known.user_id.as_deref() == Some(wanted.as_str()))
            && self
                .tags
                .iter()
                .all(|wanted| known.tags.iter().any(|tag| tag == wanted))
    }

    /// Checks the filter against the limits.
    ///
    /// # Errors
    /// [`InvalidFilter`] for too many values, too deep nesting, something too long, or a range
    /// that is turned round.
    pub fn check(&self, limits: FilterLimits) -> Result<(), InvalidFilter> {
        let actual = self.n_values();
        if actual > limits.values_max {
            return Err(InvalidFilter::Values {
                limit: limits.values_max,
                actual,
            });
        }
        let mut counts = Counts::default();
        self.count_costly(&mut counts);
        at_most(limits.regexes_max, REGEXES, counts.n_regexes)?;
        at_most(limits.path_filters_max, PATH_FILTERS, counts.n_path_filters)?;
        self.check_level(0, limits)
    }

    /// Checks that the filter can be an append condition: the writer decides on it while others
    /// wait, so every part of it must be answered by an index.
    ///
    /// # Errors
    /// [`InvalidFilter::Condition`] for a range of times or sequence numbers, a phrase, and a
    /// condition on payload or metadata that no index decides, at any level.
    pub fn check_condition(&self) -> Result<(), InvalidFilter> {
        narrowing(self)
            .first_undecided()
            .map_or(Ok(()), |what| Err(InvalidFilter::Condition { what }))
    }

    fn check_level(&self, depth: usize, limits: FilterLimits) -> Result<(), InvalidFilter> {
        let queries = [&self.payload, &self.metadata].into_iter().flatten();
        let inner = queries.clone().map(JsonQuery::depth).max().unwrap_or(0);
        if depth + inner > limits.depth_max {
            return Err(InvalidFilter::Depth {
                limit: limits.depth_max,
            });
        }
        self.check_ranges()?;
        let mut needle_bytes = self.text.as_ref().map_or(0, TextQuery::bytes);
        for query in queries {
            query.for_each_condition(&mut |condition| {
                needle_bytes = needle_bytes.max(condition.test.needle_bytes());
            });
        }
        if needle_bytes > limits.needle_bytes_max {
            return Err(InvalidFilter::Length {
                what: "value to compare with",
                limit: limits.needle_bytes_max,
                actual: needle_bytes,
            });
        }
        self.inner_filters()
            .try_for_each(|inner| inner.check_level(depth + 1, limits))
    }

    fn check_ranges(&self) -> Result<(), InvalidFilter> {
        for range in [self.timestamp, self.recorded_at] {
            if let TimeRange {
                from: Some(from),
                to: Some(to),
            } = range
                && to < from
            {
                return Err(InvalidFilter::Range { from, to });
            }
        }
        match self.sequence {
            SequenceRange {
                from: Some(from),
                to: Some(to),
            } if to < from => Err(InvalidFilter::SequenceRange { from, to }),
            SequenceRange { .. } => Ok(()),
        }
    }

    fn inner_filters(&self) -> impl Iterator<Item = &Self> {
        self.any_of.iter().chain(&self.all_of).chain(&self.not)
    }

    fn n_values(&self) -> usize {
        self.event_types.len()
            + self.aggregate_types.len()
            + self.aggregate_ids.len()
            + self.streams.len()
            + self.ids.len()
            + self.tags.len()
            + self.payload.as_ref().map_or(0, JsonQuery::n_values)
            + self.metadata.as_ref().map_or(0, JsonQuery::n_values)
            + self.text.as_ref().map_or(0, TextQuery::n_words)
            + self
                .inner_filters()
                .map(|inner| 1 + inner.n_values())
                .sum::<usize>()
    }

    fn count_costly(&self, counts: &mut Counts) {
        for query in [&self.payload, &self.metadata].into_iter().flatten() {
            query.for_each_condition(&mut |condition| counts.add(&condition.path, &condition.test));
        }
        for inner in self.inner_filters() {
            inner.count_costly(counts);
        }
    }
}

/// An event with its JSON texts, taken apart when somebody asks.
pub(crate) struct View<'e> {
    pub(crate) event: &'e RecordedEvent,
    known: OnceCell<KnownMetadata<'e>>,
    payload: OnceCell<Document<'e>>,
    metadata: OnceCell<Document<'e>>,
    cut: Cell<bool>,
}

impl<'e> View<'e> {
    pub(crate) const fn of(event: &'e RecordedEvent) -> Self {
        Self {
            event,
            known: OnceCell::new(),
            payload: OnceCell::new(),
            metadata: OnceCell::new(),
            cut: Cell::new(false),
        }
    }

    fn known(&self) -> &KnownMetadata<'e> {
        self.known
            .get_or_init(|| KnownMetadata::read_stored(self.event.metadata()))
    }

    pub(crate) fn payload(&self) -> &Document<'e> {
        self.payload
            .get_or_init(|| Document::read(self.event.payload()))
    }

    pub(crate) fn metadata(&self) -> &Document<'e> {
        self.metadata
            .get_or_init(|| Document::read(self.event.metadata()))
    }
}

fn one_of<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use factum_model::{EventOrigin, Position, RecordedFields, SchemaVersion};

    use super::*;

    fn event() -> RecordedEvent {
        RecordedEvent::new(RecordedFields {
            id: EventId::from_bytes([1; 16]),
            position: Position::FIRST,
            sequence_number: SequenceNumber::FIRST,
            recorded_at: Timestamp::from_micros(20).unwrap(),
            timestamp: Timestamp::from_micros(10).unwrap(),
            schema_version: SchemaVersion::FIRST,
            origin: EventOrigin::default(),
            causation_id: Some(EventId::from_bytes([2; 16])),
            event_type: "form.opened",
            aggregate_type: "form",
            aggregate_id: "f-1",
            correlation_id: Some("case"),
            metadata: r#"{"userId":"ann","tags":["x","y"]}"#,
            payload: "{}",
        })
    }

    fn check(expected: bool, filter: &Filter) {
        assert_eq!(filter.matches(&event()), expected, "{filter:?}");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn every_condition_must_hold() {
        let pattern = |text: &str| text.parse::<TypePattern>().unwrap();
        let base = Filter {
            event_types: vec![pattern("other"), pattern("form.*")],
            aggregate_types: vec!["form".parse().unwrap()],
            aggregate_ids: vec!["f-1".parse().unwrap()],
            ids: vec![EventId::from_bytes([1; 16])],
            tags: vec!["y".to_owned(), "x".to_owned()],
            correlation_id: Some("case".parse().unwrap()),
            causation_id: Some(EventId::from_bytes([2; 16])),
            user_id: Some("ann".to_owned()),
            timestamp: TimeRange {
                from: Timestamp::from_micros(10),
                to: Timestamp::from_micros(11),
            },
            recorded_at: TimeRange {
                from: Timestamp::from_micros(20),
                to: None,
            },
            ..Filter::default()
        };
        check(true, &Filter::default());
        check(true, &base);
        check(
            false,
            &Filter {
                event_types: vec![pattern("form")],
                ..base.clone()
            },
        );
        check(
            false,
            &Filter {
                tags: vec!["x".to_owned(), "z".to_owned()],
                ..base.clone()
            },
        );
        check(
            false,
            &Filter {
                user_id: Some("bob".to_owned()),
                ..base.clone()
            },
        );
        check(
            false,
            &Filter {
                causation_id: Some(EventId::from_bytes([1; 16])),
                ..base.clone()
            },
        );
        let ended = TimeRange {
            from: None,
            to: Timestamp::from_micros(10),
        };
        check(
            false,
            &Filter {
                timestamp: ended,
                ..base.clone()
            },
        );
        let no = Filter {
            aggregate_ids: vec!["f-2".parse().unwrap()],
            ..Filter::default()
        };
        check(
            false,
            &Filter {
                any_of: vec![no.clone(), no.clone()],
                ..base.clone()
            },
        );
        check(
            true,
            &Filter {
                any_of: vec![no, Filter::default()],
                ..base
            },
        );
    }

    #[test]
    fn limits_are_checked_through_all_levels() {
        let mut deep = Filter::default();
        for _ in 0..5 {
            deep = Filter {
                any_of: vec![deep],
                ..Filter::default()
            };
        }
        assert_eq!(
            deep.check(FilterLimits::default()),
            Err(InvalidFilter::Depth { limit: 4 })
        );
        let many = Filter {
            tags: vec!["x".to_owned(); 1001],
            ..Filter::default()
        };
        assert!(many.check(FilterLimits::default()).is_err());
    }

    #[test]
    fn conditions_ask_only_for_what_an_index_answers() {
        let tags = Filter {
            tags: vec!["x".to_owned()],
            ..Filter::default()
        };
        assert_eq!(tags.check_condition(), Ok(()));
        let since = TimeRange {
            from: Timestamp::from_micros(1),
            to: None,
        };
        let timed = Filter {
            timestamp: since,
            ..Filter::default()
        };
        assert!(timed.check_condition().is_err());
        assert!(
            Filter {
                any_of: vec![tags, timed],
                ..Filter::default()
            }
            .check_condition()
            .is_err()
        );
    }
}
