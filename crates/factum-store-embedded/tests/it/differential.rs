//! The embedded store beside the model store, over random histories, also opened again and again;
//! and races whose answers must fit one order.

use std::path::Path;
use std::sync::Arc;

use factum_store::{EventStore, MemoryStore};
use factum_store_embedded::{EmbeddedStore, Options};
use factum_testkit::differential::History;
use factum_testkit::linearizability;

fn open(directory: &Path, seed: u64) -> Arc<dyn EventStore> {
    let small = u32::try_from(seed % 3).unwrap();
    let options = Options {
        segment_bytes_max: 2048 << (4 * small),
        segment_events_max: 20 << (3 * small),
        recent_bytes_max: 1024 << (4 * small),
        versions_max: 4 << (4 * small),
        reserve_bytes: 4096,
        ..Options::at(directory)
    };
    Arc::new(EmbeddedStore::open(options).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_answered_like_the_model() {
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let model: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let mut history = History::new(seed);
        for _ in 0..4 {
            let subject = open(directory.path(), seed);
            history.go(150, &model, &subject).await;
            subject.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_appends_fit_one_order() {
    for seed in 0..6 {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path(), seed);
        let calls = linearizability::record(seed, 800, &store).await;
        assert_eq!(linearizability::check(&calls), Ok(()), "seed {seed}");
    }
}
