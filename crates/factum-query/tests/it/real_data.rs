//! What others counted in real data, counted by the evaluator and by the terms of an index.

use std::collections::HashSet;

use factum_model::RecordedEvent;
use factum_query::{
    Decimal, Filter, JsonQuery, JsonScalar, Leaf, Part, TermHasher, TermLimits, TextQuery,
    document_terms, narrowing,
};
use serde_json::Value;

use crate::shared::{event, parts, real_files};

struct Counted {
    event: RecordedEvent,
    terms: HashSet<u64>,
}

fn counted(line: &str, hasher: &TermHasher) -> Counted {
    let (payload, metadata) = parts(line);
    let mut terms = Vec::new();
    let coverage = document_terms(
        hasher,
        Part::Payload,
        payload,
        &TermLimits::default(),
        &mut terms,
    );
    assert!(coverage.is_complete(), "{} terms", terms.len());
    Counted {
        event: event(payload, metadata),
        terms: terms.into_iter().collect(),
    }
}

fn scalar(text: &str) -> JsonScalar {
    match serde_json::from_str(text).unwrap() {
        Value::Null => JsonScalar::Null,
        Value::Bool(value) => JsonScalar::Bool(value),
        Value::Number(_) => JsonScalar::Number(text.parse::<Decimal>().unwrap()),
        Value::String(text) => JsonScalar::String(text.into()),
        Value::Array(_) | Value::Object(_) => panic!("{text}"),
    }
}

fn check(filter: &Filter, events: &[Counted], hasher: &TermHasher, expected: &Value) {
    let matching = events.iter().filter(|one| filter.matches(&one.event));
    assert_eq!(
        Some(matching.count() as u64),
        expected.as_u64(),
        "{filter:?}"
    );
    let narrowing = narrowing(filter);
    assert!(narrowing.is_exact());
    let decided = events.iter().filter(|one| {
        let has = &mut |leaf: &Leaf| match leaf {
            Leaf::Term(fact) => Some(one.terms.contains(&hasher.term(fact))),
            Leaf::Word(word) => Some(one.terms.contains(&hasher.word(word))),
            other => panic!("{other:?}"),
        };
        narrowing.decide(has).unwrap()
    });
    assert_eq!(
        Some(decided.count() as u64),
        expected.as_u64(),
        "{filter:?}"
    );
}

#[test]
fn values_and_words_of_real_data_are_counted_exactly() {
    let hasher = TermHasher::new([7; 16]);
    for (lines, expected) in real_files() {
        let events: Vec<Counted> = lines.iter().map(|line| counted(line, &hasher)).collect();
        for (member, values) in expected["payloadEquals"].as_object().unwrap() {
            for (value, n_events) in values.as_object().unwrap() {
                let path = format!("$['{member}']");
                let filter = Filter {
                    payload: Some(JsonQuery::equals(&path, scalar(value)).unwrap()),
                    ..Filter::default()
                };
                check(&filter, &events, &hasher, n_events);
            }
        }
        for (word, n_events) in expected["eventsWithWord"].as_object().unwrap() {
            let filter = Filter {
                text: Some(TextQuery::parse(word).unwrap()),
                ..Filter::default()
            };
            check(&filter, &events, &hasher, n_events);
        }
    }
}
