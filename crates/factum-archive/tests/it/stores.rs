//! Stores to move between, and a history to fill them with.

use std::path::Path;
use std::sync::Arc;

use factum_archive::{Comparison, CopyError, CopyOptions, Digest, copy};
use factum_model::{Position, RecordedEvent};
use factum_store::{EventStore, ImportTarget, LogRead, MemoryStore, Visibility};
use factum_store_embedded::{EmbeddedImport, EmbeddedStore};
use factum_store_postgres::{LeafPolicy, PostgresImport, PostgresStore, Setup};
use factum_testkit::differential::History;
use factum_testkit::postgres::Database;

/// Small enough that a history takes many batches.
pub(crate) const SMALL: CopyOptions = CopyOptions {
    batch_events_max: 7,
    ..CopyOptions {
        batch_events_max: 0,
        batch_bytes_max: 2000,
        read_time_max: std::time::Duration::from_secs(60),
    }
};

/// Segments of a few events.
pub(crate) fn embedded(path: &Path) -> factum_store_embedded::Options {
    factum_store_embedded::Options {
        segment_bytes_max: 16 << 10,
        reserve_bytes: 4 << 10,
        document_run_events: 16,
        recent_bytes_max: 2 << 10,
        ..factum_store_embedded::Options::at(path)
    }
}

pub(crate) fn open(path: &Path) -> Arc<dyn EventStore> {
    Arc::new(EmbeddedStore::open(embedded(path)).unwrap())
}

/// Makes a database with an empty log whose leaves have a few events.
pub(crate) async fn database() -> (Database, factum_store_postgres::Options) {
    let database = Database::create();
    let setup = Setup {
        leaves: LeafPolicy::Events(20),
        ..Setup::default()
    };
    setup.run(&database.url()).await.unwrap();
    let options = factum_store_postgres::Options::at(database.url());
    (database, options)
}

pub(crate) async fn open_postgres(options: &factum_store_postgres::Options) -> Arc<dyn EventStore> {
    Arc::new(PostgresStore::open(options.clone()).await.unwrap())
}

/// Fills a store with a random history, and the model with the same.
pub(crate) async fn history(
    seed: u64,
    model: &Arc<dyn EventStore>,
    subject: &Arc<dyn EventStore>,
) -> History {
    let mut history = History::new(seed);
    history.go(250, model, subject).await;
    history
}

pub(crate) fn model() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

pub(crate) async fn everything(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let read = LogRead {
        visibility: Visibility::Everything,
        limit: 1_000_000,
        page_bytes_max: usize::MAX,
        ..LogRead::forwards()
    };
    store.read_log(read).await.unwrap().events
}

/// Where an import goes on.
pub(crate) enum Place<'a> {
    Directory(&'a Path),
    Postgres(&'a factum_store_postgres::Options),
}

impl Place<'_> {
    pub(crate) async fn begin(&self, source: &dyn EventStore) -> Box<dyn ImportTarget> {
        let origin = source.lineage();
        match self {
            Self::Directory(path) => {
                let import = EmbeddedImport::begin(embedded(path), &origin);
                Box::new(import.unwrap())
            }
            Self::Postgres(options) => {
                let begun = PostgresImport::begin((*options).clone(), &origin);
                Box::new(begun.await.unwrap())
            }
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Directory(path) => open(path),
            Self::Postgres(options) => open_postgres(options).await,
        }
    }

    /// Moves a source here, with an interruption after every third of it.
    pub(crate) async fn take(&self, source: &dyn EventStore) -> Result<Digest, CopyError> {
        let head = source.head().map_or(0, Position::get);
        for until in [head / 3, head / 3 * 2] {
            let target = self.begin(source).await;
            copy(source, &*target, Position::new(until), &SMALL, &mut |_| {}).await?;
            assert_eq!(target.head(), Position::new(until));
            // Whoever is killed closes nothing.
            drop(target);
        }
        let target = self.begin(source).await;
        copy(source, &*target, source.head(), &SMALL, &mut |_| {}).await?;
        let mut comparison = Comparison::new(SMALL);
        comparison
            .advance(source, &*target, source.head(), &mut |_| {})
            .await?;
        target.finish().await?;
        target.close().await;
        comparison.finish()
    }
}
