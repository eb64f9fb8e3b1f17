//! Durable appends, scans and stream reads in process, beside the disk's own rate.
//!
//! `cargo bench -p factum-store-embedded --bench append` prints one table. Rounds of all cases are
//! interleaved, so that noise of the machine meets them alike.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::missing_docs_in_private_items,
    reason = "a program that measures and prints"
)]

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use factum_model::{EventId, JsonObject, NewEvent, StreamId};
use factum_query::Filter;
use factum_store::{
    AppendCondition, AppendRequest, EventStore as _, LogRead, StreamRead, Visibility,
};
use factum_store_embedded::{EmbeddedStore, Options};

const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 4;

/// An event of about 300 bytes.
fn event(number: u64) -> NewEvent {
    let stream = format!("s-{}", number % 2000);
    let payload = format!(
        r#"{{"form":"contact","country":"DE","amount":{},"email":"user{number}@example.org","note":"{}","status":"submitted"}}"#,
        number % 10_000,
        "x".repeat(80)
    );
    let metadata = format!(
        r#"{{"userId":"user-{}","sourceSystem":"bench","tags":["region:eu","form:{}"]}}"#,
        number % 100,
        number % 20
    );
    NewEvent {
        metadata: JsonObject::parse(metadata).unwrap(),
        ..NewEvent::new(
            "submission.created".parse().unwrap(),
            StreamId::new("submission".parse().unwrap(), stream.parse().unwrap()),
            JsonObject::parse(payload).unwrap(),
        )
    }
}

/// What a case does to each request.
type Prepare = fn(&EmbeddedStore, &mut AppendRequest);

/// Events to choose from, so that making them is not measured.
struct Pool {
    events: Vec<NewEvent>,
    next: AtomicUsize,
}

impl Pool {
    fn request(&self, batch: usize) -> AppendRequest {
        let first = self.next.fetch_add(batch, Ordering::Relaxed);
        let event = |index: usize| self.events[index % self.events.len()].clone();
        AppendRequest {
            events: (first..first + batch).map(event).collect(),
            ..Default::default()
        }
    }
}

/// Returns events per second of `callers` threads that append batches.
fn appends(
    (store, pool): (&Arc<EmbeddedStore>, &Arc<Pool>),
    callers: usize,
    batch: usize,
    prepare: Prepare,
) -> f64 {
    let start = Instant::now();
    let threads: Vec<_> = (0..callers)
        .map(|_| {
            let (store, pool) = (Arc::clone(store), Arc::clone(pool));
            std::thread::spawn(move || {
                let mut done = 0;
                while start.elapsed() < ROUND {
                    let mut request = pool.request(batch);
                    prepare(&store, &mut request);
                    store.append_blocking(request).unwrap();
                    done += batch;
                }
                done
            })
        })
        .collect();
    let done: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    done as f64 / start.elapsed().as_secs_f64()
}

/// The same with tasks on a runtime of two threads in place of threads.
fn async_appends(
    (store, pool): (&Arc<EmbeddedStore>, &Arc<Pool>),
    callers: usize,
    batch: usize,
    prepare: Prepare,
) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, pool) = (Arc::clone(store), Arc::clone(pool));
            runtime.spawn(async move {
                let mut done = 0;
                while start.elapsed() < ROUND {
                    let mut request = pool.request(batch);
                    prepare(&store, &mut request);
                    store.append(request).await.unwrap();
                    done += batch;
                }
                done
            })
        })
        .collect();
    let done: usize = tasks
        .into_iter()
        .map(|task| runtime.block_on(task).unwrap())
        .sum();
    done as f64 / start.elapsed().as_secs_f64()
}

/// Returns syncs per second of writes of `bytes`, over zeros that are there or at the end.
fn syncs(directory: &Path, bytes: usize, overwrite: bool) -> f64 {
    let path = directory.join("raw");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .unwrap();
    if overwrite {
        file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
        file.sync_all().unwrap();
    }
    let block = vec![7; bytes];
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < ROUND {
        file.write_all_at(&block, done * bytes as u64 % (64 << 20))
            .unwrap();
        file.sync_data().unwrap();
        done += 1;
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

fn nothing(_: &EmbeddedStore, _: &mut AppendRequest) {}

fn own_ids(_: &EmbeddedStore, request: &mut AppendRequest) {
    for event in &mut request.events {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        event.id = Some(EventId::from_bytes(bytes));
    }
}

fn condition(store: &EmbeddedStore, request: &mut AppendRequest) {
    let filter = Filter {
        tags: vec!["seat:1".to_owned()],
        ..Filter::default()
    };
    request.condition = Some(AppendCondition {
        filter,
        after: store.head(),
    });
}

fn main() {
    // Beside the build, because the temporary directory of the system may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Arc::new(EmbeddedStore::open(Options::at(directory.path().join("store"))).unwrap());
    let pool = Arc::new(Pool {
        events: (0..50_000).map(event).collect(),
        next: AtomicUsize::new(0),
    });
    let on = (&store, &pool);
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    for round in 0..ROUNDS {
        let values = [
            (
                "fdatasync 4 KiB over zeros, 1/s",
                syncs(directory.path(), 4096, true),
            ),
            (
                "fdatasync 512 B growing, 1/s",
                syncs(directory.path(), 512, false),
            ),
            ("append 1 thread x 1, events/s", appends(on, 1, 1, nothing)),
            ("append 1 x 1, own ids", appends(on, 1, 1, own_ids)),
            ("append 1 x 1, condition", appends(on, 1, 1, condition)),
            ("append 8 x 1", appends(on, 8, 1, nothing)),
            ("append 64 x 1", appends(on, 64, 1, nothing)),
            ("append 64 tasks x 1", async_appends(on, 64, 1, nothing)),
            (
                "append 64 tasks x 1, own ids",
                async_appends(on, 64, 1, own_ids),
            ),
            (
                "append 64 tasks x 1, condition",
                async_appends(on, 64, 1, condition),
            ),
            ("append 256 tasks x 1", async_appends(on, 256, 1, nothing)),
            ("append 1 x 100", appends(on, 1, 100, nothing)),
            ("append 8 x 100", appends(on, 8, 100, nothing)),
        ];
        for (index, (name, value)) in values.into_iter().enumerate() {
            if round == 0 {
                rows.push((name, Vec::new()));
            }
            rows[index].1.push(value);
        }
    }
    for (name, mut values) in rows {
        values.sort_by(f64::total_cmp);
        let median = (values[1] + values[2]) / 2.0;
        println!(
            "{name:36} {median:>12.0}   [{:.0} – {:.0}]",
            values[0],
            values[ROUNDS - 1]
        );
    }
    scan(&store);
    streams(&store);
    let n_events = store.head().unwrap().get();
    drop(store);
    let start = Instant::now();
    let store = EmbeddedStore::open(Options::at(directory.path().join("store"))).unwrap();
    println!("open with {n_events} events: {:?}", start.elapsed());
    drop(store);
}

fn scan(store: &EmbeddedStore) {
    let start = Instant::now();
    let mut read = LogRead {
        visibility: Visibility::Everything,
        limit: 4096,
        ..LogRead::forwards()
    };
    let mut n_events = 0;
    loop {
        let page = store.read_log_blocking(&read).unwrap();
        n_events += page.events.len();
        read.after = page.scanned_to;
        if !page.has_more {
            break;
        }
    }
    println!(
        "scan: {:.0} events/s",
        n_events as f64 / start.elapsed().as_secs_f64()
    );
}

fn streams(store: &EmbeddedStore) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut micros = Vec::new();
    for number in 0..2000 {
        let stream = StreamId::new(
            "submission".parse().unwrap(),
            format!("s-{number}").parse().unwrap(),
        );
        let read = StreamRead {
            limit: 100,
            ..StreamRead::forwards(stream)
        };
        let start = Instant::now();
        runtime.block_on(store.read_stream(read)).unwrap();
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!(
        "100 events of a stream: p50 {} us, p99 {} us",
        micros[1000], micros[1980]
    );
}
