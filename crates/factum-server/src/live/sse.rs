//! Server-Sent Events: one subscription as a plain HTTP response.
//!
//! Every block that stands for a place in the log has it as its `id`, so that a client that comes
//! back with `Last-Event-ID` misses and repeats nothing, however rarely its filter matches. The
//! body is made when the connection takes more of it, so a slow client costs one page of the log.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use factum_api::{Layout, write_event};
use factum_engine::{Engine, LiveReader, LiveStep};
use factum_model::{Position, RecordedEvent};
use factum_store::ReadError;
use futures_util::stream;
use serde_json::json;
use tokio::time::Instant;

use super::close::{CloseCode, Closing};
use super::registry::{Registration, SubscriptionEntry};
use super::subscription::{place_json, public_detail};
use super::wire::Stop;

/// How long a client is asked to wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 1000;

/// What a response is made of.
pub(crate) struct EventSource {
    pub(crate) engine: Engine,
    pub(crate) reader: LiveReader,
    pub(crate) registration: Registration,
    pub(crate) entry: Arc<SubscriptionEntry>,
    pub(crate) stop: Stop,
    pub(crate) heartbeat_interval: Duration,
}

/// Makes the response.
pub(crate) fn respond(source: EventSource) -> Response {
    let feed = Feed {
        last_sent: Instant::now(),
        stage: Stage::Opening,
        code: CloseCode::Normal,
        source,
    };
    let body = stream::unfold(feed, |mut feed| async move {
        let block = feed.next().await?;
        Some((Ok::<_, Infallible>(block), feed))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
    set(header::CACHE_CONTROL, "no-store");
    // Proxies that collect a response before they pass it on are asked not to.
    set(header::HeaderName::from_static("x-accel-buffering"), "no");
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Following,
    Ended,
}

struct Feed {
    source: EventSource,
    last_sent: Instant,
    stage: Stage,
    code: CloseCode,
}

/// What happened while a feed waited.
enum Woken {
    Step(Result<LiveStep, ReadError>),
    Stopped(Closing),
    Silent,
}

impl Feed {
    /// Returns the next part of the body; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Ended => return None,
            Stage::Opening => {
                self.stage = Stage::Following;
                return Some(self.opening());
            }
            Stage::Following => {}
        }
        loop {
            let silent_until = self.last_sent + self.source.heartbeat_interval;
            let woken = tokio::select! {
                biased;
                closing = &mut self.source.stop => Woken::Stopped(closing),
                step = self.source.reader.next() => Woken::Step(step),
                () = tokio::time::sleep_until(silent_until) => Woken::Silent,
            };
            let block = match woken {
                Woken::Step(Ok(step)) => self.step(&step),
                Woken::Silent => Some(self.heartbeat()),
                Woken::Stopped(closing) => Some(self.end(&closing)),
                Woken::Step(Err(error)) => Some(self.failed(&error)),
            };
            if block.is_some() {
                self.last_sent = Instant::now();
                return block;
            }
            // Many pages without a match: others have their turn, and so have the heartbeats.
            if self.last_sent.elapsed() >= self.source.heartbeat_interval {
                return Some(self.heartbeat());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Starts the stream with the place it starts from, before there is anything to say.
    fn opening(&self) -> Bytes {
        let mut text = format!("retry: {RETRY_MS}\n").into_bytes();
        if self.source.reader.is_placed() {
            self.id(&mut text, self.source.reader.position());
        }
        text.push(b'\n');
        text.into()
    }

    fn step(&self, step: &LiveStep) -> Option<Bytes> {
        match step {
            LiveStep::Batch { events, through } => {
                self.source.entry.set_scanned(*through);
                if events.is_empty() {
                    return None;
                }
                Some(self.events(events))
            }
            LiveStep::CaughtUp { through } => Some(self.place("caught_up", *through)),
        }
    }

    fn events(&self, events: &[RecordedEvent]) -> Bytes {
        let lineage = self.source.engine.store().lineage();
        let room: usize = events.iter().map(|event| event.text_bytes() + 640).sum();
        let mut text = Vec::with_capacity(room);
        for event in events {
            text.extend_from_slice(b"event: event\nid: ");
            let cursor = lineage.cursor(Some(event.position)).to_string();
            text.extend_from_slice(cursor.as_bytes());
            text.extend_from_slice(b"\ndata: ");
            write_event(&mut text, event, Layout::OneLine);
            text.extend_from_slice(b"\n\n");
        }
        let n = u64::try_from(events.len()).unwrap_or(u64::MAX);
        self.source.entry.delivered.fetch_add(n, Ordering::Relaxed);
        let counters = &self.source.registration.registry().counters;
        counters.delivered.fetch_add(n, Ordering::Relaxed);
        text.into()
    }

    fn heartbeat(&self) -> Bytes {
        if self.source.reader.is_placed() {
            self.place("heartbeat", self.source.reader.position())
        } else {
            Bytes::from_static(b": looking for the start\n\n")
        }
    }

    fn place(&self, name: &str, position: Option<Position>) -> Bytes {
        let mut text = format!("event: {name}\n").into_bytes();
        self.id(&mut text, position);
        let data = place_json(position, self.source.reader.lag());
        text.extend_from_slice(b"data: ");
        text.extend_from_slice(data.as_bytes());
        text.extend_from_slice(b"\n\n");
        text.into()
    }

    fn id(&self, text: &mut Vec<u8>, position: Option<Position>) {
        let cursor = self.source.engine.cursor(position).to_string();
        text.extend_from_slice(b"id: ");
        text.extend_from_slice(cursor.as_bytes());
        text.push(b'\n');
    }

    fn failed(&mut self, error: &ReadError) -> Bytes {
        tracing::error!(
            stream_id = self.source.registration.entry().id,
            error = error as &dyn std::error::Error,
            "a live subscription cannot be read on"
        );
        let code = match error {
            ReadError::Closed => CloseCode::GoingAway,
            ReadError::Corrupt { .. } | ReadError::Io(_) | ReadError::Unavailable(_) => {
                CloseCode::Internal
            }
        };
        self.end(&Closing::new(code, public_detail(error)))
    }

    /// Says why the stream ends.
    fn end(&mut self, closing: &Closing) -> Bytes {
        self.stage = Stage::Ended;
        self.code = closing.code;
        let data = json!({ "code": closing.code.number(), "reason": closing.reason });
        format!("event: closed\ndata: {data}\n\n").into()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let counters = &self.source.registration.registry().counters;
        counters.count_close(self.code);
    }
}
