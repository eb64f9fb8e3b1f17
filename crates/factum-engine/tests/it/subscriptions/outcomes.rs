//! What becomes of an event: done, skipped, tried again, parked, forgotten by its consumer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum_engine::{
    Engine, Extended, Feed, FeedId, FeedSettings, FeedSpec, Handler, HandlerOptions, Handout,
    Outcome, ParkedAct, ParkedChoice, ParkedEvent, Readiness, Settled, SubscriptionOptions,
    Verdict,
};
use factum_model::{ErrorCode, Position};
use factum_query::Filter;
use factum_store::{BoxFuture, Change, Precondition, Put, RecordId, RecordScan, StateStore};

use super::harness::{append, dispatching, engine, feed_of, positions, settings, start, take};

fn retry() -> Outcome {
    Outcome::Retry {
        after: None,
        cause: "status 503".to_owned(),
    }
}

fn books(engine: &Engine) -> &Arc<dyn StateStore> {
    engine.state().unwrap()
}

async fn n_records(engine: &Engine, kind: &str) -> usize {
    let scan = RecordScan::all(kind.parse().unwrap());
    books(engine).scan(scan).await.unwrap().records.len()
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_and_the_last_one_parks() {
    let engine = engine();
    append(&engine, &[1, 1]).await;
    let settings = FeedSettings {
        attempts_max: 3,
        ..settings()
    };
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    for (attempt, expected) in [(1, Some(1)), (2, Some(2)), (3, None)] {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let handouts = feed.take(&take(5)).await.unwrap();
        assert_eq!(
            (handouts[0].event.position.get(), handouts[0].attempt),
            (1, attempt)
        );
        let settled = feed
            .settle(vec![(handouts[0].token, retry())])
            .await
            .unwrap();
        let expected = expected.map_or(Settled::Parked, |seconds| Settled::Waiting {
            after: Duration::from_secs(seconds),
        });
        assert_eq!(settled, [expected]);
    }
    assert_eq!(n_records(&engine, "parked.t").await, 1);
    // What is behind it goes on.
    let handouts = feed.take(&take(5)).await.unwrap();
    assert_eq!((positions(&handouts), handouts[0].attempt), (vec![2], 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_failed_attempt() {
    let engine = engine();
    append(&engine, &[1]).await;
    let settings = FeedSettings {
        attempts_max: 2,
        ..settings()
    };
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    let first = feed.take(&take(5)).await.unwrap();
    tokio::time::sleep(settings.ack_deadline).await;
    let second = feed.take(&take(5)).await.unwrap();
    assert_eq!((first[0].attempt, second[0].attempt), (1, 2));
    // Who is late is told so; its token settles nothing.
    let late = feed
        .settle(vec![(first[0].token, Outcome::Ack)])
        .await
        .unwrap();
    assert_eq!(late, [Settled::Stale]);
    tokio::time::sleep(settings.ack_deadline).await;
    assert!(feed.take(&take(5)).await.unwrap().is_empty());
    assert_eq!(n_records(&engine, "parked.t").await, 1);
    assert_eq!(feed.counters().parked.get(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_needs_more_time_keeps_the_event_and_the_token() {
    let engine = engine();
    append(&engine, &[1, 2]).await;
    let settings = settings();
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    let handouts = feed.take(&take(5)).await.unwrap();
    let [slow, done] = [handouts[0].token, handouts[1].token];
    feed.settle(vec![(done, Outcome::Ack)]).await.unwrap();
    let mut until = handouts[0].until;
    for _ in 0..3 {
        tokio::time::sleep(settings.ack_deadline / 2).await;
        // The same token twice, and one that is good for nothing, harm none of the others.
        let tokens = vec![slow, done, slow];
        let extended = feed.extend(tokens, None).await.unwrap();
        let [Extended::Until(first), Extended::Stale, again] = extended[..] else {
            panic!("{extended:?}");
        };
        assert_eq!(again, Extended::Until(first));
        assert!(first > until, "{first} is no later than {until}");
        until = first;
        assert!(feed.take(&take(5)).await.unwrap().is_empty());
    }
    assert_eq!(feed.counters().extended.get(), 6);
    // Silence after that is a failed attempt as ever, and there is nothing left to extend.
    tokio::time::sleep(settings.ack_deadline).await;
    let late = feed.extend(vec![slow], None).await.unwrap();
    assert_eq!(late, [Extended::Stale]);
    let again = feed.take(&take(5)).await.unwrap();
    assert_eq!((positions(&again), again[0].attempt), (vec![1], 2));
    let late = feed.extend(vec![slow, again[0].token], None).await.unwrap();
    assert!(matches!(late[..], [Extended::Stale, Extended::Until(_)]));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_extension_is_bounded() {
    let engine = engine();
    append(&engine, &[1]).await;
    let feed = feed_of(&engine, "node", settings());
    let running = dispatching(&feed);
    let token = feed.take(&take(5)).await.unwrap()[0].token;
    let extend = |millis| feed.extend(vec![token], Some(Duration::from_millis(millis)));
    let error = extend(3_600_001).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LimitExceeded);
    let text = error.to_string();
    assert!(
        text.contains("3600000") && text.contains("3600001"),
        "{text}"
    );
    assert_eq!(
        extend(0).await.unwrap_err().code(),
        ErrorCode::InvalidRequest
    );
    assert!(matches!(
        extend(3_600_000).await.unwrap()[..],
        [Extended::Until(_)]
    ));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_ack_counts_while_nobody_else_has_the_event() {
    let engine = engine();
    append(&engine, &[1]).await;
    let feed = feed_of(&engine, "node", settings());
    let running = dispatching(&feed);
    let handouts = feed.take(&take(5)).await.unwrap();
    tokio::time::sleep(Duration::from_mins(10)).await;
    let token = handouts[0].token;
    let ack = || vec![(token, Outcome::Ack), (token, Outcome::Ack)];
    assert_eq!(
        feed.settle(ack()).await.unwrap(),
        [Settled::Done, Settled::Stale]
    );
    assert_eq!(feed.settle(ack()).await.unwrap(), [Settled::Stale; 2]);
    assert!(feed.take(&take(5)).await.unwrap().is_empty());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stale_tokens_do_not_keep_good_ones_from_counting() {
    let engine = engine();
    append(&engine, &(1..=40).collect::<Vec<_>>()).await;
    let feed = feed_of(&engine, "node", settings());
    let running = dispatching(&feed);
    let handouts = feed.take(&take(40)).await.unwrap();
    let tokens: Vec<_> = handouts.iter().map(|handout| handout.token).collect();
    let odd = tokens.iter().step_by(2).map(|token| (*token, Outcome::Ack));
    feed.settle(odd.collect()).await.unwrap();
    let all = tokens.iter().map(|token| (*token, Outcome::Ack));
    let settled = feed.settle(all.collect()).await.unwrap();
    for (index, settled) in settled.iter().enumerate() {
        let expected = if index % 2 == 0 {
            Settled::Stale
        } else {
            Settled::Done
        };
        assert_eq!(*settled, expected, "{index}");
    }
    assert_eq!(n_records(&engine, "sub.t.1").await, 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_queued() {
    let engine = engine();
    append(&engine, &(1..=300).collect::<Vec<_>>()).await;
    let settings = FeedSettings {
        window_max: 20,
        ..settings()
    };
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    let mut n_done = 0;
    while n_done < 300 {
        assert!(n_records(&engine, "sub.t.1").await <= 20);
        let handouts = feed.take(&take(50)).await.unwrap();
        assert!(handouts.len() <= 20);
        n_done += handouts.len();
        let acks = handouts.iter().map(|handout| (handout.token, Outcome::Ack));
        feed.settle(acks.collect()).await.unwrap();
    }
    assert!(feed.counters().window_full.get() > 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_retries_stop_the_reading_and_nothing_else() {
    let engine = engine();
    append(&engine, &(1..=100).collect::<Vec<_>>()).await;
    let settings = FeedSettings {
        retries_max: 10,
        window_max: 10,
        ..settings()
    };
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    let mut n_failed = 0;
    loop {
        let handouts = feed.take(&take(10)).await.unwrap();
        if handouts.is_empty() {
            break;
        }
        n_failed += handouts.len();
        let after = Some(Duration::from_hours(1));
        let outcome = Outcome::Retry {
            after,
            cause: "down".to_owned(),
        };
        let failed = handouts
            .iter()
            .map(|handout| (handout.token, outcome.clone()));
        feed.settle(failed.collect()).await.unwrap();
    }
    assert!((10..=20).contains(&n_failed), "{n_failed}");
    assert!(feed.counters().retries_full.get() > 0);
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(feed.take(&take(100)).await.unwrap().len(), n_failed);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn parked_events_are_bounded_and_the_oldest_goes_first() {
    let engine = engine();
    append(&engine, &(1..=9).collect::<Vec<_>>()).await;
    let settings = FeedSettings {
        parked_max: 4,
        ..settings()
    };
    let feed = feed_of(&engine, "node", settings);
    let running = dispatching(&feed);
    let handouts = feed.take(&take(9)).await.unwrap();
    let park = |handout: &Handout| {
        let cause = "no such customer".to_owned();
        (handout.token, Outcome::Park { cause })
    };
    feed.settle(handouts.iter().map(park).collect())
        .await
        .unwrap();
    let scan = RecordScan::all("parked.t".parse().unwrap());
    let parked = books(&engine).scan(scan).await.unwrap().records;
    let first = parked.first().map(|record| record.id.key.to_string());
    assert_eq!(
        (parked.len(), first.as_deref()),
        (4, Some("00000000000000000006"))
    );
    assert_eq!(feed.counters().evicted.get(), 5);
    let page = feed.parked(None, 2).await.unwrap();
    let shown = |event: &ParkedEvent| (event.position.get(), event.attempts, event.cause.clone());
    let expected = [6, 7].map(|position| (position, 1, "no such customer".to_owned()));
    assert_eq!(page.events.iter().map(shown).collect::<Vec<_>>(), expected);
    let page = feed.parked(page.next, 9).await.unwrap();
    assert_eq!((page.events.len(), page.next), (2, None));
    let at = |number| Position::new(number).unwrap();
    let some = ParkedChoice::At(vec![at(1), at(8), at(8)]);
    let n_discarded = feed.decide(some, ParkedAct::Discard).await.unwrap();
    let n_redriven = feed
        .decide(ParkedChoice::All, ParkedAct::Redrive)
        .await
        .unwrap();
    assert_eq!((n_discarded, n_redriven), (1, 3));
    let again = feed.take(&take(9)).await.unwrap();
    assert_eq!(positions(&again), [6, 7, 9]);
    assert!(again.iter().all(|handout| handout.attempt == 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_status_says_how_far_behind_it_is() {
    let engine = engine();
    let feed = feed_of(
        &engine,
        "node",
        FeedSettings {
            window_max: 2,
            ..settings()
        },
    );
    let status = feed.status().await.unwrap();
    assert_eq!(
        (status.lag_events, status.lag, status.reads_here),
        (0, Duration::ZERO, false)
    );
    append(&engine, &[1, 2, 3]).await;
    assert_eq!(feed.status().await.unwrap().lag_events, 3);
    let running = dispatching(&feed);
    let handouts = feed.take(&take(1)).await.unwrap();
    let status = feed.status().await.unwrap();
    assert_eq!((status.n_ready, status.n_out, status.lag_events), (1, 1, 3));
    assert!(status.reads_here && status.position == Position::new(2));
    feed.settle(vec![(handouts[0].token, retry())])
        .await
        .unwrap();
    let status = feed.status().await.unwrap();
    assert_eq!((status.n_waiting, status.n_out), (1, 0));
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..3 {
        for handout in feed.take(&take(1)).await.unwrap() {
            feed.settle(vec![(handout.token, Outcome::Ack)])
                .await
                .unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = feed.status().await.unwrap();
    assert_eq!((status.lag_events, status.lag), (0, Duration::ZERO));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_begins_anew_and_old_tokens_mean_nothing() {
    let engine = engine();
    append(&engine, &[1, 2, 3]).await;
    let old = feed_of(&engine, "node", settings());
    let running = dispatching(&old);
    let handouts = old.take(&take(3)).await.unwrap();
    old.settle(vec![(handouts[0].token, Outcome::Ack)])
        .await
        .unwrap();
    running.stop().await;
    let spec = FeedSpec {
        id: FeedId::new("t", 2).unwrap(),
        after: Position::new(1),
        ..old.spec().clone()
    };
    let options = SubscriptionOptions::of("node".parse().unwrap());
    let new = Feed::new(&engine, spec, &options).unwrap();
    let running = dispatching(&new);
    let again = new.take(&take(3)).await.unwrap();
    assert_eq!(positions(&again), [2, 3]);
    let settled = new
        .settle(vec![(handouts[1].token, Outcome::Ack)])
        .await
        .unwrap();
    assert_eq!(settled, [Settled::Stale]);
    assert_eq!(n_records(&engine, "sub.t.1").await, 0);
    running.stop().await;
    assert!(new.clean().await.unwrap());
    for kind in ["sub.t.2", "parked.t", "subscription.checkpoint"] {
        assert_eq!(n_records(&engine, kind).await, 0, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_the_filter_means_is_handed_out() {
    let engine = engine();
    append(&engine, &[1, 2, 1, 3, 1]).await;
    let spec = FeedSpec {
        filter: Filter {
            aggregate_ids: vec!["c-1".parse().unwrap()],
            ..Filter::default()
        },
        ..feed_of(&engine, "node", settings()).spec().clone()
    };
    let options = SubscriptionOptions::of("node".parse().unwrap());
    let feed = Feed::new(&engine, spec, &options).unwrap();
    let running = dispatching(&feed);
    for expected in [1, 3, 5] {
        let handouts = feed.take(&take(5)).await.unwrap();
        assert_eq!(positions(&handouts), [expected]);
        feed.settle(vec![(handouts[0].token, Outcome::Ack)])
            .await
            .unwrap();
    }
    running.stop().await;
}

/// Does what the stream's name says.
#[derive(Debug)]
struct Moody;

impl Handler for Moody {
    fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            match (handout.event.aggregate_id(), handout.attempt) {
                ("c-1", 1) => panic!("on purpose"),
                ("c-2", 1) => std::future::pending().await,
                ("c-3", _) => {
                    let id = RecordId::new("note".parse().unwrap(), "3".parse().unwrap());
                    let note = Change::put(id, Precondition::Any, Put::new("seen"));
                    Outcome::Ack.with(vec![note])
                }
                ("c-4", 1) => {
                    let id = RecordId::new("note".parse().unwrap(), "4".parse().unwrap());
                    let never = Change::delete(
                        id,
                        Precondition::Version(factum_store::RecordVersion::new(1)),
                    );
                    Outcome::Ack.with(vec![never])
                }
                _ => Outcome::Ack.into(),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn panics_hangs_and_refused_changes_are_failed_attempts() {
    let engine = engine();
    append(&engine, &[1, 2, 3, 4, 5]).await;
    let feed = feed_of(&engine, "node", settings());
    let (running, options) = (feed.clone(), HandlerOptions::default());
    let running = start(|stop| async move {
        running.run(Arc::new(Moody), options, &stop).await;
    });
    tokio::time::sleep(Duration::from_mins(2)).await;
    running.stop().await;
    let counters = feed.counters();
    let counted = [&counters.acked, &counters.retried, &counters.stale].map(|one| one.get());
    assert_eq!(counted, [5, 2, 1]);
    assert_eq!(n_records(&engine, "note").await, 1);
    assert_eq!(n_records(&engine, "sub.t.1").await, 0);
}

/// Is ready for so many events at once, and fails as long as it is told to.
#[derive(Debug)]
struct Convalescent {
    readiness: Mutex<Readiness>,
    got: Mutex<Vec<u64>>,
}

impl Handler for Convalescent {
    fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let position = handout.event.position.get();
            self.got.lock().unwrap().push(position);
            // Until it is known how this one went, it takes no other.
            *self.readiness.lock().unwrap() = Readiness::NotFor(Duration::from_hours(1));
            tokio::time::sleep(Duration::from_secs(5)).await;
            *self.readiness.lock().unwrap() = Readiness::Ready;
            Outcome::Ack.into()
        })
    }

    fn readiness(&self) -> Readiness {
        *self.readiness.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_ready_gets_nothing_and_nothing_is_written_for_it() {
    let engine = engine();
    append(&engine, &[1, 2, 3, 4]).await;
    let feed = feed_of(&engine, "node", settings());
    let handler = Arc::new(Convalescent {
        readiness: Mutex::new(Readiness::NotFor(Duration::from_hours(1))),
        got: Mutex::default(),
    });
    let (running, ours) = (feed.clone(), Arc::clone(&handler));
    let running = start(|stop| async move {
        running.run(ours, HandlerOptions::default(), &stop).await;
    });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(n_records(&engine, "sub.t.1").await, 4);
    assert_eq!(feed.counters().handed_out.get(), 0);

    // It is asked again before its time is up.
    *handler.readiness.lock().unwrap() = Readiness::One;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*handler.got.lock().unwrap(), [1]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    running.stop().await;
    assert_eq!(*handler.got.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(feed.counters().acked.get(), 4);
    assert_eq!(feed.counters().retried.get(), 0);
}
