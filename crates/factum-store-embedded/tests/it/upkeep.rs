//! Verification, backup, restore and repair.

use std::path::Path;

use factum_model::{JsonObject, NewEvent, Position, SequenceNumber, StreamId};
use factum_store::{
    AppendRequest, CursorError, Direction, EventStore as _, FindingKind, LogRead, Maintenance as _,
    ReadError, StreamRead,
};
use factum_store_embedded::{
    EmbeddedStore, OpenError, Options, RepairChoice, RepairError, RestoreError, repair, restore,
    verify_directory,
};

use crate::hooked;

const FIRST_LOG: &str = "seg-00000000000000000001.0.log";

fn options(directory: &Path) -> Options {
    Options {
        segment_bytes_max: 8 << 10,
        reserve_bytes: 4 << 10,
        recent_bytes_max: 0,
        ..Options::at(directory)
    }
}

async fn append(store: &EmbeddedStore, n_requests: usize) {
    for number in 0..n_requests {
        let stream = StreamId::new(
            "form".parse().unwrap(),
            format!("f-{}", number % 5).parse().unwrap(),
        );
        let payload = JsonObject::parse(format!(r#"{{"number":{number}}}"#)).unwrap();
        let event = NewEvent::new("form.changed".parse().unwrap(), stream, payload);
        let request = AppendRequest {
            events: vec![event.clone(), event],
            ..Default::default()
        };
        store.append(request).await.unwrap();
    }
}

async fn payloads(store: &EmbeddedStore) -> Vec<(u64, String)> {
    let page = store
        .read_log(LogRead {
            limit: 100_000,
            ..LogRead::forwards()
        })
        .await
        .unwrap();
    page.events
        .iter()
        .map(|event| (event.position.get(), event.payload().to_owned()))
        .collect()
}

fn flip(path: &Path, offset: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_backup_under_load_restores_with_a_new_lineage() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(&root.path().join("a"))).unwrap();
    append(&store, 100).await;
    let (_, report) = tokio::join!(append(&store, 100), async {
        store.backup(&root.path().join("b")).await.unwrap()
    });
    append(&store, 10).await;
    let online = Maintenance_verify(&store).await;
    assert_eq!(online, 420);
    let head = report.head.unwrap();
    assert!(head.get() >= 200);
    let restored = restore(&root.path().join("b"), &root.path().join("c")).unwrap();
    assert!(restored.head >= report.head);
    let copy = EmbeddedStore::open(options(&root.path().join("c"))).unwrap();
    let all = payloads(&store).await;
    assert_eq!(
        payloads(&copy).await,
        all[..restored.head.unwrap().get() as usize]
    );
    let lineage = copy.lineage();
    assert_eq!(
        lineage.resolve(store.lineage().cursor(Some(head))),
        Ok(Some(head))
    );
    assert_eq!(
        lineage.resolve(store.lineage().cursor(store.head())),
        Err(CursorError::LostHistory {
            resume_at: restored.head
        })
    );
    append(&copy, 1).await;
    drop(copy);
    assert_eq!(
        verify_directory(&root.path().join("c")).unwrap().findings,
        []
    );
    assert!(matches!(
        restore(&root.path().join("b"), &root.path().join("c")),
        Err(RestoreError::Target(_))
    ));
}

#[expect(non_snake_case, reason = "names the trait whose method it calls")]
async fn Maintenance_verify(store: &EmbeddedStore) -> u64 {
    let report = store.verify().await.unwrap();
    assert_eq!(report.findings, []);
    report.n_events
}

#[tokio::test]
async fn a_damaged_backup_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(&root.path().join("a"))).unwrap();
    append(&store, 100).await;
    store.backup(&root.path().join("b")).await.unwrap();
    flip(&root.path().join("b/seg-00000000000000000001.0.log"), 3000);
    let refused = restore(&root.path().join("b"), &root.path().join("c"));
    assert!(
        matches!(refused, Err(RestoreError::Damaged { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        EmbeddedStore::open(Options {
            read_only: true,
            ..options(&root.path().join("c"))
        }),
        Err(OpenError::HalfRestored)
    ));
}

/// Damage in the last segment, before later groups: the store refuses to open for writing, opens
/// around it for reading, and is repaired as the operator chooses.
#[tokio::test]
async fn damage_in_the_last_segment_is_repaired_by_choice() {
    for choice in [RepairChoice::Quarantine, RepairChoice::Truncate] {
        let root = tempfile::tempdir().unwrap();
        let large = |directory: &Path| Options {
            segment_bytes_max: 1 << 20,
            ..options(directory)
        };
        let store = EmbeddedStore::open(large(root.path())).unwrap();
        append(&store, 100).await;
        let (all, old) = (payloads(&store).await, store.lineage());
        drop(store);
        flip(&root.path().join("seg-00000000000000000001.0.log"), 10_000);
        let report = verify_directory(root.path()).unwrap();
        let [finding] = report.findings.as_slice() else {
            panic!("{:?}", report.findings)
        };
        assert_eq!(finding.kind, FindingKind::Checksum);
        let (first, last) = finding.positions.unwrap();
        assert_eq!(last.get(), first.get() + 1);
        match EmbeddedStore::open(large(root.path())) {
            Err(OpenError::Corrupt { first: at, .. }) => assert_eq!(at, first),
            other => panic!("{other:?}"),
        }
        let around = EmbeddedStore::open(Options {
            read_only: true,
            ..large(root.path())
        })
        .unwrap();
        let whole = around.read_log(LogRead::forwards()).await;
        assert!(matches!(whole, Err(ReadError::Corrupt { .. })), "{whole:?}");
        let rest = LogRead {
            after: Some(last),
            ..LogRead::forwards()
        };
        assert_eq!(
            around.read_log(rest).await.unwrap().events.len() as u64,
            200 - last.get()
        );
        assert_eq!(around.health().damaged, [(first, last)]);
        drop(around);
        let report = repair(root.path(), choice).unwrap();
        let repaired = EmbeddedStore::open(large(root.path())).unwrap();
        let expected: Vec<_> = match choice {
            RepairChoice::Quarantine => {
                assert_eq!(report.lost, [(first, last)]);
                all.iter()
                    .filter(|(at, _)| *at < first.get() || *at > last.get())
                    .cloned()
                    .collect()
            }
            RepairChoice::Truncate => {
                assert_eq!(report.lost, [(first, Position::new(200).unwrap())]);
                all[..first.get() as usize - 1].to_vec()
            }
        };
        assert_eq!(payloads(&repaired).await, expected);
        let resolved = repaired.lineage().resolve(old.cursor(Position::new(200)));
        assert_eq!(resolved.is_ok(), choice == RepairChoice::Quarantine);
        append(&repaired, 10).await;
        drop(repaired);
        assert_eq!(verify_directory(root.path()).unwrap().findings, []);
        let again = EmbeddedStore::open(large(root.path())).unwrap();
        assert_eq!(payloads(&again).await.len(), expected.len() + 20);
    }
}

#[tokio::test]
async fn a_damaged_index_is_rebuilt_and_answers_stay_the_same() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(root.path())).unwrap();
    append(&store, 300).await;
    let all = payloads(&store).await;
    drop(store);
    let indexes: Vec<_> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "idx"))
        .collect();
    assert!(indexes.len() > 3);
    flip(&indexes[0], 100);
    flip(
        &indexes[1],
        std::fs::metadata(&indexes[1]).unwrap().len() - 20,
    );
    std::fs::remove_file(&indexes[2]).unwrap();
    let report = verify_directory(root.path()).unwrap();
    assert_eq!(report.findings.len(), 3, "{:?}", report.findings);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.kind == FindingKind::Index)
    );
    let store = EmbeddedStore::open(options(root.path())).unwrap();
    assert_eq!(payloads(&store).await, all);
    for stream in 0..5 {
        let stream = StreamId::new(
            "form".parse().unwrap(),
            format!("f-{stream}").parse().unwrap(),
        );
        let info = store.stream_info(stream).await.unwrap().unwrap();
        assert_eq!(info.n_events, 120);
    }
    store.close().await;
    drop(store);
    let again = EmbeddedStore::open(options(root.path())).unwrap();
    drop(again);
    assert_eq!(verify_directory(root.path()).unwrap().findings, []);
}

#[tokio::test]
async fn a_flip_in_a_closed_segment_is_an_error_there_and_nowhere_else() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(root.path())).unwrap();
    append(&store, 100).await;
    let all = payloads(&store).await;
    drop(store);
    let path = root.path().join("seg-00000000000000000001.0.log");
    let payload = all[4].1.as_bytes();
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    flip(&path, at as u64 + 2);
    let store = EmbeddedStore::open(options(root.path())).unwrap();
    let Err(ReadError::Corrupt { last, .. }) = store.read_log(LogRead::forwards()).await else {
        panic!("damage was served");
    };
    let rest = LogRead {
        after: Some(last),
        limit: 100_000,
        ..LogRead::forwards()
    };
    let rest = store.read_log(rest).await.unwrap();
    assert_eq!(rest.events.len() as u64, all.len() as u64 - last.get());
    let report = store.verify().await.unwrap();
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.kind == FindingKind::Checksum)
    );
}

/// After events in the middle of a stream were given up, reading from a sequence number on counted
/// from the first event as if none were missing, and passed over events that are there.
#[test]
fn a_stream_is_read_from_a_number_on_behind_events_that_were_given_up() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
    hooked::append(&store, 20);
    drop(store);
    hooked::flip(&root.path().join(FIRST_LOG), 8_000);
    repair(root.path(), RepairChoice::Quarantine).unwrap();
    let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
    let read = |from, to, direction| {
        let read = StreamRead {
            from: SequenceNumber::new(from),
            to: SequenceNumber::new(to),
            direction,
            ..StreamRead::forwards(hooked::stream())
        };
        let page = hooked::block_on(store.read_stream(read)).unwrap();
        let numbers = page.events.iter().map(|event| event.sequence_number.get());
        numbers.collect::<Vec<_>>()
    };
    let whole = read(1, 20, Direction::Forwards);
    assert_eq!(whole.len(), 19);
    for from in 1..=20 {
        for to in from..=20 {
            let mut expected = whole.clone();
            expected.retain(|number| (from..=to).contains(number));
            assert_eq!(read(from, to, Direction::Forwards), expected);
            expected.reverse();
            assert_eq!(read(from, to, Direction::Backwards), expected);
        }
    }
}

/// A cursor of the first history stood behind what the second repair gave up, and was taken for
/// one of the present history.
#[test]
fn a_cursor_is_refused_behind_what_any_later_repair_gave_up() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
    hooked::append(&store, 40);
    let first = store.lineage();
    drop(store);
    hooked::flip(&root.path().join(FIRST_LOG), 40_000);
    repair(root.path(), RepairChoice::Quarantine).unwrap();
    hooked::flip(&root.path().join(FIRST_LOG), 8_000);
    let truncated = repair(root.path(), RepairChoice::Truncate).unwrap();
    let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
    hooked::append(&store, 25);
    let resolve = |position| store.lineage().resolve(first.cursor(position));
    assert_eq!(resolve(truncated.head), Ok(truncated.head));
    for position in truncated.head.unwrap().get() + 1..=40 {
        let lost = CursorError::LostHistory {
            resume_at: truncated.head,
        };
        assert_eq!(resolve(Position::new(position)), Err(lost));
    }
}

/// A truncating repair that was interrupted before its manifest had cut the only copy of the log
/// that the manifest named, and left a directory that neither opened nor could be repaired.
#[test]
fn a_truncating_repair_that_was_interrupted_is_done_again() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(hooked::small(root.path())).unwrap();
    hooked::append(&store, 40);
    drop(store);
    hooked::flip(&root.path().join(FIRST_LOG), 4_000);
    std::fs::create_dir(root.path().join("MANIFEST.new")).unwrap();
    assert!(matches!(
        repair(root.path(), RepairChoice::Truncate),
        Err(RepairError::Io(_))
    ));
    std::fs::remove_dir(root.path().join("MANIFEST.new")).unwrap();
    let read_only = Options {
        read_only: true,
        ..hooked::small(root.path())
    };
    drop(EmbeddedStore::open(read_only).unwrap());
    let report = repair(root.path(), RepairChoice::Truncate).unwrap();
    assert_eq!(report.head.map(Position::get), Some(3));
    let store = EmbeddedStore::open(hooked::small(root.path())).unwrap();
    assert_eq!(hooked::positions(&store), [1, 2, 3]);
    hooked::append(&store, 20);
    drop(store);
    assert_eq!(verify_directory(root.path()).unwrap().findings, []);
}

/// A second repair of the same segment overwrote the copy that the first one had kept, and with it
/// the only place where the events of the first damage still were.
#[test]
fn copies_that_a_repair_kept_are_never_touched_again() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
    hooked::append(&store, 40);
    drop(store);
    hooked::flip(&root.path().join(FIRST_LOG), 20_000);
    let mut kept = Vec::new();
    for (choice, offset) in [
        (RepairChoice::Quarantine, 10_000),
        (RepairChoice::Quarantine, 4_000),
        (RepairChoice::Truncate, 2_000),
    ] {
        let report = repair(root.path(), choice).unwrap();
        for name in report.kept {
            let bytes = std::fs::read(root.path().join(&name)).unwrap();
            kept.push((name, bytes));
        }
        let store = EmbeddedStore::open(hooked::large(root.path())).unwrap();
        hooked::append(&store, 3);
        drop(store);
        let mut logs: Vec<_> = std::fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .collect();
        hooked::flip(&logs.pop().unwrap(), offset);
    }
    assert_eq!(kept.len(), 3);
    for (name, bytes) in kept {
        assert_eq!(std::fs::read(root.path().join(name)).unwrap(), bytes);
    }
}

/// A restore that was killed after it had copied the manifest left a store that opened under the
/// lineage of the original: cursors into what the original had appended since were accepted.
#[test]
fn files_of_a_backup_are_no_store_until_they_are_restored() {
    let root = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(hooked::small(&root.path().join("store"))).unwrap();
    hooked::append(&store, 10);
    let backup = root.path().join("backup");
    hooked::block_on(store.backup(&backup)).unwrap();
    let half = root.path().join("half");
    std::fs::create_dir(&half).unwrap();
    // What stands there when a restore is killed.
    std::fs::write(half.join("RESTORING"), "").unwrap();
    std::fs::copy(backup.join(FIRST_LOG), half.join(FIRST_LOG)).unwrap();
    assert!(matches!(
        EmbeddedStore::open(hooked::small(&half)).map(drop),
        Err(OpenError::HalfRestored)
    ));
    std::fs::write(half.join("mine"), "").unwrap();
    std::fs::remove_file(half.join("LOCK")).unwrap();
    assert!(matches!(
        restore(&backup, &half),
        Err(RestoreError::Target(_))
    ));
    // What is not to be restored into is not touched at all.
    assert!(!half.join("LOCK").exists());
    std::fs::remove_file(half.join("mine")).unwrap();
    let elsewhere = root.path().join("elsewhere");
    restore(&half, &elsewhere).unwrap_err();
    assert!(!elsewhere.exists());
    restore(&backup, &half).unwrap();
    assert!(!half.join("RESTORING").exists());
    hooked::append(&store, 10);
    let restored = EmbeddedStore::open(hooked::small(&half)).unwrap();
    assert_eq!(hooked::positions(&restored), (1..=10).collect::<Vec<_>>());
    let ahead = store.lineage().cursor(store.head());
    assert!(restored.lineage().resolve(ahead).is_err());
}

/// A damaged block of a compressed log reads as zeros. A repair gives up the events in it and
/// writes the others as they are; what the block was is kept.
#[tokio::test]
async fn a_damaged_compressed_log_is_repaired_and_kept() {
    for choice in [RepairChoice::Quarantine, RepairChoice::Truncate] {
        let root = tempfile::tempdir().unwrap();
        let cold = || Options {
            cold_after_segments: Some(0),
            segment_bytes_max: 64 << 10,
            ..options(root.path())
        };
        let store = EmbeddedStore::open(cold()).unwrap();
        append(&store, 500).await;
        let all = payloads(&store).await;
        let path = root.path().join("seg-00000000000000000001.0.cold");
        while !path.exists() || root.path().join(FIRST_LOG).exists() {
            tokio::task::yield_now().await;
        }
        drop(store);
        let damaged = {
            let length = std::fs::metadata(&path).unwrap().len();
            flip(&path, length / 2);
            std::fs::read(&path).unwrap()
        };
        assert_ne!(verify_directory(root.path()).unwrap().findings, []);
        let report = repair(root.path(), choice).unwrap();
        let (first, last) = report.lost[0];
        let expected: Vec<_> = match choice {
            RepairChoice::Quarantine => {
                let outside = |at: u64| at < first.get() || at > last.get();
                all.iter().filter(|(at, _)| outside(*at)).cloned().collect()
            }
            RepairChoice::Truncate => all[..first.get() as usize - 1].to_vec(),
        };
        assert!(expected.len() > 10 && expected.len() < all.len());
        let kept = report.kept.iter().find(|name| name.contains(".cold."));
        let kept = std::fs::read(root.path().join(kept.unwrap())).unwrap();
        assert_eq!(kept, damaged);
        assert_eq!(verify_directory(root.path()).unwrap().findings, []);
        let repaired = EmbeddedStore::open(options(root.path())).unwrap();
        assert_eq!(payloads(&repaired).await, expected);
        append(&repaired, 10).await;
        drop(repaired);
        assert_eq!(verify_directory(root.path()).unwrap().findings, []);
    }
}
