//! Queries answered from the index, from the part of the log that is still written and from the
//! files of closed segments: always what the plain evaluator finds in the whole log.

use std::sync::Arc;
use std::time::Duration;

use factum_model::{JsonObject, NewEvent, Position, RecordedEvent, StreamId};
use factum_query::Filter;
use factum_store::{
    AppendCondition, AppendRequest, CountBy, CountRead, Counts, Direction, EventStore as _,
    LogRead, PartialRepeat, Tally, Visibility,
};
use factum_store_embedded::{EmbeddedStore, Options};
use factum_testkit::Random;
use factum_testkit::queries::{random_event, random_filter};

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

fn options(directory: &std::path::Path) -> Options {
    Options {
        segment_events_max: 400,
        document_run_events: 64,
        recent_bytes_max: 64 << 10,
        reserve_bytes: 64 << 10,
        cold_after_segments: Some(1),
        cold_bytes_per_second: u64::MAX,
        index_left_out: ["form.opened:$.b", "mail.>:$.a", "form.>:$.c[*].a"]
            .map(|rule| rule.parse().unwrap())
            .into(),
        ..Options::at(directory)
    }
}

pub(crate) fn request(events: Vec<NewEvent>) -> AppendRequest {
    AppendRequest {
        events,
        expected: Vec::new(),
        condition: None,
        partial_repeat: PartialRepeat::Refuse,
    }
}

fn append(store: &EmbeddedStore, random: &mut Random, n_events: usize) {
    let events = (0..n_events).map(|_| random_event(random)).collect();
    store.append_blocking(request(events)).unwrap();
}

pub(crate) fn everything(store: &EmbeddedStore, until: Option<Position>) -> Vec<RecordedEvent> {
    let mut read = LogRead {
        until,
        ..LogRead::forwards()
    };
    let mut events = Vec::new();
    loop {
        let page = store.read_log_blocking(&read).unwrap();
        events.extend(page.events);
        if !page.has_more {
            return events;
        }
        read.after = page.scanned_to;
    }
}

/// Reads all pages of a random size and returns their positions.
fn read(
    store: &EmbeddedStore,
    filter: &Filter,
    until: Option<Position>,
    random: &mut Random,
) -> Vec<Position> {
    let backwards = random.one_in(2);
    let mut read = LogRead {
        filter: filter.clone(),
        limit: 1 + random.index(300),
        scan_max: 1 + random.index(500),
        ..LogRead::forwards()
    };
    if backwards {
        read.direction = Direction::Backwards;
        read.after = until.map(|until| Position::after(Some(until)));
    } else {
        read.until = until;
    }
    let mut found = Vec::new();
    loop {
        let page = store.read_log_blocking(&read).unwrap();
        found.extend(page.events.iter().map(|event| event.position));
        if !page.has_more {
            break;
        }
        assert_ne!(page.scanned_to, read.after, "no progress");
        read.after = page.scanned_to;
    }
    if backwards {
        found.reverse();
    }
    found
}

fn count(
    store: &EmbeddedStore,
    filter: &Filter,
    until: Option<Position>,
    by: Option<CountBy>,
) -> Counts {
    let read = CountRead {
        by,
        until,
        groups_max: 10_000,
        ..CountRead::all(filter.clone())
    };
    store.count_blocking(&read).unwrap()
}

/// Compares the store's answers with those of the evaluator.
fn compare(store: &EmbeddedStore, random: &mut Random, log: &[RecordedEvent], seed: u64) -> u64 {
    let filter = random_filter(random);
    compare_one(store, (random, seed), log, &filter)
}

/// Compares the store's answers to one question with those of the evaluator.
pub(crate) fn compare_one(
    store: &EmbeddedStore,
    (random, seed): (&mut Random, u64),
    log: &[RecordedEvent],
    filter: &Filter,
) -> u64 {
    let until = log.last().map(|event| event.position);
    let matching: Vec<&RecordedEvent> = log.iter().filter(|event| filter.matches(event)).collect();
    let expected: Vec<Position> = matching.iter().map(|event| event.position).collect();
    let found = read(store, filter, until, random);
    assert!(
        found == expected,
        "seed {seed}: {} events in place of {}: {filter:#?}",
        found.len(),
        expected.len()
    );
    let by = *random.pick(ORDERS);
    let counts = count(store, filter, until, by);
    let request = CountRead {
        by,
        groups_max: 10_000,
        ..CountRead::all(filter.clone())
    };
    let mut tally = Tally::default();
    for event in &matching {
        tally.add(by, event);
    }
    let wanted = Counts {
        examined: counts.examined,
        ..tally.finish(&request, true)
    };
    assert_eq!(counts, wanted, "seed {seed}, by {by:?}: {filter:#?}");
    counts.examined
}

pub(crate) fn rounds() -> u64 {
    let slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some();
    if slow { 100_000 } else { 500 }
}

#[test]
fn random_queries_are_answered_like_the_evaluator_does_while_events_come_in() {
    let seed = 1;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(options(directory.path())).unwrap());
    let mut random = Random::seeded(seed);
    append(&store, &mut random, 900);
    let mut log = everything(&store, None);
    std::thread::scope(|scope| {
        let writing = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let writer = Arc::clone(&writing);
        let appended = Arc::clone(&store);
        scope.spawn(move || {
            let mut random = Random::seeded(seed + 1);
            while writer.load(std::sync::atomic::Ordering::Relaxed)
                && appended.head().unwrap().get() < 3_000
            {
                append(&appended, &mut random, 3);
            }
        });
        for round in 0..rounds() {
            if round % 100 == 99 {
                log = everything(&store, store.head());
            }
            compare(&store, &mut random, &log, seed);
        }
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn queries_are_answered_after_the_store_was_closed_and_from_files_only() {
    let seed = 7;
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(directory.path())).unwrap();
    let mut random = Random::seeded(seed);
    for _ in 0..30 {
        append(&store, &mut random, 100);
    }
    wait_for_index(&store);
    wait_until("a compressed log", || {
        !files_of(directory.path(), ".cold").is_empty()
    });
    let log = everything(&store, None);
    for _ in 0..200 {
        compare(&store, &mut random, &log, seed);
    }
    drop(store);
    let read_only = Options {
        read_only: true,
        ..options(directory.path())
    };
    let files = files_of(directory.path(), ".doc");
    assert!(files.len() >= 6, "{files:?}");
    for options in [read_only, options(directory.path())] {
        let store = EmbeddedStore::open(options).unwrap();
        for _ in 0..200 {
            compare(&store, &mut random, &log, seed);
        }
    }
}

#[test]
fn equalities_read_only_what_matches() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Options {
        index_left_out: Vec::new(),
        ..options(directory.path())
    });
    let store = store.unwrap();
    let mut random = Random::seeded(3);
    for _ in 0..20 {
        append(&store, &mut random, 100);
    }
    wait_for_index(&store);
    for (path, value) in [("$.a", "DE"), ("$.b", "FR"), ("$.c", "credit")] {
        let filter = Filter {
            payload: Some(factum_query::JsonQuery::equals(path, value).unwrap()),
            ..Filter::default()
        };
        let counts = count(&store, &filter, None, Some(CountBy::EventType));
        assert!(counts.total > 0 && counts.complete, "{counts:?}");
        assert_eq!(counts.examined, 0, "{counts:?}");
    }
}

#[test]
fn a_damaged_index_of_documents_is_made_again_and_answers_stay_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(directory.path())).unwrap();
    let mut random = Random::seeded(5);
    for _ in 0..12 {
        append(&store, &mut random, 100);
    }
    wait_for_index(&store);
    let log = everything(&store, None);
    drop(store);
    let files = files_of(directory.path(), ".doc");
    for round in 0..40 {
        let file = directory.path().join(random.pick(&files));
        let whole = std::fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        match round % 3 {
            0 => damaged[random.index(whole.len())] ^= 1 << random.below(8),
            1 => damaged.truncate(random.index(whole.len())),
            _ => damaged.clear(),
        }
        std::fs::write(&file, &damaged).unwrap();
        let store = EmbeddedStore::open(options(directory.path())).unwrap();
        for _ in 0..20 {
            compare(&store, &mut random, &log, 5);
        }
        wait_for_index(&store);
        drop(store);
    }
}

/// Waits until all documents are indexed and the indexes of closed segments are in files.
fn wait_for_index(store: &EmbeddedStore) {
    wait_until("the index", || store.is_indexed());
}

fn wait_until(what: &str, is_there: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} does not come"
        );
        std::thread::yield_now();
    }
}

fn files_of(directory: &std::path::Path, end: &str) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

#[test]
fn events_of_the_engine_are_counted_for_those_who_see_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(directory.path())).unwrap();
    let mut own = random_event(&mut Random::seeded(9));
    own.stream.aggregate_type = "factum".parse().unwrap();
    store.append_blocking(request(vec![own])).unwrap();
    for (visibility, expected) in [(Visibility::Application, 0), (Visibility::Everything, 1)] {
        let read = CountRead {
            visibility,
            ..CountRead::all(Filter::default())
        };
        assert_eq!(store.count_blocking(&read).unwrap().total, expected);
    }
}

/// Two writers may not both book the same seat: the condition is on a member of the payload, and
/// the event that breaks it may be in the same group, not indexed yet, or in a file.
#[test]
fn a_condition_on_a_payload_is_won_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(options(directory.path())).unwrap());
    append(&store, &mut Random::seeded(11), 500);
    for round in 0..40 {
        let filter = Filter {
            payload: Some(factum_query::JsonQuery::equals("$.seat", round).unwrap()),
            ..Filter::default()
        };
        assert_eq!(filter.check_condition(), Ok(()));
        let book = |_: usize| {
            let store = Arc::clone(&store);
            let filter = filter.clone();
            std::thread::spawn(move || {
                let event = NewEvent::new(
                    "seat.booked".parse().unwrap(),
                    StreamId::new("hall".parse().unwrap(), "h-1".parse().unwrap()),
                    JsonObject::parse(format!(r#"{{"seat":{round}}}"#)).unwrap(),
                );
                store.append_blocking(AppendRequest {
                    condition: Some(AppendCondition {
                        filter,
                        after: None,
                    }),
                    ..request(vec![event])
                })
            })
        };
        let writers: Vec<_> = (0..4).map(book).collect();
        let answers = writers.into_iter().map(|writer| writer.join().unwrap());
        let n_won = answers.filter(Result::is_ok).count();
        assert_eq!(n_won, 1, "seat {round}");
    }
}
