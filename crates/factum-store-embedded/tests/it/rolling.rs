//! Many small segments: what is read does not depend on where the log is cut.

use std::sync::Arc;

use factum_model::{JsonObject, NewEvent, Position, StreamId};
use factum_query::Filter;
use factum_store::{AppendRequest, Direction, EventStore as _, LogRead, StreamRead};
use factum_store_embedded::{EmbeddedStore, Options};

fn event(number: usize) -> NewEvent {
    let stream = StreamId::new(
        "form".parse().unwrap(),
        format!("f-{}", number % 7).parse().unwrap(),
    );
    let event_type = ["form.opened", "form.changed", "mail.sent"][number % 3];
    NewEvent {
        metadata: JsonObject::parse(format!(
            r#"{{"userId":"u{}","tags":["t{}"]}}"#,
            number % 5,
            number % 2
        ))
        .unwrap(),
        ..NewEvent::new(
            event_type.parse().unwrap(),
            stream,
            JsonObject::parse(format!(r#"{{"number":{number}}}"#)).unwrap(),
        )
    }
}

fn options(directory: &std::path::Path) -> Options {
    Options {
        segment_bytes_max: 8 << 10,
        reserve_bytes: 4 << 10,
        recent_bytes_max: 2048,
        ..Options::at(directory)
    }
}

fn filters() -> Vec<Filter> {
    vec![
        Filter::default(),
        Filter {
            event_types: vec!["form.*".parse().unwrap()],
            ..Filter::default()
        },
        Filter {
            event_types: vec!["mail.sent".parse().unwrap()],
            tags: vec!["t1".to_owned()],
            ..Filter::default()
        },
        Filter {
            user_id: Some("u3".to_owned()),
            ..Filter::default()
        },
        Filter {
            aggregate_ids: vec!["f-2".parse().unwrap(), "f-3".parse().unwrap()],
            ..Filter::default()
        },
        Filter {
            event_types: vec!["nothing".parse().unwrap()],
            ..Filter::default()
        },
    ]
}

#[tokio::test]
async fn reads_do_not_depend_on_segments() {
    let directory = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for round in 0..3 {
        let store = Arc::new(EmbeddedStore::open(options(directory.path())).unwrap());
        assert_eq!(store.head().map_or(0, Position::get), round * 500);
        for batch in 0..50 {
            let events = (0..10)
                .map(|index| event((round * 500) as usize + batch * 10 + index))
                .collect();
            let receipt = store
                .append(AppendRequest {
                    events,
                    ..Default::default()
                })
                .await
                .unwrap();
            assert_eq!(receipt.events.len(), 10);
        }
        let page = store
            .read_log(LogRead {
                limit: 10_000,
                ..LogRead::forwards()
            })
            .await
            .unwrap();
        all = page.events;
        assert_eq!(all.len() as u64, (round + 1) * 500);
        assert!(!page.has_more);
        for (index, event) in all.iter().enumerate() {
            assert_eq!(event.position.get(), index as u64 + 1);
            assert_eq!(event.payload(), format!(r#"{{"number":{index}}}"#));
        }
        for filter in filters() {
            for direction in [Direction::Forwards, Direction::Backwards] {
                let mut expected: Vec<_> = all
                    .iter()
                    .filter(|event| filter.matches(event))
                    .cloned()
                    .collect();
                if direction == Direction::Backwards {
                    expected.reverse();
                }
                let mut found = Vec::new();
                let mut read = LogRead {
                    filter: filter.clone(),
                    direction,
                    limit: 17,
                    ..LogRead::forwards()
                };
                loop {
                    let page = store.read_log(read.clone()).await.unwrap();
                    found.extend(page.events);
                    read.after = page.scanned_to;
                    if !page.has_more {
                        break;
                    }
                }
                assert_eq!(found, expected, "{filter:?} {direction:?}");
            }
        }
        for stream in 0..7 {
            let stream = StreamId::new(
                "form".parse().unwrap(),
                format!("f-{stream}").parse().unwrap(),
            );
            let expected: Vec<_> = all
                .iter()
                .filter(|event| event.is_of(&stream))
                .cloned()
                .collect();
            let page = store
                .read_stream(StreamRead::forwards(stream.clone()))
                .await
                .unwrap();
            assert_eq!(page.events, expected);
            let from = factum_model::SequenceNumber::new(20);
            let to = factum_model::SequenceNumber::new(60);
            let read = StreamRead {
                from,
                to,
                limit: 30,
                direction: Direction::Backwards,
                ..StreamRead::forwards(stream)
            };
            let page = store.read_stream(read).await.unwrap();
            let mut part = expected[19..60].to_vec();
            part.reverse();
            assert_eq!(page.events, part[..30]);
            assert!(page.has_more);
        }
        let found = store.event(all[3].id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&all[3]));
    }
    assert_eq!(all.len(), 1500);
    let segments = std::fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".idx")
        });
    assert!(segments.count() > 10);
}
