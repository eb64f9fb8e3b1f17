//! Query strings, filters and other small bodies.

use bytes::Bytes;
use factum_api::{
    InputError, parse_backup, parse_filter, parse_log_query, parse_new_key, parse_query_body,
    parse_stream_query,
};
use factum_model::{JsonObject, NewEvent, StreamId};
use factum_query::{Filter, FilterLimits};

use crate::events::{can_be_named, recorded};

pub(crate) const QUERY_SEEDS: &[&str] = &[
    "types=a.*,b&tags=x%2Cy&limit=10&direction=backwards&after=7",
    "aggregateTypes=a&aggregateIds=1&ids=01a1fd3e-dc9a-7040-af22-b7001ac66f9d&userId=u",
    "from=2026-11-21T08:35:17Z&to=2026-11-22T08:35:17%2B01:00&recordedFrom=2026-11-21T08:35:17Z",
    "from=1&to=3&limit=0&direction=forwards",
];

pub(crate) const BODY_SEEDS: &[&str] = &[
    r#"{"eventTypes":["a.*",">"],"aggregateTypes":["a"],"aggregateIds":["1"],"streams":[{"aggregateType":"a","aggregateId":"1"}],"tags":["x"],"anyOf":[{"userId":"u"},{"anyOf":[{}]}]}"#,
    r#"{"filter":{"ids":["01a1fd3e-dc9a-7040-af22-b7001ac66f9d"],"correlationId":"c","timestampRange":{"from":"2026-11-21T08:35:17Z","to":"2026-11-22T08:35:17Z"},"recordedRange":{}},"direction":"backwards","after":"7","limit":5}"#,
    r#"{"name":"k","scopes":["read","append"],"expiresAt":"2030-01-01T00:00:00Z"}"#,
    r#"{"path":"/backups/a"}"#,
];

/// A query string is refused with the name of a parameter, or can be asked.
///
/// # Panics
/// When not.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse_log_query(text, &FilterLimits::default()) {
        Ok(query) => can_be_asked(&query.filter),
        Err(error) => can_be_named(&error),
    }
    if let Err(error) = parse_stream_query(text) {
        can_be_named(&error);
    }
    // What a client escapes is what arrives.
    let escaped: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("userId", text)
        .finish();
    if let Ok(query) = parse_log_query(&escaped, &FilterLimits::default()) {
        assert_eq!(query.filter.user_id.as_deref(), Some(text));
    }
}

/// A body is refused with a place that can be named, or can be asked.
///
/// # Panics
/// When not.
pub fn bodies(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let limits = FilterLimits::default();
    match parse_filter(&body, &limits) {
        Ok(filter) => can_be_asked(&filter),
        Err(error) => can_be_named(&error),
    }
    match parse_query_body(&body, &limits) {
        Ok(query) => can_be_asked(&query.filter),
        Err(error) => can_be_named(&error),
    }
    let named = |error: InputError| can_be_named(&error);
    parse_new_key(&body).map_or_else(named, drop);
    parse_backup(&body).map_or_else(named, drop);
}

/// The filter keeps its own rules, and an answer exists. A filter that is one of several ways
/// to match is at least as strict as all together.
fn can_be_asked(filter: &Filter) {
    let limits = FilterLimits::default();
    filter.check(limits).unwrap();
    let event = recorded(&NewEvent::new(
        "a.b".parse().unwrap(),
        StreamId::new("a".parse().unwrap(), "1".parse().unwrap()),
        JsonObject::empty(),
    ));
    let matches = filter.matches(&event);
    if filter.is_empty() {
        assert!(matches);
    }
    let either = Filter {
        any_of: vec![filter.clone(), Filter::default()],
        ..Filter::default()
    };
    assert!(either.matches(&event));
    let only = Filter {
        any_of: vec![filter.clone()],
        ..Filter::default()
    };
    assert_eq!(only.matches(&event), matches);
}
