//! A pooler in transaction mode between the nodes and PostgreSQL, with fewer backends than the
//! nodes have connections: whatever one left in a session, another would find.

use std::sync::Arc;
use std::time::Duration;

use factum_store::conformance::fixtures::{append, event};
use factum_store::{EventStore, MemoryStore};
use factum_store_postgres::{LeafPolicy, Options};
use factum_testkit::differential::History;
use factum_testkit::linearizability;
use factum_testkit::postgres::Pooler;
use tokio::time::timeout;

use crate::opened::{self, APPLICATION};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_behind_a_pooler_answer_like_the_model() {
    let (database, options) = opened::database(LeafPolicy::Events(100)).await;
    let Some(pooler) = Pooler::before(&database, &[APPLICATION]) else {
        println!("skipped: PgBouncer is not installed (Debian: pgbouncer)");
        return;
    };
    let pooled = Options {
        url: pooler.url_as(&database, APPLICATION),
        listen_url: Some(options.url.clone()),
        poll_interval: Duration::from_millis(500),
        ..options
    };
    let subject: Arc<dyn EventStore> = Arc::new(opened::open(&pooled).await);
    let other: Arc<dyn EventStore> = Arc::new(opened::open(&pooled).await);
    let model: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let mut history = History::new(3);
    history.go(200, &model, &subject).await;
    history.compare_whole(&model, &other).await;
    // The head of a node is heard of over the other address.
    let mut head = other.watch_head();
    append(&subject, vec![event("a", "form/f-1")]).await;
    let seen = timeout(
        Duration::from_secs(20),
        head.wait_for(|head| *head == subject.head()),
    );
    assert!(seen.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_appends_behind_a_pooler_fit_one_order() {
    let (database, options) = opened::database(LeafPolicy::Monthly).await;
    let Some(pooler) = Pooler::before(&database, &[APPLICATION]) else {
        println!("skipped: PgBouncer is not installed (Debian: pgbouncer)");
        return;
    };
    let pooled = Options {
        url: pooler.url_as(&database, APPLICATION),
        notify: false,
        group_events_max: 4,
        ..options
    };
    let store: Arc<dyn EventStore> = Arc::new(opened::open(&pooled).await);
    let calls = linearizability::record(5, 400, &store).await;
    assert_eq!(linearizability::check(&calls), Ok(()));
}
