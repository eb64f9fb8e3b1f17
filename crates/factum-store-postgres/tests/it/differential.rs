//! PostgreSQL beside the model and beside the embedded store, over random histories, also opened
//! again and again; and races whose answers must fit one order.

use std::sync::Arc;

use factum_store::{EventStore, MemoryStore};
use factum_store_embedded::EmbeddedStore;
use factum_store_postgres::{LeafPolicy, Options};
use factum_testkit::differential::History;
use factum_testkit::linearizability;

use crate::opened;

fn rounds(few: u64, many: u64) -> u64 {
    if std::env::var_os("FACTUM_SLOW_TESTS").is_some() {
        many
    } else {
        few
    }
}

/// Bounds that cut in other places for each seed.
fn bounded(options: Options, seed: u64) -> Options {
    let small = usize::try_from(seed % 3).unwrap();
    Options {
        group_events_max: 1 << (4 * small),
        versions_max: 2 << (4 * small),
        ..options
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_answered_like_the_model() {
    for seed in 0..rounds(6, 60) {
        let leaves = LeafPolicy::Events(30 << seed);
        let (_database, options) = opened::database(leaves).await;
        let options = bounded(options, seed);
        let model: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let mut history = History::new(seed);
        for _ in 0..3 {
            let subject: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
            history.go(150, &model, &subject).await;
            subject.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_answered_like_the_embedded_store_does() {
    for seed in 100..100 + rounds(2, 20) {
        let (_database, options) = opened::database(LeafPolicy::Daily).await;
        let directory = tempfile::tempdir().unwrap();
        let embedded = factum_store_embedded::Options::at(directory.path());
        let model: Arc<dyn EventStore> = Arc::new(EmbeddedStore::open(embedded).unwrap());
        let subject: Arc<dyn EventStore> = Arc::new(opened::open(&options).await);
        let mut history = History::new(seed);
        history.go(400, &model, &subject).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_appends_fit_one_order() {
    for seed in 0..rounds(3, 30) {
        let (_database, options) = opened::database(LeafPolicy::Monthly).await;
        let store: Arc<dyn EventStore> = Arc::new(opened::open(&bounded(options, seed)).await);
        let calls = linearizability::record(seed, 400, &store).await;
        assert_eq!(linearizability::check(&calls), Ok(()), "seed {seed}");
    }
}
