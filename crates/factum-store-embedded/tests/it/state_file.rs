//! What becomes of `state.db`: damage, foreign files, full disks, backups, and processes that are
//! killed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use factum_model::ErrorCode;
use factum_store::conformance::Setting;
use factum_store::conformance::fixtures::{append, event};
use factum_store::conformance::state::fixtures::{all, apply, id, lease, put, record};
use factum_store::{
    Batch, Change, EventStore, Precondition, Put, RecordScan, StateStore, WriteState,
};
use factum_store_embedded::{
    EmbeddedStateStore, EmbeddedStore, Options, StateOpenError, StateOptions, restore,
    verify_directory,
};

use crate::state::options;

const FILE: &str = "state.db";

fn open(directory: &Path) -> Arc<dyn StateStore> {
    let clock = Setting::new().clock;
    Arc::new(EmbeddedStateStore::open(options(directory, &clock)).unwrap())
}

fn refused(directory: &Path) -> StateOpenError {
    EmbeddedStateStore::open(StateOptions::at(directory)).unwrap_err()
}

async fn fill(directory: &Path) {
    let store = open(directory);
    for key in 0..200 {
        put(&store, &format!("k/{key}"), Put::new(vec![7; 1000])).await;
    }
    store.close().await;
}

/// Damage is found when the file is opened, wherever it is, and names the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_file_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let path = directory.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    // The head of each page says how it is built.
    for page in [0, 1, 2, 5, 20] {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..100].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let error = refused(directory.path());
        assert_eq!(error.code(), ErrorCode::Corrupt, "page {page}: {error}");
        assert!(error.to_string().starts_with("state.db is damaged: "));
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(refused(directory.path()).code(), ErrorCode::Corrupt);
    std::fs::write(&path, whole).unwrap();
    let store = open(directory.path());
    assert_eq!(record(&store, "k/199").await.body, [7; 1000]);
}

/// A database of another program, and one of a later release, stay as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_newer_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path()).await;
    let path = directory.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    // The places of user_version and application_id in the header of an SQLite file.
    for (place, text) in [
        (
            60..64,
            "state.db has schema 4294967, this release knows up to 1",
        ),
        (
            68..72,
            "state.db belongs to another program (application id 0x418937)",
        ),
    ] {
        let mut bytes = whole.clone();
        bytes[place].copy_from_slice(&4_294_967_u32.to_be_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = refused(directory.path());
        assert_eq!(error.to_string(), text);
        assert_eq!(error.code(), ErrorCode::StoreFailed);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

/// A change for which there is no space is refused as a whole, and the store goes on when there
/// is space again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_store_refuses_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let small = StateOptions {
        file_bytes_max: 1 << 20,
        ..StateOptions::at(directory.path())
    };
    let store: Arc<dyn StateStore> = Arc::new(EmbeddedStateStore::open(small).unwrap());
    let large = |key: usize| {
        let new = Put::new(vec![1; 100_000]);
        Change::put(id(&format!("k/{key:02}")), Precondition::Any, new)
    };
    let mut n_taken = 0;
    let error = loop {
        match store.apply(Batch::of(vec![large(n_taken)])).await {
            Ok(_) => n_taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::StorageFull);
    assert_eq!(store.health().writes, WriteState::Full);
    // Of a batch that begins with a small change nothing is kept either.
    let batch = vec![
        Change::put(id("k/small"), Precondition::Any, Put::new(*b"s")),
        large(50),
    ];
    let error = store.apply(Batch::of(batch)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StorageFull);
    let kind = || id("k/0").kind;
    let kept = all(&store, RecordScan::all(kind())).await;
    assert_eq!(kept.len(), n_taken);
    assert!(kept.iter().all(|record| record.body == [1; 100_000]));
    for key in 0..3 {
        let gone = Change::delete(id(&format!("k/{key:02}")), Precondition::Any);
        apply(&store, vec![gone]).await;
    }
    assert_eq!(store.health().writes, WriteState::Open);
    apply(&store, vec![large(60)]).await;
}

/// A backup that is made while both stores work holds no bookkeeping that is ahead of its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookkeeping_of_a_backup_is_never_ahead_of_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = EmbeddedStore::open(Options::at(&data)).unwrap();
    let log: Arc<dyn EventStore> = Arc::new(store);
    let state = open(&data);
    let stop = Arc::new(AtomicBool::new(false));
    let mut worker = tokio::task::JoinSet::new();
    let (writes, stopped) = (Arc::clone(&log), Arc::clone(&stop));
    // A worker that writes down how far it is, after it has seen it.
    worker.spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            let receipt = append(&writes, vec![event("a.b", "t/1")]).await;
            let position = receipt.events[0].position.to_string();
            put(&state, "checkpoint/c", Put::new(position)).await;
        }
    });
    let mut n_checked = 0;
    for number in 0..25 {
        let target = directory.path().join(format!("backup-{number}"));
        let report = log.maintenance().unwrap().backup(&target).await.unwrap();
        let head = report.head.map_or(0, factum_model::Position::get);
        if let Some(checkpoint) = open(&target).record(id("checkpoint/c")).await.unwrap() {
            let position: u64 = String::from_utf8(checkpoint.body).unwrap().parse().unwrap();
            assert!(position <= head, "{position} {head}");
            n_checked += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    worker.join_all().await;
    assert!(n_checked > 10);
}

/// A restored store has its bookkeeping, and gives no number again that was given after the
/// backup; leases of the time before are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_bookkeeping_gives_no_number_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let log = EmbeddedStore::open(Options::at(&data)).unwrap();
    let state = open(&data);
    let kept = put(&state, "k/a", Put::new(*b"kept")).await;
    lease(&state, "l", "me").await;
    let target = directory.path().join("backup");
    log.maintenance().unwrap().backup(&target).await.unwrap();
    let given = put(&state, "k/after", Put::new(*b"")).await;
    let epoch = lease(&state, "l", "me").await.epoch;
    let restored = directory.path().join("restored");
    restore(&target, &restored).unwrap();
    assert_eq!(verify_directory(&restored).unwrap().findings, []);
    let state = open(&restored);
    let found = record(&state, "k/a").await;
    assert_eq!((found.body.as_slice(), found.version), (&b"kept"[..], kept));
    assert_eq!(state.record(id("k/after")).await.unwrap(), None);
    assert!(put(&state, "k/new", Put::new(*b"")).await.get() > given.get());
    assert!(lease(&state, "l", "other").await.epoch > epoch);
}

/// A store that is open for reading only backs up the bookkeeping too, also what a process that was
/// killed left in the write-ahead log, and changes no file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_without_a_server_takes_in_the_write_ahead_log() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let log = EmbeddedStore::open(Options::at(&data)).unwrap();
    let state = open(&data);
    put(&state, "k/a", Put::new(*b"1")).await;
    // What the files are like at this moment is what a killed process leaves.
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let files = ["MANIFEST", FILE, "state.db-wal"].map(str::to_owned);
    let names = std::fs::read_dir(&data).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name.starts_with("seg-") || files.contains(name)) {
        std::fs::copy(data.join(&name), copy.join(&name)).unwrap();
    }
    drop((log, state));
    assert!(std::fs::metadata(copy.join("state.db-wal")).unwrap().len() > 0);
    let before = std::fs::read(copy.join(FILE)).unwrap();
    let read_only = Options {
        read_only: true,
        ..Options::at(&copy)
    };
    let log = EmbeddedStore::open(read_only).unwrap();
    let target = directory.path().join("backup");
    log.maintenance().unwrap().backup(&target).await.unwrap();
    assert_eq!(
        log.maintenance().unwrap().verify().await.unwrap().findings,
        []
    );
    assert_eq!(std::fs::read(copy.join(FILE)).unwrap(), before);
    let restored = directory.path().join("restored");
    restore(&target, &restored).unwrap();
    assert_eq!(record(&open(&restored), "k/a").await.body, b"1");
    assert_eq!(record(&open(&copy), "k/a").await.body, b"1");
}

/// What is in the files is their owner's business, also in a backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_their_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let log = EmbeddedStore::open(Options::at(&data)).unwrap();
    let state = open(&data);
    put(&state, "k/a", Put::new(*b"1")).await;
    let target = directory.path().join("backup");
    log.maintenance().unwrap().backup(&target).await.unwrap();
    let mut n_files = 0;
    for directory in [data, target] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{entry:?} {mode:o}");
            let name = entry.file_name().into_string().unwrap();
            n_files += usize::from(name.starts_with(FILE));
        }
    }
    assert_eq!(
        n_files, 4,
        "the file, two beside it while it is open, and the copy"
    );
}

/// A verification of the directory reads the bookkeeping too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_finds_damage_in_the_bookkeeping() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedStore::open(Options::at(directory.path())).unwrap();
    let n_files = || verify_directory(directory.path()).unwrap().n_files;
    let without = n_files();
    fill(directory.path()).await;
    assert_eq!(n_files(), without + 1);
    let state = open(directory.path());
    put(&state, "k/more", Put::new(*b"")).await;
    let report = log.maintenance().unwrap().verify().await.unwrap();
    assert_eq!(report.findings, []);
    state.close().await;
    log.close().await;
    let path = directory.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5 * 4096..][..100].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let report = verify_directory(directory.path()).unwrap();
    assert!(!report.findings.is_empty());
    assert!(report.findings.iter().all(|finding| finding.file == FILE));
}

const CHILD: &str = "FACTUM_STATE_CHILD";

/// Writes counters, each batch to both records, and says so when it is durable.
async fn write_until(n_batches: u64, directory: &Path) {
    let store = open(directory);
    let mut number = match store.record(id("k/a")).await.unwrap() {
        None => 0,
        Some(last) => String::from_utf8(last.body).unwrap().parse().unwrap(),
    };
    for _ in 0..n_batches {
        number += 1;
        let body = || Put::new(u64::to_string(&number));
        let write = |of| Change::put(id(of), Precondition::Any, body());
        let new = Change::put(id(&format!("n/{number:020}")), Precondition::Absent, body());
        apply(&store, vec![write("k/a"), new, write("k/b")]).await;
        println!("durable {number}");
    }
}

/// What a process acknowledged is there after it was killed, and no batch is there in part.
///
/// In the processes that are killed this test is the one that writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_process_loses_nothing_that_it_acknowledged() {
    if let Some(directory) = std::env::var_os(CHILD) {
        write_until(u64::MAX, Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 0..8 {
        let name = "state_file::killed_process_loses_nothing_that_it_acknowledged";
        #[expect(
            clippy::disallowed_methods,
            reason = "what is killed has to be a process"
        )]
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = |line: Option<std::io::Result<String>>| {
            let line = line?.unwrap();
            let number = line.split_once("durable ")?.1;
            number.parse::<u64>().ok()
        };
        let mut n_seen = 0;
        while n_seen < 20 + 13 * round {
            if let Some(number) = acknowledged(lines.next()) {
                n_seen += 1;
                least = number;
            }
        }
        child.kill().unwrap();
        // What it had said before it died counts too.
        for line in lines {
            least = acknowledged(Some(line)).unwrap_or(least);
        }
        child.wait().unwrap();
        let store = open(directory.path());
        let a = record(&store, "k/a").await;
        let b = record(&store, "k/b").await;
        assert_eq!((&a.body, a.version), (&b.body, b.version));
        let last: u64 = String::from_utf8(a.body).unwrap().parse().unwrap();
        assert!(last == least || last == least + 1, "{last} {least}");
        let all = all(&store, RecordScan::all("n".parse().unwrap())).await;
        assert_eq!(all.len() as u64, last);
        store.close().await;
    }
}
