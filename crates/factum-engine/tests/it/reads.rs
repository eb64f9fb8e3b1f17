//! Reads: until a limit, until the end, as far as a reader may see.

use std::sync::Arc;

use factum_engine::{Engine, EngineError, EngineOptions};
use factum_model::{ErrorCode, JsonObject, NewEvent, Position, StreamId};
use factum_query::Filter;
use factum_store::{AppendRequest, CountRead, LogRead, MemoryStore, StreamRead, Visibility};

fn event(event_type: &str, aggregate_type: &str, aggregate_id: &str) -> NewEvent {
    NewEvent::new(
        event_type.parse().unwrap(),
        StreamId::new(
            aggregate_type.parse().unwrap(),
            aggregate_id.parse().unwrap(),
        ),
        JsonObject::empty(),
    )
}

fn of(events: Vec<NewEvent>) -> AppendRequest {
    AppendRequest {
        events,
        ..AppendRequest::default()
    }
}

fn engine() -> Engine {
    Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default())
}

#[tokio::test]
async fn a_filtered_read_looks_on_until_its_limit() {
    let engine = engine();
    for _ in 0..10 {
        let mut events = vec![event("other", "a", "1"); 100];
        events.push(event("wanted", "a", "1"));
        engine.append(of(events)).await.unwrap();
    }
    let read = LogRead {
        filter: Filter {
            event_types: vec!["wanted".parse().unwrap()],
            ..Filter::default()
        },
        limit: 7,
        scan_max: 50,
        ..LogRead::forwards()
    };
    let page = engine.read_log(read.clone()).await.unwrap();
    assert_eq!(page.events.len(), 7);
    assert!(page.has_more);
    let rest = LogRead {
        after: page.scanned_to,
        ..read
    };
    let page = engine.read_log(rest).await.unwrap();
    assert_eq!((page.events.len(), page.has_more), (3, false));
    assert_eq!(page.scanned_to, engine.head());
}

#[tokio::test]
async fn what_belongs_to_the_engine_is_not_seen() {
    let engine = engine();
    let own = event("factum.key.created", "factum", "key-1");
    let receipt = engine.append_own(of(vec![own.clone()])).await.unwrap();
    let refused = engine.append(of(vec![own.clone()])).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ReservedName);
    let id = receipt.events[0].id;
    let id_alone = own.stream.aggregate_id.clone();
    for (visibility, seen) in [
        (Visibility::Application, false),
        (Visibility::Everything, true),
    ] {
        let found = engine.event(id, visibility).await.unwrap();
        assert_eq!(found.is_some(), seen);
        let info = engine.stream_info(own.stream.clone(), visibility).await;
        assert_eq!(info.unwrap().is_some(), seen);
        let read = StreamRead::forwards(own.stream.clone());
        let page = engine.read_stream(read, visibility).await.unwrap();
        assert_eq!(page.events.len(), usize::from(seen));
        let stream = engine.resolve(id_alone.clone(), visibility).await;
        assert_eq!(stream.unwrap().is_some(), seen);
    }
}

#[tokio::test]
async fn an_ambiguous_id_lists_its_types() {
    let engine = engine();
    let events = vec![event("a", "form", "1"), event("a", "case", "1")];
    engine.append(of(events)).await.unwrap();
    let id = "1".parse().unwrap();
    let error = engine
        .resolve(id, Visibility::Application)
        .await
        .unwrap_err();
    let EngineError::AmbiguousAggregate { types, .. } = error else {
        unreachable!("{error}");
    };
    assert_eq!(types, ["case".parse().unwrap(), "form".parse().unwrap()]);
}

#[tokio::test]
async fn a_place_is_a_number_or_a_cursor() {
    let engine = engine();
    let second = Position::new(2);
    let check = |text: &str, expected| assert_eq!(engine.resolve_after(text).unwrap(), expected);
    check("0", None);
    check("2", second);
    check(&engine.cursor(second).to_string(), second);
    for wrong in ["", "-1", "+2", "99999999999999999999999", "x"] {
        let error = engine.resolve_after(wrong).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidCursor, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_a_filter_waits_and_is_then_refused_by_the_name_of_the_bound() {
    let options = EngineOptions {
        queries_max: 0,
        counts_max: 0,
        ..EngineOptions::default()
    };
    let engine = Engine::new(Arc::new(MemoryStore::new()), options);
    assert!(engine.read_log(LogRead::forwards()).await.is_ok());
    let filter = Filter {
        user_id: Some("ann".to_owned()),
        ..Filter::default()
    };
    let read = LogRead {
        filter: filter.clone(),
        ..LogRead::forwards()
    };
    let refused = engine.read_log(read).await.unwrap_err();
    assert_eq!(refused.to_string(), "0 queries are at work already");
    assert!(refused.is_retryable());
    let refused = engine.count(CountRead::all(filter)).await.unwrap_err();
    assert_eq!(refused.to_string(), "0 counts are at work already");
}
