//! Targets that do what a test tells them to, and note what they got.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use factum_engine::{
    BreakerState, Deliver, DeliverError, Delivered, Deliveries, Delivery, DeliveryOptions, Engine,
    EngineOptions, ErrorClass, InvalidTarget, RuleLimits, Rules, SubscriptionOptions, TargetState,
    Targets,
};
use factum_model::{Clock, JsonObject, NewEvent, RecordedEvent, StreamId, Timestamp};
use factum_store::{
    AppendRequest, BoxFuture, EventStore, LogRead, MemoryStateStore, MemoryStore, StateLimits,
    StateStore, Visibility,
};
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

/// What a target got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) target: String,
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) id: String,
    pub(super) at: Duration,
}

/// What a target does with an attempt.
pub(super) type Script = dyn Fn(&Delivery, usize) -> Result<Delivered, DeliverError> + Send + Sync;

pub(super) struct World {
    pub(super) engine: Engine,
    store: Arc<dyn EventStore>,
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    pub(super) stage: Arc<Stage>,
    limits: RuleLimits,
}

/// Where targets play.
pub(super) struct Stage {
    script: Mutex<Arc<Script>>,
    got: Mutex<Vec<Got>>,
    took: Mutex<Duration>,
    begun: Instant,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    pub(super) fn plays(
        &self,
        script: impl Fn(&Delivery, usize) -> Result<Delivered, DeliverError> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Lets every attempt take so long.
    pub(super) fn takes(&self, took: Duration) {
        *self.took.lock().unwrap() = took;
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

#[derive(Debug)]
struct Fakes(Arc<Stage>);

#[derive(Debug)]
struct Fake(Arc<Stage>);

impl Targets for Fakes {
    fn accept(&self, definition: &str, before: Option<&str>) -> Result<String, InvalidTarget> {
        let mut fields: serde_json::Value = serde_json::from_str(definition).unwrap();
        if fields["type"] != "fake" {
            return Err(InvalidTarget::at("/type", "must be fake").with_value(definition));
        }
        if fields.get("secret").is_none()
            && let Some(before) = before
        {
            let before: serde_json::Value = serde_json::from_str(before).unwrap();
            fields["secret"] = before["secret"].clone();
        }
        Ok(fields.to_string())
    }

    fn show(&self, stored: &str) -> Result<String, InvalidTarget> {
        let mut fields: serde_json::Value = serde_json::from_str(stored).unwrap();
        fields.as_object_mut().unwrap().remove("secret");
        Ok(fields.to_string())
    }

    fn open(&self, _stored: &str) -> Result<Arc<dyn Deliver>, InvalidTarget> {
        Ok(Arc::new(Fake(Arc::clone(&self.0))))
    }

    fn reseal(&self, stored: &str) -> Result<Option<String>, InvalidTarget> {
        let mut fields: serde_json::Value = serde_json::from_str(stored).unwrap();
        if fields["secret"] == "lost" {
            return Err(InvalidTarget::at("/secret", "cannot be opened"));
        }
        if fields["secret"] != "old" {
            return Ok(None);
        }
        fields["secret"] = "new".into();
        Ok(Some(fields.to_string()))
    }
}

impl Deliver for Fake {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
    ) -> BoxFuture<'a, Result<Delivered, DeliverError>> {
        Box::pin(async move {
            let took = *self.0.took.lock().unwrap();
            tokio::time::sleep(took).await;
            let index = {
                let mut got = self.0.got.lock().unwrap();
                got.push(Got {
                    target: format!("{}/{}", delivery.rule, delivery.target),
                    stream: delivery.event.aggregate_id().to_owned(),
                    sequence: delivery.event.sequence_number.get(),
                    attempt: delivery.attempt.get(),
                    id: delivery.id.to_string(),
                    at: self.0.begun.elapsed(),
                });
                got.len() - 1
            };
            let script = Arc::clone(&self.0.script.lock().unwrap());
            script(delivery, index)
        })
    }

    fn state(&self) -> TargetState {
        TargetState {
            kind: "fake",
            breaker: BreakerState::Closed,
            in_flight: 0,
            in_flight_max: 1,
            endpoint: None,
        }
    }
}

pub(super) fn fails(class: ErrorClass) -> Result<Delivered, DeliverError> {
    Err(DeliverError::passing(class, "status 503"))
}

pub(super) fn taken() -> Result<Delivered, DeliverError> {
    Ok(Delivered {
        status: Some(200),
        excerpt: Some("ok".to_owned()),
    })
}

/// Something that runs until it is stopped, or killed.
pub(super) struct Running {
    pub(super) deliveries: Deliveries,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Ends it as the death of the process would: nothing is finished.
    pub(super) async fn kill(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }
}

impl World {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(begun));
        let state = MemoryStateStore::with(Arc::clone(&clock), StateLimits::default());
        let state: Arc<dyn StateStore> = Arc::new(state);
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        let limits = RuleLimits::default();
        let engine = engine((&store, &state), &clock, limits);
        let stage = Stage {
            script: Mutex::new(Arc::new(|_: &Delivery, _| taken())),
            got: Mutex::default(),
            took: Mutex::default(),
            begun,
        };
        Self {
            engine,
            store,
            state,
            clock,
            stage: Arc::new(stage),
            limits,
        }
    }

    pub(super) async fn rules(&self) -> Rules {
        let targets = Arc::new(Fakes(Arc::clone(&self.stage)));
        let rules = Rules::open(self.engine.clone(), targets, self.limits);
        rules.await.unwrap()
    }

    /// Starts a node with options.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever starts it stops it or kills it"
    )]
    pub(super) async fn start_with(&self, options: DeliveryOptions) -> Running {
        let of_node = SubscriptionOptions::of("node".parse().unwrap());
        let rules = self.rules().await;
        let deliveries = Deliveries::new(&self.engine, rules, options, of_node).unwrap();
        let stop = CancellationToken::new();
        let (of_task, stop_of_task) = (deliveries.clone(), stop.clone());
        let task = tokio::spawn(async move { of_task.run(&stop_of_task).await });
        Running {
            deliveries,
            stop,
            task,
        }
    }

    pub(super) async fn start(&self) -> Running {
        self.start_with(DeliveryOptions::default()).await
    }

    /// Makes the node anew over the same stores, as a restart does.
    pub(super) fn reopened(&self) -> Self {
        self.reopened_within(self.limits)
    }

    /// Makes the node anew with other limits in its configuration.
    pub(super) fn reopened_within(&self, limits: RuleLimits) -> Self {
        self.over(Arc::clone(&self.store), limits)
    }

    /// Makes the node anew over a log with the same events, where some have another payload: the
    /// positions are the same.
    pub(super) async fn rewritten(&self, payload: impl Fn(&RecordedEvent) -> String) -> Self {
        let world = self.over(Arc::new(MemoryStore::new()), self.limits);
        for event in self.log().await {
            let stream = StreamId::new(
                event.aggregate_type().parse().unwrap(),
                event.aggregate_id().parse().unwrap(),
            );
            let event_type = event.event_type().parse().unwrap();
            let payload = JsonObject::parse(payload(&event)).unwrap();
            let copy = NewEvent {
                id: Some(event.id),
                ..NewEvent::new(event_type, stream, payload)
            };
            let request = AppendRequest {
                events: vec![copy],
                ..AppendRequest::default()
            };
            let receipt = world.engine.append_own(request).await.unwrap();
            assert_eq!(receipt.events[0].position, event.position);
        }
        world
    }

    pub(super) async fn log(&self) -> Vec<RecordedEvent> {
        let page = self.store.read_log(LogRead {
            visibility: Visibility::Everything,
            ..LogRead::forwards()
        });
        page.await.unwrap().events
    }

    fn over(&self, store: Arc<dyn EventStore>, limits: RuleLimits) -> Self {
        Self {
            engine: engine((&store, &self.state), &self.clock, limits),
            store,
            state: Arc::clone(&self.state),
            clock: Arc::clone(&self.clock),
            stage: Arc::clone(&self.stage),
            limits,
        }
    }

    /// Appends one event to each of these streams, with its number among them as the payload.
    pub(super) async fn append(&self, streams: &[u64]) {
        for (index, stream) in streams.iter().enumerate() {
            self.append_one(*stream, &format!(r#"{{"n":{index}}}"#))
                .await;
        }
    }

    pub(super) async fn append_one(&self, stream: u64, payload: &str) -> String {
        let stream = StreamId::new(
            "case".parse().unwrap(),
            format!("c-{stream}").parse().unwrap(),
        );
        let payload = JsonObject::parse(payload.to_owned()).unwrap();
        let event = NewEvent::new("case.noted".parse().unwrap(), stream, payload);
        let request = AppendRequest {
            events: vec![event],
            ..AppendRequest::default()
        };
        let receipt = self.engine.append(request).await.unwrap();
        receipt.events[0].id.to_string()
    }

    /// Waits until this holds; with a paused clock that takes no time.
    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..10_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what} did not come true");
    }
}

fn engine(
    (store, state): (&Arc<dyn EventStore>, &Arc<dyn StateStore>),
    clock: &Arc<dyn Clock>,
    limits: RuleLimits,
) -> Engine {
    let options = EngineOptions {
        clock: Arc::clone(clock),
        filter_limits: limits.filter,
        ..EngineOptions::default()
    };
    Engine::new(Arc::clone(store), options).with_state(Arc::clone(state))
}

/// Checks that those of each stream came in order, first attempts or deliveries, and returns how
/// many of each.
pub(super) fn in_order(got: &[Got]) -> BTreeMap<(String, String), u64> {
    let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
    for one in got {
        let place = last
            .entry((one.target.clone(), one.stream.clone()))
            .or_default();
        assert!(
            one.sequence == *place || one.sequence == *place + 1,
            "{one:?} came after {place}"
        );
        *place = one.sequence;
    }
    last
}

pub(super) fn rule(id: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","name":"{id}","conditions":[{{"type":"eventType","operator":"matches","value":"case.>"}}],
        "targets":[{{"id":"a","to":{{"type":"fake","secret":"s3cret"}}}}]{more}}}"#
    )
}
