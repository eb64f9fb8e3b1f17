//! What the source of a template may not have, found before it is compiled.

use factum_engine::Place;

use super::filters::{FILTERS, TESTS};
use super::{InvalidTemplate, SOURCE_BYTES_MAX};

/// The tags that are understood; all others keep values, or reach for other templates.
const TAGS: &[&str] = &[
    "if", "elif", "else", "endif", "for", "endfor", "raw", "endraw",
];
/// How many operators of one tag may put texts together, each of them as long as an event.
const JOINS_MAX: usize = 16;

/// Refuses what would let a template grow values without a bound.
pub(super) fn check(source: &str) -> Result<(), InvalidTemplate> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(InvalidTemplate {
            rule: format!(
                "has {} bytes, which exceeds the limit of {SOURCE_BYTES_MAX}",
                source.len()
            ),
            place: None,
        });
    }
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let start = source.len() - rest.len() + at;
        let tag = &rest[at..];
        rest = if tag.starts_with("{#") {
            after(tag, "#}")
        } else if let Some(tag) = tag.strip_prefix("{{") {
            let (code, rest) = code(tag, "}}");
            operators(source, start, code)?;
            rest
        } else if let Some(tag) = tag.strip_prefix("{%") {
            let (code, rest) = code(tag, "%}");
            let name = statement(source, start, code)?;
            operators(source, start, code)?;
            if name == "raw" { after_raw(rest) } else { rest }
        } else {
            &tag[1..]
        };
    }
    Ok(())
}

/// Returns the place of a byte of a text.
pub(super) fn place(source: &str, at: usize) -> Place {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default();
    Place {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column.chars().count() + 1).ok(),
    }
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Returns what a tag holds, and what comes after it. A tag ends where none of its texts is.
fn code<'a>(text: &'a str, end: &str) -> (&'a str, &'a str) {
    let mut quote = None;
    let mut skip = false;
    for (at, byte) in text.bytes().enumerate() {
        match quote {
            Some(_) if skip => skip = false,
            Some(_) if byte == b'\\' => skip = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if text.as_bytes()[at..].starts_with(end.as_bytes()) => {
                return (&text[..at], &text[at + end.len()..]);
            }
            None => {}
        }
    }
    (text, "")
}

/// Returns what comes after the end of a raw part, which is text whatever it looks like.
fn after_raw(text: &str) -> &str {
    let mut rest = text;
    while let Some((_, tag)) = rest.split_once("{%") {
        rest = tag;
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        if name.starts_with("endraw") {
            return tag;
        }
    }
    ""
}

/// Checks a statement and returns its name.
fn statement<'a>(source: &str, start: usize, code: &'a str) -> Result<&'a str, InvalidTemplate> {
    let words = || {
        code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
    };
    let name = words().next().unwrap_or_default();
    let refuse = |rule: String| {
        Err(InvalidTemplate {
            rule,
            place: Some(place(source, start)),
        })
    };
    if !TAGS.contains(&name) {
        return refuse(format!(
            "uses the tag {:?}; only if, for and raw may be used",
            name.chars().take(32).collect::<String>()
        ));
    }
    if name == "for" && words().any(|word| word == "recursive") {
        return refuse("has a recursive loop, which may not be used".to_owned());
    }
    Ok(name)
}

/// A word or a sign of a tag; texts are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(u8),
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut quote = None;
    let mut skip = false;
    let mut word: Option<usize> = None;
    // The end is seen as a space, so that the last word ends.
    for (at, byte) in code.bytes().chain([b' ']).enumerate() {
        let is_word = quote.is_none() && (byte.is_ascii_alphanumeric() || byte == b'_');
        match (word, is_word) {
            (None, true) => word = Some(at),
            (Some(start), false) => {
                tokens.push(Token::Word(code.get(start..at).unwrap_or_default()));
                word = None;
            }
            (None, false) | (Some(_), true) => {}
        }
        match quote {
            Some(_) if skip => skip = false,
            Some(_) if byte == b'\\' => skip = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if byte.is_ascii_punctuation() && byte != b'_' => tokens.push(Token::Sign(byte)),
            None => {}
        }
    }
    tokens
}

fn operators(source: &str, start: usize, code: &str) -> Result<(), InvalidTemplate> {
    let refuse = |rule: String| {
        Err(InvalidTemplate {
            rule,
            place: Some(place(source, start)),
        })
    };
    let tokens = tokens(code);
    let is_join = |token: &&Token<'_>| matches!(token, Token::Sign(b'~' | b'+'));
    let joins = tokens.iter().filter(is_join).count();
    if joins > JOINS_MAX {
        return refuse(format!(
            "has {joins} operators + and ~ in one tag, which exceeds the limit of {JOINS_MAX}"
        ));
    }
    if tokens.contains(&Token::Sign(b'*')) {
        return refuse("uses the operator *, which may not be used".to_owned());
    }
    // What is not known would only be found when the first event is rendered.
    let tokens: Vec<_> = tokens
        .iter()
        .filter(|token| **token != Token::Word("not"))
        .collect();
    for pair in tokens.windows(2) {
        match pair {
            [Token::Sign(b'|'), Token::Word(name)] if !FILTERS.contains(name) => {
                return refuse(format!("uses the filter {name:?}, which there is not"));
            }
            [Token::Word("is"), Token::Word(name)] if !TESTS.contains(name) => {
                return refuse(format!("uses the test {name:?}, which there is not"));
            }
            _ => {}
        }
    }
    Ok(())
}
