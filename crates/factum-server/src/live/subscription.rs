//! One subscription of a WebSocket connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use factum_engine::{Engine, LiveReader, LiveStep};
use factum_model::Position;
use factum_store::ReadError;
use serde_json::json;
use tokio::time::Instant;

use super::channel::Channel;
use super::registry::{Registry, SubscriptionEntry};
use super::render::{Envelope, Kind};
use super::wire::{End, Wire};

/// One subscription of a WebSocket connection: a reader and how its events are shown.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) entry: Arc<SubscriptionEntry>,
    pub(crate) envelope: Envelope,
    reader: LiveReader,
    channel: Option<Channel>,
    /// Something was read and could not be sent: where the reader is, nobody may go on from.
    is_torn: bool,
    heartbeat_interval: Duration,
    last_sent: Instant,
    /// A wake-up came, or the last page was not the last one.
    due: bool,
}

/// Why a turn could not be taken.
#[derive(Debug)]
pub(crate) enum TurnError {
    /// The log cannot be read on; this subscription is over.
    Read(ReadError),
    /// The connection is over.
    End(End),
}

impl From<End> for TurnError {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl Subscription {
    pub(crate) fn new(
        reader: LiveReader,
        entry: Arc<SubscriptionEntry>,
        envelope: Envelope,
        heartbeat_interval: Duration,
    ) -> Self {
        Self {
            entry,
            envelope,
            reader,
            channel: None,
            is_torn: false,
            heartbeat_interval,
            last_sent: Instant::now(),
            due: true,
        }
    }

    /// Narrows it to what is meant for a channel.
    pub(crate) fn listening_to(mut self, channel: Option<Channel>) -> Self {
        self.channel = channel;
        self
    }

    pub(crate) fn id(&self) -> &str {
        &self.entry.subscription_id
    }

    /// Says that the head has moved.
    pub(crate) const fn wake(&mut self) {
        self.due = true;
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.due
    }

    /// Reads one page and puts what it holds into the buffer.
    pub(crate) async fn turn(
        &mut self,
        engine: &Engine,
        registry: &Registry,
        wire: &mut Wire,
    ) -> Result<(), TurnError> {
        let step = self.reader.step().await.map_err(TurnError::Read)?;
        self.due = self.reader.has_more();
        match step {
            None => {}
            Some(LiveStep::Batch {
                mut events,
                through,
            }) => {
                if let Some(channel) = &mut self.channel {
                    self.is_torn = true;
                    let kept = channel.keep(&mut events).await;
                    kept.map_err(TurnError::Read)?;
                    self.is_torn = false;
                }
                self.entry.set_scanned(through);
                if events.is_empty() {
                    return Ok(());
                }
                let now = engine.clock().now();
                let lineage = engine.store().lineage();
                for event in &events {
                    let cursor = lineage.cursor(Some(event.position));
                    let message = self.envelope.event(now, &cursor, event);
                    wire.feed(message).await?;
                }
                let n = u64::try_from(events.len()).unwrap_or(u64::MAX);
                self.entry.delivered.fetch_add(n, Ordering::Relaxed);
                registry.counters.delivered.fetch_add(n, Ordering::Relaxed);
                self.last_sent = Instant::now();
            }
            Some(LiveStep::CaughtUp { through }) => {
                let message = self.place(engine, Kind::CaughtUp, through);
                wire.feed(message).await?;
                self.last_sent = Instant::now();
            }
        }
        Ok(())
    }

    /// Returns when the next heartbeat is due.
    pub(crate) fn heartbeat_at(&self) -> Instant {
        self.last_sent + self.heartbeat_interval
    }

    /// Sends a heartbeat if it is time. It carries the place up to which the log was looked at,
    /// so that a client whose filter matches rarely goes on from there and not from long ago.
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
        let message = if self.reader.is_placed() {
            self.place(engine, Kind::Heartbeat, self.reader.position())
        } else {
            let at = engine.clock().now();
            self.envelope.message(Kind::Heartbeat, at, None, "{}")
        };
        wire.feed(message).await
    }

    /// Renders the confirmation. Its cursor, where there is one, is the place to resume from if
    /// the connection breaks before the first event.
    pub(crate) fn confirmation(&self, engine: &Engine, batch_events_max: usize) -> Bytes {
        let placed = self.reader.is_placed();
        let position = self.reader.position();
        let channel = self.channel.as_ref().map(Channel::name);
        let channel =
            channel.map_or_else(String::new, |name| format!(r#","channel":{}"#, json!(name)));
        let data = format!(
            r#"{{"filter":{}{channel},"position":{},"bufferSize":{batch_events_max},"heartbeatInterval":{}}}"#,
            self.entry.filter,
            json!(placed.then(|| position.map_or(0, Position::get))),
            self.heartbeat_interval.as_millis(),
        );
        let cursor = placed.then(|| engine.cursor(position));
        let at = engine.clock().now();
        self.envelope
            .message(Kind::SubscriptionConfirmed, at, cursor.as_ref(), &data)
    }

    /// Renders the end of the subscription.
    pub(crate) fn closed(&self, engine: &Engine, code: &str, detail: &str) -> Bytes {
        let data = json!({ "code": code, "detail": detail }).to_string();
        let placed = self.reader.is_placed() && !self.is_torn;
        let cursor = placed.then(|| engine.cursor(self.reader.position()));
        let at = engine.clock().now();
        self.envelope
            .message(Kind::SubscriptionClosed, at, cursor.as_ref(), &data)
    }

    fn place(&self, engine: &Engine, kind: Kind, position: Option<Position>) -> Bytes {
        let data = place_json(position, self.reader.lag());
        let cursor = engine.cursor(position);
        let at = engine.clock().now();
        self.envelope.message(kind, at, Some(&cursor), &data)
    }
}

/// Renders where a reader is and how many events of the log it has still to look at.
pub(crate) fn place_json(position: Option<Position>, lag: u64) -> String {
    json!({ "position": position.map_or(0, Position::get), "lag": lag }).to_string()
}

/// Says what kept a reader from going on, without what is nobody's business.
pub(crate) fn public_detail(error: &ReadError) -> String {
    match error {
        ReadError::Corrupt { first, last, .. } => {
            format!("stored events from position {first} to {last} are damaged")
        }
        ReadError::Io(_) => "reading from storage failed".to_owned(),
        ReadError::Unavailable(_) => "the database of the store does not answer".to_owned(),
        ReadError::Closed => "the store is closed".to_owned(),
    }
}
