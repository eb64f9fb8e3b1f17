//! From a filter to what the indexes of a segment say of its events.

use std::ops::Range;

use factum_query::{Answer, Leaf, Narrowing, TermHasher, TimeRange, TypePattern};
use roaring::RoaringBitmap;

use crate::documents::Documents;
use crate::index::bounds::Bounds;
use crate::index::{Index, IndexError};
use crate::term::{Term, TermKey};

/// So few events are read sooner than the list of a frequent term.
const FEW_EVENTS: u64 = 64;
/// A list of fewer events is read without a thought.
const SHORT_LIST: u64 = 4096;

/// A question to the indexes of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) narrowing: &'a Narrowing,
    pub(crate) range: &'a Range<u32>,
    pub(crate) key: &'a TermKey,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) index: &'a Index,
    pub(crate) documents: &'a Documents,
    key: &'a TermKey,
    hasher: TermHasher,
    range: &'a Range<u32>,
    /// Events whose records were lost before they could be indexed.
    lost: RoaringBitmap,
    /// Events whose documents are not indexed yet.
    missing: Range<u32>,
}

/// Answers a question. Every event that matches is among the possible, every event among the
/// certain matches.
pub(crate) fn bounds(
    question: &Question<'_>,
    index: &Index,
    documents: &Documents,
) -> Result<Bounds, IndexError> {
    let range = question.range;
    let asked = Asked {
        index,
        documents,
        key: question.key,
        hasher: question.key.hasher(),
        range,
        lost: index.lost(range),
        missing: documents.end().clamp(range.start, range.end)..range.end,
    };
    asked.bounds(question.narrowing)
}

impl Asked<'_> {
    fn bounds(&self, narrowing: &Narrowing) -> Result<Bounds, IndexError> {
        match narrowing {
            Narrowing::Anything { .. } => Ok(Bounds::unknown(self.range)),
            Narrowing::Leaf { leaf, answer } => {
                let bounds = self.leaf(leaf)?;
                Ok(match answer {
                    Answer::Exact => bounds,
                    // Spans of time are kept by block, and what they say is said here.
                    Answer::Superset { .. }
                        if matches!(leaf, Leaf::Timestamp(_) | Leaf::Recorded(_)) =>
                    {
                        bounds
                    }
                    Answer::Superset { .. } => bounds.loosened(),
                })
            }
            Narrowing::And(inner) => self.all(inner),
            Narrowing::Or(inner) => {
                let mut either = Bounds::exactly(RoaringBitmap::new());
                for inner in inner {
                    either.or(&self.bounds(inner)?);
                }
                Ok(either)
            }
            Narrowing::Not(inner) => Ok(self.bounds(inner)?.not(self.range)),
        }
    }

    /// Begins with the part that leaves the fewest events. A part that would cost more to read
    /// than the events that are left is not read.
    fn all(&self, inner: &[Narrowing]) -> Result<Bounds, IndexError> {
        let mut sized = Vec::with_capacity(inner.len());
        for part in inner {
            sized.push((self.size(part)?, part));
        }
        sized.sort_by_key(|(size, _)| *size);
        let mut bounds = Bounds::everything(self.range);
        for (size, part) in sized {
            let n_left = bounds.possible.len();
            if n_left == 0 {
                break;
            }
            if n_left <= FEW_EVENTS && size > SHORT_LIST {
                bounds = bounds.loosened();
            } else {
                bounds.and(&self.bounds(part)?);
            }
        }
        Ok(bounds)
    }

    /// Returns how many events a part leaves, at most; for the order only.
    fn size(&self, narrowing: &Narrowing) -> Result<u64, IndexError> {
        let all = u64::from(self.range.end.saturating_sub(self.range.start));
        Ok(match narrowing {
            Narrowing::Anything { .. } | Narrowing::Not(_) => all,
            Narrowing::And(inner) => {
                let mut least = all;
                for part in inner {
                    least = least.min(self.size(part)?);
                }
                least
            }
            Narrowing::Or(inner) => {
                let mut sum = 0_u64;
                for part in inner {
                    sum = sum.saturating_add(self.size(part)?);
                }
                sum.min(all)
            }
            Narrowing::Leaf { leaf, .. } => match leaf {
                Leaf::Term(term) => self.documents.count(self.hasher.term(term))?,
                Leaf::Word(word) => self.documents.count(self.hasher.word(word))?,
                Leaf::Ids(_) | Leaf::Streams(_) | Leaf::Correlation(_) | Leaf::Causation(_) => 1,
                Leaf::AggregateIds(_) => 2,
                Leaf::User(user) => self.index.count(self.key.user(user))?,
                Leaf::Tag(tag) => self.index.count(self.key.tag(tag))?,
                Leaf::Timestamp(_) | Leaf::Recorded(_) => all / 2,
                Leaf::EventTypes(_) | Leaf::AggregateTypes(_) => all / 2,
                Leaf::Sequence(_) => all,
            },
        })
    }

    fn leaf(&self, leaf: &Leaf) -> Result<Bounds, IndexError> {
        let key = self.key;
        match leaf {
            Leaf::EventTypes(patterns) => self.event_types(patterns),
            Leaf::AggregateTypes(names) => {
                self.any(names.iter().map(|name| key.aggregate_type(name.as_str())))
            }
            Leaf::AggregateIds(ids) => self.any(ids.iter().map(|id| key.aggregate_id(id.as_str()))),
            Leaf::Streams(streams) => self.any(streams.iter().map(|stream| {
                key.stream(stream.aggregate_type.as_str(), stream.aggregate_id.as_str())
            })),
            Leaf::Ids(ids) => self.any(ids.iter().map(|id| key.event_id(*id))),
            Leaf::Tag(tag) => self.any([key.tag(tag)]),
            Leaf::Correlation(id) => self.any([key.correlation(id.as_str())]),
            Leaf::Causation(id) => self.any([key.causation(*id)]),
            Leaf::User(user) => self.any([key.user(user)]),
            Leaf::Timestamp(span) => Ok(self.span(*span, TimeRange::default())),
            Leaf::Recorded(span) => Ok(self.span(TimeRange::default(), *span)),
            Leaf::Sequence(_) => Ok(Bounds::unknown(self.range)),
            Leaf::Term(fact) => {
                let mut doubts = self.documents.hiding(fact, &self.hasher);
                doubts.push(key.overflow_of_paths());
                self.document(self.hasher.term(fact), &doubts)
            }
            Leaf::Word(word) => {
                let mut doubts = vec![key.overflow_of_words()];
                doubts.extend(
                    self.documents
                        .hides_words()
                        .then(|| self.hasher.words_left_out()),
                );
                self.document(self.hasher.word(word), &doubts)
            }
        }
    }

    /// Events with one of the terms.
    fn any(&self, terms: impl IntoIterator<Item = Term>) -> Result<Bounds, IndexError> {
        let mut found = RoaringBitmap::new();
        for term in terms {
            found |= self.index.bitmap(term, self.range)?;
        }
        Ok(Bounds::with_doubt(found, &self.lost))
    }

    fn event_types(&self, patterns: &[TypePattern]) -> Result<Bounds, IndexError> {
        if patterns.iter().all(TypePattern::is_exact) {
            let names = patterns.iter().map(TypePattern::as_str);
            return self.any(names.map(|name| self.key.event_type(name)));
        }
        let names = self
            .index
            .event_types(|name| patterns.iter().any(|pattern| pattern.matches(name)));
        self.any(names.iter().map(|name| self.key.event_type(name)))
    }

    /// Events whose documents have a term. Nothing is known of those that are not indexed yet, or
    /// that have one of the terms of those of which not all is.
    fn document(&self, term: Term, doubts: &[Term]) -> Result<Bounds, IndexError> {
        let found = self.documents.bitmap(term, self.range)?;
        let mut doubtful = RoaringBitmap::new();
        for doubt in doubts {
            doubtful |= self.documents.bitmap(*doubt, self.range)?;
        }
        doubtful.insert_range(self.missing.clone());
        Ok(Bounds::with_doubt(found, &doubtful))
    }

    fn span(&self, timestamp: TimeRange, recorded: TimeRange) -> Bounds {
        let (certain, possible) = self.index.times().within(self.range, timestamp, recorded);
        Bounds { certain, possible }
    }
}
