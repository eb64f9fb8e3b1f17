//! Questions that the server narrows, each compared with what the evaluator finds in the whole log.

use std::sync::Arc;

use factum_model::{JsonObject, NewEvent, Position, RecordedEvent};
use factum_query::{Filter, JsonQuery};
use factum_store::conformance::fixtures::{append, event, everything, filters, pages, varied};
use factum_store::{CountBy, CountRead, Counts, Direction, EventStore, LogRead, Tally, Visibility};
use factum_store_postgres::LeafPolicy;
use factum_testkit::Random;
use factum_testkit::queries::{random_event, random_filter};

use crate::opened;

const ORDERS: &[Option<CountBy>] = &[
    None,
    Some(CountBy::EventType),
    Some(CountBy::AggregateType),
    Some(CountBy::Stream),
    Some(CountBy::User),
    Some(CountBy::Tag),
    Some(CountBy::Day),
    Some(CountBy::Hour),
];

async fn compare(
    store: &Arc<dyn EventStore>,
    random: &mut Random,
    log: &[RecordedEvent],
    filter: &Filter,
) {
    let visibility = if random.one_in(2) {
        Visibility::Everything
    } else {
        Visibility::Application
    };
    let is_meant = |event: &&RecordedEvent| visibility.includes(event) && filter.matches(event);
    let matching: Vec<&RecordedEvent> = log.iter().filter(is_meant).collect();
    let mut expected: Vec<Position> = matching.iter().map(|event| event.position).collect();
    let mut read = LogRead {
        filter: filter.clone(),
        visibility,
        limit: 1 + random.index(300),
        scan_max: 1 + random.index(500),
        ..LogRead::forwards()
    };
    if random.one_in(2) {
        read.direction = Direction::Backwards;
        expected.reverse();
    }
    let found: Vec<_> = pages(store, read).await;
    let found: Vec<_> = found.iter().map(|event| event.position).collect();
    assert!(
        found == expected,
        "{} events in place of {}: {filter:#?}",
        found.len(),
        expected.len()
    );
    let by = *random.pick(ORDERS);
    let request = CountRead {
        by,
        visibility,
        groups_max: 10_000,
        ..CountRead::all(filter.clone())
    };
    let counts = store.count(request.clone()).await.unwrap();
    let mut tally = Tally::default();
    for event in &matching {
        tally.add(by, event);
    }
    let wanted = Counts {
        examined: counts.examined,
        ..tally.finish(&request, true)
    };
    assert_eq!(counts, wanted, "by {by:?}: {filter:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_queries_are_answered_like_the_evaluator_does() {
    let (_database, options) = opened::database(LeafPolicy::Events(500)).await;
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    let mut random = Random::seeded(1);
    for _ in 0..15 {
        let events = (0..100).map(|_| random_event(&mut random)).collect();
        append(&store, events).await;
    }
    append(&store, (1..=200).map(varied).collect()).await;
    let log = everything(&store).await;
    for filter in filters() {
        compare(&store, &mut random, &log, &filter).await;
        let negated = Filter {
            not: vec![filter],
            ..Filter::default()
        };
        compare(&store, &mut random, &log, &negated).await;
    }
    let slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some();
    for _ in 0..if slow { 20_000 } else { 300 } {
        let filter = random_filter(&mut random);
        compare(&store, &mut random, &log, &filter).await;
    }
}

/// PostgreSQL has bounds on numbers that JSON has not. Events beyond them are kept and found, and
/// questions beyond them are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_no_numeric_can_hold_are_kept_and_found() {
    let (_database, options) = opened::database(LeafPolicy::Monthly).await;
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
    let numbers = ["1e999999", "1", "1e-999999", "10e999", "1e1000", "1.0"];
    let with = |number: &&str| NewEvent {
        payload: JsonObject::parse(format!(r#"{{"n":{number}}}"#)).unwrap(),
        ..event("a", "form/f-1")
    };
    append(&store, numbers.iter().map(with).collect()).await;
    let log = everything(&store).await;
    let texts: Vec<_> = log.iter().map(RecordedEvent::payload).collect();
    assert_eq!(texts[0], r#"{"n":1e999999}"#);
    for (value, expected) in [("1e999999", 1), ("1", 2), ("1e1000", 2), ("7", 0)] {
        let number: factum_query::Decimal = value.parse().unwrap();
        let filter = Filter {
            payload: Some(JsonQuery::equals("$.n", number).unwrap()),
            ..Filter::default()
        };
        let read = LogRead {
            filter,
            ..LogRead::forwards()
        };
        assert_eq!(pages(&store, read).await.len(), expected, "{value}");
    }
}
