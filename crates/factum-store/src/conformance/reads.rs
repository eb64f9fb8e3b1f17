//! Reads of the log.

use factum_query::Filter;

use super::Subject;
use super::fixtures::{append, at, event, expected, filters, id, pages, varied_history};
use crate::read::{Direction, LogPage, LogRead, Visibility};

const DIRECTIONS: [Direction; 2] = [Direction::Forwards, Direction::Backwards];

/// An empty store answers, with nothing.
pub async fn empty_store_has_empty_pages(subject: &Subject) {
    for read in [LogRead::forwards(), LogRead::backwards()] {
        for after in [None, Some(at(5))] {
            let page = subject
                .store
                .read_log(LogRead {
                    after,
                    ..read.clone()
                })
                .await
                .unwrap();
            let nothing = LogPage {
                examined: 0,
                events: Vec::new(),
                scanned_to: after,
                has_more: false,
            };
            assert_eq!(page, nothing);
        }
    }
    assert_eq!(subject.store.head(), None);
    assert_eq!(*subject.store.watch_head().borrow(), None);
}

/// A read without a filter finds what was appended, as it was appended.
pub async fn log_is_read_in_both_directions(subject: &Subject) {
    let log = varied_history(subject, 60).await;
    super::appends::check_dense(&log);
    assert_eq!(log.len(), 60);
    for (stored, number) in log.iter().zip(1..) {
        assert!(
            stored.is_repeated_by(&super::fixtures::varied(number)),
            "{stored:?}"
        );
    }
    for direction in DIRECTIONS {
        let read = LogRead {
            direction,
            visibility: Visibility::Everything,
            ..LogRead::forwards()
        };
        let page = subject.store.read_log(read.clone()).await.unwrap();
        assert_eq!(page.events, expected(&log, &read));
        assert!(!page.has_more);
    }
}

/// `after` is exclusive and `until` inclusive, in both directions.
pub async fn every_range_is_read_in_both_directions(subject: &Subject) {
    let log = varied_history(subject, 12).await;
    let bounds = || std::iter::once(None).chain((1..=14).map(|number| Some(at(number))));
    for direction in DIRECTIONS {
        for after in bounds() {
            for until in bounds() {
                let read = LogRead {
                    direction,
                    after,
                    until,
                    visibility: Visibility::Everything,
                    ..LogRead::forwards()
                };
                let page = subject.store.read_log(read.clone()).await.unwrap();
                assert_eq!(page.events, expected(&log, &read), "{read:?}");
                assert!(!page.has_more, "{read:?}");
                check_scanned_to(&read, &page);
            }
        }
    }
}

/// A page never claims to have looked at what it was not asked for.
fn check_scanned_to(read: &LogRead, page: &LogPage) {
    let last = page.events.last().map(|event| event.position);
    match (read.direction, page.scanned_to) {
        (_, None) => assert_eq!((last, read.after), (None, None)),
        (Direction::Forwards, scanned_to) => {
            assert!(
                scanned_to >= last && scanned_to >= read.after,
                "{read:?} {page:?}"
            );
            if let (Some(until), false) = (read.until, page.events.is_empty()) {
                assert!(scanned_to <= Some(until), "{read:?} {page:?}");
            }
        }
        (Direction::Backwards, Some(scanned_to)) => {
            assert!(
                last.is_none_or(|last| scanned_to <= last),
                "{read:?} {page:?}"
            );
            assert!(
                read.after.is_none_or(|after| scanned_to <= after),
                "{read:?} {page:?}"
            );
        }
    }
}

/// Whatever a store does to be fast, a filter finds what the plain evaluator finds.
pub async fn every_filter_means_what_the_evaluator_says(subject: &Subject) {
    let log = varied_history(subject, 200).await;
    for filter in filters() {
        for direction in DIRECTIONS {
            for visibility in [Visibility::Application, Visibility::Everything] {
                for (after, until) in [(None, None), (Some(60), None), (Some(90), Some(120))] {
                    let read = LogRead {
                        filter: filter.clone(),
                        direction,
                        visibility,
                        after: after.map(at),
                        until: until.map(at),
                        ..LogRead::forwards()
                    };
                    let page = subject.store.read_log(read.clone()).await.unwrap();
                    assert_eq!(page.events, expected(&log, &read), "{read:?}");
                    assert!(!page.has_more, "{read:?}");
                }
            }
        }
    }
}

/// Applications do not see events of the aggregate type `factum`, not even when they ask for them.
pub async fn events_of_the_engine_are_hidden_from_applications(subject: &Subject) {
    let events = ["form/f-1", "factum/f-1", "form/f-1", "factum/f-2"];
    append(&subject.store, events.map(|of| event("a.b", of)).to_vec()).await;
    let asked = Filter {
        aggregate_types: vec!["factum".parse().unwrap()],
        ..Filter::default()
    };
    for direction in DIRECTIONS {
        for (filter, application, everything) in [(Filter::default(), 2, 4), (asked.clone(), 0, 2)]
        {
            for (visibility, n_events) in [
                (Visibility::Application, application),
                (Visibility::Everything, everything),
            ] {
                let filter = filter.clone();
                let read = LogRead {
                    filter,
                    direction,
                    visibility,
                    ..LogRead::forwards()
                };
                assert_eq!(pages(&subject.store, read).await.len(), n_events);
            }
        }
    }
}

/// A page has at most `limit` events, and says whether there is more; when nothing more is there,
/// no empty page has to be read to find out.
pub async fn page_ends_at_its_limit(subject: &Subject) {
    append(
        &subject.store,
        (0..6).map(|_| event("a", "form/f-1")).collect(),
    )
    .await;
    for direction in DIRECTIONS {
        for limit in 1..8 {
            let read = LogRead {
                direction,
                limit,
                ..LogRead::forwards()
            };
            let page = subject.store.read_log(read).await.unwrap();
            assert_eq!(page.events.len(), limit.min(6));
            assert_eq!(page.has_more, limit < 6);
        }
    }
}

/// A page ends after the event with which its texts reach `page_bytes_max`; it has one event at
/// least, so that reading on always moves on.
pub async fn page_ends_when_its_bytes_are_full(subject: &Subject) {
    append(
        &subject.store,
        (0..6).map(|_| event("a", "form/f-1")).collect(),
    )
    .await;
    let all = pages(&subject.store, LogRead::forwards()).await;
    let event_bytes = all[0].text_bytes();
    for direction in DIRECTIONS {
        for (page_bytes_max, n_events) in [
            (0, 1),
            (1, 1),
            (event_bytes, 1),
            (event_bytes + 1, 2),
            (5 * event_bytes, 5),
            (5 * event_bytes + 1, 6),
        ] {
            let read = LogRead {
                direction,
                page_bytes_max,
                ..LogRead::forwards()
            };
            let page = subject.store.read_log(read.clone()).await.unwrap();
            assert_eq!(page.events.len(), n_events, "{page_bytes_max}");
            assert!(page.has_more || n_events == 6);
            let whole = pages(&subject.store, read.clone()).await;
            assert_eq!(whole, expected(&all, &read));
        }
    }
}

/// Positions that no event has yet are bounds like others.
pub async fn bounds_past_the_head_are_harmless(subject: &Subject) {
    let log = varied_history(subject, 5).await;
    let far = Some(at(u64::MAX));
    for read in [
        LogRead {
            after: far,
            ..LogRead::forwards()
        },
        LogRead {
            until: far,
            ..LogRead::forwards()
        },
        LogRead {
            after: Some(at(5)),
            ..LogRead::forwards()
        },
        LogRead {
            after: Some(at(5)),
            until: far,
            ..LogRead::forwards()
        },
        LogRead {
            after: far,
            ..LogRead::backwards()
        },
        LogRead {
            until: far,
            ..LogRead::backwards()
        },
        LogRead {
            after: Some(at(1)),
            ..LogRead::backwards()
        },
        LogRead {
            after: far,
            until: far,
            ..LogRead::backwards()
        },
        LogRead {
            limit: usize::MAX,
            page_bytes_max: usize::MAX,
            scan_max: usize::MAX,
            ..LogRead::forwards()
        },
        LogRead {
            limit: usize::MAX,
            page_bytes_max: usize::MAX,
            scan_max: usize::MAX,
            ..LogRead::backwards()
        },
    ] {
        let page = subject.store.read_log(read.clone()).await.unwrap();
        assert_eq!(page.events, expected(&log, &read), "{read:?}");
        assert!(!page.has_more, "{read:?}");
    }
    // A reader that has seen all and asks again must not fall behind or leap ahead.
    let caught_up = LogRead {
        after: Some(at(5)),
        ..LogRead::forwards()
    };
    let page = subject.store.read_log(caught_up).await.unwrap();
    assert_eq!(page.scanned_to, Some(at(5)));
}

/// Every event is found by its id, and no other id finds anything.
pub async fn event_is_found_by_its_id(subject: &Subject) {
    let log = varied_history(subject, 40).await;
    for stored in &log {
        let found = subject.store.event(stored.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(stored));
    }
    assert_eq!(subject.store.event(id(41)).await.unwrap(), None);
}
