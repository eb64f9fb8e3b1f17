//! Questions about real events, made of what stands in them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use factum_model::{JsonObject, NewEvent, RecordedEvent, StreamId};
use factum_query::{
    Bound, Decimal, Expression, Filter, FilterLimits, JsonCondition, JsonPath, JsonQuery,
    JsonScalar, JsonTest, Side, TextQuery, TimeRange,
};
use factum_store::EventStore as _;
use factum_store_embedded::{EmbeddedStore, Options};
use factum_testkit::Random;
use serde_json::Value;

use crate::queries::{compare_one, everything, request, rounds};

/// Returns the lines of the files that are at hand; there is always a sample.
fn lines() -> Vec<String> {
    let shared = std::env::var_os("FACTUM_SHARED").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let beside = || own.join("../../../shared");
    let data = shared.unwrap_or_else(beside).join("data");
    let mut files: Vec<_> = ["permits", "github-webhooks", "agent-sessions"]
        .map(|name| data.join(format!("{name}.jsonl.gz")))
        .into_iter()
        .filter(|path| path.exists())
        .collect();
    if files.is_empty() {
        files.push(own.join("../factum/tests/data/sample.jsonl.gz"));
    }
    let mut text = String::new();
    for path in files {
        let file = std::fs::File::open(path).unwrap();
        let mut decoder = flate2::read::GzDecoder::new(file);
        decoder.read_to_string(&mut text).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}

fn event(line: &str) -> NewEvent {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| value[key].as_str().unwrap();
    let json = |key: &str| {
        let members = factum_model::members(line);
        let found = members.into_iter().find(|(name, _)| &**name == key);
        JsonObject::parse(found.map_or("{}", |(_, json)| json).to_owned()).unwrap()
    };
    let stream = StreamId::new(
        text("aggregateType").parse().unwrap(),
        text("aggregateId").parse().unwrap(),
    );
    NewEvent {
        timestamp: Some(text("timestamp").parse().unwrap()),
        metadata: json("metadata"),
        ..NewEvent::new(text("type").parse().unwrap(), stream, json("payload"))
    }
}

/// Walks from a value to a scalar inside it; returns the way and the scalar, where there is one.
fn walk(random: &mut Random, value: &Value, path: &mut String) -> Value {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let (name, inner) = members.iter().nth(random.index(members.len())).unwrap();
            let name = serde_json::to_string(name).unwrap();
            path.push_str(&["[", &name, "]"].concat());
            walk(random, inner, path)
        }
        Value::Array(items) if !items.is_empty() => {
            let index = random.index(items.len());
            match random.below(3) {
                0 => path.push_str(&["[", &index.to_string(), "]"].concat()),
                1 => path.push_str("[*]"),
                // The array itself is asked for what it contains.
                _ => return items[index].clone(),
            }
            walk(random, &items[index], path)
        }
        scalar => scalar.clone(),
    }
}

fn scalar(value: &Value) -> JsonScalar {
    match value {
        Value::Null => JsonScalar::Null,
        Value::Bool(value) => JsonScalar::Bool(*value),
        Value::Number(number) => JsonScalar::Number(number.to_string().parse::<Decimal>().unwrap()),
        Value::String(text) => JsonScalar::from(text.as_str()),
        Value::Array(_) | Value::Object(_) => JsonScalar::from("nothing"),
    }
}

fn word(random: &mut Random, text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let word = words.get(random.index(words.len().max(1)));
    word.unwrap_or(&"none").chars().take(60).collect()
}

fn test(random: &mut Random, value: &Value) -> JsonTest {
    let limits = FilterLimits::default();
    let text = value.as_str().unwrap_or_default();
    match random.below(8) {
        0 => JsonTest::Exists,
        1 | 2 => JsonTest::Equals(scalar(value)),
        3 => JsonTest::NotEquals(scalar(value)),
        4 => JsonTest::Contains(match value {
            Value::String(_) => JsonScalar::from(word(random, text).as_str()),
            other => scalar(other),
        }),
        5 => {
            let letters: String = text
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(3)
                .collect();
            JsonTest::Regex(Expression::parse_within(&letters, &limits).unwrap())
        }
        6 => JsonTest::In(vec![scalar(value), JsonScalar::from("other")]),
        _ => {
            let bound = match scalar(value) {
                JsonScalar::Number(number) => Bound::Number(number),
                JsonScalar::String(text) => Bound::String(text),
                JsonScalar::Null | JsonScalar::Bool(_) => Bound::Number(1_u64.into()),
            };
            JsonTest::Range(*random.pick(&[Side::Less, Side::GreaterOrEqual]), bound)
        }
    }
}

fn condition(random: &mut Random, json: &str) -> Option<JsonQuery> {
    let document: Value = serde_json::from_str(json).unwrap();
    let mut path = "$".to_owned();
    let value = walk(random, &document, &mut path);
    let path = JsonPath::parse_within(&path, &FilterLimits::default()).ok()?;
    let test = test(random, &value);
    let leaf = JsonQuery::Leaf(JsonCondition { path, test });
    Some(if random.one_in(6) {
        JsonQuery::Not(Box::new(leaf))
    } else {
        leaf
    })
}

/// Returns a filter that asks for some of what is in an event.
fn about(random: &mut Random, event: &RecordedEvent) -> Filter {
    let mut filter = Filter::default();
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 => filter.event_types = vec![event.event_type().parse().unwrap()],
            1 => filter.aggregate_ids = vec![event.aggregate_id().parse().unwrap()],
            2 => filter.metadata = condition(random, event.metadata()),
            3 => {
                let text = word(random, event.payload());
                filter.text = TextQuery::words(&text).ok();
            }
            4 => {
                filter.timestamp = TimeRange {
                    from: Some(event.timestamp),
                    to: None,
                };
            }
            _ => filter.payload = condition(random, event.payload()),
        }
    }
    filter
}

#[test]
fn questions_about_real_events_are_answered_like_the_evaluator_does() {
    let seed = 11;
    let lines = lines();
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        segment_events_max: 2_000,
        segment_bytes_max: 1 << 20,
        document_run_events: 200,
        recent_bytes_max: 64 << 10,
        cold_after_segments: Some(2),
        cold_bytes_per_second: u64::MAX,
        index_left_out: ["session.>:$.observation", "push:$.commits[*].message"]
            .map(|rule| rule.parse().unwrap())
            .into(),
        ..Options::at(directory.path())
    });
    let store = store.unwrap();
    let mut random = Random::seeded(seed);
    let n_rounds = rounds() / 100;
    let parts = lines.chunks(lines.len().div_ceil(10));
    for part in parts {
        for lines in part.chunks(100) {
            let events = lines.iter().map(|line| event(line)).collect();
            store.append_blocking(request(events)).unwrap();
        }
        let log = everything(&store, store.head());
        for _ in 0..n_rounds {
            let one = random.index(log.len());
            let filter = about(&mut random, &log[one]);
            compare_one(&store, (&mut random, seed), &log, &filter);
        }
    }
}
