//! A store of many events: how long it takes to load and to open, what it holds in memory, and
//! what look-ups cost then.
//!
//! `cargo bench -p factum-store-embedded --bench large -- 10000000`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_docs_in_private_items,
    clippy::cast_precision_loss,
    reason = "a program that measures and prints"
)]

use std::time::Instant;

use factum_model::{CorrelationId, EventId, JsonObject, NewEvent, StreamId};
use factum_query::Filter;
use factum_store::{AppendRequest, Direction, EventStore as _, LogRead, StreamRead, Visibility};
use factum_store_embedded::{EmbeddedStore, Options};

/// An event of about 300 bytes of JSON, with an id of its own.
fn event(number: u64) -> NewEvent {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let payload = format!(
        r#"{{"form":"contact-{}","country":"{}","amount":{},"email":"user{spread}@example.org","note":"{spread:x} {:x} lorem ipsum dolor sit amet consetetur","status":"submitted"}}"#,
        spread % 20,
        ["DE", "FR", "NL", "IT"][(spread >> 8) as usize % 4],
        spread % 10_000,
        spread.rotate_left(17),
    );
    let metadata = format!(
        r#"{{"userId":"user-{}","sourceSystem":"bench","tags":["region:eu","form:{}"]}}"#,
        spread % 1000,
        spread % 20
    );
    let mut id = [0x40; 16];
    id[..8].copy_from_slice(&spread.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    let stream = format!("s-{}", spread % 100_000);
    NewEvent {
        id: Some(EventId::from_bytes(id)),
        correlation_id: Some(
            format!("case-{}", number / 5)
                .parse::<CorrelationId>()
                .unwrap(),
        ),
        metadata: JsonObject::parse(metadata).unwrap(),
        ..NewEvent::new(
            [
                "submission.created",
                "submission.approved",
                "submission.status.changed",
            ][(spread >> 16) as usize % 3]
                .parse()
                .unwrap(),
            StreamId::new("submission".parse().unwrap(), stream.parse().unwrap()),
            JsonObject::parse(payload).unwrap(),
        )
    }
}

fn memory(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .map(|kib| format!("{} MiB", kib / 1024))
        .unwrap()
}

fn timed<T>(what: &str, n_rounds: usize, mut work: impl FnMut(usize) -> T) {
    let mut micros: Vec<_> = (0..n_rounds)
        .map(|round| {
            let start = Instant::now();
            std::hint::black_box(work(round));
            start.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!(
        "{what:48} p50 {:>9.1} us   p99 {:>9.1} us",
        micros[n_rounds / 2],
        micros[n_rounds * 99 / 100]
    );
}

fn main() {
    let n_events: u64 = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = EmbeddedStore::open(Options::at(directory.path())).unwrap();
    let start = Instant::now();
    for first in (0..n_events).step_by(1000) {
        let events = (first..n_events.min(first + 1000)).map(event).collect();
        store
            .append_blocking(AppendRequest {
                events,
                ..AppendRequest::default()
            })
            .unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "load in batches of 1000, one caller, own ids: {:.0} events/s",
        n_events as f64 / seconds
    );
    println!(
        "memory after the load: {} now, {} at most",
        memory("VmRSS"),
        memory("VmHWM")
    );
    drop(store);
    let start = Instant::now();
    let store = EmbeddedStore::open(Options::at(directory.path())).unwrap();
    println!(
        "open: {:?}; memory then: {}",
        start.elapsed(),
        memory("VmRSS")
    );
    measure(&store, n_events);
    println!("memory after the reads: {}", memory("VmRSS"));
    drop(store);
    let (mut log_bytes, mut index_bytes) = (0, 0);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let length = entry.metadata().unwrap().len();
        match entry
            .path()
            .extension()
            .and_then(|extension| extension.to_str())
        {
            Some("log") => log_bytes += length,
            Some("idx") => index_bytes += length,
            Some(_) | None => {}
        }
    }
    println!(
        "bytes an event: log {}, index {}",
        log_bytes / n_events,
        index_bytes / n_events
    );
}

#[expect(clippy::too_many_lines, reason = "one line for each measurement")]
fn measure(store: &EmbeddedStore, n_events: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let any = |round: usize| (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % n_events;
    timed("event by id", 1000, |round| {
        let id = event(any(round)).id.unwrap();
        assert!(runtime.block_on(store.event(id)).unwrap().is_some());
    });
    timed("event by an id that is not there", 1000, |round| {
        let id = EventId::from_bytes([u8::try_from(round % 255).unwrap() + 1; 16]);
        assert!(runtime.block_on(store.event(id)).unwrap().is_none());
    });
    timed("a stream whole (about n/100,000 events)", 500, |round| {
        let read = StreamRead::forwards(event(any(round)).stream);
        runtime.block_on(store.read_stream(read)).unwrap()
    });
    timed("stream metadata", 500, |round| {
        runtime
            .block_on(store.stream_info(event(any(round)).stream))
            .unwrap()
            .unwrap()
    });
    timed("all of a correlation", 500, |round| {
        let filter = Filter {
            correlation_id: event(any(round)).correlation_id,
            ..Filter::default()
        };
        let page = store
            .read_log_blocking(&LogRead {
                filter,
                ..LogRead::forwards()
            })
            .unwrap();
        assert_eq!(page.events.len(), 5);
    });
    let approved = Filter {
        event_types: vec!["submission.approved".parse().unwrap()],
        ..Filter::default()
    };
    timed("newest 100 of a type", 500, |_| {
        let read = LogRead {
            filter: approved.clone(),
            direction: Direction::Backwards,
            limit: 100,
            ..LogRead::forwards()
        };
        store.read_log_blocking(&read).unwrap()
    });
    let narrow = Filter {
        user_id: Some("user-7".to_owned()),
        tags: vec!["form:7".to_owned()],
        ..approved
    };
    timed("type, user and tag, first 100", 100, |_| {
        let read = LogRead {
            filter: narrow.clone(),
            limit: 100,
            ..LogRead::forwards()
        };
        store.read_log_blocking(&read).unwrap()
    });
    let start = Instant::now();
    let mut read = LogRead {
        visibility: Visibility::Everything,
        limit: 4096,
        ..LogRead::forwards()
    };
    let mut seen = 0_u64;
    loop {
        let page = store.read_log_blocking(&read).unwrap();
        seen += page.events.len() as u64;
        read.after = page.scanned_to;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, n_events);
    println!(
        "scan of everything: {:.0} events/s",
        seen as f64 / start.elapsed().as_secs_f64()
    );
}
