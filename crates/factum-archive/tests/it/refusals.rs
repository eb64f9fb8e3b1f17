//! What must not be done, and says so.

use factum_archive::{CopyError, CopyOptions, copy};
use factum_model::{ErrorCode, Position, RecordedEvent, RecordedFields, SequenceNumber, Timestamp};
use factum_store::conformance::fixtures::{append, event};
use factum_store::{AppendError, ImportError, ImportFault, ImportTarget as _, Lineage, LineageId};
use factum_store_embedded::{EmbeddedImport, EmbeddedStore, ImportOpenError, OpenError};
use factum_store_postgres::{PostgresImport, PostgresStore, set_moved};

use crate::stores::{self, Place, SMALL, database, embedded, everything, history, model, open};

/// An unfinished import opens for nothing else, and goes on only with its own source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_directory_opens_only_for_its_own_source() {
    let root = tempfile::tempdir().unwrap();
    let source = open(&root.path().join("source"));
    history(1, &model(), &source).await;
    let path = root.path().join("target");
    let place = Place::Directory(&path);
    let target = place.begin(&*source).await;
    copy(&*source, &*target, Position::new(20), &SMALL, &mut |_| {})
        .await
        .unwrap();
    target.close().await;
    drop(target);
    for read_only in [false, true] {
        let options = factum_store_embedded::Options {
            read_only,
            ..embedded(&path)
        };
        let refused = EmbeddedStore::open(options).unwrap_err();
        assert!(matches!(refused, OpenError::HalfImported), "{refused:?}");
    }
    let lineage = source.lineage();
    let others = [
        Lineage {
            current: LineageId(7),
            ..lineage.clone()
        },
        Lineage {
            earlier: vec![(LineageId(7), Position::new(3))],
            ..lineage
        },
        model().lineage(),
    ];
    for other in others {
        let refused = EmbeddedImport::begin(embedded(&path), &other).unwrap_err();
        assert!(
            matches!(refused, ImportOpenError::OtherOrigin),
            "{refused:?}"
        );
    }
    let target = EmbeddedImport::begin(embedded(&path), &lineage).unwrap();
    assert_eq!(target.head(), Position::new(20));
    let locked = EmbeddedImport::begin(embedded(&path), &lineage).unwrap_err();
    assert_eq!(locked.code(), ErrorCode::Locked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_log_opens_only_for_its_own_source() {
    let root = tempfile::tempdir().unwrap();
    let source = open(&root.path().join("source"));
    history(2, &model(), &source).await;
    let (_database, options) = database().await;
    // A node that had the empty log open before.
    let node = stores::open_postgres(&options).await;
    let target = Place::Postgres(&options).begin(&*source).await;
    copy(&*source, &*target, Position::new(20), &SMALL, &mut |_| {})
        .await
        .unwrap();
    let request = factum_store::conformance::fixtures::request(vec![event("a.b", "a/1")]);
    let refused = node.append(request).await.unwrap_err();
    assert!(matches!(refused, AppendError::ReadOnly), "{refused:?}");
    let refused = PostgresStore::open(options.clone()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Locked);
    let mut other = source.lineage();
    other.earlier.push((LineageId(7), None));
    let refused = PostgresImport::begin(options.clone(), &other)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, factum_store_postgres::ImportOpenError::OtherOrigin),
        "{refused:?}"
    );
    // Of two that go on, the second finds that it is not alone.
    let twin = Place::Postgres(&options).begin(&*source).await;
    copy(&*source, &*target, Position::new(30), &SMALL, &mut |_| {})
        .await
        .unwrap();
    let failed = copy(&*source, &*twin, Position::new(30), &SMALL, &mut |_| {}).await;
    assert!(
        matches!(failed, Ok(()) | Err(CopyError::Target(ImportError::Ended))),
        "{failed:?}"
    );
}

/// A store with events is no target, however few they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_events_is_no_target() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("target");
    let (_database, options) = database().await;
    let origin = model().lineage();
    for store in [open(&path), stores::open_postgres(&options).await] {
        append(&store, vec![event("a.b", "a/1")]).await;
        store.close().await;
    }
    let refused = EmbeddedImport::begin(embedded(&path), &origin).unwrap_err();
    assert!(matches!(refused, ImportOpenError::NotEmpty), "{refused:?}");
    let refused = PostgresImport::begin(options.clone(), &origin).await;
    assert!(matches!(
        refused.unwrap_err(),
        factum_store_postgres::ImportOpenError::NotEmpty
    ));
    // And nothing has happened to it.
    assert_eq!(everything(&*open(&path)).await.len(), 1);
}

/// A moved store is read, and not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_store_takes_no_appends() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("source");
    let source = EmbeddedStore::open(embedded(&path)).unwrap();
    source.mark_moved("elsewhere").unwrap();
    drop(source);
    let refused = EmbeddedStore::open(embedded(&path)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ReadOnly);
    assert!(refused.to_string().contains("elsewhere"), "{refused}");
    let options = factum_store_embedded::Options {
        read_only: true,
        ..embedded(&path)
    };
    EmbeddedStore::open(options).unwrap();
    let (_database, options) = database().await;
    let node = stores::open_postgres(&options).await;
    append(&node, vec![event("a.b", "a/1")]).await;
    let head = set_moved(&options, Some("elsewhere")).await.unwrap();
    assert_eq!(head, Position::new(1));
    let request = || factum_store::conformance::fixtures::request(vec![event("a.b", "a/2")]);
    let refused = node.append(request()).await.unwrap_err();
    assert!(matches!(refused, AppendError::ReadOnly), "{refused:?}");
    assert_eq!(everything(&*node).await.len(), 1);
    set_moved(&options, None).await.unwrap();
    node.append(request()).await.unwrap();
}

/// Returns the events of a source with one of them changed.
fn changed(
    events: &[RecordedEvent],
    index: usize,
    change: impl Fn(RecordedFields<'_>) -> RecordedFields<'_>,
) -> Vec<RecordedEvent> {
    let mut events = events.to_vec();
    let event = events[index].clone();
    events[index] = RecordedEvent::new(change(RecordedFields {
        id: event.id,
        position: event.position,
        sequence_number: event.sequence_number,
        recorded_at: event.recorded_at,
        timestamp: event.timestamp,
        schema_version: event.schema_version,
        origin: event.origin,
        causation_id: event.causation_id,
        event_type: event.event_type(),
        aggregate_type: event.aggregate_type(),
        aggregate_id: event.aggregate_id(),
        correlation_id: event.correlation_id(),
        metadata: event.metadata(),
        payload: event.payload(),
    }));
    events
}

/// A source whose events do not follow each other is refused with the position, by both stores,
/// and nothing of the batch is imported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_breaks_a_rule_is_refused_with_the_position() {
    let source = model();
    for number in 0..12 {
        let stream = format!("a/{}", number % 3);
        append(&source, vec![event("a.b", &stream)]).await;
    }
    let events = everything(&*source).await;
    let first_id = events[0].id;
    let second = SequenceNumber::FIRST.next();
    let wrong = [
        changed(&events, 7, |fields| RecordedFields {
            sequence_number: second,
            ..fields
        }),
        changed(&events, 7, |fields| RecordedFields {
            id: first_id,
            ..fields
        }),
        changed(&events, 7, |fields| RecordedFields {
            recorded_at: Timestamp::MIN,
            ..fields
        }),
        changed(&events, 7, |fields| RecordedFields {
            position: Position::new(7).unwrap(),
            ..fields
        }),
        changed(&events, 7, |fields| RecordedFields {
            payload: "{",
            ..fields
        }),
    ];
    let root = tempfile::tempdir().unwrap();
    let (_database, options) = database().await;
    for (number, events) in wrong.into_iter().enumerate() {
        let path = root.path().join(number.to_string());
        for place in [Place::Directory(&path), Place::Postgres(&options)] {
            let target = place.begin(&*source).await;
            // What stands before it may be in a batch of its own or in the same.
            let (before, rest) = events.split_at(if number % 2 == 0 { 0 } else { 6 });
            if target.head().is_none() && !before.is_empty() {
                target.import(before.to_vec()).await.unwrap();
            }
            let done = target.head().map_or(0, Position::get);
            let rest = if done == 6 { &events[6..] } else { rest };
            let refused = target.import(rest.to_vec()).await.unwrap_err();
            match refused {
                ImportError::Invalid { position, fault } => {
                    assert_eq!(position.get(), 8, "{number}: {fault}");
                    let fits = match number {
                        0 => matches!(fault, ImportFault::Sequence { version: 2, .. }),
                        1 => matches!(fault, ImportFault::Id { .. }),
                        2 => fault == ImportFault::RecordedAt,
                        3 => matches!(fault, ImportFault::Position { .. }),
                        _ => fault == ImportFault::Content { part: "payload" },
                    };
                    assert!(fits, "{number}: {fault:?}");
                }
                other => panic!("{number}: {other:?}"),
            }
            assert_eq!(target.head().map_or(0, Position::get), done);
            drop(target);
            let target = place.begin(&*source).await;
            assert_eq!(target.head().map_or(0, Position::get), done);
        }
    }
}

/// A damaged event of the source ends the copy with its place; nothing is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_source_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("source");
    let source = open(&path);
    history(3, &model(), &source).await;
    source.close().await;
    drop(source);
    let first = path.join("seg-00000000000000000001.0.log");
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let source = open(&path);
    let target = root.path().join("target");
    let target = Place::Directory(&target).begin(&*source).await;
    let options = CopyOptions::default();
    let failed = copy(&*source, &*target, source.head(), &options, &mut |_| {}).await;
    assert_eq!(failed.unwrap_err().code(), ErrorCode::Corrupt);
}
