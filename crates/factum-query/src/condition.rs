//! Conditions of rules: predicates joined by all, any and not, which say why they do not hold.

use factum_model::RecordedEvent;

use crate::cel::{CelExpression, CelFailure, CelVerdict};
use crate::filter::{Filter, View};

/// How many levels of a condition may stand inside each other.
pub const CONDITION_DEPTH_MAX: usize = 4;

/// Says which events a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// All of these hold; without any, every event is meant.
    All(Vec<Self>),
    /// One of these holds; without any, no event is meant.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// One predicate.
    Is(Predicate),
}

/// One thing that is true of an event or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    /// The filter matches it.
    Filter(Box<Filter>),
    /// The expression holds for it.
    Cel(CelExpression),
}

/// What a condition says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// It holds.
    Matched,
    /// It does not hold.
    NotMatched(Reason),
    /// It cannot be said.
    Failed {
        /// Which predicate, as a JSON pointer from the outermost condition.
        pointer: String,
        /// Why.
        failure: CelFailure,
    },
}

/// Why a condition does not hold: the first predicate that decided it, in the order in which they
/// stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which one, as a JSON pointer from the outermost condition.
    pub pointer: String,
    /// The member that the event does not have, where an expression asked for one.
    pub missing: Option<String>,
}

impl Condition {
    /// Says whether the condition holds for an event, and where it does not, why.
    #[must_use]
    pub fn explain(&self, event: &RecordedEvent) -> Explanation {
        let view = View::of(event);
        match self.holds(&view, &mut Trail::default()) {
            Ok(Outcome::Holds) => Explanation::Matched,
            Ok(Outcome::Not(reason)) => Explanation::NotMatched(reason),
            Err((pointer, failure)) => Explanation::Failed { pointer, failure },
        }
    }

    /// Returns the first predicate that says no without any expression, where one does: much less
    /// work than [`Condition::explain`], which says no then as well, perhaps for another reason.
    #[must_use]
    pub fn refusal(&self, event: &RecordedEvent) -> Option<Reason> {
        self.refuses(&View::of(event), &mut Trail::default())
    }

    fn refuses(&self, view: &View<'_>, trail: &mut Trail) -> Option<Reason> {
        match self {
            Self::All(inner) => inner.iter().enumerate().find_map(|(index, inner)| {
                let steps = ["all", &index.to_string()];
                trail.within(steps, |trail| inner.refuses(view, trail))
            }),
            Self::Is(Predicate::Filter(filter)) if !filter.holds(view) => Some(Reason {
                pointer: trail.pointer(),
                missing: None,
            }),
            Self::Is(_) | Self::Any(_) | Self::Not(_) => None,
        }
    }

    /// Returns a filter that matches every event that the condition could hold for, and perhaps
    /// more: what an expression says is left out. The condition decides.
    #[must_use]
    pub fn to_filter(&self) -> Filter {
        self.superset().unwrap_or_default()
    }

    /// Returns what the condition demands; `None` for everything.
    fn superset(&self) -> Option<Filter> {
        match self {
            Self::Is(Predicate::Filter(filter)) => Some((**filter).clone()),
            Self::Is(Predicate::Cel(_)) => None,
            Self::All(inner) => {
                let mut all: Vec<Filter> = inner.iter().filter_map(Self::superset).collect();
                match all.len() {
                    0 => None,
                    1 => all.pop(),
                    _ => Some(Filter {
                        all_of: all,
                        ..Filter::default()
                    }),
                }
            }
            Self::Any(inner) => {
                let any: Option<Vec<Filter>> = inner.iter().map(Self::superset).collect();
                let any = any?;
                // A filter without alternatives means all, a condition without any means none.
                Some(if any.is_empty() {
                    Filter {
                        not: vec![Filter::default()],
                        ..Filter::default()
                    }
                } else {
                    Filter {
                        any_of: any,
                        ..Filter::default()
                    }
                })
            }
            Self::Not(inner) if inner.is_exact() => Some(Filter {
                not: vec![inner.superset().unwrap_or_default()],
                ..Filter::default()
            }),
            Self::Not(_) => None,
        }
    }

    /// Tells whether a filter can say the same.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Is(Predicate::Filter(_)) => true,
            Self::Is(Predicate::Cel(_)) => false,
            Self::All(inner) | Self::Any(inner) => inner.iter().all(Self::is_exact),
            Self::Not(inner) => inner.is_exact(),
        }
    }

    fn holds(&self, view: &View<'_>, trail: &mut Trail) -> Result<Outcome, (String, CelFailure)> {
        match self {
            Self::All(inner) => {
                let mut failure = None;
                for (index, inner) in inner.iter().enumerate() {
                    let outcome = trail.within(["all", &index.to_string()], |trail| {
                        inner.holds(view, trail)
                    });
                    match outcome {
                        Ok(Outcome::Holds) => {}
                        Ok(Outcome::Not(reason)) => return Ok(Outcome::Not(reason)),
                        // Another one may say no, as it does to whoever reads by `to_filter`.
                        Err(error) => {
                            failure.get_or_insert(error);
                        }
                    }
                }
                failure.map_or(Ok(Outcome::Holds), Err)
            }
            Self::Any(inner) => {
                let mut first = None;
                let mut failure = None;
                for (index, inner) in inner.iter().enumerate() {
                    let outcome = trail.within(["any", &index.to_string()], |trail| {
                        inner.holds(view, trail)
                    });
                    match outcome {
                        Ok(Outcome::Holds) => return Ok(Outcome::Holds),
                        Ok(Outcome::Not(reason)) => {
                            first.get_or_insert(reason);
                        }
                        // Another one may hold; if none does it is not known.
                        Err(error) => {
                            failure.get_or_insert(error);
                        }
                    }
                }
                if let Some(failure) = failure {
                    return Err(failure);
                }
                // Several were needed to say no, so it is the group that does not hold.
                let reason = match first {
                    Some(reason) if inner.len() == 1 => reason,
                    Some(_) | None => Reason {
                        pointer: trail.pointer(),
                        missing: None,
                    },
                };
                Ok(Outcome::Not(reason))
            }
            Self::Not(inner) => {
                let outcome = trail.within(["not"], |trail| inner.holds(view, trail))?;
                Ok(match outcome {
                    Outcome::Holds => Outcome::Not(Reason {
                        pointer: trail.pointer(),
                        missing: None,
                    }),
                    Outcome::Not(_) => Outcome::Holds,
                })
            }
            Self::Is(predicate) => predicate.holds(view, trail),
        }
    }
}

impl Predicate {
    fn holds(&self, view: &View<'_>, trail: &Trail) -> Result<Outcome, (String, CelFailure)> {
        let not = |missing| {
            Outcome::Not(Reason {
                pointer: trail.pointer(),
                missing,
            })
        };
        Ok(match self {
            Self::Filter(filter) if filter.holds(view) => Outcome::Holds,
            Self::Filter(_) => not(None),
            Self::Cel(expression) => match expression.evaluate_view(view) {
                Ok(CelVerdict::True) => Outcome::Holds,
                Ok(CelVerdict::False) => not(None),
                Ok(CelVerdict::Missing { key }) => not(Some(key)),
                Err(failure) => return Err((trail.pointer(), failure)),
            },
        })
    }
}

enum Outcome {
    Holds,
    Not(Reason),
}

/// Where a walk through a condition stands.
#[derive(Default)]
struct Trail(Vec<String>);

impl Trail {
    fn within<const N: usize, T>(
        &mut self,
        steps: [&str; N],
        inside: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.0.len();
        self.0.extend(steps.map(str::to_owned));
        let outcome = inside(self);
        self.0.truncate(length);
        outcome
    }

    fn pointer(&self) -> String {
        self.0.iter().fold(String::new(), |mut pointer, step| {
            pointer.push('/');
            pointer.push_str(step);
            pointer
        })
    }
}

#[cfg(test)]
mod tests {
    use factum_model::{
        EventId, EventOrigin, Position, RecordedFields, SchemaVersion, SequenceNumber, Timestamp,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{CelLimits, JsonQuery};

    fn event(event_type: &str, payload: &str) -> RecordedEvent {
        RecordedEvent::new(RecordedFields {
            id: EventId::from_bytes([1; 16]),
            position: Position::FIRST,
            sequence_number: SequenceNumber::FIRST,
            recorded_at: Timestamp::from_micros(20).unwrap(),
            timestamp: Timestamp::from_micros(10).unwrap(),
            schema_version: SchemaVersion::FIRST,
            origin: EventOrigin::default(),
            causation_id: None,
            event_type,
            aggregate_type: "form",
            aggregate_id: "f-1",
            correlation_id: None,
            metadata: "{}",
            payload,
        })
    }

    fn typed(pattern: &str) -> Condition {
        Condition::Is(Predicate::Filter(Box::new(Filter {
            event_types: vec![pattern.parse().unwrap()],
            ..Filter::default()
        })))
    }

    fn payload(path: &str, value: u64) -> Condition {
        Condition::Is(Predicate::Filter(Box::new(Filter {
            payload: Some(JsonQuery::equals(path, value).unwrap()),
            ..Filter::default()
        })))
    }

    fn cel(text: &str) -> Condition {
        let expression = CelExpression::compile(text, &CelLimits::DEFAULT).unwrap();
        Condition::Is(Predicate::Cel(expression))
    }

    fn reason(condition: &Condition, event: &RecordedEvent) -> String {
        match condition.explain(event) {
            Explanation::NotMatched(reason) => reason.pointer,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_predicate_that_decides_is_named() {
        let seen = event("form.opened", r#"{"a":1,"s":"x"}"#);
        let all = Condition::All(vec![typed("form.*"), payload("$.a", 2)]);
        assert_eq!(reason(&all, &seen), "/all/1");
        let any = Condition::Any(vec![typed("other"), payload("$.a", 2)]);
        assert_eq!(reason(&any, &seen), "");
        let nested = Condition::All(vec![typed("form.*"), Condition::Any(vec![cel("false")])]);
        assert_eq!(reason(&nested, &seen), "/all/1/any/0");
        let not = Condition::Not(Box::new(typed("form.*")));
        assert_eq!(reason(&Condition::All(vec![not]), &seen), "/all/0");
        let missing = cel("event.payload.b == 1").explain(&seen);
        assert_eq!(
            missing,
            Explanation::NotMatched(Reason {
                pointer: String::new(),
                missing: Some("b".to_owned())
            })
        );
        let failed = Condition::Any(vec![typed("other"), cel("event.payload.s > 1")]);
        let Explanation::Failed { pointer, .. } = failed.explain(&seen) else {
            panic!("the expression cannot be evaluated");
        };
        assert_eq!(pointer, "/any/1");
        let held = Condition::Any(vec![cel("event.payload.s > 1"), typed("form.*")]);
        assert_eq!(held.explain(&seen), Explanation::Matched);
        // What another predicate says no to is not read, so that an expression fails says nothing.
        let refused = Condition::All(vec![cel("event.payload.s > 1"), typed("other")]);
        assert_eq!(reason(&refused, &seen), "/all/1");
        assert_eq!(refused.refusal(&seen).unwrap().pointer, "/all/1");
        assert_eq!(failed.refusal(&seen), None);
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let leaf = prop_oneof![
            prop::sample::select(vec!["form.*", "form.opened", "case.*"]).prop_map(typed),
            (0_u64..3).prop_map(|value| payload("$.a", value)),
            (0_u64..3).prop_map(|value| cel(&format!("event.payload.a == {value}"))),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::Any),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_filter_of_a_condition_leaves_nothing_out(
            condition in condition(),
            event_type in prop::sample::select(vec!["form.opened", "form.closed", "case.made"]),
            value in 0_u64..3,
        ) {
            let seen = event(event_type, &format!(r#"{{"a":{value}}}"#));
            let holds = condition.explain(&seen) == Explanation::Matched;
            let passes = condition.to_filter().matches(&seen);
            prop_assert!(passes || !holds);
            prop_assert!(condition.refusal(&seen).is_none() || !(holds || passes));
            if condition.is_exact() {
                prop_assert_eq!(passes, holds);
            }
        }
    }
}
