//! What was moved is the same, and goes on as the source would have.

use factum_model::Position;
use factum_store::Cursor;

use crate::stores::{self, Place, database, everything, history, model};

/// From a directory to another one, to PostgreSQL and back to a directory, interrupted on every
/// way: the events, their digest, the lineage and the cursors stay as they were, and the random
/// history goes on as it does in the model, which was never moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_goes_on_after_each_move() {
    for seed in 0..3 {
        let root = tempfile::tempdir().unwrap();
        let [first, second, last] = ["first", "second", "last"].map(|name| root.path().join(name));
        let (_database, options) = database().await;
        let model = model();
        let source = stores::open(&first);
        let mut history = history(seed, &model, &source).await;
        let mut source = source;
        let mut digests = Vec::new();
        for place in [
            Place::Directory(&second),
            Place::Postgres(&options),
            Place::Directory(&last),
        ] {
            let before = everything(&*source).await;
            let lineage = source.lineage();
            let middle = Position::new(before.len() as u64 / 2);
            let cursor: Cursor = lineage.cursor(middle).to_string().parse().unwrap();
            digests.push(place.take(&*source).await.unwrap());
            source.close().await;
            let moved = place.open().await;
            assert_eq!(everything(&*moved).await, before);
            assert_eq!(moved.lineage(), lineage);
            assert_eq!(moved.lineage().resolve(cursor), Ok(middle));
            if let Some(maintenance) = moved.maintenance() {
                let report = maintenance.verify().await.unwrap();
                assert_eq!(report.findings, []);
            }
            history.compare_whole(&model, &moved).await;
            history.go(60, &model, &moved).await;
            source = moved;
        }
        digests.dedup();
        assert_eq!(digests.len(), 3, "the history went on between the moves");
    }
}

/// There and back without a change between: one digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_again_has_the_same_digest() {
    let root = tempfile::tempdir().unwrap();
    let (_database, options) = database().await;
    let source = stores::open(&root.path().join("source"));
    history(9, &model(), &source).await;
    let there = Place::Postgres(&options).take(&*source).await.unwrap();
    let between = Place::Postgres(&options).open().await;
    let back = root.path().join("back");
    let back = Place::Directory(&back).take(&*between).await.unwrap();
    assert_eq!(there, back);
}

/// A store without events moves too, with its identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_keeps_its_identity() {
    let root = tempfile::tempdir().unwrap();
    let (_database, options) = database().await;
    let source = stores::open(&root.path().join("source"));
    let back = root.path().join("back");
    let there = Place::Postgres(&options);
    let digest = there.take(&*source).await.unwrap();
    let between = there.open().await;
    assert_eq!(between.lineage(), source.lineage());
    let place = Place::Directory(&back);
    assert_eq!(place.take(&*between).await.unwrap(), digest);
    assert_eq!(place.open().await.lineage(), source.lineage());
}
