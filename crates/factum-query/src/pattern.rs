//! Patterns over dotted event types.

use std::fmt;
use std::str::FromStr;

use crate::invalid::InvalidFilter;

/// An event type, or a pattern over event types: `*` stands for exactly one segment, a final `>`
/// for one or more segments. `form.*` matches `form.opened`; `form.>` matches `form.field.changed`
/// too, but not `form`; `>` matches everything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TypePattern {
    text: Box<str>,
    exact: bool,
}

impl TypePattern {
    /// Returns the pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether the pattern names exactly one event type.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// Tells whether an event type matches.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        if self.exact {
            return &*self.text == event_type;
        }
        let mut segments = event_type.split('.');
        for wanted in self.text.split('.') {
            let segment = segments.next();
            match (wanted, segment) {
                (">", segment) => return segment.is_some(),
                ("*", Some(_)) => {}
                (wanted, Some(segment)) if wanted == segment => {}
                (_, Some(_) | None) => return false,
            }
        }
        segments.next().is_none()
    }
}

impl FromStr for TypePattern {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let invalid = |rule| InvalidFilter::Pattern {
            text: text.chars().take(120).collect(),
            rule,
        };
        if text.is_empty() || text.len() > 100 {
            return Err(invalid("a pattern has 1 to 100 characters"));
        }
        let n_segments = text.split('.').count();
        for (index, segment) in text.split('.').enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            match segment {
                "" => return Err(invalid("a segment is empty")),
                ">" if index + 1 < n_segments => {
                    return Err(invalid("'>' must be the last segment"));
                }
                "*" | ">" => {}
                _ if segment.bytes().all(plain) => {}
                _ => {
                    return Err(invalid(
                        "a segment is '*', '>' or letters, digits, '_' and '-'",
                    ));
                }
            }
        }
        let exact = !text.split('.').any(|segment| matches!(segment, "*" | ">"));
        Ok(Self {
            text: text.into(),
            exact,
        })
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let pattern: TypePattern = pattern.parse().unwrap();
        assert!(
            matching.iter().all(|text| pattern.matches(text)),
            "{pattern} {matching:?}"
        );
        assert!(
            !other.iter().any(|text| pattern.matches(text)),
            "{pattern} {other:?}"
        );
    }

    #[test]
    fn star_is_one_segment_and_greater_the_rest() {
        check(
            "form.opened",
            &["form.opened"],
            &["form", "form.opened.x", "form.openedx"],
        );
        check("form.*", &["form.opened"], &["form", "form.a.b", "forms.a"]);
        check("*.created", &["form.created"], &["created", "a.b.created"]);
        check(
            "form.*.changed",
            &["form.x.changed"],
            &["form.changed", "form.x.y.changed"],
        );
        check("form.>", &["form.a", "form.a.b"], &["form", "forms.a"]);
        check("*.*.>", &["a.b.c", "a.b.c.d"], &["a.b", "a"]);
        check(">", &["a", "a.b"], &[]);
    }

    #[test]
    fn other_texts_are_no_patterns() {
        for wrong in ["", ".", "a.", "a..b", "a*", ">.a", "a.>.b", "a b", "ä"] {
            assert!(wrong.parse::<TypePattern>().is_err(), "{wrong}");
        }
    }
}
