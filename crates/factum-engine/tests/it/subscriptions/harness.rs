//! An engine on the clock of the runtime, and a witness that notes what handlers get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use factum_engine::{
    Engine, EngineOptions, Feed, FeedId, FeedSettings, FeedSpec, Handler, HandlerOptions, Handout,
    Outcome, SubscriptionOptions, Take, Verdict,
};
use factum_model::{Clock, JsonObject, NewEvent, Position, StreamId, Timestamp};
use factum_query::Filter;
use factum_store::{
    AppendRequest, BoxFuture, MemoryStateStore, MemoryStore, StateLimits, StateStore, Visibility,
};
use factum_testkit::Random;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time of the runtime: with a paused one it passes only while everybody waits.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.0.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(1_700_000_000_000_000 + micros).unwrap()
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock(Instant::now()))
}

pub(super) fn books() -> MemoryStateStore {
    MemoryStateStore::with(clock(), StateLimits::default())
}

pub(super) fn engine_with(state: Arc<dyn StateStore>) -> Engine {
    Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default()).with_state(state)
}

pub(super) fn engine() -> Engine {
    engine_with(Arc::new(books()))
}

/// Appends events of streams that are named by numbers.
pub(super) async fn append(engine: &Engine, streams: &[u64]) {
    let event = |stream: &u64| {
        let stream = StreamId::new(
            "case".parse().unwrap(),
            format!("c-{stream}").parse().unwrap(),
        );
        NewEvent::new("case.noted".parse().unwrap(), stream, JsonObject::empty())
    };
    for some in streams.chunks(1000) {
        let events = some.iter().map(event).collect();
        let request = AppendRequest {
            events,
            ..AppendRequest::default()
        };
        engine.append(request).await.unwrap();
    }
}

/// Returns the streams of so many events, as chance has it.
pub(super) fn streams(random: &mut Random, n_events: usize, n_streams: u64) -> Vec<u64> {
    (0..n_events).map(|_| random.below(n_streams)).collect()
}

pub(super) fn settings() -> FeedSettings {
    FeedSettings {
        attempts_max: 0,
        window_max: 100,
        ..FeedSettings::default()
    }
}

pub(super) fn feed_of(engine: &Engine, node: &str, settings: FeedSettings) -> Feed {
    let spec = FeedSpec {
        name: "test".to_owned(),
        id: FeedId::new("t", 1).unwrap(),
        filter: Filter::default(),
        visibility: Visibility::Application,
        after: None,
        settings,
    };
    let options = SubscriptionOptions::of(node.parse().unwrap());
    Feed::new(engine, spec, &options).unwrap()
}

pub(super) fn take(limit: usize) -> Take {
    Take {
        consumer: "someone".parse().unwrap(),
        limit,
        bytes_max: 1 << 20,
        wait: Duration::from_secs(1),
    }
}

pub(super) fn positions(handouts: &[Handout]) -> Vec<u64> {
    let numbers = handouts.iter().map(|one| one.event.position.get());
    numbers.collect()
}

/// Something that runs until it is stopped, or killed.
pub(super) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever starts it stops it or kills it"
)]
pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
    run: impl FnOnce(CancellationToken) -> F,
) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(stop.clone()));
    Running { stop, task }
}

pub(super) fn dispatching(feed: &Feed) -> Running {
    let feed = feed.clone();
    start(|stop| async move { feed.dispatch(&stop).await })
}

pub(super) fn handling(feed: &Feed, handler: Arc<dyn Handler>, concurrency: usize) -> Running {
    let feed = feed.clone();
    let options = HandlerOptions {
        concurrency,
        ..HandlerOptions::default()
    };
    start(|stop| async move { feed.run(handler, options, &stop).await })
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it as a crash would: nothing that it was doing goes on.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

/// Notes what handlers get, and cries out when a promise is broken.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) seen: Mutex<Seen>,
    /// Once in so many times something goes wrong; 0 for never.
    pub(super) fails_one_in: u64,
    /// How long handling takes at most, in milliseconds.
    pub(super) takes_ms_max: u64,
    /// Retries pass their stream by.
    pub(super) relaxed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    random: Option<Random>,
    /// Of which streams something is out.
    out: BTreeSet<String>,
    /// The last event of each stream that was done.
    done_to: BTreeMap<String, Position>,
    done: BTreeSet<Position>,
    n_handled: usize,
    n_repeats: usize,
    out_max: usize,
}

impl Witness {
    pub(super) fn seeded(seed: u64) -> Self {
        let witness = Self::default();
        witness.seen().random = Some(Random::seeded(seed));
        witness
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(super) fn n_done(&self) -> usize {
        self.seen().done.len()
    }

    /// How often something was handled again that had been done.
    pub(super) fn n_repeats(&self) -> usize {
        self.seen().n_repeats
    }

    pub(super) fn out_max(&self) -> usize {
        self.seen().out_max
    }

    /// A process that died has nothing any more.
    pub(super) fn forget_what_is_out(&self) {
        self.seen().out.clear();
    }

    /// Waits until so many events are done.
    pub(super) async fn until_done(&self, n_events: usize) {
        let wait = async {
            while self.n_done() < n_events {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_hours(1), wait).await;
        let (n_done, n_handled) = (self.n_done(), self.seen().n_handled);
        assert!(
            waited.is_ok(),
            "{n_done} of {n_events} done, {n_handled} handled"
        );
    }

    fn begin(&self, handout: &Handout) -> (u64, bool) {
        let stream = handout.event.aggregate_id().to_owned();
        let mut seen = self.seen();
        seen.n_handled += 1;
        assert!(seen.out.insert(stream.clone()), "{stream} is out twice");
        seen.out_max = seen.out_max.max(seen.out.len());
        let position = handout.event.position;
        if seen.done.contains(&position) {
            seen.n_repeats += 1;
        } else if !self.relaxed || handout.attempt == 1 {
            let last = seen.done_to.get(&stream);
            assert!(
                last < Some(&position),
                "{stream}: {position} after {last:?}"
            );
        }
        let random = seen.random.get_or_insert_with(|| Random::seeded(0));
        let takes = random.below(self.takes_ms_max + 1);
        let fails = self.fails_one_in > 0 && random.one_in(self.fails_one_in);
        (takes, fails)
    }

    fn end(&self, handout: &Handout, is_done: bool) {
        let mut seen = self.seen();
        let stream = handout.event.aggregate_id();
        seen.out.remove(stream);
        if is_done {
            seen.done.insert(handout.event.position);
            seen.done_to
                .insert(stream.to_owned(), handout.event.position);
        }
    }
}

impl Handler for Witness {
    fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let (takes, fails) = self.begin(handout);
            if takes > 0 {
                tokio::time::sleep(Duration::from_millis(takes)).await;
            }
            self.end(handout, !fails);
            if fails {
                let cause = "chance".to_owned();
                return Outcome::Retry { after: None, cause }.into();
            }
            Outcome::Ack.into()
        })
    }
}
