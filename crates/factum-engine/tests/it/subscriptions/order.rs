//! Everything is handed out, each stream in order and one event at a time.

use std::sync::Arc;
use std::time::Duration;

use factum_engine::{FeedSettings, Order, Outcome};
use factum_testkit::Random;

use super::harness::{
    Witness, append, dispatching, engine, feed_of, handling, positions, settings, streams, take,
};

#[tokio::test(start_paused = true)]
async fn each_event_is_handled_each_stream_in_order() {
    for (seed, order) in [(1, Order::Strict), (2, Order::Relaxed)] {
        let mut random = Random::seeded(seed);
        let engine = engine();
        append(&engine, &streams(&mut random, 600, 40)).await;
        let witness = Arc::new(Witness {
            fails_one_in: 4,
            takes_ms_max: 30,
            relaxed: order == Order::Relaxed,
            ..Witness::seeded(seed)
        });
        let settings = FeedSettings {
            order,
            ..settings()
        };
        let feed = feed_of(&engine, "node", settings);
        let running = handling(&feed, Arc::clone(&witness) as _, 8);
        witness.until_done(600).await;
        append(&engine, &streams(&mut random, 200, 40)).await;
        witness.until_done(800).await;
        running.stop().await;
        assert_eq!((witness.n_repeats(), witness.out_max()), (0, 8));
        assert_eq!(feed.counters().acked.get(), 800);
        assert!(feed.counters().retried.get() > 150);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_one_event_out_at_a_time() {
    let engine = engine();
    append(&engine, &[1, 1, 2, 1, 3]).await;
    let feed = feed_of(&engine, "node", settings());
    let running = dispatching(&feed);
    let first = feed.take(&take(10)).await.unwrap();
    assert_eq!(positions(&first), [1, 3, 5]);
    assert!(feed.take(&take(10)).await.unwrap().is_empty());
    feed.settle(vec![(first[0].token, Outcome::Ack)])
        .await
        .unwrap();
    assert_eq!(positions(&feed.take(&take(10)).await.unwrap()), [2]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_holds_up_its_own_stream_under_strict_order_only() {
    for (order, expected) in [(Order::Strict, vec![2]), (Order::Relaxed, vec![2, 3])] {
        let engine = engine();
        append(&engine, &[1, 2, 1]).await;
        let feed = feed_of(
            &engine,
            "node",
            FeedSettings {
                order,
                ..settings()
            },
        );
        let running = dispatching(&feed);
        let first = feed.take(&take(1)).await.unwrap();
        assert_eq!(positions(&first), [1]);
        let after = Some(Duration::from_mins(1));
        let cause = "down".to_owned();
        let retry = vec![(first[0].token, Outcome::Retry { after, cause })];
        feed.settle(retry).await.unwrap();
        let others = feed.take(&take(10)).await.unwrap();
        assert_eq!(positions(&others), expected);
        let acks = others.iter().map(|handout| (handout.token, Outcome::Ack));
        feed.settle(acks.collect()).await.unwrap();
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(positions(&feed.take(&take(10)).await.unwrap()), [1]);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_streams_go_on_while_some_fail() {
    let engine = engine();
    append(&engine, &[1; 50]).await;
    append(&engine, &(2..52).collect::<Vec<_>>()).await;
    let feed = feed_of(&engine, "node", settings());
    let running = dispatching(&feed);
    let mut others = Vec::new();
    for _ in 0..60 {
        for handout in feed.take(&take(1)).await.unwrap() {
            let outcome = if handout.event.aggregate_id() == "c-1" {
                let after = Some(Duration::from_hours(1));
                Outcome::Retry {
                    after,
                    cause: "down".to_owned(),
                }
            } else {
                others.push(handout.event.position.get());
                Outcome::Ack
            };
            feed.settle(vec![(handout.token, outcome)]).await.unwrap();
        }
    }
    assert_eq!(others, (51..=100).collect::<Vec<_>>());
    running.stop().await;
}
