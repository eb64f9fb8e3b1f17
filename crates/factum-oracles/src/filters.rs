//! Filters on the payload, as JSON and as people write them, asked of a payload.

use std::collections::HashSet;

use bytes::Bytes;
use factum_api::{filter_json, parse_event_query, parse_filter};
use factum_model::{JsonObject, NewEvent, RecordedEvent, StreamId};
use factum_query::{
    Filter, FilterLimits, Leaf, Part, TermHasher, TermLimits, document_terms, narrowing,
    parse_text_form,
};

use crate::events::{can_be_named, recorded};

pub(crate) const FILTER_SEEDS: &[&str] = &[
    "{\"payloadQuery\":{\"path\":\"$.country\",\"operator\":\"equals\",\"value\":\"DE\"},\"text\":\"credit \\\"a check\\\"\"}\n{\"country\":\"DE\",\"note\":\"a check of credit\"}",
    "{\"payloadQuery\":[{\"path\":\"$.items[*].sku\",\"operator\":\"in\",\"value\":[1,\"x\",null]},{\"or\":[{\"path\":\"$..n\",\"operator\":\"gte\",\"value\":1e999},{\"not\":{\"path\":\"$['a'][0]\",\"operator\":\"regex\",\"value\":\"^\\\\w+$\"}}]}]}\n{\"items\":[{\"sku\":1.0},{\"sku\":\"x\"}],\"n\":-0,\"a\":[\"\\u00e9\"]}",
    "{\"metadataQuery\":{\"path\":\"$.tags\",\"operator\":\"contains\",\"value\":\"x\"},\"sequenceRange\":{\"from\":1,\"to\":2},\"not\":{\"userId\":\"u\"},\"allOf\":[{},{\"payloadQuery\":{\"path\":\"$[?@.a == 1 || match(@.b, 'x.*')]\",\"operator\":\"exists\"}}]}\n{\"c\":{\"a\":1,\"b\":\"xy\"}}",
    "{\"payloadQuery\":{\"path\":\"$..[?count(@..*) > length(@)]\",\"operator\":\"notEquals\",\"value\":true},\"sort\":\"desc\",\"totalCount\":true}\n{\"a\":[[[]],{}]}",
];

pub(crate) const TEXT_SEEDS: &[&str] = &[
    "type:a.*,b payload.country=DE payload.amount>10000 user:ann since:2026-03-01 \"credit check\"\n{\"country\":\"DE\",\"amount\":10000.5,\"note\":\"credit check\"}",
    "-(payload['x y'][0]~^a(b|c)$ or tag:x) stream:a/1 sequence:3.. payload..sku=1,\"1\"\n{\"x y\":[\"ab\"],\"sku\":1e0}",
    "payload.items[*].sku!=1 metadata.x:y foo_bar until:2026-04 id:01a1fd3e-dc9a-7040-af22-b7001ac66f9d\n{\"items\":{\"a\":{\"sku\":2}}}",
];

/// A filter in JSON is refused with a place that can be named; or it is written back as it was
/// read, and what an index knows of a payload agrees with it.
///
/// # Panics
/// When not.
pub fn filters(data: &[u8]) {
    let Some((text, event)) = parts(data) else {
        return;
    };
    let limits = FilterLimits::default();
    let body = Bytes::copy_from_slice(text.as_bytes());
    match parse_filter(&body, &limits) {
        Ok(filter) => {
            let shown = Bytes::from(filter_json(&filter));
            assert_eq!(parse_filter(&shown, &limits).as_ref(), Ok(&filter));
            let query = parse_event_query(&body, &limits).unwrap();
            assert_eq!(query.filter, filter);
            agrees_with_an_index(&filter, &event);
        }
        Err(error) => can_be_named(&error),
    }
    match parse_event_query(&body, &limits) {
        Ok(query) => agrees_with_an_index(&query.filter, &event),
        Err(error) => can_be_named(&error),
    }
}

/// A filter as people write it is refused with a place in its text; or it can be written as JSON
/// too, and what an index knows of a payload agrees with it.
///
/// # Panics
/// When not.
pub fn text_form(data: &[u8]) {
    let Some((text, event)) = parts(data) else {
        return;
    };
    let limits = FilterLimits::default();
    match parse_text_form(text, &limits) {
        Ok(filter) => {
            let shown = Bytes::from(filter_json(&filter));
            assert_eq!(parse_filter(&shown, &limits).as_ref(), Ok(&filter));
            agrees_with_an_index(&filter, &event);
        }
        Err(error) => {
            assert!(
                text.get(error.at..error.at + error.len).is_some(),
                "{error}"
            );
            assert!(error.draw(text).lines().count() == 2, "{error}");
        }
    }
}

/// The first line is the filter, the rest the payload, where it can be one.
fn parts(data: &[u8]) -> Option<(&str, RecordedEvent)> {
    let text = std::str::from_utf8(data).ok()?;
    let (filter, payload) = text.split_once('\n').unwrap_or((text, "{}"));
    let payload = JsonObject::parse(payload.to_owned()).unwrap_or_default();
    let stream = StreamId::new("a".parse().unwrap(), "1".parse().unwrap());
    let mut event = NewEvent::new("a.b".parse().unwrap(), stream, payload);
    event.metadata = JsonObject::parse(r#"{"tags":["x"],"userId":"u"}"#).unwrap();
    Some((filter, recorded(&event)))
}

fn agrees_with_an_index(filter: &Filter, event: &RecordedEvent) {
    filter.check(FilterLimits::default()).unwrap();
    let holds = filter.matches(event);
    let not = Filter {
        not: vec![filter.clone()],
        ..Filter::default()
    };
    assert_eq!(not.matches(event), !holds);
    let hasher = TermHasher::new([3; 16]);
    for most in [usize::MAX, 3] {
        let limits = TermLimits {
            path_terms_max: most,
            word_terms_max: most,
        };
        let mut terms = Vec::new();
        let coverage = document_terms(&hasher, Part::Payload, event.payload(), &limits, &mut terms)
            .and(document_terms(
                &hasher,
                Part::Metadata,
                event.metadata(),
                &limits,
                &mut terms,
            ));
        let terms: HashSet<u64> = terms.into_iter().collect();
        let narrowing = narrowing(filter);
        let decided = narrowing.decide(&mut |leaf| match leaf {
            Leaf::Term(fact) => {
                let known = terms.contains(&hasher.term(fact));
                (known || coverage.paths).then_some(known)
            }
            Leaf::Word(word) => {
                let known = terms.contains(&hasher.word(word));
                (known || coverage.words).then_some(known)
            }
            other => Some(alone(other).matches(event)),
        });
        assert!(decided.is_none_or(|decided| decided == holds), "{filter:?}");
        assert!(decided.is_some() || !narrowing.is_exact() || !coverage.is_complete());
    }
}

/// The filter that asks for a leaf alone.
fn alone(leaf: &Leaf) -> Filter {
    let mut filter = Filter::default();
    match leaf.clone() {
        Leaf::EventTypes(wanted) => filter.event_types = wanted,
        Leaf::AggregateTypes(wanted) => filter.aggregate_types = wanted,
        Leaf::AggregateIds(wanted) => filter.aggregate_ids = wanted,
        Leaf::Streams(wanted) => filter.streams = wanted,
        Leaf::Ids(wanted) => filter.ids = wanted,
        Leaf::Tag(wanted) => filter.tags = vec![wanted],
        Leaf::Correlation(wanted) => filter.correlation_id = Some(wanted),
        Leaf::Causation(wanted) => filter.causation_id = Some(wanted),
        Leaf::User(wanted) => filter.user_id = Some(wanted),
        Leaf::Timestamp(range) => filter.timestamp = range,
        Leaf::Recorded(range) => filter.recorded_at = range,
        Leaf::Sequence(range) => filter.sequence = range,
        Leaf::Term(_) | Leaf::Word(_) => {}
    }
    filter
}
