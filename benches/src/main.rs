//! Durable appends by Factum and by SQLite, on the same records, in one run, taking turns.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml`
//!
//! SQLite gets what an application would build on it: one table of events with the global
//! position, a unique index on (aggregate, sequence), one on the event id and one on the type; WAL,
//! `synchronous = FULL`; one connection behind a thread that takes all requests that wait and
//! commits them together, as Factum's writer does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use factum_model::{EventId, JsonObject, NewEvent, StreamId};
use factum_store::AppendRequest;
use factum_store_embedded::{EmbeddedStore, Options};
use rusqlite::Connection;

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 4;
const CASES: &[(usize, usize)] = &[(1, 1), (8, 1), (64, 1), (1, 100), (8, 100)];

/// Events with ids of their own, about 300 bytes of JSON each.
fn event(number: usize) -> NewEvent {
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
    let stream = format!("s-{}", number % 2000);
    let mut id = [0x40; 16];
    id[..8].copy_from_slice(
        &(number as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes(),
    );
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    NewEvent {
        id: Some(EventId::from_bytes(id)),
        metadata: JsonObject::parse(metadata).unwrap(),
        ..NewEvent::new(
            "submission.created".parse().unwrap(),
            StreamId::new("submission".parse().unwrap(), stream.parse().unwrap()),
            JsonObject::parse(payload).unwrap(),
        )
    }
}

/// Returns events per second of some callers that append batches through `append`.
fn measure<A: Fn(Vec<NewEvent>) + Send + Sync + 'static>(
    append: &Arc<A>,
    numbers: &Arc<AtomicUsize>,
    (callers, batch): (usize, usize),
) -> f64 {
    let start = Instant::now();
    let threads: Vec<_> = (0..callers)
        .map(|_| {
            let (append, numbers) = (Arc::clone(append), Arc::clone(numbers));
            std::thread::spawn(move || {
                let mut done = 0;
                while start.elapsed() < ROUND {
                    let first = numbers.fetch_add(batch, Ordering::Relaxed);
                    append((first..first + batch).map(event).collect());
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

type Job = (Vec<NewEvent>, SyncSender<()>);

fn sqlite(path: &Path) -> SyncSender<Job> {
    let mut connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -262144;
             CREATE TABLE events (position INTEGER PRIMARY KEY, aggregate TEXT NOT NULL, sequence INTEGER NOT NULL,
               id BLOB NOT NULL UNIQUE, type TEXT NOT NULL, metadata TEXT NOT NULL, payload TEXT NOT NULL,
               UNIQUE (aggregate, sequence));
             CREATE INDEX by_type ON events (type, position);",
        )
        .unwrap();
    let (sender, jobs): (SyncSender<Job>, Receiver<Job>) = sync_channel(1024);
    std::thread::spawn(move || {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(4096));
            let transaction = connection.transaction().unwrap();
            {
                let mut insert = transaction
                    .prepare_cached(
                        "INSERT INTO events (aggregate, sequence, id, type, metadata, payload) VALUES (?1,
                           (SELECT coalesce(max(sequence), 0) + 1 FROM events WHERE aggregate = ?1), ?2, ?3, ?4, ?5)",
                    )
                    .unwrap();
                for event in group.iter().flat_map(|(events, _)| events) {
                    let id = event.id.unwrap();
                    insert
                        .execute((
                            event.stream.to_string(),
                            id.as_bytes(),
                            event.event_type.as_str(),
                            event.metadata.as_str(),
                            event.payload.as_str(),
                        ))
                        .unwrap();
                }
            }
            transaction.commit().unwrap();
            for (_, done) in group {
                done.send(()).unwrap();
            }
        }
    });
    sender
}

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let store = EmbeddedStore::open(Options::at(directory.path().join("factum"))).unwrap();
    let ours = Arc::new(move |events| {
        store
            .append_blocking(AppendRequest {
                events,
                ..AppendRequest::default()
            })
            .unwrap();
    });
    let jobs = sqlite(&directory.path().join("events.db"));
    let theirs = Arc::new(move |events| {
        let (done, wait) = sync_channel(1);
        jobs.send((events, done)).unwrap();
        wait.recv().unwrap();
    });
    let numbers = Arc::new(AtomicUsize::new(0));
    let mut rows = vec![(Vec::new(), Vec::new()); CASES.len()];
    for _ in 0..ROUNDS {
        for (case, row) in CASES.iter().zip(&mut rows) {
            row.0.push(measure(&ours, &numbers, *case));
            row.1.push(measure(&theirs, &numbers, *case));
        }
    }
    println!("callers x batch     Factum, events/s            SQLite, events/s            ratio");
    for ((callers, batch), (ours, theirs)) in CASES.iter().zip(&mut rows) {
        let (ours, theirs) = (summary(ours), summary(theirs));
        println!(
            "{callers:>7} x {batch:<5} {:>9.0} [{:.0} – {:.0}]   {:>9.0} [{:.0} – {:.0}]   {:.2}",
            ours.1,
            ours.0,
            ours.2,
            theirs.1,
            theirs.0,
            theirs.2,
            ours.1 / theirs.1
        );
    }
}

/// Returns the least, the median and the greatest.
fn summary(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], (values[1] + values[2]) / 2.0, values[ROUNDS - 1])
}
