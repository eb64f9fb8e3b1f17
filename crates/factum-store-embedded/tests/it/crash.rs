//! The power fails at every point of a workload, and again while the store recovers.
//!
//! What must hold afterwards is what the store promised before: an event that was acknowledged,
//! or that a reader has seen, is there, where it was, with its bytes; a request that was not
//! acknowledged is there whole or not at all; positions and sequence numbers have no gap; cursors
//! still mean what they meant; and the store goes on.
//!
//! Threads of the store take turns as they like, so a case need not meet the same operation each
//! time; what a crash keeps follows from the seed.

#![expect(clippy::panic, reason = "a failure names its case")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use factum_model::{EventId, NewEvent, RecordedEvent};
use factum_store::conformance::appends::check_dense;
use factum_store::conformance::fixtures::{id, request, varied};
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, Cursor, EventStore as _, Lineage, LogRead,
    StreamRead, Visibility,
};
use factum_store_embedded::{EmbeddedStore, OpenError, Options};
use factum_testkit::{Fault, Random, SimDisk};

/// What goes wrong in one case.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    n_writers: u64,
    /// The operation at which the power fails; without one it fails at the end.
    crash_at: Option<u64>,
    /// The operation at which it fails again, during recovery.
    crash_again_at: Option<u64>,
    fault: Option<(u64, Fault)>,
}

/// What the world knows of a store when the power fails.
#[derive(Debug, Default)]
struct Known {
    /// Everything that was asked for.
    asked: Vec<AppendRequest>,
    acknowledged: Vec<(AppendRequest, AppendReceipt)>,
    seen: Vec<RecordedEvent>,
    lineage: Option<Lineage>,
    n_operations: u64,
}

fn open(disk: &SimDisk, seed: u64) -> Result<EmbeddedStore, OpenError> {
    let mut random = Random::seeded(seed);
    EmbeddedStore::open(Options {
        disk: Some(Arc::new(disk.clone())),
        segment_events_max: 6 + u32::try_from(random.below(20)).unwrap(),
        segment_bytes_max: 4096,
        reserve_bytes: 4096 << random.below(3),
        recent_bytes_max: 1024,
        versions_max: 3,
        seal_delay: Duration::from_millis(1),
        full_retry_delay: Duration::from_millis(1),
        cold_after_segments: (random.below(2) == 0).then_some(0),
        cold_bytes_per_second: u64::MAX,
        ..Options::at("simulated")
    })
}

/// The requests of one writer: of one event and of several, with ids of their own.
fn requests(case: &Case, writer: u64) -> Vec<AppendRequest> {
    let mut random = Random::seeded(case.seed.wrapping_add(writer * 1_000_003));
    let mut next = writer * 100_000 + 1;
    (0..12)
        .map(|_| {
            let n_events = if random.one_in(4) {
                random.below(12) + 1
            } else {
                1
            };
            let events = (next..next + n_events).map(|number| sized(&mut random, number));
            let events = events.collect();
            next += n_events;
            request(events)
        })
        .collect()
}

/// Makes an event that ends anywhere within a sector, or spans some.
fn sized(random: &mut Random, number: u64) -> NewEvent {
    let length = if random.one_in(5) {
        random.index(1500)
    } else {
        random.index(100)
    };
    let text = format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(length));
    NewEvent {
        payload: factum_model::JsonObject::parse(text).unwrap(),
        ..varied(number)
    }
}

/// Runs the workload until it is done or the power fails.
fn work(case: &Case, disk: &SimDisk) -> Known {
    if let Some(at) = case.crash_at {
        disk.crash_after(at);
    }
    if let Some((at, fault)) = case.fault {
        disk.fail(at, fault);
    }
    // The power may fail before there is a store.
    let Ok(store) = open(disk, case.seed) else {
        return Known::default();
    };
    let known = Mutex::new(Known {
        lineage: Some(store.lineage()),
        ..Known::default()
    });
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..case.n_writers)
            .map(|writer| {
                let (known, store) = (&known, &store);
                scope.spawn(move || {
                    for request in requests(case, writer) {
                        known.lock().unwrap().asked.push(request.clone());
                        let Ok(receipt) = store.append_blocking(request.clone()) else {
                            continue;
                        };
                        known.lock().unwrap().acknowledged.push((request, receipt));
                    }
                })
            })
            .collect();
        while !writers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            let after = known
                .lock()
                .unwrap()
                .seen
                .last()
                .map(|event| event.position);
            let read = LogRead { after, ..all() };
            if let Ok(page) = store.read_log_blocking(&read) {
                known.lock().unwrap().seen.extend(page.events);
            }
            std::thread::yield_now();
        }
    });
    check_nothing_is_visible_past_the_head(case, &store, &known.lock().unwrap());
    // Those who hold the store do not let go before the power does.
    let n_operations = disk.n_operations();
    disk.crash();
    drop(store);
    Known {
        n_operations,
        ..known.into_inner().unwrap()
    }
}

/// What was written and could not be made durable is in memory somewhere; no way to read leads
/// there.
fn check_nothing_is_visible_past_the_head(case: &Case, store: &EmbeddedStore, known: &Known) {
    let head = store.head();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for event in known.asked.iter().flat_map(|request| &request.events) {
            // Once the power has failed, reads fail.
            if let Ok(Some(found)) = store.event(event.id.unwrap()).await {
                assert!(Some(found.position) <= head, "{case:?}: {found:?}");
            }
            if let Ok(Some(info)) = store.stream_info(event.stream.clone()).await {
                assert!(Some(info.last_position) <= head, "{case:?}: {info:?}");
            }
            let read = StreamRead::forwards(event.stream.clone());
            if let Ok(page) = store.read_stream(read).await {
                let last = page.events.last().map(|event| event.position);
                assert!(last <= head, "{case:?}: {last:?}");
                assert_eq!(
                    page.version,
                    page.events.last().map(|event| event.sequence_number)
                );
            }
        }
    });
}

fn all() -> LogRead {
    LogRead {
        visibility: Visibility::Everything,
        ..LogRead::forwards()
    }
}

/// Runs a case and checks everything. Returns how many operations the workload had.
fn check(case: Case) -> u64 {
    let disk = SimDisk::new(case.seed);
    let known = work(&case, &disk);
    let mut survivor = disk.restart();
    if let Some(again) = case.crash_again_at {
        survivor.crash_after(again);
        // Whether it opens or not, what it does until the power fails must do no harm.
        drop(open(&survivor, case.seed));
        survivor = survivor.restart();
    }
    let store = match open(&survivor, case.seed) {
        Ok(store) => store,
        Err(error) => panic!("{case:?}: does not open: {error} ({error:?})"),
    };
    let log = whole(&case, &store);
    check_log(&case, &known, &log);
    check_cursors(&case, &known, &store);
    go_on(&case, &known, &store, &log);
    drop(store);
    let again = open(&survivor, case.seed).unwrap();
    let after = whole(&case, &again);
    assert!(
        after.len() > log.len() && after.starts_with(&log),
        "{case:?}"
    );
    known.n_operations
}

/// Reads everything that is stored, in order and by id, and has it verified.
fn whole(case: &Case, store: &EmbeddedStore) -> Vec<RecordedEvent> {
    let mut log: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = log.last().map(|event| event.position);
        let page = store
            .read_log_blocking(&LogRead { after, ..all() })
            .unwrap();
        log.extend(page.events);
        if !page.has_more {
            break;
        }
    }
    check_dense(&log);
    assert_eq!(
        store.head(),
        log.last().map(|event| event.position),
        "{case:?}"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for event in &log {
            let found = store.event(event.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(event), "{case:?}");
        }
        let report = store.maintenance().unwrap().verify().await.unwrap();
        assert_eq!(report.findings, Vec::new(), "{case:?}");
        assert_eq!(report.n_events, log.len() as u64, "{case:?}");
    });
    log
}

fn check_log(case: &Case, known: &Known, log: &[RecordedEvent]) {
    let at =
        |position: factum_model::Position| log.get(usize::try_from(position.get() - 1).unwrap());
    for (request, receipt) in &known.acknowledged {
        for (proposed, receipt) in request.events.iter().zip(&receipt.events) {
            let stored = at(receipt.position);
            let stored = stored.unwrap_or_else(|| panic!("{case:?}: lost {receipt:?}"));
            assert!(
                stored.is_repeated_by(proposed),
                "{case:?}: {stored:?} for {receipt:?}"
            );
            assert_eq!(
                (stored.id, stored.sequence_number, stored.recorded_at),
                (receipt.id, receipt.sequence_number, receipt.recorded_at),
                "{case:?}"
            );
        }
    }
    for seen in &known.seen {
        assert_eq!(
            at(seen.position),
            Some(seen),
            "{case:?}: a reader saw what is not there"
        );
    }
    let places: BTreeMap<EventId, u64> = log
        .iter()
        .map(|event| (event.id, event.position.get()))
        .collect();
    assert_eq!(places.len(), log.len(), "{case:?}: an event is there twice");
    let mut asked = BTreeSet::new();
    for request in &known.asked {
        let ids: Vec<_> = request
            .events
            .iter()
            .map(|event| event.id.unwrap())
            .collect();
        let found: Vec<_> = ids
            .iter()
            .filter_map(|id| places.get(id))
            .copied()
            .collect();
        let whole = found.len() == ids.len() && found.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(
            found.is_empty() || whole,
            "{case:?}: a request is at {found:?}"
        );
        asked.extend(ids);
    }
    assert!(
        log.iter().all(|event| asked.contains(&event.id)),
        "{case:?}: nobody asked for it"
    );
}

fn check_cursors(case: &Case, known: &Known, store: &EmbeddedStore) {
    let Some(before) = &known.lineage else {
        return;
    };
    let acknowledged = known
        .acknowledged
        .iter()
        .flat_map(|(_, receipt)| &receipt.events);
    let seen = known.seen.iter().map(|event| event.position);
    for position in acknowledged.map(|receipt| receipt.position).chain(seen) {
        let text = before.cursor(Some(position)).to_string();
        let cursor: Cursor = text.parse().unwrap();
        assert_eq!(
            store.lineage().resolve(cursor),
            Ok(Some(position)),
            "{case:?}"
        );
    }
}

/// Everyone repeats what they asked for, as they would, and something new is appended.
fn go_on(case: &Case, known: &Known, store: &EmbeddedStore, log: &[RecordedEvent]) {
    for (request, receipt) in &known.acknowledged {
        let again = store.append_blocking(request.clone()).unwrap();
        for (again, first) in again.events.iter().zip(&receipt.events) {
            let first = factum_store::EventReceipt {
                deduplicated: true,
                ..*first
            };
            assert_eq!(*again, first, "{case:?}");
        }
    }
    for request in &known.asked {
        let receipt = store.append_blocking(request.clone()).unwrap();
        assert_eq!(receipt.events.len(), request.events.len());
    }
    let new = NewEvent {
        id: Some(id(77_000_000)),
        ..varied(77_000_000)
    };
    store.append_blocking(request(vec![new])).unwrap();
    let n_asked: usize = known.asked.iter().map(|request| request.events.len()).sum();
    let after = whole(case, store);
    assert_eq!(after.len(), n_asked + 1, "{case:?}");
    assert!(after.starts_with(log), "{case:?}");
}

/// Returns how many random cases to run.
#[expect(
    clippy::disallowed_methods,
    reason = "tests may ask how long they should run"
)]
fn n_random_cases() -> u64 {
    if std::env::var("FACTUM_SLOW_TESTS").is_ok_and(|value| value == "1") {
        10_000
    } else {
        300
    }
}

#[test]
fn every_crash_point_of_a_workload_is_survived() {
    let calm = Case {
        seed: 1,
        n_writers: 1,
        crash_at: None,
        crash_again_at: None,
        fault: None,
    };
    let n_operations = check(calm);
    assert!(n_operations > 30, "{n_operations}");
    for crash_at in 1..=n_operations {
        check(Case {
            crash_at: Some(crash_at),
            ..calm
        });
    }
}

#[test]
fn crashes_at_random_points_of_random_workloads_are_survived() {
    for seed in 0..n_random_cases() {
        let mut random = Random::seeded(seed);
        let crash_at = Some(random.below(150) + 1);
        check(Case {
            seed,
            n_writers: random.below(4) + 1,
            crash_at,
            crash_again_at: None,
            fault: None,
        });
    }
}

#[test]
fn a_second_crash_during_recovery_is_survived() {
    for seed in 0..n_random_cases() / 2 {
        let mut random = Random::seeded(seed ^ 0xdead);
        check(Case {
            seed,
            n_writers: random.below(3) + 1,
            crash_at: Some(random.below(120) + 1),
            crash_again_at: Some(random.below(12) + 1),
            fault: None,
        });
    }
}

#[test]
fn failed_writes_and_syncs_lose_nothing_that_was_acknowledged() {
    let faults = [Fault::Io, Fault::Full, Fault::ShortWrite, Fault::LostSync];
    for seed in 0..n_random_cases() / 2 {
        let mut random = Random::seeded(seed ^ 0xbeef);
        check(Case {
            seed,
            n_writers: random.below(3) + 1,
            crash_at: None,
            crash_again_at: None,
            fault: Some((random.below(100) + 1, *random.pick(&faults))),
        });
    }
}

/// The disk fills up in the middle of a workload. Nothing that was acknowledged is lost, nothing
/// that was refused appears, and when there is space again the store goes on by itself.
#[test]
fn full_disk_refuses_and_goes_on_when_there_is_space() {
    for seed in 0..30 {
        let case = Case {
            seed,
            n_writers: 1,
            crash_at: None,
            crash_again_at: None,
            fault: None,
        };
        let disk = SimDisk::new(seed);
        let store = open(&disk, seed).unwrap();
        disk.set_capacity(Some(6000 + seed * 300));
        let mut known = Known {
            lineage: Some(store.lineage()),
            ..Known::default()
        };
        let mut refused = Vec::new();
        for request in requests(&case, 0).into_iter().chain(requests(&case, 1)) {
            match store.append_blocking(request.clone()) {
                Ok(receipt) => {
                    known.asked.push(request.clone());
                    known.acknowledged.push((request, receipt));
                }
                Err(AppendError::StorageFull) => refused.push(request),
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(!refused.is_empty(), "seed {seed}");
        let log = whole(&case, &store);
        check_log(&case, &known, &log);
        disk.set_capacity(None);
        for request in refused {
            let receipt = until_there_is_space(&store, &request);
            known.asked.push(request.clone());
            known.acknowledged.push((request, receipt));
        }
        disk.crash();
        drop(store);
        let store = open(&disk.restart(), seed).unwrap();
        check_log(&case, &known, &whole(&case, &store));
        check_cursors(&case, &known, &store);
    }
}

/// Tries until the store has noticed that there is space.
fn until_there_is_space(store: &EmbeddedStore, request: &AppendRequest) -> AppendReceipt {
    for _ in 0..10_000_000 {
        match store.append_blocking(request.clone()) {
            Ok(receipt) => return receipt,
            Err(AppendError::StorageFull) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not notice that there is space");
}

/// A segment cannot be begun, at each step of beginning one and in each way; then smaller requests
/// come, for which the present segment has room. Where the store takes them, a crash keeps them.
#[test]
fn smaller_appends_after_a_failed_roll_are_kept() {
    let faults = [
        Fault::Io,
        Fault::Full,
        Fault::ShortWrite,
        Fault::LostSync,
        Fault::LostNames,
    ];
    let mut n_taken = 0;
    for (seed, fault) in (0..4).flat_map(|seed| faults.map(|fault| (seed, fault))) {
        for step in 1..=14 {
            n_taken += check_failed_roll(seed, fault, step);
        }
    }
    assert!(n_taken > 300, "{n_taken}");
}

/// Returns how many requests were taken after the one for which there was no room.
fn check_failed_roll(seed: u64, fault: Fault, step: u64) -> usize {
    let disk = SimDisk::new(seed * 100 + step);
    let options = |disk: &SimDisk| Options {
        disk: Some(Arc::new(disk.clone())),
        segment_bytes_max: 4096,
        reserve_bytes: 4096,
        recent_bytes_max: 0,
        // Nothing but the writer is at work until there is a closed segment.
        index_documents: false,
        seal_delay: Duration::from_secs(3600),
        full_retry_delay: Duration::from_millis(1),
        ..Options::at("simulated")
    };
    let store = EmbeddedStore::open(options(&disk)).unwrap();
    let mut known = Known {
        lineage: Some(store.lineage()),
        ..Known::default()
    };
    let ask = |known: &mut Known, number: u64, bytes: usize| {
        let text = format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(bytes));
        let event = NewEvent {
            payload: factum_model::JsonObject::parse(text).unwrap(),
            ..varied(number)
        };
        let request = request(vec![event]);
        known.asked.push(request.clone());
        let receipt = match store.append_blocking(request.clone()) {
            // The disk is not full, so the store will notice.
            Err(AppendError::StorageFull) if bytes < 100 => {
                Ok(until_there_is_space(&store, &request))
            }
            receipt => receipt,
        };
        let taken = receipt.is_ok();
        known
            .acknowledged
            .extend(receipt.ok().map(|receipt| (request, receipt)));
        taken
    };
    for number in 1..=4 {
        assert!(ask(&mut known, number, 500));
    }
    disk.fail(disk.n_operations() + step, fault);
    ask(&mut known, 5, 2500);
    let n_taken = (6..=8)
        .filter(|number| ask(&mut known, *number, 10))
        .count();
    disk.crash();
    drop(store);
    let survivor = disk.restart();
    let case = Case {
        seed,
        n_writers: 1,
        crash_at: Some(step),
        crash_again_at: None,
        fault: Some((step, fault)),
    };
    let store = match EmbeddedStore::open(options(&survivor)) {
        Ok(store) => store,
        Err(error) => panic!("{case:?}: does not open: {error:?}"),
    };
    let log = whole(&case, &store);
    check_log(&case, &known, &log);
    check_cursors(&case, &known, &store);
    go_on(&case, &known, &store, &log);
    n_taken
}
