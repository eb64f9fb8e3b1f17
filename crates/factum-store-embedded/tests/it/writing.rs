//! What the writer does when the disk does not do what it was asked.

use std::io;

use factum_store::{AppendError, EventStore as _, WriteState};
use factum_store_embedded::EmbeddedStore;

use crate::hooked::{Change, append, block_on, copy_directory, hooked, positions, request, small};

/// The manifest of a roll was renamed into place and then the directory could not be synced, for
/// want of space. The store took that for a full disk and went on in the old segment; but the
/// manifest on the disk said that this segment was closed, and a kill lost what came after.
#[test]
fn a_directory_that_cannot_be_synced_at_a_roll_stops_the_store() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        let root = tempfile::tempdir().unwrap();
        let (options, hooks) = hooked(&root.path().join("store"));
        let store = EmbeddedStore::open(options).unwrap();
        append(&store, 5);
        let mut renamed = false;
        hooks.set(move |change| match change {
            Change::RenameTo("MANIFEST") => {
                renamed = true;
                Ok(())
            }
            Change::SyncDir if std::mem::take(&mut renamed) => Err(kind.into()),
            _ => Ok(()),
        });
        let refused = store.append_blocking(request(5000));
        assert!(
            matches!(refused, Err(AppendError::StoreFailed { .. })),
            "{refused:?}"
        );
        let smaller = store.append_blocking(request(10));
        assert!(
            matches!(smaller, Err(AppendError::StoreFailed { .. })),
            "{smaller:?}"
        );
        let after = root.path().join("after");
        copy_directory(&root.path().join("store"), &after);
        let reopened = EmbeddedStore::open(small(&after)).unwrap();
        assert_eq!(positions(&reopened), [1, 2, 3, 4, 5]);
        append(&reopened, 5);
    }
}

/// A process without a file descriptor to spare could not begin a segment, and the store refused
/// writes from then on, until it was opened again. Nothing had been written, so nothing is lost
/// by asking again.
#[test]
fn a_segment_that_cannot_be_begun_is_begun_later() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for failing in ["create the log", "sync the log", "create the manifest"] {
            let root = tempfile::tempdir().unwrap();
            let (options, hooks) = hooked(root.path());
            let store = EmbeddedStore::open(options).unwrap();
            append(&store, 5);
            hooks.set(move |change| match (failing, change) {
                ("create the log", Change::Create(name)) if name.ends_with(".log") => {
                    Err(kind.into())
                }
                ("sync the log", Change::SyncData("seg-00000000000000000006.0.log"))
                | ("create the manifest", Change::Create("MANIFEST.new")) => Err(kind.into()),
                _ => Ok(()),
            });
            let refused = store.append_blocking(request(5000));
            match kind {
                io::ErrorKind::StorageFull => {
                    assert!(
                        matches!(refused, Err(AppendError::StorageFull)),
                        "{refused:?}"
                    );
                }
                _ => {
                    let overloaded = matches!(refused, Err(AppendError::Overloaded { .. }));
                    assert!(overloaded, "{refused:?}");
                    assert_eq!(store.health().writes, WriteState::Open);
                    // What fits into the segment does not need a new one.
                    store.append_blocking(request(10)).unwrap();
                }
            }
            hooks.clear();
            until_taken(&store, 5000);
            let expected = positions(&store);
            assert!(expected.len() >= 6);
            append(&store, 20);
            drop(store);
            let again = EmbeddedStore::open(small(root.path())).unwrap();
            assert_eq!(positions(&again)[..expected.len()], expected);
            assert_eq!(positions(&again).len(), expected.len() + 20);
        }
    }
}

fn until_taken(store: &EmbeddedStore, bytes: usize) {
    for _ in 0..10_000_000 {
        match store.append_blocking(request(bytes)) {
            Ok(_) => return,
            Err(AppendError::StorageFull) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store does not notice that there is space");
}

/// The writer ended by a panic after it had written and synced a group, and its callers were told
/// that nothing was written.
#[test]
fn a_writer_that_ends_before_its_answer_leaves_the_outcome_unknown() {
    let root = tempfile::tempdir().unwrap();
    let (options, hooks) = hooked(root.path());
    let store = EmbeddedStore::open(options).unwrap();
    append(&store, 2);
    hooks.set(|change| match change {
        Change::SyncData(_) => panic!("simulated: the writer ends here"),
        _ => Ok(()),
    });
    let asked = request(10);
    let Err(AppendError::OutcomeUnknown { ids }) = store.append_blocking(asked) else {
        panic!("a group that was written has an unknown outcome");
    };
    assert_eq!(ids.len(), 1);
    hooks.clear();
    // It is not told apart whether this request comes while the writer ends or afterwards.
    let refused = store.append_blocking(request(10));
    let untaken = matches!(
        refused,
        Err(AppendError::StoreFailed { .. } | AppendError::ShuttingDown)
    );
    assert!(untaken, "{refused:?}");
    drop(store);
    let again = EmbeddedStore::open(small(root.path())).unwrap();
    assert_eq!(positions(&again), [1, 2, 3]);
    let found = block_on(again.event(ids[0])).unwrap();
    assert_eq!(found.map(|event| event.position.get()), Some(3));
}
