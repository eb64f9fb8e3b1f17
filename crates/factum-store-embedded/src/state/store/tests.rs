//! What the writer does when it cannot go on, and when it cannot keep up.

use std::sync::mpsc;

use factum_model::ErrorCode;
use factum_store::{Change, Precondition, Put, RecordKey};
use rusqlite::ffi;

use super::*;

fn id(key: &str) -> RecordId {
    RecordId::new("k".parse().unwrap(), key.parse::<RecordKey>().unwrap())
}

fn put(key: &str) -> Batch {
    let change = Change::put(id(key), Precondition::Any, Put::new(*b"1"));
    Batch::of(vec![change])
}

fn io_error() -> rusqlite::Error {
    let code = ffi::Error::new(ffi::SQLITE_IOERR_WRITE);
    rusqlite::Error::SqliteFailure(code, None)
}

/// A change that waits until it is told to go on; for the others that then stand in one group.
fn stop(store: &EmbeddedStateStore) -> (mpsc::Sender<()>, super::super::writer::Answer<()>) {
    let (go, wait) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    let (job, answer) = job(1, move |_| {
        begun.send(()).unwrap();
        wait.recv().unwrap();
        Ok(())
    });
    store.push(job, 1).unwrap();
    begins.recv().unwrap();
    (go, answer)
}

/// After an error of the disk nothing of the same commit is kept, all its changes are told so, no
/// more are taken, and reads go on. What was durable before is there after the store is opened
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_that_fails_stops_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = StateOptions::at(directory.path());
    let store = EmbeddedStateStore::open(options.clone()).unwrap();
    store.apply(put("before")).await.unwrap();
    let (go, _answer) = stop(&store);
    let same_commit = store.apply(put("with"));
    let fails = store.write(1, |_| Err::<(), _>(io_error().into()));
    let release = async { go.send(()).unwrap() };
    let (same_commit, fails, ()) = tokio::join!(same_commit, fails, release);
    assert_eq!(same_commit.unwrap_err().code(), ErrorCode::StoreFailed);
    assert_eq!(fails.unwrap_err().code(), ErrorCode::StoreFailed);
    let WriteState::Failed { .. } = store.health().writes else {
        panic!("{:?}", store.health());
    };
    let error = store.apply(put("after")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreFailed);
    assert!(store.record(id("before")).await.unwrap().is_some());
    assert_eq!(store.record(id("with")).await.unwrap(), None);
    drop(store);
    let store = EmbeddedStateStore::open(options).unwrap();
    assert!(store.record(id("before")).await.unwrap().is_some());
    store.apply(put("after")).await.unwrap();
}

/// A queue that is full, in changes or in bytes, refuses more at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_queue_refuses_at_once() {
    for (queue_changes_max, queue_bytes_max) in [(2, 1 << 20), (100, 1200)] {
        let directory = tempfile::tempdir().unwrap();
        let options = StateOptions {
            queue_changes_max,
            queue_bytes_max,
            ..StateOptions::at(directory.path())
        };
        let store = EmbeddedStateStore::open(options).unwrap();
        let (go, answer) = stop(&store);
        let wait = async {
            // The first two fit, the third does not, and says so while the writer stands still.
            let error = store.apply(put("c")).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::Overloaded);
            go.send(()).unwrap();
        };
        let (a, b, ()) = tokio::join!(store.apply(put("a")), store.apply(put("b")), wait);
        a.unwrap();
        b.unwrap();
        answer.await.unwrap().unwrap();
        store.apply(put("c")).await.unwrap();
        let full = ("state_queue_full_total", 1);
        assert!(store.metrics().values.contains(&full));
    }
}

/// The numbers that a store gives go on where they were, however it was closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let store = EmbeddedStateStore::open(StateOptions::at(directory.path())).unwrap();
        for _ in 0..5 {
            let version = store.apply(put("a")).await.unwrap().version.get();
            assert!(version > last);
            last = version;
        }
    }
}
