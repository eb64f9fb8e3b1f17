//! The conformance suite over the embedded store, with the default bounds and with the smallest.

use factum_store::conformance::{Setting, Subject};
use factum_store_embedded::{EmbeddedStore, Options};

fn options(setting: &Setting, directory: &std::path::Path) -> Options {
    Options {
        clock: setting.clock.clone(),
        ids: setting.ids.clone(),
        ..Options::at(directory)
    }
}

async fn open(setting: Setting) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(options(&setting, directory.path())).unwrap();
    Subject::new(&setting, store, directory)
}

/// Segments of a few events, groups of one request, hardly a cache: whatever depends on where
/// something is cut comes out here.
async fn open_small(setting: Setting) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    let small = Options {
        segment_bytes_max: 4096,
        segment_events_max: 16,
        group_events_max: 1,
        recent_bytes_max: 256,
        versions_max: 2,
        reserve_bytes: 4096,
        ..options(&setting, directory.path())
    };
    let store = EmbeddedStore::open(small).unwrap();
    Subject::new(&setting, store, directory)
}

factum_store::conformance!(embedded, open);
factum_store::conformance!(embedded_small, open_small);
