//! A walk over a JSON text that was checked when it was stored: it builds no values and copies
//! nothing.
//!
//! A text that was never checked cannot make it fail: it stops at the first fault.

use std::borrow::Cow;

/// What a scalar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    False,
    True,
    Number,
    /// A string; `escaped` if it has escapes.
    String {
        escaped: bool,
    },
}

/// What looks at the values of a text, in reading order.
pub(crate) trait Visit<'a> {
    /// An object or array begins at a byte.
    fn open(&mut self, container: Container, at: usize);
    /// The innermost object or array ends before a byte.
    fn close(&mut self, end: usize);
    /// The next value is this member of the innermost object: the text between the quotes, which
    /// begins at a byte.
    fn key(&mut self, raw: &'a str, escaped: bool, at: usize);
    /// A scalar that begins at a byte; for a string the text between the quotes.
    fn scalar(&mut self, kind: Scalar, raw: &'a str, at: usize);
}

/// What holds other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Object,
    Array,
}

/// Walks over a text.
pub(crate) fn walk<'a>(text: &'a str, visit: &mut impl Visit<'a>) {
    let mut walk = Walk {
        text,
        bytes: text.as_bytes(),
        at: 0,
        open: OpenContainers::default(),
    };
    // A fault ends the walk; there is nobody to tell.
    let _end = walk.run(visit);
}

struct Walk<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    open: OpenContainers,
}

impl<'a> Walk<'a> {
    fn run(&mut self, visit: &mut impl Visit<'a>) -> Option<()> {
        loop {
            if self.value(visit)? == Step::Inside {
                continue;
            }
            loop {
                let container = self.open.last()?;
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        if container == Container::Object {
                            self.key(visit)?;
                        }
                        break;
                    }
                    b'}' | b']' => {
                        self.at += 1;
                        self.open.pop();
                        visit.close(self.at);
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Moves over space and returns what stands there.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn value(&mut self, visit: &mut impl Visit<'a>) -> Option<Step> {
        let first = self.next_byte()?;
        let start = self.at;
        match first {
            b'"' => {
                let (raw, escaped) = self.string()?;
                visit.scalar(Scalar::String { escaped }, raw, start);
            }
            b'{' => return self.container(Container::Object, visit),
            b'[' => return self.container(Container::Array, visit),
            b't' => self.word("true", Scalar::True, visit)?,
            b'f' => self.word("false", Scalar::False, visit)?,
            b'n' => self.word("null", Scalar::Null, visit)?,
            b'-' | b'0'..=b'9' => {
                let in_number = |byte: &u8| {
                    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
                };
                while self.bytes.get(self.at).is_some_and(in_number) {
                    self.at += 1;
                }
                visit.scalar(Scalar::Number, self.text.get(start..self.at)?, start);
            }
            _ => return None,
        }
        Some(Step::Over)
    }

    fn container(&mut self, container: Container, visit: &mut impl Visit<'a>) -> Option<Step> {
        visit.open(container, self.at);
        self.at += 1;
        let next = self.next_byte()?;
        if matches!(next, b'}' | b']') {
            self.at += 1;
            visit.close(self.at);
            return Some(Step::Over);
        }
        self.open.push(container);
        if container == Container::Object {
            self.key(visit)?;
        }
        Some(Step::Inside)
    }

    fn key(&mut self, visit: &mut impl Visit<'a>) -> Option<()> {
        if self.next_byte()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let (raw, escaped) = self.string()?;
        visit.key(raw, escaped, start);
        if self.next_byte()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn word(&mut self, word: &str, kind: Scalar, visit: &mut impl Visit<'a>) -> Option<()> {
        let start = self.at;
        let raw = self.text.get(start..start + word.len())?;
        if raw != word {
            return None;
        }
        self.at += word.len();
        visit.scalar(kind, raw, start);
        Some(())
    }

    /// Reads a string and returns what stands between its quotes, and whether that has escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = quote_or_backslash(self.bytes, at)?;
            if self.bytes.get(at) == Some(&b'"') {
                break;
            }
            escaped = true;
            at += 2;
        }
        self.at = at + 1;
        Some((self.text.get(start..at)?, escaped))
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    /// The value is over.
    Over,
    /// A container with something in it has been opened.
    Inside,
}

/// Finds the next quote or backslash, eight bytes at a time.
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const fn zero_byte(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let [quote, backslash] = [b'"', b'\\'].map(|byte| word ^ (ONES * u64::from(byte)));
        let found = zero_byte(quote) | zero_byte(backslash);
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(at + found)
}

/// The containers that are open, a bit for each; the first 64 take no memory of their own.
#[derive(Default)]
struct OpenContainers {
    depth: usize,
    innermost: u64,
    outer: Vec<u64>,
}

impl OpenContainers {
    fn push(&mut self, container: Container) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.innermost);
        }
        self.depth += 1;
        self.innermost = self.innermost << 1 | u64::from(container == Container::Object);
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.innermost >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.innermost = self.outer.pop().unwrap_or_default();
        }
    }

    const fn last(&self) -> Option<Container> {
        match (self.depth, self.innermost & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}

/// Returns what a string stands for, given the text between its quotes.
pub(crate) fn decode(raw: &str, escaped: bool) -> Cow<'_, str> {
    if !escaped {
        return Cow::Borrowed(raw);
    }
    let mut decoded = String::with_capacity(raw.len());
    decode_onto(raw, &mut decoded);
    Cow::Owned(decoded)
}

/// Writes what a string stands for behind what `decoded` holds.
pub(crate) fn decode_onto(raw: &str, decoded: &mut String) {
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        decoded.push_str(plain);
        let Some(kind) = escape.chars().next() else {
            return;
        };
        rest = escape.get(kind.len_utf8()..).unwrap_or_default();
        let character = match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, length) = unicode_escape(rest);
                rest = rest.get(length..).unwrap_or_default();
                character
            }
            other => other,
        };
        decoded.push(character);
    }
    decoded.push_str(rest);
}

/// Reads what follows `\u`; half of a surrogate pair, which no stored text has, stands for the
/// replacement character.
fn unicode_escape(text: &str) -> (char, usize) {
    let four = |at: usize| {
        let digits = text.get(at..at + 4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    match four(0) {
        Some(first @ 0xd800..=0xdbff) if text.get(4..6) == Some("\\u") => {
            let second = four(6).unwrap_or_default();
            let code = 0x10000 + ((first - 0xd800) << 10) + second.wrapping_sub(0xdc00);
            let paired = (0xdc00..=0xdfff).contains(&second);
            let character = paired.then(|| char::from_u32(code)).flatten();
            (character.unwrap_or(char::REPLACEMENT_CHARACTER), 10)
        }
        Some(code) => {
            let character = char::from_u32(code);
            (character.unwrap_or(char::REPLACEMENT_CHARACTER), 4)
        }
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}
