//! The filter and its plain evaluator.

use factum_model::{
    AggregateId, AggregateType, CorrelationId, EventId, KnownMetadata, RecordedEvent, StreamId,
    Timestamp,
};
use thiserror::Error;

use crate::pattern::TypePattern;

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
    /// At least one of these holds too, where there are any.
    pub any_of: Vec<Self>,
}

/// The bounds on a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterLimits {
    /// The largest number of values in all lists together.
    pub values_max: usize,
    /// How many levels of `any_of` may stand inside each other.
    pub depth_max: usize,
}

impl Default for FilterLimits {
    fn default() -> Self {
        Self {
            values_max: 1000,
            depth_max: 4,
        }
    }
}

/// A filter breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidFilter {
    /// A type pattern is not one.
    #[error("{text:?} is not an event type or pattern: {rule}")]
    Pattern {
        /// The text as it came, cut.
        text: String,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The filter has too many values.
    #[error("filter with {actual} values exceeds the limit of {limit}")]
    Values {
        /// The limit.
        limit: usize,
        /// What was found.
        actual: usize,
    },
    /// `any_of` is nested too deeply.
    #[error("filter is nested deeper than the limit of {limit}")]
    Depth {
        /// The limit.
        limit: usize,
    },
    /// An append condition asks for something that no index answers at a bounded cost.
    #[error(
        "an append condition cannot ask for {what}; it can ask for types, aggregates, tags, ids and conversations"
    )]
    Condition {
        /// What it asks for.
        what: &'static str,
    },
    /// A time range ends before it begins.
    #[error("time range ends at {to} before it begins at {from}")]
    Range {
        /// The first instant inside.
        from: Timestamp,
        /// The end.
        to: Timestamp,
    },
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
            && self.metadata_matches(event)
            && one_of(&self.any_of, |inner| inner.matches(event))
    }

    fn metadata_matches(&self, event: &RecordedEvent) -> bool {
        // Most filters ask nothing of the metadata; those events need not be parsed.
        if self.tags.is_empty() && self.user_id.is_none() {
            return true;
        }
        let known = KnownMetadata::read_stored(event.metadata());
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
    /// [`InvalidFilter`] for too many values, too deep nesting, or a range that is turned round.
    pub fn check(&self, limits: FilterLimits) -> Result<(), InvalidFilter> {
        let actual = self.n_values();
        if actual > limits.values_max {
            return Err(InvalidFilter::Values {
                limit: limits.values_max,
                actual,
            });
        }
        self.check_level(0, limits)
    }

    /// Checks that the filter can be an append condition: the writer decides on it while others
    /// wait, so every part of it must be answered by an index.
    ///
    /// # Errors
    /// [`InvalidFilter::Condition`] for a time range, at any level.
    pub fn check_condition(&self) -> Result<(), InvalidFilter> {
        if !self.timestamp.is_open() || !self.recorded_at.is_open() {
            return Err(InvalidFilter::Condition {
                what: "a time range",
            });
        }
        self.any_of.iter().try_for_each(Self::check_condition)
    }

    fn check_level(&self, depth: usize, limits: FilterLimits) -> Result<(), InvalidFilter> {
        if depth > limits.depth_max {
            return Err(InvalidFilter::Depth {
                limit: limits.depth_max,
            });
        }
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
        self.any_of
            .iter()
            .try_for_each(|inner| inner.check_level(depth + 1, limits))
    }

    fn n_values(&self) -> usize {
        self.event_types.len()
            + self.aggregate_types.len()
            + self.aggregate_ids.len()
            + self.streams.len()
            + self.ids.len()
            + self.tags.len()
            + self
                .any_of
                .iter()
                .map(|inner| 1 + inner.n_values())
                .sum::<usize>()
    }
}

fn one_of<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use factum_model::{EventOrigin, Position, RecordedFields, SchemaVersion, SequenceNumber};

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
