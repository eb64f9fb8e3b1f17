//! The power fails at every step of an import into a directory.

use std::sync::Arc;
use std::time::Duration;

use factum_archive::{CopyError, copy};
use factum_model::Position;
use factum_store::conformance::fixtures::{append, varied};
use factum_store::{EventStore, ImportTarget as _};
use factum_store_embedded::{EmbeddedImport, EmbeddedStore, ImportOpenError, OpenError, Options};
use factum_testkit::SimDisk;

use crate::stores::{SMALL, everything, model};

fn options(disk: &SimDisk) -> Options {
    Options {
        disk: Some(Arc::new(disk.clone())),
        segment_events_max: 9,
        segment_bytes_max: 8 << 10,
        reserve_bytes: 4 << 10,
        recent_bytes_max: 1024,
        versions_max: 3,
        full_retry_delay: Duration::from_millis(1),
        index_documents: false,
        ..Options::at("simulated")
    }
}

/// Imports as much as the power lasts for, and returns what was imported for certain.
async fn import(source: &dyn EventStore, disk: &SimDisk) -> Option<Position> {
    let Ok(target) = EmbeddedImport::begin(options(disk), &source.lineage()) else {
        return None;
    };
    let copied: Result<(), CopyError> =
        copy(source, &target, source.head(), &SMALL, &mut |_| {}).await;
    let head = target.head();
    if copied.is_ok() {
        // It may be finished or not when the power fails here.
        drop(target.finish().await);
    }
    head
}

/// Whatever was imported is there when the power is back, and the import goes on; or it was
/// finished, and the directory has all of the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_goes_on_wherever_the_power_failed() {
    let source = model();
    for number in 0..30 {
        append(&source, vec![varied(number)]).await;
    }
    let all = everything(&*source).await;
    let whole = SimDisk::new(1);
    assert_eq!(import(&*source, &whole).await, source.head());
    let n_operations = whole.n_operations();
    let mut n_finished = 0;
    for crash_at in 1..=n_operations {
        let disk = SimDisk::new(crash_at);
        disk.crash_after(crash_at);
        let known = import(&*source, &disk).await;
        let survivor = disk.restart();
        match EmbeddedImport::begin(options(&survivor), &source.lineage()) {
            Ok(target) => {
                assert!(target.head() >= known, "crash at {crash_at}");
                target.close().await;
                drop(target);
                let refused = EmbeddedStore::open(options(&survivor)).unwrap_err();
                assert!(matches!(refused, OpenError::HalfImported), "{refused:?}");
                assert_eq!(import(&*source, &survivor).await, source.head());
            }
            Err(ImportOpenError::NotEmpty) => n_finished += 1,
            Err(error) => panic!("crash at {crash_at}: {error:?}"),
        }
        let store = EmbeddedStore::open(options(&survivor)).unwrap();
        assert_eq!(everything(&store).await, all, "crash at {crash_at}");
        assert_eq!(store.lineage(), source.lineage());
    }
    assert!(n_operations > 50, "{n_operations}");
    assert!(n_finished < 10, "{n_finished}");
}
