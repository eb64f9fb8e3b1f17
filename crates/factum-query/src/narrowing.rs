//! What an index can say of a filter.

use factum_model::{AggregateId, AggregateType, CorrelationId, EventId, StreamId};

use crate::filter::{Filter, SequenceRange, TimeRange};
use crate::json::{JsonCondition, JsonQuery, JsonTest};
use crate::path::{JsonPath, Selector};
use crate::pattern::TypePattern;
use crate::scalar::JsonScalar;
use crate::terms::{PATH_DEPTH_MAX, Part, PathStep, TermKey, TermValue, VALUE_BYTES_MAX};
use crate::words::for_each_word;

/// A filter in the words of an index.
///
/// An index answers it with two sets of events: `certain`, which match without being looked at,
/// and `possible`, outside of which none matches. What is in the second but not in the first is
/// given to [`Filter::matches`].
///
/// | node | certain | possible |
/// |---|---|---|
/// | `Anything` | none | all |
/// | `Leaf`, [`Answer::Exact`] | the events under the leaf | those, and the events whose terms are not complete |
/// | `Leaf`, [`Answer::Superset`] | none | those, and the events whose terms are not complete |
/// | `And` | what all have; all events if there are none | likewise |
/// | `Or` | what one has; none if there are none | likewise |
/// | `Not` | all without the possible | all without the certain |
///
/// Only terms and words can be incomplete (see [`crate::Coverage`]); each has its own events that
/// are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Narrowing {
    /// The index cannot help.
    Anything {
        /// What it cannot help with, in words.
        what: &'static str,
    },
    /// What one list of the index says.
    Leaf {
        /// Which list.
        leaf: Leaf,
        /// What the list says of the filter.
        answer: Answer,
    },
    /// All of these.
    And(Vec<Self>),
    /// One of these.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// What a list of events in an index says of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The condition holds for the events of the list and for no others.
    Exact,
    /// The condition holds for no others.
    Superset {
        /// What is left to be looked at, in words.
        what: &'static str,
    },
}

/// Events that an index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// Of a type that matches one of these.
    EventTypes(Vec<TypePattern>),
    /// Of one of these aggregate types.
    AggregateTypes(Vec<AggregateType>),
    /// Of an aggregate with one of these ids, of whatever type.
    AggregateIds(Vec<AggregateId>),
    /// Of one of these streams.
    Streams(Vec<StreamId>),
    /// With one of these ids.
    Ids(Vec<EventId>),
    /// With this tag.
    Tag(String),
    /// Of this conversation.
    Correlation(CorrelationId),
    /// Caused by this event.
    Causation(EventId),
    /// Caused by this user.
    User(String),
    /// That happened in this span. An index that knows every time, and not only the span of a
    /// block, may take this and the next two as exact.
    Timestamp(TimeRange),
    /// Recorded in this span.
    Recorded(TimeRange),
    /// At these places of their streams.
    Sequence(SequenceRange),
    /// Whose payload or metadata has this term.
    Term(TermKey),
    /// Whose payload has this word, folded.
    Word(Box<str>),
}

impl Narrowing {
    /// Tells whether the index decides the filter alone: `certain` and `possible` are the same but
    /// for events whose terms are not complete, and for hashes that collide.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.first_undecided().is_none()
    }

    /// Returns the first thing that the index cannot decide, in words.
    #[must_use]
    pub fn first_undecided(&self) -> Option<&'static str> {
        match self {
            Self::Anything { what }
            | Self::Leaf {
                answer: Answer::Superset { what },
                ..
            } => Some(what),
            Self::Leaf {
                answer: Answer::Exact,
                ..
            } => None,
            Self::And(inner) | Self::Or(inner) => inner.iter().find_map(Self::first_undecided),
            Self::Not(inner) => inner.first_undecided(),
        }
    }

    /// Decides for one event, given for every leaf whether the event is under it, or `None` where
    /// that is not known. Returns `None` where the event has to be looked at.
    pub fn decide(&self, is_under: &mut impl FnMut(&Leaf) -> Option<bool>) -> Option<bool> {
        match self {
            Self::Anything { .. } => None,
            Self::Leaf { leaf, answer } => match (answer, is_under(leaf)) {
                (_, Some(false)) => Some(false),
                (Answer::Exact, Some(true)) => Some(true),
                (Answer::Superset { .. }, Some(true)) | (_, None) => None,
            },
            Self::And(inner) => {
                let mut all = Some(true);
                for inner in inner {
                    match inner.decide(is_under) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
            Self::Or(inner) => {
                let mut any = Some(false);
                for inner in inner {
                    match inner.decide(is_under) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                any
            }
            Self::Not(inner) => inner.decide(is_under).map(|holds| !holds),
        }
    }

    const fn exact(leaf: Leaf) -> Self {
        let answer = Answer::Exact;
        Self::Leaf { leaf, answer }
    }

    const fn superset(leaf: Leaf, what: &'static str) -> Self {
        let answer = Answer::Superset { what };
        Self::Leaf { leaf, answer }
    }

    /// Joins what must hold together; one alone stays as it is.
    fn all(mut parts: Vec<Self>) -> Self {
        match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                Self::And(parts)
            }
        }
    }

    fn any(mut parts: Vec<Self>) -> Self {
        match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                Self::Or(parts)
            }
        }
    }
}

/// Says what an index can say of a filter: every event that matches is among the possible, and
/// every event among the certain matches.
#[must_use]
pub fn narrowing(filter: &Filter) -> Narrowing {
    let mut all = Vec::new();
    lists(filter, &mut all);
    names(filter, &mut all);
    ranges(filter, &mut all);
    let metadata = filter.metadata.as_ref();
    all.extend(metadata.map(|query| json(Part::Metadata, query)));
    let payload = filter.payload.as_ref();
    all.extend(payload.map(|query| json(Part::Payload, query)));
    if let Some(text) = &filter.text {
        for phrase in text.phrases() {
            match phrase {
                [word] => all.push(Narrowing::exact(Leaf::Word(word.clone()))),
                words => all.extend(
                    words
                        .iter()
                        .map(|word| Narrowing::superset(Leaf::Word(word.clone()), "a phrase")),
                ),
            }
        }
    }
    all.extend(filter.all_of.iter().map(narrowing));
    if !filter.any_of.is_empty() {
        all.push(Narrowing::any(
            filter.any_of.iter().map(narrowing).collect(),
        ));
    }
    let not = |inner: &Filter| Narrowing::Not(Box::new(narrowing(inner)));
    all.extend(filter.not.iter().map(not));
    Narrowing::all(all)
}

fn lists(filter: &Filter, all: &mut Vec<Narrowing>) {
    if !filter.event_types.is_empty() {
        all.push(Narrowing::exact(Leaf::EventTypes(
            filter.event_types.clone(),
        )));
    }
    if !filter.aggregate_types.is_empty() {
        let leaf = Leaf::AggregateTypes(filter.aggregate_types.clone());
        all.push(Narrowing::exact(leaf));
    }
    if !filter.aggregate_ids.is_empty() {
        let leaf = Leaf::AggregateIds(filter.aggregate_ids.clone());
        all.push(Narrowing::exact(leaf));
    }
    if !filter.streams.is_empty() {
        all.push(Narrowing::exact(Leaf::Streams(filter.streams.clone())));
    }
    if !filter.ids.is_empty() {
        all.push(Narrowing::exact(Leaf::Ids(filter.ids.clone())));
    }
}

fn names(filter: &Filter, all: &mut Vec<Narrowing>) {
    let tags = filter.tags.iter().cloned().map(Leaf::Tag);
    all.extend(tags.map(Narrowing::exact));
    let correlation = filter.correlation_id.clone().map(Leaf::Correlation);
    all.extend(correlation.map(Narrowing::exact));
    let causation = filter.causation_id.map(Leaf::Causation);
    all.extend(causation.map(Narrowing::exact));
    let user = filter.user_id.clone().map(Leaf::User);
    all.extend(user.map(Narrowing::exact));
}

fn ranges(filter: &Filter, all: &mut Vec<Narrowing>) {
    const TIME: &str = "a time range";
    if !filter.timestamp.is_open() {
        all.push(Narrowing::superset(Leaf::Timestamp(filter.timestamp), TIME));
    }
    if !filter.recorded_at.is_open() {
        all.push(Narrowing::superset(
            Leaf::Recorded(filter.recorded_at),
            TIME,
        ));
    }
    if !filter.sequence.is_open() {
        let leaf = Leaf::Sequence(filter.sequence);
        all.push(Narrowing::superset(leaf, "a range of sequence numbers"));
    }
}

fn json(part: Part, query: &JsonQuery) -> Narrowing {
    match query {
        JsonQuery::Leaf(condition) => Places::of(part, &condition.path).narrow(condition),
        JsonQuery::And(inner) => {
            Narrowing::all(inner.iter().map(|inner| json(part, inner)).collect())
        }
        JsonQuery::Or(inner) => {
            Narrowing::any(inner.iter().map(|inner| json(part, inner)).collect())
        }
        JsonQuery::Not(inner) => Narrowing::Not(Box::new(json(part, inner))),
    }
}

/// The places that a path can lead to, as the terms have them.
struct Places {
    part: Part,
    /// The way to them, as long as the terms tell it.
    steps: Vec<PathStep>,
    /// The path ends where `steps` end.
    is_whole: bool,
    /// What the terms do not tell of the way, in words.
    inexact: Option<&'static str>,
    /// The lengths of `steps` at which the path goes to all that is inside, also of an object,
    /// whose members have places of their own.
    wildcards: Vec<usize>,
}

impl Places {
    fn of(part: Part, path: &JsonPath) -> Self {
        let mut places = Self {
            part,
            steps: Vec::new(),
            is_whole: true,
            inexact: None,
            wildcards: Vec::new(),
        };
        for segment in path.segments() {
            let selector = match &*segment.selectors {
                [selector] if !segment.descends && places.steps.len() < PATH_DEPTH_MAX => selector,
                _ => {
                    places.stop("a path with '..', several selectors or many segments");
                    break;
                }
            };
            match selector {
                Selector::Name(name) => places.steps.push(PathStep::Member(name.clone())),
                Selector::Index(_) | Selector::Slice(_) => {
                    places.steps.push(PathStep::Element);
                    places
                        .inexact
                        .get_or_insert("a path with an index or a slice");
                }
                Selector::Wildcard | Selector::Filter(_) if places.steps.is_empty() => {
                    // The whole text is an object, so its members can have any name.
                    places.stop("a path that begins with '*' or a filter");
                    break;
                }
                Selector::Wildcard | Selector::Filter(_) => {
                    places.wildcards.push(places.steps.len());
                    places.steps.push(PathStep::Element);
                    if matches!(selector, Selector::Filter(_)) {
                        places.inexact.get_or_insert("a path with a filter");
                    }
                }
            }
        }
        places
    }

    fn stop(&mut self, what: &'static str) {
        self.is_whole = false;
        self.inexact = Some(what);
    }

    fn narrow(&self, condition: &JsonCondition) -> Narrowing {
        let here = match &condition.test {
            JsonTest::Exists => self.exists(None),
            JsonTest::Equals(value) => self.equals(value),
            JsonTest::In(values) => {
                Narrowing::any(values.iter().map(|value| self.equals(value)).collect())
            }
            JsonTest::NotEquals(value) if self.is_one_place() => Narrowing::And(vec![
                self.exists(None),
                Narrowing::Not(Box::new(self.equals(value))),
            ]),
            JsonTest::NotEquals(_) => self.exists(Some("a value that is another one")),
            JsonTest::Contains(value) => self.contains(value),
            JsonTest::Regex(_) => self.exists(Some("a regular expression")),
            JsonTest::Range(..) => self.exists(Some("a value in a range")),
        };
        let mut either = vec![here];
        for &length in &self.wildcards {
            let leaf = self.term(length, None, TermValue::Object);
            either.push(Narrowing::superset(leaf, "a path with '*' or a filter"));
        }
        Narrowing::any(either)
    }

    /// Tells whether the path leads to one place at most, which has one value.
    fn is_one_place(&self) -> bool {
        self.inexact.is_none() && self.wildcards.is_empty()
    }

    fn term(&self, length: usize, then: Option<PathStep>, value: TermValue) -> Leaf {
        let steps = self.steps.iter().take(length).cloned();
        Leaf::Term(TermKey {
            part: self.part,
            path: steps.chain(then).collect(),
            value,
        })
    }

    /// Something is there; `more` is what else must hold and the index does not tell.
    fn exists(&self, more: Option<&'static str>) -> Narrowing {
        let what = self.inexact.or(more);
        if self.steps.is_empty() {
            // The text itself is always there, and has no term.
            return match what {
                None => Narrowing::And(Vec::new()),
                Some(what) => Narrowing::Anything { what },
            };
        }
        let leaf = self.term(self.steps.len(), None, TermValue::Exists);
        leaf_of(leaf, what)
    }

    fn equals(&self, value: &JsonScalar) -> Narrowing {
        if !self.is_whole || self.steps.is_empty() || value.bytes() > VALUE_BYTES_MAX {
            let exists = self.exists(Some("a long value"));
            return self.with_words(exists, value, |text| text);
        }
        let leaf = self.term(self.steps.len(), None, TermValue::Is(value.clone()));
        leaf_of(leaf, self.inexact)
    }

    fn contains(&self, value: &JsonScalar) -> Narrowing {
        let is_string = matches!(value, JsonScalar::String(_));
        let is_known = self.is_whole
            && (1..PATH_DEPTH_MAX).contains(&self.steps.len())
            && value.bytes() <= VALUE_BYTES_MAX;
        if !is_known || (is_string && !self.is_one_place()) {
            let exists = self.exists(Some("a part of a string"));
            return self.with_words(exists, value, inner_words);
        }
        let element = TermValue::Is(value.clone());
        let element = self.term(self.steps.len(), Some(PathStep::Element), element);
        let element = leaf_of(element, self.inexact);
        if !is_string {
            return element;
        }
        // What is one place is an array, of which the elements are known, or something else.
        let array = self.term(self.steps.len(), None, TermValue::Array);
        let other = Narrowing::And(vec![
            self.exists(Some("a part of a string")),
            Narrowing::Not(Box::new(Narrowing::exact(array))),
        ]);
        Narrowing::Or(vec![element, self.with_words(other, value, inner_words)])
    }

    /// Narrows by the words that a string must have for a value to be or to contain another.
    fn with_words(
        &self,
        narrowing: Narrowing,
        value: &JsonScalar,
        whole_words: fn(&str) -> &str,
    ) -> Narrowing {
        let JsonScalar::String(text) = value else {
            return narrowing;
        };
        if self.part != Part::Payload {
            return narrowing;
        }
        let mut all = vec![narrowing];
        for_each_word(whole_words(text), &mut String::new(), |word| {
            let leaf = Leaf::Word(word.into());
            all.push(Narrowing::superset(leaf, "a part of a string"));
        });
        Narrowing::all(all)
    }
}

fn leaf_of(leaf: Leaf, inexact: Option<&'static str>) -> Narrowing {
    match inexact {
        None => Narrowing::exact(leaf),
        Some(what) => Narrowing::superset(leaf, what),
    }
}

/// Returns the part of a text that is between two separators, so that its words are words of
/// every text that contains it.
fn inner_words(text: &str) -> &str {
    let separates = |character: char| character.is_ascii() && !character.is_ascii_alphanumeric();
    match (text.find(separates), text.rfind(separates)) {
        (Some(first), Some(last)) => text.get(first..last).unwrap_or_default(),
        (None, _) | (_, None) => "",
    }
}
