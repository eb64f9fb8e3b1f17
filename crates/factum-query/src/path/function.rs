//! The functions `match` and `search`, and the regular expressions they take (RFC 9485).

use regex::{Regex, RegexBuilder};

use crate::path::expression::Comparable;

/// The largest compiled expression of a path, in bytes.
const COMPILED_BYTES_MAX: usize = 64 << 10;

/// A call of `match` or `search`.
#[derive(Debug, Clone)]
pub(crate) struct RegexCall {
    pub(crate) text: Comparable,
    pub(crate) regex: Expression,
    /// The whole text must match.
    pub(crate) whole: bool,
}

/// Where the regular expression comes from.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    /// It stands in the path; `None` when it is not one, which is never true.
    Fixed(Option<Regex>),
    /// It stands in the document.
    Computed(Comparable),
}

/// Makes a regular expression out of one by RFC 9485. What is none matches nothing.
pub(crate) fn compile(text: &str, whole: bool) -> Option<Regex> {
    let inner = dots_of_iregexp(text);
    let anchored = if whole {
        format!("^(?:{inner})$")
    } else {
        inner
    };
    RegexBuilder::new(&anchored)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(50)
        .build()
        .ok()
}

/// In RFC 9485 a dot is neither line feed nor carriage return; elsewhere it is the latter.
fn dots_of_iregexp(text: &str) -> String {
    let mut translated = String::with_capacity(text.len() + 8);
    let mut in_class = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                translated.push('\\');
                translated.extend(characters.next());
                continue;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '.' if !in_class => {
                translated.push_str("[^\\n\\r]");
                continue;
            }
            _ => {}
        }
        translated.push(character);
    }
    translated
}
