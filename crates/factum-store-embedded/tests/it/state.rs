//! The bookkeeping in a directory keeps every promise, and does what its model does.

use std::sync::Arc;

use factum_model::LogicalClock;
use factum_store::conformance::Setting;
use factum_store::conformance::state::StateSubject;
use factum_store::{MemoryStateStore, StateLimits, StateStore};
use factum_store_embedded::{EmbeddedStateStore, StateOptions};
use factum_testkit::Random;
use factum_testkit::state::StateHistory;

pub(crate) fn options(directory: &std::path::Path, clock: &Arc<LogicalClock>) -> StateOptions {
    StateOptions {
        clock: Arc::<LogicalClock>::clone(clock),
        ..StateOptions::at(directory)
    }
}

async fn open(setting: Setting) -> StateSubject {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStateStore::open(options(directory.path(), &setting.clock)).unwrap();
    StateSubject::new(&setting, store, directory)
}

factum_store::state_conformance!(embedded, open);

/// Random histories give the same answers as the model, also when the store is closed, dropped
/// and opened again in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_are_answered_as_by_the_model() {
    let slow = std::env::var_os("FACTUM_SLOW_TESTS").is_some();
    let n_seeds = if slow { 400 } else { 12 };
    for seed in 0..n_seeds {
        let clock = Setting::new().clock;
        let directory = tempfile::tempdir().unwrap();
        let open = || -> Arc<dyn StateStore> {
            Arc::new(EmbeddedStateStore::open(options(directory.path(), &clock)).unwrap())
        };
        let limits = StateLimits::default();
        let model: Arc<dyn StateStore> = Arc::new(MemoryStateStore::with(clock.clone(), limits));
        let mut history = StateHistory::new(seed, Arc::clone(&clock));
        let mut random = Random::seeded(seed);
        for _ in 0..4 {
            let subject = open();
            history.go(100, (&model, &subject)).await;
            if random.one_in(2) {
                subject.close().await;
            }
        }
    }
}
