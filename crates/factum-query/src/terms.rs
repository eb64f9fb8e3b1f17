//! What an index stores of a JSON text: one 64-bit number for every fact that queries ask for.
//!
//! # The bytes that are hashed
//! Every term is SipHash-1-3, under a key of 16 bytes (two numbers, little end first), of
//! `parent ‖ bytes ‖ tag`: the parent as eight bytes, little end first, and the tag as one.
//!
//! | term | parent | bytes | tag |
//! |---|---|---|---|
//! | the text itself | 0 | – | 01 payload, 02 metadata |
//! | a member of an object, which is there | term of the object | the key, UTF-8 | 03 |
//! | an element of an array, whichever, which is there | term of the array | – | 04 |
//! | the value there is an object | term of the place | – | 05 |
//! | the value there is an array | term of the place | – | 06 |
//! | it is null, false, true | term of the place | – | 10, 11, 12 |
//! | it is a number | term of the place | sign (1 if negative), point (`i64`, little end first), digits in ASCII | 13 |
//! | it is a string | term of the place | UTF-8 | 14 |
//! | a word in a string value of the payload | 0 | the word, folded, UTF-8 | 20 |
//! | the value there is left out of the index | term of the place | – | 30 |
//! | some value of the payload is left out, and its words | 0 | – | 31 |
//!
//! A number is `0.digits × 10^point`, its first and last digit not zero; zero has no digits, no sign and
//! the point 0. The term of a place, which is that something is there, is not stored for the text
//! itself. What is at a place of more than [`PATH_DEPTH_MAX`] steps has no terms but its words, and
//! a value of more than [`VALUE_BYTES_MAX`] bytes has the term of its place only.

use crate::decimal::NumberRef;
use crate::scalar::JsonScalar;
use crate::scan::{Container, Scalar, Visit, decode_onto, walk};
use crate::sip;
use crate::words::for_each_word;

/// The version of the terms. Terms of different versions cannot be compared: an index that was
/// made with another one has to be made again. It changes with the layout, and with the tables of
/// Unicode that say what a word is.
#[expect(
    clippy::cast_possible_truncation,
    reason = "Unicode has 17 versions so far"
)]
pub const TERMS_VERSION: u32 = {
    const LAYOUT: u8 = 3;
    let (major, minor, _) = char::UNICODE_VERSION;
    let (words, words_minor, _) = unicode_segmentation::UNICODE_VERSION;
    u32::from_be_bytes([LAYOUT, major, minor, (words * 10 + words_minor) as u8])
};

/// How many steps the path of a place may have to have terms.
pub const PATH_DEPTH_MAX: usize = 16;

/// The longest value that has a term of its own: the bytes that are hashed for it.
pub const VALUE_BYTES_MAX: usize = 1024;

const TAG_MEMBER: u8 = 0x03;
const TAG_ELEMENT: u8 = 0x04;
const TAG_OBJECT: u8 = 0x05;
const TAG_ARRAY: u8 = 0x06;
const TAG_NULL: u8 = 0x10;
const TAG_FALSE: u8 = 0x11;
const TAG_TRUE: u8 = 0x12;
const TAG_NUMBER: u8 = 0x13;
const TAG_STRING: u8 = 0x14;
const TAG_WORD: u8 = 0x20;
const TAG_LEFT_OUT: u8 = 0x30;
const TAG_WORDS_LEFT_OUT: u8 = 0x31;

/// Which of the two JSON texts of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The payload.
    Payload,
    /// The metadata.
    Metadata,
}

impl Part {
    const fn tag(self) -> u8 {
        match self {
            Self::Payload => 0x01,
            Self::Metadata => 0x02,
        }
    }
}

/// A step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStep {
    /// To the member of an object.
    Member(Box<str>),
    /// To an element of an array, whichever.
    Element,
}

/// What is said of a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TermValue {
    /// Something is there.
    Exists,
    /// An object is there.
    Object,
    /// An array is there.
    Array,
    /// This value is there.
    Is(JsonScalar),
}

/// A fact about a JSON text, before it is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TermKey {
    /// Of which text.
    pub part: Part,
    /// Where; at least one step and at most [`PATH_DEPTH_MAX`].
    pub path: Box<[PathStep]>,
    /// What.
    pub value: TermValue,
}

/// Makes terms under a key, which belongs to the index that stores them: without it nobody can
/// make up values whose terms collide.
#[derive(Clone, Copy)]
pub struct TermHasher {
    key: (u64, u64),
}

impl TermHasher {
    /// Makes terms under a key.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        let number = u128::from_le_bytes(key);
        #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
        let low = number as u64;
        let high = (number >> 64) as u64;
        Self { key: (low, high) }
    }

    /// Returns the term of a fact.
    #[must_use]
    pub fn term(&self, fact: &TermKey) -> u64 {
        let place = self.place(fact.part, &fact.path);
        match &fact.value {
            TermValue::Exists => place,
            TermValue::Object => self.hash(place, &[], TAG_OBJECT),
            TermValue::Array => self.hash(place, &[], TAG_ARRAY),
            TermValue::Is(JsonScalar::Null) => self.hash(place, &[], TAG_NULL),
            TermValue::Is(JsonScalar::Bool(value)) => {
                self.hash(place, &[], if *value { TAG_TRUE } else { TAG_FALSE })
            }
            TermValue::Is(JsonScalar::Number(number)) => {
                let mut bytes = Vec::new();
                number.as_number().write_canonical(&mut bytes);
                self.hash(place, &bytes, TAG_NUMBER)
            }
            TermValue::Is(JsonScalar::String(text)) => {
                self.hash(place, text.as_bytes(), TAG_STRING)
            }
        }
    }

    /// Returns the term of a word, which must be folded, as [`crate::TextQuery`] has it.
    #[must_use]
    pub fn word(&self, word: &str) -> u64 {
        self.hash(0, word.as_bytes(), TAG_WORD)
    }

    /// Returns the term of a place: that something is there.
    #[must_use]
    pub fn place(&self, part: Part, path: &[PathStep]) -> u64 {
        path.iter().fold(self.root(part), |place, step| match step {
            PathStep::Member(name) => self.hash(place, name.as_bytes(), TAG_MEMBER),
            PathStep::Element => self.hash(place, &[], TAG_ELEMENT),
        })
    }

    /// Returns the term of an event whose value at a place was left out.
    #[must_use]
    pub fn left_out(&self, place: u64) -> u64 {
        self.hash(place, &[], TAG_LEFT_OUT)
    }

    /// Returns the term of an event of whose payload words were left out.
    #[must_use]
    pub fn words_left_out(&self) -> u64 {
        self.hash(0, &[], TAG_WORDS_LEFT_OUT)
    }

    fn root(&self, part: Part) -> u64 {
        self.hash(0, &[], part.tag())
    }

    fn hash(&self, parent: u64, bytes: &[u8], tag: u8) -> u64 {
        sip::hash(self.key, parent, bytes, tag)
    }
}

impl std::fmt::Debug for TermHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is nobody's business.
        f.debug_struct("TermHasher").finish_non_exhaustive()
    }
}

/// The bounds on the terms of one JSON text. They never change an answer: see [`Coverage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TermLimits {
    /// The largest number of terms of places and values, repeats included.
    pub path_terms_max: usize,
    /// The largest number of terms of words, repeats included.
    pub word_terms_max: usize,
}

impl Default for TermLimits {
    fn default() -> Self {
        Self {
            path_terms_max: 4096,
            word_terms_max: 16384,
        }
    }
}

/// Whether all terms of a text were given out. An event of which terms are missing is a candidate
/// for every query that asks for terms of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an event whose terms are not complete must stay a candidate"]
pub struct Coverage {
    /// All terms of places and values were given out.
    pub paths: bool,
    /// All terms of words were given out.
    pub words: bool,
}

impl Coverage {
    /// Everything was given out.
    pub const COMPLETE: Self = Self {
        paths: true,
        words: true,
    };

    /// Tells whether everything was given out.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.paths && self.words
    }

    /// Returns what is complete in both texts.
    pub const fn and(self, other: Self) -> Self {
        Self {
            paths: self.paths && other.paths,
            words: self.words && other.words,
        }
    }
}

/// What takes terms. The same term may come many times.
pub trait TermSink {
    /// Takes the term of a place or value.
    fn path_term(&mut self, term: u64);
    /// Takes the term of a word.
    fn word_term(&mut self, term: u64);
}

/// Takes terms of both kinds.
impl TermSink for Vec<u64> {
    fn path_term(&mut self, term: u64) {
        self.push(term);
    }

    fn word_term(&mut self, term: u64) {
        self.push(term);
    }
}

/// Gives out all terms of a JSON text that was checked when it was stored, in one walk over it.
/// Words are given out of the payload only.
pub fn document_terms(
    hasher: &TermHasher,
    part: Part,
    json: &str,
    limits: &TermLimits,
    sink: &mut impl TermSink,
) -> Coverage {
    let source = TermSource {
        part,
        json,
        left_out: &[],
    };
    source_terms(hasher, source, limits, sink)
}

/// A JSON text of which not everything has terms.
#[derive(Debug, Clone, Copy)]
pub struct TermSource<'a> {
    /// Which text of the event it is.
    pub part: Part,
    /// The text.
    pub json: &'a str,
    /// The terms of the places whose values are left out.
    pub left_out: &'a [u64],
}

/// Gives out the terms of a JSON text like [`document_terms`], but for what is left out: there it
/// gives out the terms that say so.
pub fn source_terms(
    hasher: &TermHasher,
    source: TermSource<'_>,
    limits: &TermLimits,
    sink: &mut impl TermSink,
) -> Coverage {
    let TermSource {
        part,
        json,
        left_out,
    } = source;
    let mut writer = Writer {
        left_out,
        hides_next: false,
        hidden_in: None,
        hidden_places: 0,
        hides_words: false,
        hasher,
        with_words: part == Part::Payload,
        path_terms_left: limits.path_terms_max,
        word_terms_left: limits.word_terms_max,
        coverage: Coverage::COMPLETE,
        root: hasher.root(part),
        depth: 0,
        own: [0; PATH_DEPTH_MAX],
        inside: [0; PATH_DEPTH_MAX],
        empty_arrays: 0,
        sink,
        decoded: String::new(),
        scratch: String::new(),
        canonical: Vec::new(),
    };
    walk(json, &mut writer);
    if writer.hides_words && writer.with_words {
        // Whatever else had no room: without this term nothing says that words are missing.
        writer.sink.path_term(hasher.words_left_out());
    }
    writer.coverage
}

struct Writer<'w, S> {
    left_out: &'w [u64],
    /// The value that comes now is left out.
    hides_next: bool,
    /// How many containers are open around one that is left out.
    hidden_in: Option<usize>,
    /// A bit for every place of which it was said that its value is left out.
    hidden_places: u64,
    /// Words may be left out.
    hides_words: bool,
    hasher: &'w TermHasher,
    with_words: bool,
    path_terms_left: usize,
    word_terms_left: usize,
    coverage: Coverage,
    root: u64,
    /// How many containers are open.
    depth: usize,
    /// For every open container its own place.
    own: [u64; PATH_DEPTH_MAX],
    /// For every open container the place of its next value.
    inside: [u64; PATH_DEPTH_MAX],
    /// A bit for every open array that has had no element yet.
    empty_arrays: u32,
    sink: &'w mut S,
    decoded: String,
    scratch: String,
    canonical: Vec<u8>,
}

impl<S: TermSink> Writer<'_, S> {
    fn path_term(&mut self, term: u64) {
        if self.path_terms_left == 0 {
            self.coverage.paths = false;
        } else {
            self.path_terms_left -= 1;
            self.sink.path_term(term);
        }
    }

    /// Says that the value at a place is left out, once.
    fn leave_out(&mut self, index: usize, place: u64) {
        self.hides_next = true;
        self.hides_words = true;
        // More places than bits share the last one: what they hide is said every time.
        let bit = 1 << index.min(63);
        if index >= 63 || self.hidden_places & bit == 0 {
            self.hidden_places |= bit;
            self.path_term(self.hasher.left_out(place));
        }
    }

    /// Returns the place of the value that comes now, or `None` when it has no terms.
    fn place(&mut self) -> Option<u64> {
        let level = self.depth.wrapping_sub(1);
        let place = *self.inside.get(level)?;
        // All elements of an array have one place, whose term is given out once; that of a member
        // was given out with its key.
        let bit = 1 << level;
        if self.empty_arrays & bit != 0 {
            self.empty_arrays &= !bit;
            self.path_term(place);
        }
        Some(place)
    }

    fn value_term(&mut self, place: u64, bytes: &[u8], tag: u8) {
        if bytes.len() <= VALUE_BYTES_MAX {
            self.path_term(self.hasher.hash(place, bytes, tag));
        }
    }

    fn number(&mut self, place: u64, raw: &str) {
        let number = NumberRef::read(raw);
        if number.canonical_bytes() <= VALUE_BYTES_MAX {
            self.canonical.clear();
            number.write_canonical(&mut self.canonical);
            let term = self.hasher.hash(place, &self.canonical, TAG_NUMBER);
            self.path_term(term);
        }
    }

    fn string(&mut self, place: Option<u64>, text: &str) {
        if let Some(place) = place {
            self.value_term(place, text.as_bytes(), TAG_STRING);
        }
        if !self.with_words {
            return;
        }
        let (hasher, sink) = (self.hasher, &mut *self.sink);
        let (left, coverage) = (&mut self.word_terms_left, &mut self.coverage);
        for_each_word(text, &mut self.scratch, |word| {
            if *left == 0 {
                coverage.words = false;
            } else {
                *left -= 1;
                sink.word_term(hasher.word(word));
            }
        });
    }
}

impl<'a, S: TermSink> Visit<'a> for Writer<'_, S> {
    fn open(&mut self, container: Container, _at: usize) {
        if std::mem::take(&mut self.hides_next) {
            self.hidden_in = Some(self.depth);
        }
        if self.hidden_in.is_some() {
            self.depth += 1;
            return;
        }
        let own = match self.depth {
            0 => Some(self.root),
            _ => self.place(),
        };
        let level = self.depth;
        if let (Some(own), Some(slot)) = (own, self.own.get_mut(level)) {
            *slot = own;
        }
        match (container, own) {
            (Container::Object, Some(own)) if level > 0 => self.value_term(own, &[], TAG_OBJECT),
            (Container::Array, Some(own)) => {
                self.value_term(own, &[], TAG_ARRAY);
                if let Some(next) = self.inside.get_mut(level) {
                    *next = self.hasher.hash(own, &[], TAG_ELEMENT);
                    self.empty_arrays |= 1 << level;
                }
            }
            (Container::Object | Container::Array, _) => {}
        }
        self.depth += 1;
    }

    fn close(&mut self, _end: usize) {
        self.depth = self.depth.saturating_sub(1);
        if let Some(depth) = self.hidden_in {
            if depth == self.depth {
                self.hidden_in = None;
            }
            return;
        }
        if self.depth < PATH_DEPTH_MAX {
            self.empty_arrays &= !(1 << self.depth);
        }
    }

    fn key(&mut self, raw: &'a str, escaped: bool, _at: usize) {
        if self.hidden_in.is_some() {
            return;
        }
        let level = self.depth.wrapping_sub(1);
        if let (Some(own), Some(next)) = (self.own.get(level), self.inside.get_mut(level)) {
            let name = decoded(raw, escaped, &mut self.decoded);
            let place = self.hasher.hash(*own, name.as_bytes(), TAG_MEMBER);
            *next = place;
            self.path_term(place);
            let hidden = self.left_out.iter().position(|hidden| *hidden == place);
            if let Some(index) = hidden {
                self.leave_out(index, place);
            }
        }
    }

    fn scalar(&mut self, kind: Scalar, raw: &'a str, _at: usize) {
        if self.hidden_in.is_some() || std::mem::take(&mut self.hides_next) {
            return;
        }
        let place = self.place();
        match (kind, place) {
            (Scalar::String { escaped: false }, place) => self.string(place, raw),
            (Scalar::String { escaped: true }, place) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                decoded.clear();
                decode_onto(raw, &mut decoded);
                self.string(place, &decoded);
                self.decoded = decoded;
            }
            (Scalar::Null, Some(place)) => self.value_term(place, &[], TAG_NULL),
            (Scalar::False, Some(place)) => self.value_term(place, &[], TAG_FALSE),
            (Scalar::True, Some(place)) => self.value_term(place, &[], TAG_TRUE),
            (Scalar::Number, Some(place)) => self.number(place, raw),
            (Scalar::Null | Scalar::False | Scalar::True | Scalar::Number, None) => {}
        }
    }
}

fn decoded<'s>(raw: &'s str, escaped: bool, scratch: &'s mut String) -> &'s str {
    if !escaped {
        return raw;
    }
    scratch.clear();
    decode_onto(raw, scratch);
    scratch
}

#[cfg(test)]
mod tests;
