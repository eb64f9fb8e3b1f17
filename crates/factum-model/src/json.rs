//! JSON objects that are kept byte for byte, and the rules they meet before they are kept.
//!
//! This is a scanner, not a parser into values: payloads of any size pass through the store
//! without being taken apart. It refuses what two readers could understand differently (keys
//! that stand twice, lone surrogates) and what PostgreSQL cannot index (`\u0000`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytestring::ByteString;
use thiserror::Error;

/// Bounds on the shape of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// How many objects and arrays may stand inside each other, the outermost included.
    pub depth_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { depth_max: 64 }
    }
}

/// A JSON object as text, checked, with its bytes as they came.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsonObject(ByteString);

impl JsonObject {
    /// Checks the text under the default limits and takes it over without copying it.
    ///
    /// # Errors
    /// [`JsonFault`] with the place and the rule that is broken.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, JsonFault> {
        Self::parse_within(text, JsonLimits::default())
    }

    /// Checks the text under `limits` and takes it over without copying it.
    ///
    /// # Errors
    /// [`JsonFault`] with the place and the rule that is broken.
    pub fn parse_within(
        text: impl Into<ByteString>,
        limits: JsonLimits,
    ) -> Result<Self, JsonFault> {
        let text = text.into();
        validate_object(&text, limits)?;
        Ok(Self(text))
    }

    /// Returns the object without members.
    #[must_use]
    pub const fn empty() -> Self {
        Self(ByteString::from_static("{}"))
    }

    /// Returns the text, byte for byte as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for JsonObject {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A JSON text breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule} at byte {at}{}", if pointer.is_empty() { String::new() } else { format!(" ({pointer})") })]
pub struct JsonFault {
    /// Where the broken value stands, as a JSON pointer (RFC 6901); empty for the whole text.
    pub pointer: String,
    /// Where the fault was seen, in bytes from the start of the text.
    pub at: usize,
    /// The rule that is broken.
    pub rule: JsonRule,
}

/// What a JSON text must keep to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonRule {
    /// The text is not JSON.
    #[error("expected {expected}")]
    Syntax {
        /// What would have been right here.
        expected: &'static str,
    },
    /// The outermost value must be an object.
    #[error("expected an object")]
    Object,
    /// A key stands twice in one object.
    #[error("duplicate key {key:?}")]
    DuplicateKey {
        /// The key, cut to 64 characters.
        key: String,
    },
    /// The escape `\u0000` stands in a string.
    #[error("the character \\u0000 is not allowed")]
    NulCharacter,
    /// Half of a surrogate pair stands alone.
    #[error("a lone surrogate is not a character")]
    LoneSurrogate,
    /// Objects and arrays are nested too deeply.
    #[error("nesting is deeper than the limit of {limit}")]
    Depth {
        /// The limit that was passed.
        limit: usize,
    },
}

/// Checks that `text` is one JSON object that meets every rule.
///
/// # Errors
/// [`JsonFault`] for the first fault in reading order.
pub fn validate_object(text: &str, limits: JsonLimits) -> Result<(), JsonFault> {
    let mut scanner = Scanner::new(text, limits);
    scanner.skip_space();
    if scanner.peek() != Some(b'{') {
        // A text that is no JSON at all should say so, not that it should be an object.
        scanner
            .value(0)
            .and_then(|()| scanner.end())
            .map_err(Fault::into_public)?;
        return Err(Fault::at(0, JsonRule::Object).into_public());
    }
    scanner
        .value(0)
        .and_then(|()| scanner.end())
        .map_err(Fault::into_public)
}

/// Returns the members of a JSON object that has been checked, in order: the key, decoded, and
/// the text of its value. Stops at the first fault, so an unchecked text yields a prefix.
pub fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let mut scanner = Scanner::new(object, JsonLimits { depth_max: 4096 });
    scanner.skip_space();
    let mut open = scanner.take(b'{');
    std::iter::from_fn(move || {
        if !open {
            return None;
        }
        let member = scanner.next_member();
        open = member.is_some();
        member
    })
}

/// Returns the texts of the elements of a JSON array, or `None` when `value` is not one.
pub(crate) fn elements(value: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner::new(value, JsonLimits::default());
    if !scanner.take(b'[') {
        return None;
    }
    let mut elements = Vec::new();
    loop {
        scanner.skip_space();
        if scanner.take(b']') {
            return Some(elements);
        }
        scanner.take(b',');
        scanner.skip_space();
        let start = scanner.at;
        scanner.value(0).ok()?;
        elements.push(value.get(start..scanner.at)?);
    }
}

/// Returns the text that a JSON string stands for, or `None` when `value` is not one.
pub(crate) fn decode_string(value: &str) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(value, JsonLimits::default());
    (scanner.peek() == Some(b'"'))
        .then(|| scanner.string().ok())
        .flatten()
}

/// A fault on its way up: each level adds its own segment of the pointer.
struct Fault {
    segments: Vec<String>,
    at: usize,
    rule: JsonRule,
}

impl Fault {
    const fn at(at: usize, rule: JsonRule) -> Self {
        Self {
            segments: Vec::new(),
            at,
            rule,
        }
    }

    fn inside(mut self, segment: impl FnOnce() -> String) -> Self {
        self.segments.push(segment());
        self
    }

    fn into_public(self) -> JsonFault {
        let mut pointer = String::new();
        for segment in self.segments.iter().rev() {
            pointer.push('/');
            pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        }
        JsonFault {
            pointer,
            at: self.at,
            rule: self.rule,
        }
    }
}

/// How many keys are compared one by one before a hash set is worth its allocation.
const LINEAR_KEYS: usize = 24;

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth_max: usize,
    /// The keys of all objects that are open, innermost last.
    keys: Vec<Cow<'a, str>>,
}

impl<'a> Scanner<'a> {
    const fn new(text: &'a str, limits: JsonLimits) -> Self {
        let bytes = text.as_bytes();
        Self {
            text,
            bytes,
            at: 0,
            depth_max: limits.depth_max,
            keys: Vec::new(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    const fn syntax(&self, expected: &'static str) -> Fault {
        Fault::at(self.at, JsonRule::Syntax { expected })
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.syntax("the end of the text"))
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.object(self.deeper(depth)?),
            Some(b'[') => self.array(self.deeper(depth)?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(_) | None => Err(self.syntax("a value")),
        }
    }

    const fn deeper(&self, depth: usize) -> Result<usize, Fault> {
        if depth >= self.depth_max {
            return Err(Fault::at(
                self.at,
                JsonRule::Depth {
                    limit: self.depth_max,
                },
            ));
        }
        Ok(depth + 1)
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        let first_key = self.keys.len();
        let mut seen = HashSet::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key in quotes"));
            }
            let key = self.string()?;
            let own = self.keys.get(first_key..).unwrap_or_default();
            let twice = if own.len() < LINEAR_KEYS {
                own.contains(&key)
            } else {
                if seen.is_empty() {
                    seen.extend(own.iter().cloned());
                }
                !seen.insert(key.clone())
            };
            if twice {
                let shown = key.chars().take(64).collect();
                return Err(Fault::at(key_at, JsonRule::DuplicateKey { key: shown })
                    .inside(|| key.into_owned()));
            }
            self.keys.push(key);
            self.member_value(depth)?;
            self.skip_space();
            if self.take(b'}') {
                self.keys.truncate(first_key);
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.syntax("',' or '}'"));
            }
        }
    }

    fn member_value(&mut self, depth: usize) -> Result<(), Fault> {
        self.skip_space();
        if !self.take(b':') {
            return Err(self.syntax("':'"));
        }
        self.skip_space();
        // The keys of a failed inner object are still on the stack, above this one.
        let own_key = self.keys.len() - 1;
        self.value(depth).map_err(|fault| {
            fault.inside(|| {
                self.keys
                    .get(own_key)
                    .map(|key| key.to_string())
                    .unwrap_or_default()
            })
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        self.at += 1;
        self.skip_space();
        if self.take(b']') {
            return Ok(());
        }
        for index in 0_usize.. {
            self.skip_space();
            self.value(depth)
                .map_err(|fault| fault.inside(|| index.to_string()))?;
            self.skip_space();
            if self.take(b']') {
                break;
            }
            if !self.take(b',') {
                return Err(self.syntax("',' or ']'"));
            }
        }
        Ok(())
    }

    /// Reads a string and returns it decoded; without escapes nothing is copied.
    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.at += 1;
        let start = self.at;
        self.plain_run()?;
        let plain = self.text.get(start..self.at).unwrap_or_default();
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut decoded = String::from(plain);
        while !self.take(b'"') {
            decoded.push(self.escape()?);
            let run = self.at;
            self.plain_run()?;
            decoded.push_str(self.text.get(run..self.at).unwrap_or_default());
        }
        Ok(Cow::Owned(decoded))
    }

    /// Moves to the next quote or backslash.
    fn plain_run(&mut self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let stop = rest
            .iter()
            .position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        self.at += stop.unwrap_or(rest.len());
        match self.peek() {
            Some(b'"' | b'\\') => Ok(()),
            Some(_) => Err(self.syntax("no raw control character in a string")),
            None => Err(self.syntax("the end of the string")),
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 2;
        Ok(match self.bytes.get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            Some(_) | None => {
                return Err(Fault::at(
                    start,
                    JsonRule::Syntax {
                        expected: "an escape",
                    },
                ));
            }
        })
    }

    fn unicode_escape(&mut self, start: usize) -> Result<char, Fault> {
        let first = self.four_hex_digits()?;
        let code = match first {
            0 => return Err(Fault::at(start, JsonRule::NulCharacter)),
            0xd800..=0xdbff if self.bytes.get(self.at..self.at + 2) == Some(b"\\u") => {
                self.at += 2;
                let second = self.four_hex_digits()?;
                match second {
                    0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(Fault::at(start, JsonRule::LoneSurrogate)),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| Fault::at(start, JsonRule::LoneSurrogate))
    }

    fn four_hex_digits(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4);
        let code = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.syntax("four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let n_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if n_digits == 0 {
            return Err(self.syntax("a digit"));
        }
        self.at += n_digits;
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        if !self
            .bytes
            .get(self.at..)
            .unwrap_or_default()
            .starts_with(word.as_bytes())
        {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn next_member(&mut self) -> Option<(Cow<'a, str>, &'a str)> {
        self.skip_space();
        self.take(b',');
        self.skip_space();
        if self.peek() != Some(b'"') {
            return None;
        }
        let key = self.string().ok()?;
        self.skip_space();
        self.take(b':');
        self.skip_space();
        let start = self.at;
        self.value(0).ok()?;
        Some((key, self.text.get(start..self.at)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        let actual = validate_object(text, JsonLimits { depth_max: 4 });
        assert_eq!(
            actual.map_err(|fault| fault.to_string()),
            expected.map_err(str::to_owned),
            "{text}"
        );
    }

    #[test]
    fn objects_pass_as_they_are() {
        check("{}", Ok(()));
        check(
            " { \"a\" : [ 1 , -0.5e+10, 1e999, true, null, \"\\ud83d\\ude00\" ] } \n",
            Ok(()),
        );
        check(r#"{"a":{"a":1},"b":{"a":1}}"#, Ok(()));
    }

    #[test]
    fn faults_name_place_and_rule() {
        check("", Err("expected a value at byte 0"));
        check("[1]", Err("expected an object at byte 0"));
        check("[1", Err("expected ',' or ']' at byte 2"));
        check("{} x", Err("expected the end of the text at byte 3"));
        check(r#"{"a":01}"#, Err("expected ',' or '}' at byte 6"));
        check(
            r#"{"a":{"b/c":[1,{"k":1,"\u006b":2}]}}"#,
            Err("duplicate key \"k\" at byte 22 (/a/b~1c/1/k)"),
        );
        check(
            r#"{"a":["x\u0000"]}"#,
            Err("the character \\u0000 is not allowed at byte 8 (/a/0)"),
        );
        check(
            r#"{"a":"\ud800x"}"#,
            Err("a lone surrogate is not a character at byte 6 (/a)"),
        );
        check(
            r#"{"a":"\udc00"}"#,
            Err("a lone surrogate is not a character at byte 6 (/a)"),
        );
        check(
            r#"{"a":[[[[]]]]}"#,
            Err("nesting is deeper than the limit of 4 at byte 8 (/a/0/0/0)"),
        );
        check(
            "{\"a\":\"\n\"}",
            Err("expected no raw control character in a string at byte 6 (/a)"),
        );
    }

    #[test]
    fn many_keys_are_still_compared() {
        let keys: Vec<_> = (0..100).map(|key| format!("\"k{key}\":{key}")).collect();
        check(&format!("{{{}}}", keys.join(",")), Ok(()));
        assert!(
            validate_object(
                &format!("{{{},\"k7\":0}}", keys.join(",")),
                JsonLimits::default()
            )
            .is_err()
        );
        assert!(
            validate_object(
                &format!("{{{},\"k70\":0}}", keys.join(",")),
                JsonLimits::default()
            )
            .is_err()
        );
    }

    #[test]
    fn a_hundred_thousand_levels_are_an_error_not_a_crash() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(validate_object(&deep, JsonLimits::default()).is_err());
    }

    #[test]
    fn members_come_in_order_with_their_text() {
        let found: Vec<_> = members(r#" {"a" : 1.0 , "\u0062":{"c": [ ]}, "d":"x" } "#).collect();
        let expected = [("a", "1.0"), ("b", r#"{"c": [ ]}"#), ("d", "\"x\"")];
        assert_eq!(
            found,
            expected.map(|(key, value)| (Cow::Borrowed(key), value))
        );
        assert_eq!(members("{}").count(), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_what_is_json(text in r#"[\[\]{}:,"a0-9.eE+\-truefalsn \\u]{0,40}"#) {
            let ours = validate_object(&text, JsonLimits::default());
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            if ours.is_ok() {
                prop_assert!(theirs.is_ok(), "{text}");
            } else if let Ok(serde_json::Value::Object(_)) = serde_json::from_str(&text) {
                let rule = ours.unwrap_err().rule;
                let stricter = matches!(rule, JsonRule::DuplicateKey { .. } | JsonRule::NulCharacter);
                prop_assert!(stricter, "{text}: {rule}");
            }
        }
    }
}
