//! The power fails at every point of a repair and of a restore.
//!
//! Afterwards the directory is damaged as before and can be repaired, or is repaired: it never
//! opens with events missing under the lineage that had them. A restore leaves a directory that
//! does not open and can be restored into, or a restored store.

use std::path::Path;
use std::sync::Arc;

use factum_model::{ErrorCode, Position};
use factum_store::{EventStore as _, LineageId, Maintenance as _};
use factum_store_embedded::{
    Disk, EmbeddedStore, OpenError, Options, RepairChoice, RestoreError, repair_disk, restore_disk,
};
use factum_testkit::SimDisk;

use crate::hooked::{append, block_on, positions, small};

const N_EVENTS: usize = 40;

fn options(disk: &SimDisk) -> Options {
    Options {
        disk: Some(Arc::new(disk.clone())),
        index_documents: false,
        ..small(Path::new("simulated"))
    }
}

fn read_only(disk: &SimDisk) -> Options {
    Options {
        read_only: true,
        ..options(disk)
    }
}

/// What is damaged in a store that was closed in good order.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A bit in the log with this number, at this offset.
    Flip { log: usize, offset: u64 },
    /// The log with this number ends here.
    Cut { log: usize, offset: u64 },
}

/// Makes a store of several segments, and damages it.
fn damaged(seed: u64, all: &[Damage]) -> (SimDisk, LineageId) {
    let disk = SimDisk::new(seed);
    let store = EmbeddedStore::open(options(&disk)).unwrap();
    append(&store, N_EVENTS);
    let lineage = store.lineage().current;
    drop(store);
    let mut logs = disk.list().unwrap();
    logs.retain(|name| name.ends_with(".log"));
    logs.sort();
    for damage in all {
        match *damage {
            Damage::Flip { log, offset } => {
                let file = disk.open(&logs[log % logs.len()]).unwrap();
                let mut byte = [0];
                file.read_at(&mut byte, offset).unwrap();
                file.write_at(&[byte[0] ^ 0x10], offset).unwrap();
                file.sync_data().unwrap();
            }
            Damage::Cut { log, offset } => {
                let file = disk.open(&logs[log % logs.len()]).unwrap();
                file.set_len(offset).unwrap();
                file.sync_data().unwrap();
            }
        }
    }
    disk.sync_dir().unwrap();
    (disk.restart(), lineage)
}

fn arc(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// A repaired store: what it has, and which lineages it comes from.
#[derive(Debug, PartialEq, Eq)]
struct Repaired {
    positions: Vec<u64>,
    earlier: Vec<LineageId>,
    shared_up_to: Option<Position>,
}

fn look(store: &EmbeddedStore) -> Repaired {
    let lineage = store.lineage();
    Repaired {
        positions: positions(store),
        earlier: lineage.earlier.iter().map(|(id, _)| *id).collect(),
        shared_up_to: lineage.earlier.last().and_then(|(_, last)| *last),
    }
}

/// Repairs a store without a crash; returns what it is then, and how many operations it took.
fn calm(all: &[Damage], choice: RepairChoice) -> (Repaired, u64) {
    let (disk, _) = damaged(1, all);
    repair_disk(&arc(&disk), choice).unwrap();
    let n_operations = disk.n_operations();
    let store = EmbeddedStore::open(options(&disk)).unwrap();
    (look(&store), n_operations)
}

fn check_repair(all: &[Damage], choice: RepairChoice) {
    let (expected, n_operations) = calm(all, choice);
    assert!(n_operations > 4, "{all:?}");
    for crash_at in 1..=n_operations {
        let case = format!("{all:?} {choice:?} crash at {crash_at} of {n_operations}");
        let (disk, lineage) = damaged(crash_at, all);
        let originals = logs(&disk);
        disk.crash_after(crash_at);
        drop(repair_disk(&arc(&disk), choice));
        let mut survivor = disk.restart();
        if crash_at.is_multiple_of(3) {
            // It fails again during the second attempt.
            survivor.crash_after(crash_at / 2 + 1);
            drop(repair_disk(&arc(&survivor), choice));
            survivor = survivor.restart();
        }
        if let Err(error) = EmbeddedStore::open(read_only(&survivor)) {
            panic!("{case}: cannot be read: {error}");
        }
        match EmbeddedStore::open(options(&survivor)) {
            Ok(store) => match positions_or_error(&store) {
                Ok(_) => check_repaired(&case, &look(&store), &expected, lineage),
                // Damage in a closed segment is found by whoever reads it.
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::Corrupt, "{case}");
                    assert_eq!(store.lineage().current, lineage, "{case}");
                }
            },
            Err(OpenError::Corrupt { .. } | OpenError::Damaged { .. }) => {}
            Err(error) => panic!("{case}: {error}"),
        }
        if let Err(error) = repair_disk(&arc(&survivor), choice) {
            panic!("{case}: cannot be repaired: {error:?}");
        }
        let store = EmbeddedStore::open(options(&survivor)).unwrap();
        check_repaired(&case, &look(&store), &expected, lineage);
        check_copies(&case, &survivor, &originals);
        append(&store, 20);
        let report = block_on(store.verify()).unwrap();
        assert_eq!(report.findings, [], "{case}");
        drop(store);
        let again = EmbeddedStore::open(options(&survivor)).unwrap();
        let n_events = expected.positions.len() + 20;
        assert_eq!(positions(&again).len(), n_events, "{case}");
    }
}

fn check_repaired(case: &str, actual: &Repaired, expected: &Repaired, lineage: LineageId) {
    assert_eq!(actual.positions, expected.positions, "{case}");
    assert_eq!(actual.shared_up_to, expected.shared_up_to, "{case}");
    let earlier: &[LineageId] = if expected.earlier.is_empty() {
        &[]
    } else {
        &[lineage]
    };
    assert_eq!(actual.earlier, earlier, "{case}");
}

/// Returns the bytes of all logs.
fn logs(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.retain(|name| name.ends_with(".log"));
    let bytes = |name: String| {
        let bytes = disk.bytes_of(&name).unwrap();
        (name, bytes)
    };
    names.into_iter().map(bytes).collect()
}

/// A log that is not as it was is there as it was, in a copy.
fn check_copies(case: &str, disk: &SimDisk, originals: &[(String, Vec<u8>)]) {
    let names = disk.list().unwrap();
    for (name, original) in originals {
        let start = format!("{name}.");
        let mut same = names
            .iter()
            .filter(|other| *other == name || other.starts_with(&start));
        // What is behind the log may have been given back to the disk.
        let trimmed = |bytes: &[u8]| {
            let end = bytes.iter().rposition(|&byte| byte != 0);
            bytes[..end.map_or(0, |end| end + 1)].to_vec()
        };
        let is_whole =
            |other: &String| trimmed(&disk.bytes_of(other).unwrap()) == trimmed(original);
        assert!(same.any(is_whole), "{case}: {name} is nowhere as it was");
    }
    // Indexes are being made as long as the store is open.
    let is_index = |name: &str| name.ends_with(".idx.new") || name.ends_with(".doc.new");
    let is_unfinished =
        |name: &&String| name.starts_with("seg-") && name.ends_with(".new") && !is_index(name);
    let unfinished = names.iter().find(is_unfinished);
    assert_eq!(unfinished, None, "{case}");
}

#[test]
fn every_crash_point_of_a_repair_is_survived() {
    let flip = |log, offset| Damage::Flip { log, offset };
    let cut = |log, offset| Damage::Cut { log, offset };
    let last = usize::MAX;
    let cases: [&[Damage]; 7] = [
        // In a closed segment, early and late; in two of them.
        &[flip(0, 4_000)],
        &[flip(1, 5_500)],
        &[flip(0, 4_000), flip(2, 3_000)],
        // The end of a closed segment is gone.
        &[cut(1, 5_000)],
        // A header, alone and with an event.
        &[flip(1, 20)],
        &[flip(0, 20), flip(1, 5_000), flip(2, 20)],
        // The end of the open one is gone.
        &[Damage::Cut {
            log: last,
            offset: 64,
        }],
    ];
    for all in cases {
        let all: Vec<_> = all.iter().map(|damage| of_last(*damage)).collect();
        for choice in [RepairChoice::Quarantine, RepairChoice::Truncate] {
            check_repair(&all, choice);
        }
    }
}

/// The number of the last log is not known before there is one.
fn of_last(damage: Damage) -> Damage {
    let last = {
        let (disk, _) = damaged(1, &[]);
        logs(&disk).len() - 1
    };
    match damage {
        Damage::Flip { log, offset } => Damage::Flip {
            log: log.min(last),
            offset,
        },
        Damage::Cut { log, offset } => Damage::Cut {
            log: log.min(last),
            offset,
        },
    }
}

#[test]
fn every_crash_point_of_a_restore_is_survived() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(small(&root.path().join("store"))).unwrap();
    append(&store, N_EVENTS);
    let backup = root.path().join("backup");
    block_on(store.backup(&backup)).unwrap();
    append(&store, 5);
    let source = factum_store_embedded::OsDisk::open_read_only(&backup).unwrap();
    let calm = SimDisk::new(1);
    restore_disk(&source, &arc(&calm)).unwrap();
    let n_operations = calm.n_operations();
    assert!(n_operations > 20);
    let all: Vec<u64> = (1..=N_EVENTS as u64).collect();
    let is_restored = |restored: &EmbeddedStore| {
        let (old, new) = (store.lineage(), restored.lineage());
        let shared = Position::new(N_EVENTS as u64);
        assert_eq!(new.earlier, [(old.current, shared)]);
        assert_ne!(new.current, old.current);
        assert_eq!(new.resolve(old.cursor(shared)), Ok(shared));
        new.resolve(old.cursor(store.head())).unwrap_err();
        assert_eq!(positions(restored), all);
    };
    for crash_at in 1..=n_operations {
        let disk = SimDisk::new(crash_at);
        disk.crash_after(crash_at);
        let crashed = restore_disk(&source, &arc(&disk));
        assert!(crashed.is_err(), "crash at {crash_at}");
        let survivor = disk.restart();
        match EmbeddedStore::open(read_only(&survivor)) {
            Ok(restored) => {
                is_restored(&restored);
                let again = restore_disk(&source, &arc(&survivor));
                assert!(matches!(again, Err(RestoreError::Target(_))), "{again:?}");
            }
            Err(OpenError::NoStore) => {
                // Nothing was done yet.
                restore_disk(&source, &arc(&survivor)).unwrap();
            }
            Err(OpenError::HalfRestored) => {
                let opened = EmbeddedStore::open(options(&survivor)).map(drop);
                assert!(matches!(opened, Err(OpenError::HalfRestored)));
                restore_disk(&source, &arc(&survivor)).unwrap();
            }
            Err(error) => panic!("crash at {crash_at}: {error}"),
        }
        let restored = EmbeddedStore::open(options(&survivor)).unwrap();
        is_restored(&restored);
        append(&restored, 10);
        drop(restored);
        let names = survivor.list().unwrap();
        assert!(!names.iter().any(|name| name == "RESTORING"), "{names:?}");
        let again = EmbeddedStore::open(options(&survivor)).unwrap();
        assert_eq!(positions(&again).len(), N_EVENTS + 10);
    }
}

/// A sector that cannot be read is an error, not the end of the log: nothing is cut off, rebuilt
/// without what was not read, or taken for damage by a repair.
#[test]
fn a_read_that_fails_is_an_error_and_changes_nothing() {
    let (disk, lineage) = damaged(1, &[]);
    let all: Vec<u64> = (1..=N_EVENTS as u64).collect();
    let whole = |disk: &SimDisk| {
        let store = EmbeddedStore::open(options(disk))?;
        let found = positions_or_error(&store)?;
        let report = block_on(store.verify());
        Ok::<_, Box<dyn std::error::Error>>((found, report?.findings))
    };
    assert_eq!(whole(&disk).unwrap(), (all.clone(), Vec::new()));
    let n_reads = disk.n_reads();
    assert!(n_reads > 10);
    for n in 1..=n_reads {
        disk.fail_read(disk.n_reads() + n);
        if let Ok((found, findings)) = whole(&disk) {
            assert_eq!((found, findings), (all.clone(), Vec::new()), "read {n}");
        }
        // It may not have come to that read.
        disk.forget_failing_reads();
        assert_eq!(whole(&disk).unwrap(), (all.clone(), Vec::new()), "read {n}");
        disk.fail_read(disk.n_reads() + n);
        if let Ok(report) = repair_disk(&arc(&disk), RepairChoice::Truncate) {
            assert_eq!((report.lost, report.kept), (Vec::new(), Vec::new()));
        }
        disk.forget_failing_reads();
    }
    let store = EmbeddedStore::open(options(&disk)).unwrap();
    assert_eq!(store.lineage().current, lineage);
}

fn positions_or_error(store: &EmbeddedStore) -> Result<Vec<u64>, factum_store::ReadError> {
    let read = factum_store::LogRead {
        limit: 100_000,
        ..factum_store::LogRead::forwards()
    };
    let page = store.read_log_blocking(&read)?;
    Ok(page
        .events
        .iter()
        .map(|event| event.position.get())
        .collect())
}
