//! Reads JSONPaths.

use crate::decimal::Decimal;
use crate::invalid::{FilterLimits, InvalidFilter, excerpt};
use crate::path::expression::{Comparable, Comparison, Logical, Query};
use crate::path::function::{Expression, RegexCall, compile};
use crate::path::{Segment, Selector, Slice};
use crate::scalar::JsonScalar;

/// How deeply filters, parentheses and calls may stand inside each other.
const DEPTH_MAX: usize = 16;

/// How many calls of `match` and `search` a path may have: each holds a compiled expression.
const REGEXES_MAX: usize = 4;

/// The largest number that every reader of JSON tells from its neighbours.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// What a path is made of.
pub(crate) struct Parsed {
    pub(crate) segments: Box<[Segment]>,
    pub(crate) has_filter: bool,
}

/// Reads a whole path.
pub(crate) fn path(text: &str, limits: &FilterLimits) -> Result<Parsed, InvalidFilter> {
    if text.len() > limits.path_bytes_max {
        return Err(InvalidFilter::Length {
            what: "JSONPath",
            limit: limits.path_bytes_max,
            actual: text.len(),
        });
    }
    let mut parser = Parser {
        text,
        at: 0,
        n_parts: 0,
        n_regexes: 0,
        parts_max: limits.path_parts_max,
        depth: 0,
        has_filter: false,
    };
    let segments = parser.whole().map_err(|rule| InvalidFilter::Path {
        text: excerpt(text),
        at: parser.at,
        rule,
    })?;
    Ok(Parsed {
        segments,
        has_filter: parser.has_filter,
    })
}

/// The rule that is broken where the parser stands.
type Fault = &'static str;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    n_parts: usize,
    n_regexes: usize,
    parts_max: usize,
    depth: usize,
    has_filter: bool,
}

/// What an operand of a filter expression is.
enum Operand {
    Literal(JsonScalar),
    Query(Query),
    /// A function with a value.
    Value(Comparable),
    /// A function that holds or does not.
    Logical(Logical),
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Box<[Segment]>, Fault> {
        if !self.take("$") {
            return Err("a path begins with $");
        }
        let segments = self.segments()?;
        if self.at < self.text.len() {
            return Err("expected '.', '[' or the end");
        }
        Ok(segments)
    }

    fn rest(&self) -> &str {
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

    fn expect(&mut self, token: &str, rule: Fault) -> Result<(), Fault> {
        if self.take(token) { Ok(()) } else { Err(rule) }
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.at += rest.len() - trimmed.len();
    }

    fn count_part(&mut self) -> Result<(), Fault> {
        self.n_parts += 1;
        if self.n_parts > self.parts_max {
            return Err("the path has too many segments and selectors");
        }
        Ok(())
    }

    /// Goes one level deeper; the caller comes back with [`Self::leave`].
    const fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("filters and parentheses are nested too deeply");
        }
        Ok(())
    }

    const fn leave(&mut self) {
        self.depth -= 1;
    }

    fn segments(&mut self) -> Result<Box<[Segment]>, Fault> {
        let mut segments = Vec::new();
        loop {
            let before = self.at;
            self.skip_space();
            let segment = if self.take("..") {
                let selectors = match self.peek() {
                    Some('[') => self.brackets()?,
                    _ => self.shorthand()?,
                };
                Segment {
                    descends: true,
                    selectors,
                }
            } else if self.take(".") {
                let selectors = self.shorthand()?;
                Segment {
                    descends: false,
                    selectors,
                }
            } else if self.peek() == Some('[') {
                let selectors = self.brackets()?;
                Segment {
                    descends: false,
                    selectors,
                }
            } else {
                // Space belongs to a path only where a segment follows.
                self.at = before;
                return Ok(segments.into());
            };
            segments.push(segment);
        }
    }

    fn shorthand(&mut self) -> Result<Box<[Selector]>, Fault> {
        self.count_part()?;
        if self.take("*") {
            return Ok(Box::new([Selector::Wildcard]));
        }
        let first = |character: char| {
            character == '_' || character.is_ascii_alphabetic() || !character.is_ascii()
        };
        let rest = self.rest();
        if !rest.starts_with(first) {
            return Err("expected a name or '*'; other names stand in ['…']");
        }
        let end = rest.find(|character: char| !first(character) && !character.is_ascii_digit());
        let name: Box<str> = rest
            .get(..end.unwrap_or(rest.len()))
            .unwrap_or_default()
            .into();
        self.at += name.len();
        Ok(Box::new([Selector::Name(name)]))
    }

    fn brackets(&mut self) -> Result<Box<[Selector]>, Fault> {
        self.expect("[", "expected '['")?;
        let mut selectors = Vec::new();
        loop {
            self.skip_space();
            selectors.push(self.selector()?);
            self.skip_space();
            if self.take("]") {
                return Ok(selectors.into());
            }
            self.expect(",", "expected ',' or ']'")?;
        }
    }

    fn selector(&mut self) -> Result<Selector, Fault> {
        self.count_part()?;
        match self.peek() {
            Some('\'' | '"') => Ok(Selector::Name(self.quoted()?)),
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                self.has_filter = true;
                self.skip_space();
                Ok(Selector::Filter(Box::new(self.logical()?)))
            }
            _ => self.index_or_slice(),
        }
    }

    fn index_or_slice(&mut self) -> Result<Selector, Fault> {
        const RULE: Fault = "expected a name in quotes, '*', an index, a slice or a filter";
        let start = self.integer()?;
        let before = self.at;
        self.skip_space();
        if !self.take(":") {
            self.at = before;
            return start.map(Selector::Index).ok_or(RULE);
        }
        self.skip_space();
        let end = self.integer()?;
        let before = self.at;
        self.skip_space();
        let mut step = None;
        if self.take(":") {
            self.skip_space();
            step = self.integer()?;
        } else {
            self.at = before;
        }
        Ok(Selector::Slice(Slice {
            start,
            end,
            step: step.unwrap_or(1),
        }))
    }

    /// Reads an integer where one stands.
    fn integer(&mut self) -> Result<Option<i64>, Fault> {
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let is_negative = digits.len() < rest.len();
        let n_digits = digits.bytes().take_while(u8::is_ascii_digit).count();
        if n_digits == 0 {
            return if is_negative {
                Err("expected a digit after '-'")
            } else {
                Ok(None)
            };
        }
        let digits = digits.get(..n_digits).unwrap_or_default();
        if digits.starts_with('0') && (n_digits > 1 || is_negative) {
            return Err("an integer has no leading zero and no negative zero");
        }
        let number = digits.parse().ok().filter(|number| *number <= INTEGER_MAX);
        let number: i64 = number.ok_or("an integer is at most 9007199254740991")?;
        self.at += n_digits + usize::from(is_negative);
        Ok(Some(if is_negative { -number } else { number }))
    }

    fn quoted(&mut self) -> Result<Box<str>, Fault> {
        let quote = self.peek().ok_or("expected a text in quotes")?;
        self.at += 1;
        let mut text = String::new();
        loop {
            let character = self.peek().ok_or("a text in quotes is not closed")?;
            match character {
                end if end == quote => {
                    self.at += 1;
                    return Ok(text.into());
                }
                '\\' => {
                    self.at += 1;
                    text.push(self.escape(quote)?);
                }
                control if control < ' ' => return Err("a control character is not escaped"),
                other => {
                    self.at += other.len_utf8();
                    text.push(other);
                }
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, Fault> {
        const RULE: Fault = "expected an escape";
        let kind = self.peek().ok_or(RULE)?;
        self.at += kind.len_utf8();
        Ok(match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '/' | '\\' => kind,
            own if own == quote => own,
            'u' => {
                let first = self.four_hex_digits()?;
                let mut code = first;
                if (0xd800..0xdc00).contains(&first) {
                    self.expect("\\u", "a lone surrogate is not a character")?;
                    let second = self.four_hex_digits()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err("a lone surrogate is not a character");
                    }
                    code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                }
                char::from_u32(code).ok_or("a lone surrogate is not a character")?
            }
            _ => return Err(RULE),
        })
    }

    fn four_hex_digits(&mut self) -> Result<u32, Fault> {
        const RULE: Fault = "expected four hexadecimal digits";
        let digits = self.rest().get(..4).ok_or(RULE)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RULE);
        }
        let code = u32::from_str_radix(digits, 16).map_err(|_| RULE)?;
        self.at += 4;
        Ok(code)
    }

    fn logical(&mut self) -> Result<Logical, Fault> {
        self.enter()?;
        let mut any = vec![self.conjunction()?];
        while self.operator("||") {
            any.push(self.conjunction()?);
        }
        self.leave();
        Ok(single_or(any, Logical::Or))
    }

    fn conjunction(&mut self) -> Result<Logical, Fault> {
        let mut all = vec![self.basic()?];
        while self.operator("&&") {
            all.push(self.basic()?);
        }
        Ok(single_or(all, Logical::And))
    }

    /// Takes an operator between two expressions, with the space around it.
    fn operator(&mut self, operator: &str) -> bool {
        let before = self.at;
        self.skip_space();
        let found = self.take(operator);
        if found {
            self.skip_space();
        } else {
            self.at = before;
        }
        found
    }

    fn basic(&mut self) -> Result<Logical, Fault> {
        self.count_part()?;
        let negated = self.take("!");
        if negated {
            self.skip_space();
        }
        let inner = if self.take("(") {
            self.skip_space();
            let inner = self.logical()?;
            self.skip_space();
            self.expect(")", "expected ')'")?;
            inner
        } else {
            let left = self.operand()?;
            let before = self.at;
            self.skip_space();
            match self.comparison().filter(|_| !negated) {
                Some(comparison) => {
                    self.skip_space();
                    let left = comparable(left)?;
                    let right = comparable(self.operand()?)?;
                    Logical::Compare(Box::new(left), comparison, Box::new(right))
                }
                None => {
                    self.at = before;
                    test(left)?
                }
            }
        };
        Ok(if negated {
            Logical::Not(Box::new(inner))
        } else {
            inner
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let found = known
            .iter()
            .find(|(token, _)| self.rest().starts_with(token))?;
        self.at += found.0.len();
        Some(found.1)
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        const RULE: Fault = "expected a value, a query that begins with @ or $, or a function";
        let first = self.peek().ok_or(RULE)?;
        match first {
            '@' | '$' => {
                self.at += 1;
                Ok(Operand::Query(Query {
                    from_root: first == '$',
                    segments: self.segments()?,
                }))
            }
            '\'' | '"' => Ok(Operand::Literal(JsonScalar::String(self.quoted()?))),
            '-' | '0'..='9' => self.number(),
            'a'..='z' => self.word_or_call(),
            _ => Err(RULE),
        }
    }

    fn number(&mut self) -> Result<Operand, Fault> {
        let in_number =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest().bytes().take_while(in_number).count();
        let text = self.rest().get(..length).unwrap_or_default();
        let number: Decimal = text.parse().map_err(|_| "expected a number as in JSON")?;
        self.at += length;
        Ok(Operand::Literal(JsonScalar::Number(number)))
    }

    fn word_or_call(&mut self) -> Result<Operand, Fault> {
        let in_name =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
        let length = self.rest().bytes().take_while(in_name).count();
        let name = self.rest().get(..length).unwrap_or_default().to_owned();
        let after = self.rest().as_bytes().get(length);
        if after != Some(&b'(') {
            let literal = match &*name {
                "true" => JsonScalar::Bool(true),
                "false" => JsonScalar::Bool(false),
                "null" => JsonScalar::Null,
                _ => return Err("expected true, false, null or a function"),
            };
            self.at += length;
            return Ok(Operand::Literal(literal));
        }
        if !matches!(&*name, "length" | "count" | "value" | "match" | "search") {
            return Err("there is no such function; there are length, count, value, match, search");
        }
        self.n_regexes += usize::from(matches!(&*name, "match" | "search"));
        if self.n_regexes > REGEXES_MAX {
            return Err("a path has at most four calls of match and search");
        }
        self.at += length + 1;
        self.count_part()?;
        self.enter()?;
        let mut arguments = Vec::new();
        self.skip_space();
        if !self.take(")") {
            loop {
                arguments.push(self.operand()?);
                self.skip_space();
                if self.take(")") {
                    break;
                }
                self.expect(",", "expected ',' or ')'")?;
                self.skip_space();
            }
        }
        self.leave();
        call(&name, arguments)
    }
}

fn single_or(mut parts: Vec<Logical>, join: fn(Vec<Logical>) -> Logical) -> Logical {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn is_singular(query: &Query) -> bool {
    query.segments.iter().all(|segment| {
        let one = matches!(
            &*segment.selectors,
            [Selector::Name(_) | Selector::Index(_)]
        );
        one && !segment.descends
    })
}

fn comparable(operand: Operand) -> Result<Comparable, Fault> {
    match operand {
        Operand::Literal(literal) => Ok(Comparable::Literal(literal)),
        Operand::Query(query) if is_singular(&query) => Ok(Comparable::Query(query)),
        Operand::Query(_) => Err("a query that is compared selects one value at most"),
        Operand::Value(value) => Ok(value),
        Operand::Logical(_) => Err("match and search have no value to compare"),
    }
}

fn test(operand: Operand) -> Result<Logical, Fault> {
    match operand {
        Operand::Query(query) => Ok(Logical::Exists(query)),
        Operand::Logical(logical) => Ok(logical),
        Operand::Literal(_) | Operand::Value(_) => Err("a value alone is no condition"),
    }
}

fn call(name: &str, arguments: Vec<Operand>) -> Result<Operand, Fault> {
    let mut arguments = arguments.into_iter();
    let found = [arguments.next(), arguments.next(), arguments.next()];
    match (name, found) {
        ("length", [Some(value), None, None]) => {
            let value = Box::new(comparable(value)?);
            Ok(Operand::Value(Comparable::Length(value)))
        }
        ("count", [Some(Operand::Query(query)), None, None]) => {
            Ok(Operand::Value(Comparable::Count(query)))
        }
        ("value", [Some(Operand::Query(query)), None, None]) => {
            Ok(Operand::Value(Comparable::Query(query)))
        }
        ("match" | "search", [Some(text), Some(regex), None]) => {
            let whole = name == "match";
            let regex = match comparable(regex)? {
                Comparable::Literal(JsonScalar::String(regex)) => {
                    Expression::Fixed(compile(&regex, whole))
                }
                computed => Expression::Computed(computed),
            };
            let text = comparable(text)?;
            let call = RegexCall { text, regex, whole };
            Ok(Operand::Logical(Logical::Regex(Box::new(call))))
        }
        _ => Err(
            "the function has other arguments: length(value), count(query), value(query), match(value, regex), search(value, regex)",
        ),
    }
}
