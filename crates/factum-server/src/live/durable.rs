//! A durable subscription on a WebSocket: events as they are handed out, settled by messages.
//!
//! The connection is a consumer of its own. It has as many events as its buffer is large, and when
//! it ends, however it ends, it gives back what it has.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use factum_api::{ExtendedDto, ExtendedTokenDto};
use factum_engine::{Engine, Handout, SubscriptionError, Subscriptions, Take};
use factum_store::OwnerName;
use tokio::time::Instant;

use super::registry::{Registry, SubscriptionEntry};
use super::render::{Envelope, Kind};
use super::wire::{End, Wire};

type Taking = Pin<Box<dyn Future<Output = Result<Vec<Handout>, SubscriptionError>> + Send>>;

/// How long one wait for events lasts, before the next one begins.
const TAKE_WAIT: Duration = Duration::from_secs(30);
/// How long to wait before something that failed is tried again.
const FAILED_WAIT: Duration = Duration::from_secs(1);

/// A durable subscription that this connection consumes.
pub(crate) struct Durable {
    pub(crate) entry: Arc<SubscriptionEntry>,
    pub(crate) envelope: Envelope,
    /// The name of the durable subscription.
    pub(crate) name: String,
    subscriptions: Subscriptions,
    owner: OwnerName,
    /// How many events may be with the client.
    buffer: usize,
    bytes_max: usize,
    /// What is with the client, by token, until when.
    out: HashMap<String, Instant>,
    taking: Option<Taking>,
    heartbeat_interval: Duration,
    last_sent: Instant,
}

/// What a durable subscription of a connection is made from.
pub(crate) struct NewDurable {
    pub(crate) entry: Arc<SubscriptionEntry>,
    pub(crate) envelope: Envelope,
    pub(crate) name: String,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) owner: OwnerName,
    pub(crate) buffer: usize,
    pub(crate) bytes_max: usize,
    pub(crate) heartbeat_interval: Duration,
}

impl Durable {
    pub(crate) fn new(new: NewDurable) -> Self {
        Self {
            entry: new.entry,
            envelope: new.envelope,
            name: new.name,
            subscriptions: new.subscriptions,
            owner: new.owner,
            buffer: new.buffer,
            bytes_max: new.bytes_max,
            out: HashMap::new(),
            taking: None,
            heartbeat_interval: new.heartbeat_interval,
            last_sent: Instant::now(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.entry.subscription_id
    }

    pub(crate) const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Begins to wait for events, if there is room for any.
    pub(crate) fn begin(&mut self) {
        let now = Instant::now();
        // What was not settled in time is somebody else's.
        self.out.retain(|_, until| *until > now);
        let room = self.buffer.saturating_sub(self.out.len());
        if self.taking.is_none() && room > 0 {
            self.taking = Some(self.take(room, Duration::ZERO));
        }
    }

    fn take(&self, room: usize, pause: Duration) -> Taking {
        let subscriptions = self.subscriptions.clone();
        let name = self.name.clone();
        let take = Take {
            consumer: self.owner.clone(),
            limit: room,
            bytes_max: self.bytes_max,
            wait: TAKE_WAIT,
        };
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            subscriptions.take(&name, &take).await
        })
    }

    /// Waits for a while before events are asked for again.
    pub(crate) fn pause(&mut self) {
        let room = self.buffer.saturating_sub(self.out.len()).max(1);
        self.taking = Some(self.take(room, FAILED_WAIT));
    }

    /// Returns when the first event that is with the client is not its own any more.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        let is_full = self.out.len() >= self.buffer;
        self.out.values().min().copied().filter(|_| is_full)
    }

    /// Sends events that were handed out.
    pub(crate) async fn send(
        &mut self,
        handouts: &[Handout],
        (engine, registry): (&Engine, &Registry),
        wire: &mut Wire,
    ) -> Result<(), End> {
        let now = engine.clock().now();
        let lineage = engine.store().lineage();
        let deadline = self.deadline();
        for handout in handouts {
            self.out.insert(handout.token.to_string(), deadline);
            let cursor = lineage.cursor(Some(handout.event.position));
            self.entry.set_scanned(Some(handout.event.position));
            let message = self.envelope.handout(now, &cursor, handout);
            wire.feed(message).await?;
        }
        let n = u64::try_from(handouts.len()).unwrap_or(u64::MAX);
        self.entry.delivered.fetch_add(n, Ordering::Relaxed);
        registry.counters.delivered.fetch_add(n, Ordering::Relaxed);
        self.last_sent = Instant::now();
        Ok(())
    }

    fn deadline(&self) -> Instant {
        let known = self.subscriptions.get(&self.name);
        let deadline = known.map_or(TAKE_WAIT, |info| info.definition.settings.ack_deadline);
        Instant::now() + deadline
    }

    /// Notes for what the client got more time, and what it does not have any more.
    pub(crate) fn extended(&mut self, results: &[ExtendedTokenDto], extend_ms: Option<u64>) {
        let deadline = match extend_ms {
            Some(millis) => Instant::now() + Duration::from_millis(millis),
            None => self.deadline(),
        };
        for one in results {
            match one.result {
                ExtendedDto::Extended => self.out.insert(one.token.clone(), deadline),
                ExtendedDto::Stale => self.out.remove(&one.token),
            };
        }
    }

    /// Takes tokens off what is with the client.
    pub(crate) fn settled(&mut self, tokens: &[String]) {
        for token in tokens {
            self.out.remove(token);
        }
    }

    pub(crate) fn heartbeat_at(&self) -> Instant {
        self.last_sent + self.heartbeat_interval
    }

    /// Sends a heartbeat if it is time.
    pub(crate) async fn beat(
        &mut self,
        engine: &Engine,
        now: Instant,
        wire: &mut Wire,
    ) -> Result<(), End> {
        if now < self.heartbeat_at() {
            return Ok(());
        }
        self.last_sent = now;
        let at = engine.clock().now();
        let data = format!(r#"{{"inFlight":{}}}"#, self.out.len());
        wire.feed(self.envelope.message(Kind::Heartbeat, at, None, &data))
            .await
    }

    /// Gives back what the client has.
    pub(crate) async fn release(mut self) {
        self.taking = None;
        let released = self.subscriptions.abandon(&self.name, self.owner);
        if let Err(error) = released.await {
            tracing::debug!(
                subscription = self.name,
                error = &error as &dyn std::error::Error,
                "what a consumer had is given back when its deadlines pass"
            );
        }
    }
}

/// Waits until one of them has been given events, or cannot be; never, if none of them waits.
pub(crate) async fn taken(
    durables: &mut [Durable],
) -> (usize, Result<Vec<Handout>, SubscriptionError>) {
    std::future::poll_fn(|cx| {
        for (index, durable) in durables.iter_mut().enumerate() {
            let Some(taking) = &mut durable.taking else {
                continue;
            };
            if let Poll::Ready(taken) = taking.as_mut().poll(cx) {
                durable.taking = None;
                return Poll::Ready((index, taken));
            }
        }
        Poll::Pending
    })
    .await
}
