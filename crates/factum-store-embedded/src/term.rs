//! Index terms: keyed hashes of what filters can ask for.

use std::hash::Hasher as _;

use factum_model::{EventId, KnownMetadata, RecordedEvent, StreamId};
use factum_query::{Part, TermHasher, TermLimits, TermSource, source_terms};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128 as _};

/// The key under which the terms of one store are hashed. Without it the hashes of guessable
/// values, such as user ids, tell nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TermKey(pub(crate) [u8; 16]);

impl std::fmt::Debug for TermKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TermKey(..)")
    }
}

/// The hash of a term.
pub(crate) type Term = u64;

const STREAM: u8 = 1;
const EVENT_TYPE: u8 = 2;
const AGGREGATE_TYPE: u8 = 3;
const AGGREGATE_ID: u8 = 4;
const TAG: u8 = 5;
const CORRELATION: u8 = 6;
const CAUSATION: u8 = 7;
const USER: u8 = 8;
const EVENT_ID: u8 = 9;
/// The terms of events whose documents have more places and values, or more words, than are
/// indexed: they may have any.
const OVERFLOW_OF_PATHS: u8 = 10;
const OVERFLOW_OF_WORDS: u8 = 11;

impl TermKey {
    fn hash(&self, kind: u8, parts: &[&[u8]]) -> Term {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&[kind]);
        for part in parts {
            hasher.write(part);
        }
        hasher.finish()
    }

    pub(crate) fn stream(&self, aggregate_type: &str, aggregate_id: &str) -> Term {
        self.hash(
            STREAM,
            &[aggregate_type.as_bytes(), &[0], aggregate_id.as_bytes()],
        )
    }

    /// Returns a hash of a stream that is wide enough to stand for the stream itself.
    pub(crate) fn stream_key(&self, stream: &StreamId) -> u128 {
        let mut hasher = sip128::SipHasher13::new_with_key(&self.0);
        hasher.write(stream.aggregate_type.as_str().as_bytes());
        hasher.write(&[0]);
        hasher.write(stream.aggregate_id.as_str().as_bytes());
        hasher.finish128().as_u128()
    }

    pub(crate) fn event_type(&self, name: &str) -> Term {
        self.hash(EVENT_TYPE, &[name.as_bytes()])
    }

    pub(crate) fn aggregate_type(&self, name: &str) -> Term {
        self.hash(AGGREGATE_TYPE, &[name.as_bytes()])
    }

    pub(crate) fn aggregate_id(&self, id: &str) -> Term {
        self.hash(AGGREGATE_ID, &[id.as_bytes()])
    }

    pub(crate) fn tag(&self, tag: &str) -> Term {
        self.hash(TAG, &[tag.as_bytes()])
    }

    pub(crate) fn correlation(&self, id: &str) -> Term {
        self.hash(CORRELATION, &[id.as_bytes()])
    }

    pub(crate) fn causation(&self, id: EventId) -> Term {
        self.hash(CAUSATION, &[id.as_bytes()])
    }

    pub(crate) fn user(&self, id: &str) -> Term {
        self.hash(USER, &[id.as_bytes()])
    }

    pub(crate) fn event_id(&self, id: EventId) -> Term {
        self.hash(EVENT_ID, &[id.as_bytes()])
    }

    /// Returns what makes the terms of documents.
    pub(crate) const fn hasher(&self) -> TermHasher {
        TermHasher::new(self.0)
    }

    /// Returns the term of events of which not all places and values are indexed.
    pub(crate) fn overflow_of_paths(&self) -> Term {
        self.hash(OVERFLOW_OF_PATHS, &[])
    }

    /// Returns the term of events of which not all words are indexed.
    pub(crate) fn overflow_of_words(&self) -> Term {
        self.hash(OVERFLOW_OF_WORDS, &[])
    }

    /// Adds the terms of the documents of an event, without those of the values at some places of
    /// the payload. A term may come many times.
    pub(crate) fn document_terms(
        &self,
        event: &RecordedEvent,
        left_out: &[Term],
        terms: &mut Vec<Term>,
    ) {
        let limits = TermLimits::default();
        let hasher = self.hasher();
        let payload = (Part::Payload, event.payload(), left_out);
        let metadata = (Part::Metadata, event.metadata(), &[][..]);
        let coverage = [payload, metadata].map(|(part, json, left_out)| {
            let source = TermSource {
                part,
                json,
                left_out,
            };
            source_terms(&hasher, source, &limits, terms)
        });
        let coverage = coverage[0].and(coverage[1]);
        if !coverage.paths {
            terms.push(self.overflow_of_paths());
        }
        if !coverage.words {
            terms.push(self.overflow_of_words());
        }
    }

    /// Calls `each` with every term of an event. A term may come twice.
    pub(crate) fn for_each(&self, event: &RecordedEvent, each: impl FnMut(Term)) {
        let fields = TermFields {
            id: event.id,
            event_type: event.event_type(),
            aggregate_type: event.aggregate_type(),
            aggregate_id: event.aggregate_id(),
            correlation_id: event.correlation_id(),
            causation_id: event.causation_id,
            metadata: event.metadata(),
        };
        fields.for_each(self, each);
    }
}

/// The fields of an event that have terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TermFields<'a> {
    pub(crate) id: EventId,
    pub(crate) event_type: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) causation_id: Option<EventId>,
    pub(crate) metadata: &'a str,
}

impl TermFields<'_> {
    /// Calls `each` with every term of the event. A term may come twice.
    pub(crate) fn for_each(&self, key: &TermKey, mut each: impl FnMut(Term)) {
        each(key.stream(self.aggregate_type, self.aggregate_id));
        each(key.event_type(self.event_type));
        each(key.aggregate_type(self.aggregate_type));
        each(key.aggregate_id(self.aggregate_id));
        each(key.event_id(self.id));
        if let Some(id) = self.correlation_id {
            each(key.correlation(id));
        }
        if let Some(id) = self.causation_id {
            each(key.causation(id));
        }
        if self.metadata != "{}" {
            let known = KnownMetadata::read_stored(self.metadata);
            if let Some(user) = &known.user_id {
                each(key.user(user));
            }
            for tag in &known.tags {
                each(key.tag(tag));
            }
        }
    }
}
