//! Pages of events in the forms that clients ask for, and the log as one long answer.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use factum_api::{Layout, write_cloud_event, write_event};
use factum_engine::EngineError;
use factum_model::RecordedEvent;
use factum_store::{Cursor, LogRead};
use futures_util::stream;

use crate::accept::Form;
use crate::error::ApiError;
use crate::state::{AppState, Shared};

const CURSOR: HeaderName = HeaderName::from_static("factum-cursor");
const HAS_MORE: HeaderName = HeaderName::from_static("factum-has-more");

/// Makes an answer of this type.
pub(crate) fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// Writes one event.
pub(crate) fn one(state: &Shared, event: &RecordedEvent, form: Form) -> Response {
    count(state, 1);
    let mut out = Vec::new();
    match form {
        Form::Json => {
            write_event(&mut out, event, Layout::Verbatim);
            typed("application/json", out)
        }
        Form::Lines => {
            line(&mut out, event);
            typed("application/x-ndjson", out)
        }
        Form::CloudEvents => {
            write_cloud_event(&mut out, event);
            typed("application/cloudevents+json", out)
        }
    }
}

/// What stands beside the events of a page.
pub(crate) struct Beside<'a> {
    /// The members that follow the events in the JSON form.
    pub(crate) members: String,
    pub(crate) cursor: Option<&'a Cursor>,
    pub(crate) has_more: bool,
}

/// Writes a page of events. The forms that have no room for it carry the cursor in a header.
pub(crate) fn page(
    state: &Shared,
    events: &[RecordedEvent],
    form: Form,
    beside: &Beside<'_>,
) -> Response {
    count(state, events.len());
    let mut out = Vec::with_capacity(events.len() * 640 + 128);
    let mut response = match form {
        Form::Json => {
            out.extend_from_slice(b"{\"events\":[");
            list(&mut out, events, |out, event| {
                write_event(out, event, Layout::Verbatim);
            });
            out.extend_from_slice(b"],");
            out.extend_from_slice(beside.members.as_bytes());
            out.push(b'}');
            return typed("application/json", out);
        }
        Form::Lines => {
            events.iter().for_each(|event| line(&mut out, event));
            typed("application/x-ndjson", out)
        }
        Form::CloudEvents => {
            out.push(b'[');
            list(&mut out, events, write_cloud_event);
            out.push(b']');
            typed("application/cloudevents-batch+json", out)
        }
    };
    let headers = response.headers_mut();
    if let Some(cursor) = beside.cursor
        && let Ok(cursor) = HeaderValue::try_from(cursor.to_string())
    {
        headers.insert(CURSOR, cursor);
    }
    let has_more = if beside.has_more { "true" } else { "false" };
    headers.insert(HAS_MORE, HeaderValue::from_static(has_more));
    response
}

fn list(out: &mut Vec<u8>, events: &[RecordedEvent], write: impl Fn(&mut Vec<u8>, &RecordedEvent)) {
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, event);
    }
}

fn line(out: &mut Vec<u8>, event: &RecordedEvent) {
    write_event(out, event, Layout::OneLine);
    out.push(b'\n');
}

fn count(state: &Shared, n_events: usize) {
    let n_events = u64::try_from(n_events).unwrap_or(0);
    state
        .metrics
        .events_read_total
        .fetch_add(n_events, Ordering::Relaxed);
}

/// A long answer that is being written.
struct Walk {
    state: AppState,
    read: LogRead,
    ended: bool,
}

/// Writes everything that a read finds, an event a line, page by page as the client takes it. The
/// read must have an end. A failure in the middle is a last line `{"error": problem}`.
pub(crate) fn all(state: AppState, read: LogRead) -> Response {
    let walk = Walk {
        state,
        read,
        ended: false,
    };
    let pages = stream::unfold(walk, |mut walk| async move {
        let page = walk.next().await?;
        Some((Ok::<_, Infallible>(page), walk))
    });
    typed("application/x-ndjson", Body::from_stream(pages))
}

impl Walk {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            if self.state.shutdown.is_cancelled() {
                self.ended = true;
                return Some(self.failed(factum_store::ReadError::Closed.into()));
            }
            match self.state.engine.read_log(self.read.clone()).await {
                Err(error) => {
                    self.ended = true;
                    return Some(self.failed(error));
                }
                Ok(page) => {
                    self.ended = !page.has_more;
                    self.read.after = page.scanned_to;
                    if page.events.is_empty() {
                        continue;
                    }
                    count(&self.state, page.events.len());
                    let texts: usize = page.events.iter().map(RecordedEvent::text_bytes).sum();
                    let mut out = Vec::with_capacity(texts + page.events.len() * 320);
                    page.events.iter().for_each(|event| line(&mut out, event));
                    return Some(out.into());
                }
            }
        }
        None
    }

    fn failed(&self, error: EngineError) -> Bytes {
        let failure = ApiError::from(error);
        let after = self.read.after.map_or(0, factum_model::Position::get);
        tracing::error!(
            code = failure.problem.code,
            detail = failure.problem.detail,
            after,
            "a streamed answer failed"
        );
        error_line(&failure)
    }
}

/// Writes a failure as the last line of a streamed answer.
pub(crate) fn error_line(failure: &ApiError) -> Bytes {
    let mut out = b"{\"error\":".to_vec();
    out.extend(serde_json::to_vec(&failure.problem).unwrap_or_default());
    out.extend_from_slice(b"}\n");
    out.into()
}
