//! Random events and random questions about them, from so few words that many questions have
//! answers.

use factum_model::{JsonObject, NewEvent, SequenceNumber, StreamId, Timestamp};
use factum_query::{
    Bound, Decimal, Expression, Filter, FilterLimits, JsonCondition, JsonPath, JsonQuery,
    JsonScalar, JsonTest, SequenceRange, Side, TextQuery, TimeRange,
};

use crate::random::Random;

const TYPES: &[&str] = &[
    "form.opened",
    "form.changed",
    "form.field.changed",
    "mail.sent",
];
const PATTERNS: &[&str] = &[
    "form.*",
    "form.>",
    "*.sent",
    "form.opened",
    "mail.>",
    "none.>",
];
const KEYS: &[&str] = &["a", "b", "c", "x y", "é"];
const WORDS: &[&str] = &[
    "credit",
    "Check",
    "DE",
    "FR",
    "foo_bar",
    "straße",
    "10.5",
    "no match",
    "",
    "Credit check",
];
const NUMBERS: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "1.0",
    "1e0",
    "10",
    "9007199254740993",
    "9007199254740992",
    "-3.25",
    "0.1",
    "1e400",
    "123456789012345678901234567890",
];
const PATHS: &[&str] = &[
    "$.a",
    "$.b",
    "$.a.b",
    "$.a.b.c",
    "$.c[*]",
    "$.c[0]",
    "$.c[-1]",
    "$.c[*].a",
    "$['x y']",
    "$['é']",
    "$..a",
    "$.*",
    "$.a.*",
    "$[?@.a == 1]",
    "$.c[?@ > 5]",
    "$.missing",
    "$",
    "$['a','b']",
];

/// Returns a random event, with a random document.
///
/// # Panics
/// Never: everything it is made of is valid.
#[must_use]
pub fn random_event(random: &mut Random) -> NewEvent {
    let stream = StreamId::new(
        one(random, &["form", "mail"]).parse().unwrap(),
        format!("s-{}", random.below(9)).parse().unwrap(),
    );
    let mut payload = String::new();
    object(random, 0, &mut payload);
    let mut metadata = Vec::new();
    if random.one_in(2) {
        metadata.push(format!(r#""userId":"u{}""#, random.below(4)));
    }
    if random.one_in(2) {
        let (first, second) = (random.below(3), random.below(3));
        metadata.push(format!(r#""tags":["t{first}","t{second}"]"#));
    }
    if random.one_in(3) {
        metadata.push(format!(r#""extra":{}"#, one(random, NUMBERS)));
    }
    let correlated = random.one_in(4);
    NewEvent {
        timestamp: Timestamp::from_micros(i64::try_from(random.below(40)).unwrap() * 3_600_000_000),
        correlation_id: correlated.then(|| format!("c{}", random.below(5)).parse().unwrap()),
        metadata: JsonObject::parse(format!("{{{}}}", metadata.join(","))).unwrap(),
        ..NewEvent::new(
            one(random, TYPES).parse().unwrap(),
            stream,
            JsonObject::parse(payload).unwrap(),
        )
    }
}

fn one(random: &mut Random, words: &[&'static str]) -> &'static str {
    words[random.index(words.len())]
}

fn object(random: &mut Random, depth: u32, out: &mut String) {
    out.push('{');
    let mut first = true;
    for key in KEYS {
        if random.one_in(2) {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str(&[r#"""#, key, r#"":"#].concat());
        value(random, depth + 1, out);
    }
    out.push('}');
}

fn value(random: &mut Random, depth: u32, out: &mut String) {
    match random.below(if depth < 4 { 9 } else { 6 }) {
        0 => out.push_str("null"),
        1 => out.push_str(one(random, &["true", "false"])),
        2 | 3 => out.push_str(one(random, NUMBERS)),
        4 => out.push_str(&[r#"""#, one(random, WORDS), r#"""#].concat()),
        5 => {
            let text = [one(random, WORDS), " ", one(random, WORDS)].concat();
            out.push_str(&[r#"""#, &text, r#"""#].concat());
        }
        6 => object(random, depth, out),
        _ => {
            out.push('[');
            for index in 0..random.below(4) {
                if index > 0 {
                    out.push(',');
                }
                value(random, depth + 1, out);
            }
            out.push(']');
        }
    }
}

/// Returns a random filter that asks for something.
///
/// # Panics
/// Never: everything it is made of is valid.
#[must_use]
pub fn random_filter(random: &mut Random) -> Filter {
    level(random, 0)
}

fn level(random: &mut Random, depth: u32) -> Filter {
    let mut filter = Filter::default();
    for _ in 0..=random.below(3) {
        set(random, depth, &mut filter);
    }
    filter
}

fn set(random: &mut Random, depth: u32, filter: &mut Filter) {
    match random.below(if depth < 2 { 17 } else { 14 }) {
        0 => filter
            .event_types
            .push(one(random, PATTERNS).parse().unwrap()),
        1 => filter.aggregate_types = vec![one(random, &["form", "mail", "x"]).parse().unwrap()],
        2 => filter.aggregate_ids = vec![format!("s-{}", random.below(10)).parse().unwrap()],
        3 => filter.tags.push(format!("t{}", random.below(4))),
        4 => filter.user_id = Some(format!("u{}", random.below(5))),
        5 => filter.correlation_id = Some(format!("c{}", random.below(6)).parse().unwrap()),
        6 => filter.timestamp = span(random),
        7 => {
            filter.sequence = SequenceRange {
                from: SequenceNumber::new(random.below(20)),
                to: SequenceNumber::new(20 + random.below(40)),
            };
        }
        8 => {
            let word = [one(random, WORDS), " ", one(random, WORDS)].concat();
            let text = if random.one_in(2) {
                TextQuery::phrase(&word)
            } else {
                TextQuery::words(&word)
            };
            filter.text = text.ok();
        }
        9 => filter.metadata = Some(query(random, 0)),
        10..=13 => filter.payload = Some(query(random, 0)),
        14 => filter.any_of = (0..2).map(|_| level(random, depth + 1)).collect(),
        15 => filter.all_of = vec![level(random, depth + 1)],
        _ => filter.not = vec![level(random, depth + 1)],
    }
}

fn span(random: &mut Random) -> TimeRange {
    let mut hour =
        |bound| Timestamp::from_micros(i64::try_from(random.below(bound)).unwrap() * 3_600_000_000);
    let (from, to) = (hour(40), hour(60));
    TimeRange {
        from: from.min(to),
        to: from.max(to),
    }
}

fn query(random: &mut Random, depth: u32) -> JsonQuery {
    match random.below(if depth < 2 { 8 } else { 5 }) {
        0..=4 => JsonQuery::Leaf(condition(random)),
        5 => JsonQuery::And((0..2).map(|_| query(random, depth + 1)).collect()),
        6 => JsonQuery::Or((0..2).map(|_| query(random, depth + 1)).collect()),
        _ => JsonQuery::Not(Box::new(query(random, depth + 1))),
    }
}

fn condition(random: &mut Random) -> JsonCondition {
    let limits = FilterLimits::default();
    let path = one(random, PATHS);
    let test = match random.below(9) {
        0 => JsonTest::Exists,
        1 | 2 => JsonTest::Equals(scalar(random)),
        3 => JsonTest::NotEquals(scalar(random)),
        4 => JsonTest::In((0..3).map(|_| scalar(random)).collect()),
        5 | 6 => JsonTest::Contains(scalar(random)),
        7 => {
            let expression = random.pick(&["redit", "^C", "[0-9]+", "s+e$", "."]);
            JsonTest::Regex(Expression::parse_within(expression, &limits).unwrap())
        }
        _ => {
            let side = *random.pick(&[
                Side::Greater,
                Side::GreaterOrEqual,
                Side::Less,
                Side::LessOrEqual,
            ]);
            let bound = match scalar(random) {
                JsonScalar::Number(number) => Bound::Number(number),
                JsonScalar::String(text) => Bound::String(text),
                JsonScalar::Null | JsonScalar::Bool(_) => Bound::Number(5_u64.into()),
            };
            JsonTest::Range(side, bound)
        }
    };
    JsonCondition {
        path: JsonPath::parse_within(path, &limits).unwrap(),
        test,
    }
}

fn scalar(random: &mut Random) -> JsonScalar {
    match random.below(6) {
        0 => JsonScalar::Null,
        1 => JsonScalar::Bool(random.one_in(2)),
        2 | 3 => JsonScalar::Number(one(random, NUMBERS).parse::<Decimal>().unwrap()),
        4 => JsonScalar::from(one(random, WORDS)),
        _ => JsonScalar::from(one(random, &["red", "foo", "DE", "Credit check"])),
    }
}
