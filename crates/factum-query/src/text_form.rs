//! Filters as people write them: `type:submission.* payload.amount>10000 "credit check"`.
//!
//! docs/query.md is the reference.

mod join;
mod term;

use thiserror::Error;

use crate::costly::CostlyParts;
use crate::filter::Filter;
use crate::invalid::{FilterLimits, InvalidFilter};
use crate::text::TextQuery;
use crate::text_form::join::{all_of, any_of};

/// The longest text in bytes.
pub const TEXT_FORM_BYTES_MAX: usize = 8192;

/// How many parentheses and minus signs may stand inside each other.
const DEPTH_MAX: usize = 16;

/// A text is not a filter. Points at what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule} at byte {at}")]
pub struct TextFormError {
    /// Where it begins, in bytes from the start of the text; the length of the text for its end.
    pub at: usize,
    /// How many bytes are wrong; 0 where something is missing.
    pub len: usize,
    /// The rule that is broken.
    pub rule: TextFormRule,
}

impl TextFormError {
    /// Draws the text with a line below that points at the fault. Of a long text only what is
    /// near is shown.
    #[must_use]
    pub fn draw(&self, text: &str) -> String {
        const BEFORE: usize = 60;
        const AFTER: usize = 20;
        let shown = |character: char| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        };
        let before: Vec<char> = text.get(..self.at).unwrap_or(text).chars().collect();
        let rest = text.get(self.at..).unwrap_or_default();
        let n_wrong = rest.get(..self.len).unwrap_or(rest).chars().count();
        let n_marked = n_wrong.clamp(1, BEFORE);
        let skipped = before.len().saturating_sub(BEFORE);
        let mut line = String::from(if skipped > 0 { "…" } else { "" });
        line.extend(before.iter().skip(skipped).copied().map(shown));
        let indent = line.chars().count();
        line.extend(rest.chars().take(n_marked + AFTER).map(shown));
        format!("{line}\n{:indent$}{}", "", "^".repeat(n_marked))
    }
}

/// What the text form of a filter must keep to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextFormRule {
    /// Something else must stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A quote or parenthesis is not closed.
    #[error("{0} is not closed")]
    Unclosed(&'static str),
    /// A field is not known.
    #[error("unknown field; {0}")]
    UnknownField(&'static str),
    /// A field stands before an operator that is for members of payload and metadata.
    #[error("members are written payload.name or metadata.name")]
    Member,
    /// Parentheses stand too deeply inside each other.
    #[error("nesting is deeper than the limit of {DEPTH_MAX}")]
    Depth,
    /// The text is too long.
    #[error("text of {actual} bytes exceeds the limit of {TEXT_FORM_BYTES_MAX}")]
    Length {
        /// What was found.
        actual: usize,
    },
    /// A part breaks a rule of filters, or all together do.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
}

/// Reads a filter as people write it.
///
/// # Errors
/// [`TextFormError`] with the place of the first fault.
pub fn parse_text_form(text: &str, limits: &FilterLimits) -> Result<Filter, TextFormError> {
    let whole = |rule| TextFormError {
        at: 0,
        len: text.len(),
        rule,
    };
    if text.len() > TEXT_FORM_BYTES_MAX {
        return Err(whole(TextFormRule::Length { actual: text.len() }));
    }
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        costly: CostlyParts::new(*limits),
    };
    let filter = parser.either()?;
    parser.skip_space();
    if parser.peek().is_some() {
        return Err(parser.expected("a field, a word, or the end"));
    }
    let filter = filter.unwrap_or_default();
    filter.check(*limits).map_err(|error| whole(error.into()))?;
    Ok(filter)
}

pub(super) struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    costly: CostlyParts,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Moves over all characters of a kind and returns them.
    fn run(&mut self, is_inside: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|character| !is_inside(character));
        let run = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += run.len();
        run
    }

    fn skip_space(&mut self) {
        self.run(char::is_whitespace);
    }

    /// Says what is missing where the parser stands.
    fn expected(&self, what: &'static str) -> TextFormError {
        TextFormError {
            at: self.at,
            len: self.peek().map_or(0, char::len_utf8),
            rule: TextFormRule::Expected(what),
        }
    }

    /// Says what is wrong with all from `start` to where the parser stands.
    fn wrong(&self, start: usize, rule: impl Into<TextFormRule>) -> TextFormError {
        TextFormError {
            at: start,
            len: self.at - start,
            rule: rule.into(),
        }
    }

    /// Reads filters between `or`; `None` where there is nothing.
    fn either(&mut self) -> Result<Option<Filter>, TextFormError> {
        let Some(first) = self.together()? else {
            return Ok(None);
        };
        let mut any = vec![first];
        while self.keyword("or") {
            let next = self.together()?;
            any.push(next.ok_or_else(|| self.expected("something after 'or'"))?);
        }
        Ok(Some(any_of(any)))
    }

    /// Reads what must hold together.
    fn together(&mut self) -> Result<Option<Filter>, TextFormError> {
        let mut all = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(')') => break,
                Some(_) if self.is_at_keyword("or") => break,
                Some(_) => all.push(self.one()?),
            }
        }
        Ok((!all.is_empty()).then(|| all_of(all)))
    }

    fn is_at_keyword(&self, keyword: &str) -> bool {
        let rest = self.rest();
        let word = rest.get(..keyword.len()).unwrap_or_default();
        let after = rest
            .get(keyword.len()..)
            .and_then(|rest| rest.chars().next());
        word.eq_ignore_ascii_case(keyword)
            && after.is_none_or(|next| next.is_whitespace() || matches!(next, '(' | ')' | '"'))
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_at_keyword(keyword);
        if found {
            self.at += keyword.len();
        }
        found
    }

    fn one(&mut self) -> Result<Filter, TextFormError> {
        let start = self.at;
        if self.take("-") {
            self.enter(start)?;
            if self.peek().is_none_or(char::is_whitespace) {
                return Err(self.expected("what must not hold, right after '-'"));
            }
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Filter {
                not: vec![inner],
                ..Filter::default()
            });
        }
        if self.take("(") {
            self.enter(start)?;
            let inner = self.either()?;
            let inner = inner.ok_or_else(|| self.expected("something between '(' and ')'"))?;
            self.skip_space();
            if !self.take(")") {
                let len = 1;
                let rule = TextFormRule::Unclosed("the parenthesis");
                return Err(TextFormError {
                    at: start,
                    len,
                    rule,
                });
            }
            self.depth -= 1;
            return Ok(inner);
        }
        if self.peek() == Some('"') {
            let phrase = self.quoted()?;
            let text = TextQuery::phrase(&phrase);
            return self.text(start, text);
        }
        self.term()
    }

    fn enter(&mut self, start: usize) -> Result<(), TextFormError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(start, TextFormRule::Depth));
        }
        Ok(())
    }

    fn text(
        &self,
        start: usize,
        text: Result<TextQuery, InvalidFilter>,
    ) -> Result<Filter, TextFormError> {
        Ok(Filter {
            text: Some(text.map_err(|error| self.wrong(start, error))?),
            ..Filter::default()
        })
    }

    /// Reads a text in double quotes, in which a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<String, TextFormError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(character) = self.peek() {
            self.at += character.len_utf8();
            match character {
                '"' => return Ok(text),
                '\\' => {
                    let next = self.peek().unwrap_or('\\');
                    self.at += next.len_utf8();
                    // A backslash means something to a regular expression, so it is kept unless
                    // it stands before a quote or another one.
                    if !matches!(next, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(next);
                }
                other => text.push(other),
            }
        }
        let rule = TextFormRule::Unclosed("the quote");
        Err(TextFormError {
            at: start,
            len: 1,
            rule,
        })
    }
}

#[cfg(test)]
mod tests;
