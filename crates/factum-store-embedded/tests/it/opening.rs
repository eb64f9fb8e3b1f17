//! What a start does with files that are not as the manifest says, and with a disk without space.

use std::time::Duration;

use factum_store::{AppendError, EventStore as _, FindingKind, WriteState};
use factum_store_embedded::{
    EmbeddedStore, OpenError, Options, RepairChoice, repair, verify_directory,
};
use factum_testkit::SimDisk;

use crate::hooked::{append, flip, large, positions, request, small};

const FIRST_LOG: &str = "seg-00000000000000000001.0.log";

/// Without a manifest, a log whose header could not be decoded counted as one without events: a
/// flipped bit had it removed, and an empty store was made in its place.
#[test]
fn a_log_with_a_damaged_header_is_never_taken_for_a_leftover() {
    for with_manifest in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(large(root.path())).unwrap();
        append(&store, 40);
        drop(store);
        let mut log = root.path().join(FIRST_LOG);
        if with_manifest {
            // A log that the manifest does not name.
            let other = root.path().join("seg-00000000000000000041.0.log");
            std::fs::copy(&log, &other).unwrap();
            log = other;
        } else {
            std::fs::remove_file(root.path().join("MANIFEST")).unwrap();
        }
        flip(&log, 20);
        let before = std::fs::read(&log).unwrap();
        match EmbeddedStore::open(large(root.path())).map(drop) {
            Err(OpenError::NoManifest) => assert!(!with_manifest),
            Err(OpenError::Damaged { .. }) => assert!(with_manifest),
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(&log).unwrap(), before);
    }
}

/// What a crash leaves of a segment that was never used is no reason not to start.
#[test]
fn a_log_without_anything_behind_its_header_is_a_leftover() {
    for content in [vec![], vec![7; 64], [vec![7; 64], vec![0; 9000]].concat()] {
        let root = tempfile::tempdir().unwrap();
        drop(EmbeddedStore::open(large(root.path())).unwrap());
        let leftover = root.path().join("seg-00000000000000000041.0.log");
        std::fs::write(&leftover, content).unwrap();
        drop(EmbeddedStore::open(large(root.path())).unwrap());
        assert!(!leftover.exists());
    }
}

/// The manifest has all that the header of a segment says, so nothing is lost with a header: it is
/// read without, and written again by a repair.
#[test]
fn a_damaged_header_is_read_around_and_written_again() {
    for place in ["first", "middle", "last"] {
        let root = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(small(root.path())).unwrap();
        append(&store, 40);
        let lineage = store.lineage();
        drop(store);
        let mut names: Vec<_> = std::fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".log"))
            .collect();
        names.sort();
        // The last one is open, the others are closed.
        assert!(names.len() > 2);
        let segment = match place {
            "first" => names[0].as_str(),
            "middle" => names[1].as_str(),
            _ => names[names.len() - 1].as_str(),
        };
        flip(&root.path().join(segment), 20);
        let report = verify_directory(root.path()).unwrap();
        let [finding] = report.findings.as_slice() else {
            panic!("{:?}", report.findings)
        };
        assert_eq!(
            (finding.kind, finding.file.as_str(), finding.offset),
            (FindingKind::Checksum, segment, Some(0))
        );
        assert_eq!(report.n_events, 40);
        let read_only = Options {
            read_only: true,
            ..small(root.path())
        };
        let read = EmbeddedStore::open(read_only).unwrap();
        assert_eq!(positions(&read), (1..=40).collect::<Vec<_>>());
        drop(read);
        assert!(matches!(
            EmbeddedStore::open(small(root.path())).map(drop),
            Err(OpenError::Damaged { .. })
        ));
        let report = repair(root.path(), RepairChoice::Truncate).unwrap();
        assert_eq!((report.lost.len(), report.kept.len()), (0, 1));
        let repaired = EmbeddedStore::open(small(root.path())).unwrap();
        assert_eq!(positions(&repaired), (1..=40).collect::<Vec<_>>());
        assert_eq!(repaired.lineage(), lineage);
        append(&repaired, 5);
        drop(repaired);
        assert_eq!(verify_directory(root.path()).unwrap().findings, []);
    }
}

/// A store on a disk without a byte to spare failed to open, and with it the server: what is
/// stored could not even be read.
#[test]
fn a_full_disk_opens_and_takes_appends_when_there_is_space() {
    let disk = SimDisk::new(1);
    let options = || Options {
        disk: Some(std::sync::Arc::new(disk.clone())),
        full_retry_delay: Duration::from_millis(1),
        ..small(std::path::Path::new("simulated"))
    };
    let store = EmbeddedStore::open(options()).unwrap();
    append(&store, 3);
    drop(store);
    disk.set_capacity(Some(0));
    for _ in 0..2 {
        let store = EmbeddedStore::open(options()).unwrap();
        assert_eq!(positions(&store), [1, 2, 3]);
        let refused = store.append_blocking(request(10));
        assert!(
            matches!(refused, Err(AppendError::StorageFull)),
            "{refused:?}"
        );
        assert_eq!(store.health().writes, WriteState::Full);
    }
    let store = EmbeddedStore::open(options()).unwrap();
    disk.set_capacity(None);
    while matches!(
        store.append_blocking(request(10)),
        Err(AppendError::StorageFull)
    ) {
        std::thread::yield_now();
    }
    // The manifest must not say that the log ends where it did: a crash loses nothing.
    let survivor = disk.restart();
    drop(store);
    let options = Options {
        disk: Some(std::sync::Arc::new(survivor)),
        ..small(std::path::Path::new("simulated"))
    };
    assert_eq!(
        positions(&EmbeddedStore::open(options).unwrap()),
        [1, 2, 3, 4]
    );
}
