//! Segments that say together what they do not have: nothing that is there is ever denied.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use factum_model::{EventId, JsonObject, NewEvent, StreamId};
use factum_store::{AppendError, AppendRequest, EventReceipt, EventStore as _};
use factum_store_embedded::{EmbeddedStore, Options};

use crate::hooked::{self, Change};

const N_STREAMS: u128 = 7;
/// A byte of the index of a thousand events that is in a block of keys, which opening does not read.
const KEY_BYTE: usize = 5000;

/// Returns the event with a number; each stream has every seventh of them.
fn numbered(number: u128) -> NewEvent {
    let id = format!("f-{}", number % N_STREAMS).parse().unwrap();
    let stream = StreamId::new("form".parse().unwrap(), id);
    let payload = JsonObject::parse(format!(r#"{{"number":{number}}}"#)).unwrap();
    NewEvent {
        id: Some(EventId::from_bytes((number + 1).to_be_bytes())),
        ..NewEvent::new("form.opened".parse().unwrap(), stream, payload)
    }
}

fn options(directory: &Path) -> Options {
    Options {
        segment_events_max: 1000,
        index_documents: false,
        recent_bytes_max: 0,
        versions_max: 1,
        ..Options::at(directory)
    }
}

async fn append(
    store: &EmbeddedStore,
    numbers: std::ops::Range<u128>,
) -> Result<Vec<EventReceipt>, AppendError> {
    let request = AppendRequest {
        events: numbers.map(numbered).collect(),
        ..Default::default()
    };
    store.append(request).await.map(|receipt| receipt.events)
}

fn value(store: &EmbeddedStore, name: &str) -> u64 {
    let values = store.metrics().values;
    let found = values.iter().find(|(other, _)| *other == name);
    found.map_or(0, |(_, value)| *value)
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{what} takes too long");
}

async fn wait_until_known(store: &EmbeddedStore) {
    let is_known = || value(store, "store_segments_known") + 1 >= value(store, "store_segments");
    wait_until("learning", is_known).await;
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

/// Returns the first file with an extension.
fn first(directory: &Path, extension: &str) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|own| own == extension));
    wanted.min().unwrap()
}

#[tokio::test]
async fn ids_and_streams_are_found_in_segments_that_are_known_together() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let store = EmbeddedStore::open(Options {
            segment_events_max: 100,
            ..options(directory.path())
        })
        .unwrap();
        for number in round * 300..(round + 1) * 300 {
            let receipt = append(&store, number..number + 1).await.unwrap()[0];
            let expected = number / N_STREAMS + 1;
            assert_eq!(u128::from(receipt.sequence_number.get()), expected);
            assert!(!receipt.deduplicated);
        }
        wait_until_known(&store).await;
        for number in 0..(round + 1) * 300 {
            let again = append(&store, number..number + 1).await.unwrap()[0];
            assert!(again.deduplicated);
            assert_eq!(u128::from(again.position.get()), number + 1);
            let other = NewEvent {
                payload: JsonObject::parse("{}").unwrap(),
                ..numbered(number)
            };
            let request = AppendRequest {
                events: vec![other],
                ..Default::default()
            };
            let refused = store.append(request).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "duplicate_event");
        }
        let absent = EventId::from_bytes(u128::MAX.to_be_bytes());
        assert!(store.event(absent).await.unwrap().is_none());
    }
}

async fn closed_store_of(directory: &Path, n_events: u128) {
    let store = EmbeddedStore::open(options(directory)).unwrap();
    for first in (0..n_events).step_by(10) {
        append(&store, first..first + 10).await.unwrap();
    }
    wait_until("sealing", || {
        store
            .metrics()
            .values
            .contains(&("segments_sealed_total", 2))
    })
    .await;
    store.close().await;
}

#[tokio::test]
async fn what_was_lost_with_index_and_log_is_never_taken_for_absent() {
    let directory = tempfile::tempdir().unwrap();
    closed_store_of(directory.path(), 2500).await;
    // In the keys of the index, which are not read to open it, and in a group of the log.
    flip(&first(directory.path(), "idx"), KEY_BYTE);
    let log = first(directory.path(), "log");
    let middle = std::fs::metadata(&log).unwrap().len() / 2;
    flip(&log, usize::try_from(middle).unwrap());

    let store = EmbeddedStore::open(options(directory.path())).unwrap();
    let (mut n_refused, mut n_known) = (0, 0);
    for number in 0..1000 {
        match append(&store, number..number + 1).await {
            Ok(receipts) => {
                assert!(receipts[0].deduplicated, "{number} was appended twice");
                n_known += 1;
            }
            Err(error) => {
                assert_eq!(error.code().as_str(), "corrupt", "{number}");
                n_refused += 1;
            }
        }
    }
    assert!(n_refused > 0 && n_known > 0, "{n_refused}, {n_known}");
    assert_eq!(value(&store, "store_segments_known"), 0);
}

#[tokio::test]
async fn an_index_whose_keys_are_damaged_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    closed_store_of(directory.path(), 2500).await;
    let damaged = first(directory.path(), "idx");
    flip(&damaged, KEY_BYTE);

    let store = EmbeddedStore::open(options(directory.path())).unwrap();
    wait_until_known(&store).await;
    for first in (0..2500).step_by(10) {
        let receipts = append(&store, first..first + 10).await.unwrap();
        assert!(receipts.iter().all(|receipt| receipt.deduplicated));
    }
    wait_until("writing it again", || !damaged.exists()).await;
    store.close().await;
    let report = factum_store_embedded::verify_directory(directory.path()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn documents_that_cannot_be_written_do_not_keep_new_ones_back() {
    let directory = tempfile::tempdir().unwrap();
    let (plain, hooks) = hooked::hooked(directory.path());
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    hooks.set(move |change| match change {
        Change::SyncData(name) if name.ends_with(".doc.new") && name.contains("00001.") => {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(std::io::Error::other("no"))
        }
        Change::SyncData(_) | Change::Create(_) | Change::RenameTo(_) | Change::SyncDir => Ok(()),
    });
    let store = EmbeddedStore::open(Options {
        segment_events_max: 6000,
        segment_bytes_max: 1 << 30,
        reserve_bytes: 16 << 20,
        index_documents: true,
        ..plain
    })
    .unwrap();
    let start = tokio::time::Instant::now();
    for first in (0..11_500).step_by(500) {
        append(&store, first..first + 500).await.unwrap();
    }
    let is_indexed = || value(&store, "store_documents_backlog_events") == 0;
    wait_until("indexing", is_indexed).await;
    // It is tried about once a second, not before each of the eleven parts of the next segment.
    let n_attempts = attempts.load(Ordering::SeqCst);
    let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
    assert!(n_attempts <= seconds + 2, "{n_attempts} in {seconds} s");
}
