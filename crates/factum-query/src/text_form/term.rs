//! The terms of the text form: fields, members of payload and metadata, words.

use std::fmt::Write as _;
use std::str::FromStr;

use factum_model::{EventId, SequenceNumber, StreamId, Timestamp};

use crate::decimal::Decimal;
use crate::filter::{Filter, SequenceRange};
use crate::json::{Bound, JsonCondition, JsonQuery, JsonTest, Side};
use crate::path::JsonPath;
use crate::scalar::JsonScalar;
use crate::text::TextQuery;
use crate::text_form::{Parser, TextFormError, TextFormRule};

const FIELDS: &str = "there are type, aggregate, aggregateId, stream, id, tag, user, correlation, \
    causation, since, until, recordedSince, recordedUntil, sequence, text, payload. and metadata.";

/// A value as it was written.
struct Written {
    text: String,
    start: usize,
    is_quoted: bool,
}

/// An operator between a member and a value.
#[derive(Clone, Copy)]
enum Operator {
    Equals,
    NotEquals,
    Contains,
    Regex,
    Range(Side),
}

impl Parser<'_> {
    /// Reads a field with its value, a condition on a member, or a word.
    pub(super) fn term(&mut self) -> Result<Filter, TextFormError> {
        let start = self.at;
        let name = self.run(|character| character.is_ascii_alphanumeric() || character == '_');
        let next = self.peek();
        if matches!(name, "payload" | "metadata") && matches!(next, Some('.' | '[')) {
            let query = self.member()?;
            let (payload, metadata) = match name {
                "payload" => (Some(query), None),
                _ => (None, Some(query)),
            };
            return Ok(Filter {
                payload,
                metadata,
                ..Filter::default()
            });
        }
        match next {
            Some(':') if !name.is_empty() => self.field(name, start),
            Some('=' | '!' | '<' | '>' | '~') if !name.is_empty() => {
                Err(self.wrong(start, TextFormRule::Member))
            }
            _ => {
                self.run(|character| {
                    !character.is_whitespace() && !matches!(character, '(' | ')' | '"')
                });
                let word = self.text.get(start..self.at).unwrap_or_default();
                let text = TextQuery::words(word);
                self.text(start, text)
            }
        }
    }

    fn field(&mut self, name: &str, start: usize) -> Result<Filter, TextFormError> {
        let known = matches!(
            name,
            "type"
                | "aggregate"
                | "aggregateId"
                | "stream"
                | "id"
                | "tag"
                | "user"
                | "correlation"
                | "causation"
                | "since"
                | "until"
                | "recordedSince"
                | "recordedUntil"
                | "sequence"
                | "text"
        );
        if !known {
            return Err(self.wrong(start, TextFormRule::UnknownField(FIELDS)));
        }
        self.at += 1;
        let mut filter = Filter::default();
        match name {
            "type" => filter.event_types = self.values(str::parse)?,
            "aggregate" => {
                filter.aggregate_types = self.values(other("an aggregate type"))?;
            }
            "aggregateId" => filter.aggregate_ids = self.values(other("an aggregate id"))?,
            "stream" => filter.streams = self.values(stream)?,
            "id" => filter.ids = self.values(other::<EventId>("an event id"))?,
            "tag" => filter.tags = self.values(|text| Ok::<_, TextFormRule>(text.to_owned()))?,
            "user" => filter.user_id = Some(self.value()?.text),
            "correlation" => {
                filter.correlation_id = Some(self.read(other("a correlation id"))?);
            }
            "causation" => filter.causation_id = Some(self.read(other("an event id"))?),
            "since" => filter.timestamp.from = Some(self.read(time)?),
            "until" => filter.timestamp.to = Some(self.read(time)?),
            "recordedSince" => filter.recorded_at.from = Some(self.read(time)?),
            "recordedUntil" => filter.recorded_at.to = Some(self.read(time)?),
            "sequence" => filter.sequence = self.read(sequence)?,
            _ => {
                let value = self.value()?;
                let text = if value.is_quoted {
                    TextQuery::phrase(&value.text)
                } else {
                    TextQuery::words(&value.text)
                };
                return self.text(value.start, text);
            }
        }
        Ok(filter)
    }

    fn read<T, R: Into<TextFormRule>>(
        &mut self,
        read: impl Fn(&str) -> Result<T, R>,
    ) -> Result<T, TextFormError> {
        let value = self.value()?;
        read(&value.text).map_err(|rule| self.wrong(value.start, rule))
    }

    /// Reads values between commas.
    fn values<T, R: Into<TextFormRule>>(
        &mut self,
        read: impl Fn(&str) -> Result<T, R>,
    ) -> Result<Vec<T>, TextFormError> {
        let written = self.list()?;
        let one = |value: &Written| {
            let len = self.text.get(value.start..self.at).map_or(0, |rest| {
                if value.is_quoted {
                    rest.len()
                } else {
                    value.text.len()
                }
            });
            read(&value.text).map_err(|rule| TextFormError {
                at: value.start,
                len,
                rule: rule.into(),
            })
        };
        written.iter().map(one).collect()
    }

    fn list(&mut self) -> Result<Vec<Written>, TextFormError> {
        let mut list = vec![self.value_until(',')?];
        while self.take(",") {
            list.push(self.value_until(',')?);
        }
        Ok(list)
    }

    fn value(&mut self) -> Result<Written, TextFormError> {
        self.value_until(' ')
    }

    /// Reads a value in quotes, or to the next space, to `stop`, or to a parenthesis that closes
    /// one from before the value.
    fn value_until(&mut self, stop: char) -> Result<Written, TextFormError> {
        let start = self.at;
        if self.peek() == Some('"') {
            return Ok(Written {
                text: self.quoted()?,
                start,
                is_quoted: true,
            });
        }
        let mut n_open = 0_usize;
        while let Some(character) = self.peek() {
            match character {
                '(' => n_open += 1,
                ')' if n_open == 0 => break,
                ')' => n_open -= 1,
                end if end == stop || end.is_whitespace() => break,
                _ => {}
            }
            self.at += character.len_utf8();
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if text.is_empty() {
            return Err(self.expected("a value, in quotes if it is empty or has spaces"));
        }
        Ok(Written {
            text: text.to_owned(),
            start,
            is_quoted: false,
        })
    }

    /// Reads a condition on a member, from the first step of its path.
    fn member(&mut self) -> Result<JsonQuery, TextFormError> {
        let path = self.path()?;
        let Some(operator) = self.operator() else {
            if self
                .peek()
                .is_some_and(|next| !next.is_whitespace() && next != ')')
            {
                return Err(self.expected("one of = != > >= < <= ~ : after the path"));
            }
            let test = JsonTest::Exists;
            return Ok(JsonQuery::Leaf(JsonCondition { path, test }));
        };
        let leaf = |test| {
            JsonQuery::Leaf(JsonCondition {
                path: path.clone(),
                test,
            })
        };
        match operator {
            Operator::Equals => Ok(leaf(match self.scalars()? {
                (first, rest) if rest.is_empty() => JsonTest::Equals(first),
                (first, mut values) => {
                    values.insert(0, first);
                    JsonTest::In(values)
                }
            })),
            Operator::NotEquals => match self.scalars()? {
                (first, rest) if rest.is_empty() => Ok(leaf(JsonTest::NotEquals(first))),
                (first, rest) => {
                    let all = std::iter::once(first).chain(rest);
                    let tests = all.map(JsonTest::NotEquals).map(leaf);
                    Ok(JsonQuery::And(tests.collect()))
                }
            },
            Operator::Contains => Ok(leaf(JsonTest::Contains(scalar(self.value()?)))),
            Operator::Regex => {
                let value = self.value()?;
                let regex = self.costly.regex(&value.text);
                let regex = regex.map_err(|error| self.wrong(value.start, error))?;
                Ok(leaf(JsonTest::Regex(regex)))
            }
            Operator::Range(side) => {
                let value = self.value()?;
                let bound = match scalar(value) {
                    JsonScalar::Number(number) => Bound::Number(number),
                    JsonScalar::String(text) => Bound::String(text),
                    JsonScalar::Bool(_) | JsonScalar::Null => {
                        return Err(self.expected("a number or a text"));
                    }
                };
                Ok(leaf(JsonTest::Range(side, bound)))
            }
        }
    }

    fn scalars(&mut self) -> Result<(JsonScalar, Vec<JsonScalar>), TextFormError> {
        let first = scalar(self.value_until(',')?);
        let mut rest = Vec::new();
        while self.take(",") {
            rest.push(scalar(self.value_until(',')?));
        }
        Ok((first, rest))
    }

    fn operator(&mut self) -> Option<Operator> {
        let known = [
            ("!=", Operator::NotEquals),
            (">=", Operator::Range(Side::GreaterOrEqual)),
            ("<=", Operator::Range(Side::LessOrEqual)),
            ("=", Operator::Equals),
            (">", Operator::Range(Side::Greater)),
            ("<", Operator::Range(Side::Less)),
            ("~", Operator::Regex),
            (":", Operator::Contains),
        ];
        let found = known
            .iter()
            .find(|(token, _)| self.rest().starts_with(token))?;
        self.at += found.0.len();
        Some(found.1)
    }

    /// Reads the steps of a path. A name after a dot may have hyphens here, which RFC 9535 allows
    /// in quotes only.
    fn path(&mut self) -> Result<JsonPath, TextFormError> {
        let start = self.at;
        let mut path = String::from("$");
        loop {
            if self.peek() == Some('[') {
                let brackets = self.brackets()?;
                path.push_str(brackets);
            } else if self.take(".") {
                path.push('.');
                if self.take(".") {
                    path.push('.');
                }
                if self.peek() == Some('[') || self.take("*") {
                    if !self.rest().starts_with('[') {
                        path.push('*');
                    }
                    continue;
                }
                self.name(&mut path)?;
            } else {
                break;
            }
        }
        self.costly
            .path(&path)
            .map_err(|error| self.wrong(start, error))
    }

    fn name(&mut self, path: &mut String) -> Result<(), TextFormError> {
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii()
        };
        let name = self.run(|character| {
            (is_plain(character) || character == '-') && !character.is_whitespace()
        });
        if name.is_empty() {
            return Err(self.expected("the name of a member, '*', or ['name']"));
        }
        if name.chars().all(is_plain) && !name.starts_with(|first: char| first.is_ascii_digit()) {
            path.push_str(name);
            return Ok(());
        }
        // The dot is not part of the longer form, but two dots are.
        if !path.ends_with("..") {
            path.pop();
        }
        // Writing to a text cannot fail.
        let _written = write!(path, "['{name}']");
        Ok(())
    }

    /// Reads brackets with all that is in them; quotes may have brackets in them.
    fn brackets(&mut self) -> Result<&str, TextFormError> {
        let start = self.at;
        let mut n_open = 0_usize;
        let mut quote = None;
        let mut is_escaped = false;
        for (at, character) in self.rest().char_indices() {
            match (quote, character) {
                _ if is_escaped => is_escaped = false,
                (Some(_), '\\') => is_escaped = true,
                (Some(open), close) if open == close => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(character),
                (None, '[') => n_open += 1,
                (None, ']') => n_open -= 1,
                (None, _) => {}
            }
            if n_open == 0 {
                self.at = start + at + 1;
                return Ok(self.text.get(start..self.at).unwrap_or_default());
            }
        }
        Err(TextFormError {
            at: start,
            len: 1,
            rule: TextFormRule::Unclosed("the bracket"),
        })
    }
}

/// A word, a number and what stands in quotes are different values.
fn scalar(value: Written) -> JsonScalar {
    if value.is_quoted {
        return JsonScalar::String(value.text.into());
    }
    match &*value.text {
        "null" => JsonScalar::Null,
        "true" => JsonScalar::Bool(true),
        "false" => JsonScalar::Bool(false),
        text => match text.parse::<Decimal>() {
            Ok(number) => JsonScalar::Number(number),
            Err(_) => JsonScalar::String(text.into()),
        },
    }
}

fn other<T: FromStr>(what: &'static str) -> impl Fn(&str) -> Result<T, TextFormRule> {
    move |text| text.parse().map_err(|_| TextFormRule::Expected(what))
}

fn stream(text: &str) -> Result<StreamId, TextFormRule> {
    let parts = text
        .split_once('/')
        .and_then(|(aggregate_type, aggregate_id)| {
            let aggregate_type = aggregate_type.parse().ok()?;
            Some(StreamId::new(aggregate_type, aggregate_id.parse().ok()?))
        });
    parts.ok_or(TextFormRule::Expected("a stream, such as form/f-1"))
}

/// Reads a moment: a date is its beginning, a month and a year theirs, in UTC.
fn time(text: &str) -> Result<Timestamp, TextFormRule> {
    let rest = match text.len() {
        4 => "-01-01T00:00:00Z",
        7 => "-01T00:00:00Z",
        10 => "T00:00:00Z",
        _ => "",
    };
    [text, rest].concat().parse().map_err(|_| {
        TextFormRule::Expected("a time, such as 2026-03-01 or 2026-03-01T09:30:00+01:00")
    })
}

fn sequence(text: &str) -> Result<SequenceRange, TextFormRule> {
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.and_then(SequenceNumber::new)
    };
    let side = |text: &str| match text {
        "" => Some(None),
        text => number(text).map(Some),
    };
    let range = match text.split_once("..") {
        Some((from, to)) => side(from).zip(side(to)),
        None => number(text).map(|number| (Some(number), Some(number))),
    };
    let range = range.map(|(from, to)| SequenceRange { from, to });
    range.ok_or(TextFormRule::Expected(
        "a sequence number, such as 3, or a range, such as 3..7",
    ))
}
