//! `POST /v1/events/bulk`: a body of any length, appended in atomic chunks as it comes.

mod lines;

use std::convert::Infallible;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use factum_api::{ChunkReceiptDto, InputLimits, LineRangeDto, NewEventDto, parse_line};
use factum_engine::{Engine, EngineError, Scope};
use factum_model::{NewEvent, Position, encoded_bytes};
use factum_store::{AppendError, AppendReceipt, AppendRequest, PartialRepeat};
use futures_util::stream;

use self::lines::{Lines, NextLine};
use crate::body::expect_media_type;
use crate::error::ApiError;
use crate::handlers::Caller;
use crate::handlers::append::{count, input_limits, last_position};
use crate::handlers::pages::{error_line, typed};
use crate::options::BulkOptions;
use crate::state::AppState;

/// Appends a stream of events in atomic chunks
///
/// An event a line; a receipt a chunk, which is durable then. Events that are there already, with
/// the same id and content, are skipped, so a broken transfer can be repeated. With a key that is
/// `admin` the events of agent instances may be among them, as an export has them. A failure ends the
/// answer with a line `{"error": problem}` that names the line of the input; what came before it
/// stays.
#[utoipa::path(
    post,
    path = "/v1/events/bulk",
    tag = "append",
    operation_id = "appendBulk",
    params(("Content-Encoding" = Option<String>, Header, description = "`gzip`, `zstd` or nothing.", pattern = "^(gzip|zstd|identity)$")),
    request_body(content = NewEventDto, content_type = "application/x-ndjson"),
    responses((status = 200, description = "A receipt a chunk.", body = ChunkReceiptDto, content_type = "application/x-ndjson"))
)]
pub(crate) async fn bulk(
    State(state): State<AppState>,
    Extension(principal): Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    expect_media_type(
        &parts.headers,
        &[
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
        ],
    )?;
    let limits = input_limits(&state);
    let lines = Lines::open(
        body,
        &parts.headers,
        &state.options,
        limits.events.event_bytes_max,
    )?;
    let mut transfer = Transfer {
        options: state.options.bulk,
        brings_instances: principal.allows(Scope::Admin),
        limits,
        state,
        lines,
        waiting: Chunk::default(),
        input: Input::Open,
        n_chunks: 0,
        ended: false,
    };
    // A transfer that fails at once is a failed request, with a status of its own.
    let Some(first) = transfer.next().await? else {
        return Ok(typed("application/x-ndjson", Body::empty()));
    };
    let receipts = stream::unfold(
        (Some(first), transfer),
        |(first, mut transfer)| async move {
            let line = match first {
                Some(line) => line,
                None => match transfer.next().await {
                    Ok(line) => line?,
                    Err(failure) => error_line(&failure),
                },
            };
            Some((Ok::<_, Infallible>(line), (None, transfer)))
        },
    );
    Ok(typed("application/x-ndjson", Body::from_stream(receipts)))
}

/// Events that go into the log together, and the lines they came from.
#[derive(Debug, Default)]
struct Chunk {
    events: Vec<NewEvent>,
    lines: Vec<u64>,
    n_bytes: usize,
}

impl Chunk {
    const fn is_full(&self, options: &BulkOptions) -> bool {
        self.events.len() >= options.chunk_events_max || self.n_bytes >= options.chunk_bytes_max
    }
}

/// What is known of the rest of the input.
enum Input {
    Open,
    Ended,
    /// What is wrong with the next line; what stands before it is appended first.
    Broken(ApiError),
}

struct Transfer {
    state: AppState,
    options: BulkOptions,
    /// An operator brings back what agent sessions recorded; others may not write their streams.
    brings_instances: bool,
    limits: InputLimits,
    lines: Lines,
    /// What has been read and not appended.
    waiting: Chunk,
    input: Input,
    n_chunks: u64,
    ended: bool,
}

impl Transfer {
    /// Appends the next chunk and returns the line that says so; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.ended {
            return Ok(None);
        }
        self.fill_patiently().await;
        let chunk = std::mem::take(&mut self.waiting);
        if chunk.events.is_empty() {
            self.ended = true;
            return match std::mem::replace(&mut self.input, Input::Ended) {
                Input::Open | Input::Ended => Ok(None),
                Input::Broken(failure) => Err(failure),
            };
        }
        let result = self.append(&chunk).await;
        self.ended = result.is_err();
        let receipt = result.map_err(|failure| placed(failure, &chunk))?;
        self.n_chunks += 1;
        Ok(Some(self.receipt(&chunk, &receipt)))
    }

    /// Reads until a chunk is full, the input ends, or the client pauses with some lines sent.
    async fn fill_patiently(&mut self) {
        while self.may_read() {
            if self.waiting.events.is_empty() || self.lines.has_buffered() {
                self.read_one().await;
            } else if tokio::time::timeout(self.options.linger, self.read_one())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn may_read(&self) -> bool {
        matches!(self.input, Input::Open) && !self.waiting.is_full(&self.options)
    }

    /// Reads a line into what is waiting. Dropping the future loses nothing.
    async fn read_one(&mut self) {
        match self.lines.next().await {
            Ok(NextLine::Ended) => self.input = Input::Ended,
            Ok(NextLine::Line { number, text }) => {
                if text.iter().all(u8::is_ascii_whitespace) {
                    return;
                }
                match parse_line(&text, &self.limits) {
                    Ok(event) => {
                        self.waiting.n_bytes += encoded_bytes(&event);
                        self.waiting.events.push(event);
                        self.waiting.lines.push(number);
                    }
                    Err(error) => self.input = Input::Broken(at_line(error.into(), number)),
                }
            }
            Err(failure) => {
                let line = self.lines.number() + 1;
                self.input = Input::Broken(at_line(failure, line));
            }
        }
    }

    /// Appends a chunk, and meanwhile reads on. A full queue is waited for: that is what slows the
    /// client down.
    async fn append(&mut self, chunk: &Chunk) -> Result<AppendReceipt, ApiError> {
        let engine = self.state.engine.clone();
        let brings_instances = self.brings_instances;
        let deadline = tokio::time::Instant::now() + self.options.overload_time_max;
        loop {
            let request = AppendRequest {
                events: chunk.events.clone(),
                partial_repeat: PartialRepeat::Skip,
                ..AppendRequest::default()
            };
            let mut appending = Box::pin(append_to(&engine, request, brings_instances));
            let result = loop {
                if !self.may_read() {
                    break appending.await;
                }
                tokio::select! {
                    biased;
                    result = &mut appending => break result,
                    () = self.read_one() => {}
                }
            };
            match result {
                Err(EngineError::Append(AppendError::Overloaded { retry_after_ms, .. }))
                    if tokio::time::Instant::now() < deadline =>
                {
                    let pause = std::time::Duration::from_millis(retry_after_ms.clamp(1, 1000));
                    tokio::time::sleep(pause).await;
                }
                result => return Ok(result?),
            }
        }
    }

    fn receipt(&self, chunk: &Chunk, receipt: &AppendReceipt) -> Bytes {
        count(&self.state, &receipt.events);
        let n_repeats = receipt
            .events
            .iter()
            .filter(|event| event.deduplicated)
            .count();
        let n = |number: usize| u64::try_from(number).unwrap_or(0);
        let positions = receipt.events.iter().map(|event| event.position);
        let last = last_position(receipt);
        let dto = ChunkReceiptDto {
            chunk: self.n_chunks,
            lines: LineRangeDto {
                from: chunk.lines.first().copied().unwrap_or_default(),
                to: chunk.lines.last().copied().unwrap_or_default(),
            },
            appended: n(receipt.events.len() - n_repeats),
            deduplicated: n(n_repeats),
            first_position: positions.min().map_or(0, Position::get),
            last_position: last.map_or(0, Position::get),
            cursor: self.state.engine.cursor(last).to_string(),
        };
        let mut line = serde_json::to_vec(&dto).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

async fn append_to(
    engine: &Engine,
    request: AppendRequest,
    brings_instances: bool,
) -> Result<AppendReceipt, EngineError> {
    if brings_instances {
        engine.append_to_instances(request).await
    } else {
        engine.append(request).await
    }
}

/// Splits a body into its lines, for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) async fn lines_of(body: Body, encoding: &str) -> Result<Vec<Bytes>, String> {
    let mut headers = axum::http::HeaderMap::new();
    let encoding = axum::http::HeaderValue::from_str(encoding).map_err(|_| "encoding")?;
    headers.insert(axum::http::header::CONTENT_ENCODING, encoding);
    let options = crate::options::ServerOptions::default();
    let refused = |failure: ApiError| failure.problem.detail;
    let mut lines = Lines::open(body, &headers, &options, 1 << 20).map_err(refused)?;
    let mut texts = Vec::new();
    loop {
        match lines.next().await.map_err(refused)? {
            NextLine::Line { text, .. } => texts.push(text),
            NextLine::Ended => return Ok(texts),
        }
    }
}

fn at_line(mut failure: ApiError, line: u64) -> ApiError {
    failure.problem.line = Some(line);
    failure
}

/// Says at which line of the input a chunk failed: the pointer of the engine counts within it.
fn placed(mut failure: ApiError, chunk: &Chunk) -> ApiError {
    let pointer = failure.problem.pointer.take();
    let inside = pointer
        .as_deref()
        .and_then(|pointer| pointer.strip_prefix("/events/"));
    let Some(inside) = inside else {
        failure.problem.pointer = pointer;
        return at_line(failure, chunk.lines.first().copied().unwrap_or_default());
    };
    let (index, rest) = inside.split_at(inside.find('/').unwrap_or(inside.len()));
    failure.problem.pointer = Some(rest.to_owned());
    let line = index
        .parse()
        .ok()
        .and_then(|index: usize| chunk.lines.get(index));
    at_line(failure, line.copied().unwrap_or_default())
}
