//! Pages that belong together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use factum_query::Filter;
use tokio::task::JoinSet;

use super::Subject;
use super::fixtures::{
    append, event, everything, expected, filters, pages, varied, varied_history,
};
use crate::cursor::{Cursor, CursorError, StoreId};
use crate::read::{Direction, LogRead, Visibility};
use crate::store::EventStore;

const DIRECTIONS: [Direction; 2] = [Direction::Forwards, Direction::Backwards];

/// Pages of any size, one after the other, are one large read.
pub async fn pages_of_any_size_make_the_whole(subject: &Subject) {
    let log = varied_history(subject, 120).await;
    for filter in filters() {
        for direction in DIRECTIONS {
            for (limit, page_bytes_max) in [(1, usize::MAX), (7, usize::MAX), (1000, 300), (3, 150)]
            {
                let read = LogRead {
                    filter: filter.clone(),
                    direction,
                    limit,
                    page_bytes_max,
                    visibility: Visibility::Everything,
                    ..LogRead::forwards()
                };
                let found = pages(&subject.store, read.clone()).await;
                assert_eq!(found, expected(&log, &read), "{read:?}");
            }
        }
    }
}

/// A page that ended because it looked at enough can be read on from; so a read of a huge log
/// comes to its end in small steps, whatever it finds.
pub async fn bounded_scan_makes_progress(subject: &Subject) {
    let log = varied_history(subject, 80).await;
    for filter in filters() {
        for direction in DIRECTIONS {
            for scan_max in [1, 10] {
                let filter = filter.clone();
                let read = LogRead {
                    filter,
                    direction,
                    scan_max,
                    ..LogRead::forwards()
                };
                let found = pages(&subject.store, read.clone()).await;
                assert_eq!(found, expected(&log, &read), "{read:?}");
            }
        }
    }
}

/// Appends varied events from several tasks until it is told to stop.
fn writers(store: &Arc<dyn EventStore>, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for writer in 0..3_u64 {
        let (store, stop) = (store.clone(), stop.clone());
        tasks.spawn(async move {
            let mut number = 1_000_000 * (writer + 1);
            while !stop.load(Ordering::Relaxed) && number % 1_000_000 < 2_000 {
                let n_events = number % 3 + 1;
                let events = (number..number + n_events).map(varied).collect();
                append(&store, events).await;
                number += n_events;
                tokio::task::yield_now().await;
            }
        });
    }
    tasks
}

/// Who reads on from where the last page ended misses nothing and sees nothing twice, while
/// others append.
pub async fn pages_are_right_while_others_append(subject: &Subject) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = writers(&subject.store, &stop);
    let filter = Filter {
        event_types: vec!["form.>".parse().unwrap()],
        ..Filter::default()
    };
    let mut read = LogRead {
        filter,
        limit: 4,
        visibility: Visibility::Everything,
        ..LogRead::forwards()
    };
    let mut seen = Vec::new();
    while seen.len() < 300 {
        let page = subject.store.read_log(read.clone()).await.unwrap();
        assert!(page.scanned_to <= subject.store.head());
        seen.extend(page.events);
        read.after = page.scanned_to;
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let log = everything(&subject.store).await;
    let whole = expected(
        &log,
        &LogRead {
            after: None,
            ..read
        },
    );
    assert_eq!(seen, whole[..seen.len()]);
}

/// A backward reader sees what was there when it began, and nothing that came later.
pub async fn backward_pages_are_right_while_others_append(subject: &Subject) {
    varied_history(subject, 100).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = writers(&subject.store, &stop);
    for _ in 0..5 {
        let read = LogRead {
            limit: 7,
            visibility: Visibility::Everything,
            ..LogRead::backwards()
        };
        let found = pages(&subject.store, read.clone()).await;
        let first = found[0].position;
        assert!(first.get() >= 100);
        let log = everything(&subject.store).await;
        let whole = LogRead {
            after: Some(first.next()),
            ..read
        };
        assert_eq!(found, expected(&log, &whole));
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// A cursor of this store names its position, as text too; a cursor of another is refused.
pub async fn cursor_leads_back_to_its_position(subject: &Subject) {
    append(&subject.store, vec![event("a", "form/f-1")]).await;
    let lineage = subject.store.lineage();
    for position in [None, subject.store.head()] {
        let cursor = lineage.cursor(position);
        let read_back: Cursor = cursor.to_string().parse().unwrap();
        assert_eq!(subject.store.lineage().resolve(read_back), Ok(position));
    }
    let foreign = Cursor {
        store_id: StoreId([0xee; 16]),
        ..lineage.cursor(None)
    };
    assert_eq!(lineage.resolve(foreign), Err(CursorError::Foreign));
}
