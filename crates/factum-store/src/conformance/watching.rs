//! The head, and the end.

use std::time::Duration;

use factum_model::Position;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Subject;
use super::fixtures::{append, at, event, everything, refused, request, stream, varied};
use crate::append::AppendError;
use crate::health::WriteState;
use crate::read::{LogRead, StreamRead, Visibility};

/// How long a wake-up may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who was told that an event is appended finds it, by every way to read.
pub async fn acknowledged_events_are_visible_at_once(subject: &Subject) {
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let store = subject.store.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                let of = stream(&format!("form/f-{writer}"));
                let receipt = append(&store, vec![event("a", &of.to_string())])
                    .await
                    .events[0];
                assert!(store.head() >= Some(receipt.position));
                let read = LogRead {
                    after: receipt.position.previous(),
                    limit: 1,
                    ..LogRead::forwards()
                };
                let page = store.read_log(read).await.unwrap();
                assert_eq!(page.events[0].id, receipt.id);
                let read = StreamRead {
                    from: Some(receipt.sequence_number),
                    ..StreamRead::forwards(of)
                };
                let page = store.read_stream(read).await.unwrap();
                assert_eq!(page.events[0].id, receipt.id);
                let found = store.event(receipt.id).await.unwrap();
                assert_eq!(found.unwrap().position, receipt.position);
            }
        });
    }
    tasks.join_all().await;
}

/// Whatever head is shown while others append, everything up to it can be read.
pub async fn head_is_readable_whenever_it_is_shown(subject: &Subject) {
    let mut tasks = JoinSet::new();
    for writer in 0..4_u64 {
        let store = subject.store.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                let number = 1 + writer * 1000 + round * 2;
                append(&store, vec![varied(number), varied(number + 1)]).await;
            }
        });
    }
    let mut after = None;
    while after.map_or(0, Position::get) < 400 {
        let head = subject.store.head();
        let read = LogRead {
            after,
            until: head,
            visibility: Visibility::Everything,
            ..LogRead::forwards()
        };
        if head > after {
            let page = subject.store.read_log(read).await.unwrap();
            assert_eq!(page.events.last().map(|event| event.position), head);
            after = head;
        }
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
}

/// A waiting reader is woken, and then can read.
pub async fn watch_wakes_for_an_append(subject: &Subject) {
    let mut head = subject.store.watch_head();
    assert_eq!(*head.borrow_and_update(), None);
    let store = subject.store.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for _ in 0..5 {
            append(&store, vec![event("a", "form/f-1")]).await;
        }
    });
    let seen = timeout(PATIENCE, head.wait_for(|head| *head == Some(at(5)))).await;
    assert_eq!(
        seen.map(|seen| seen.map(|head| *head)).unwrap().unwrap(),
        Some(at(5))
    );
    assert_eq!(subject.store.head(), Some(at(5)));
    tasks.join_all().await;
}

/// After closing, appends are refused as such and reads go on; closing again does nothing.
pub async fn closed_store_takes_no_appends_but_reads(subject: &Subject) {
    let store = &subject.store;
    append(store, vec![event("a", "form/f-1")]).await;
    timeout(PATIENCE, store.close()).await.unwrap();
    timeout(PATIENCE, store.close()).await.unwrap();
    let error = refused(store, request(vec![event("a", "form/f-1")])).await;
    assert!(matches!(error, AppendError::ShuttingDown), "{error:?}");
    assert_eq!(everything(store).await.len(), 1);
    assert_eq!(store.health().writes, WriteState::Closed);
    assert_eq!(store.head(), Some(at(1)));
}

/// A store that is well says that it is open, how far it is, and that nothing is damaged.
pub async fn healthy_store_says_so(subject: &Subject) {
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    let health = subject.store.health();
    assert_eq!(health.writes, WriteState::Open);
    assert_eq!(health.head, Some(at(1)));
    assert_eq!(health.damaged, Vec::new());
    let values = subject.store.metrics().values;
    let names: std::collections::BTreeSet<_> = values.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), values.len(), "names of metrics are unique");
}
