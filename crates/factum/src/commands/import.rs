//! `factum import`: files of events into the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream::poll_fn;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::cli::Context;
use crate::client::{Body, Call, Client, Problem};
use crate::exit::{Failure, is_refused, may_come_back};
use crate::import::{InvalidLine, LineReader, Prepared, open};
use crate::output::{Tone, grouped};
use crate::progress::{Patience, Progress};

/// Import events, one JSON object a line
///
/// Files may be plain, gzip or zstd; - is standard input. An event without an id gets one that
/// depends on its line alone and on how many equal lines came before it in the file: an import that
/// broke off goes on when it is repeated, a second one appends nothing, and two equal lines are two
/// events. Lines of `factum export` keep their ids, timestamps, causation and correlation.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check every line, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Mix this into the ids, so that equal lines of different imports are different events
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    namespace: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    lines: u64,
    appended: u64,
    already_there: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut summary = Summary::default();
    let n_total = args
        .files
        .iter()
        .map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    let progress = Progress::of_bytes(context.out.audience(), n_total);
    let mut n_bytes_before = 0;
    for path in &args.files {
        // Standard input may have nothing to give for long, and Ctrl-C must work meanwhile.
        let opened = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || open(&path)).await?
        };
        let source = opened.with_context(|| path.display().to_string())?;
        let lines = LineReader::new(source.reader, &args.namespace);
        let mut import = Import {
            summary: &mut summary,
            progress: &progress,
            n_bytes_before,
            n_bytes_read: source.n_bytes_read,
        };
        let done = if args.dry_run {
            import.check(lines)
        } else {
            import.send(lines, context).await
        };
        n_bytes_before += source.n_bytes.unwrap_or_default();
        if let Err(error) = done {
            progress.done();
            return Err(unfinished(error, path, summary));
        }
    }
    let time = progress.done();
    if context.out.is_json() {
        return Ok(context.out.json(&summary)?);
    }
    let out = &mut context.out;
    let lines = grouped(summary.lines);
    if args.dry_run {
        let good = out.paint(Tone::Good, "valid");
        return Ok(out.line(format_args!("{lines} lines, all {good}; nothing was sent"))?);
    }
    let appended = out.paint(
        Tone::Good,
        &format!("{} appended", grouped(summary.appended)),
    );
    let there = grouped(summary.already_there);
    let seconds = time.as_secs_f64();
    Ok(out.line(format_args!(
        "{lines} lines: {appended}, {there} already there, in {seconds:.1} s"
    ))?)
}

/// Says how far the import came. Problems keep their code, and with it the exit code.
fn unfinished(error: anyhow::Error, path: &Path, summary: Summary) -> anyhow::Error {
    let done = summary.appended + summary.already_there;
    let what = format!("{}: stopped after {} events", path.display(), grouped(done));
    error.context(what)
}

/// One file on its way.
struct Import<'a> {
    summary: &'a mut Summary,
    progress: &'a Progress,
    n_bytes_before: u64,
    n_bytes_read: Arc<AtomicU64>,
}

/// How many faults a dry run tells of.
const FAULTS_MAX: u64 = 20;

impl Import<'_> {
    fn check(&mut self, mut lines: LineReader) -> anyhow::Result<()> {
        let mut n_faults = 0;
        while let Some(line) = lines.next()? {
            self.summary.lines += 1;
            if let Err(fault) = line {
                n_faults += 1;
                if n_faults <= FAULTS_MAX {
                    self.progress.note(&fault.to_string());
                }
            }
            if self.summary.lines.is_multiple_of(1000) {
                self.show();
            }
        }
        if n_faults == 0 {
            return Ok(());
        }
        Err(Failure::Incomplete {
            message: format!(
                "{} of {} lines are not events",
                grouped(n_faults),
                grouped(self.summary.lines)
            ),
            hint: String::new(),
        }
        .into())
    }

    fn show(&self) {
        let n_bytes = self.n_bytes_before + self.n_bytes_read.load(Ordering::Relaxed);
        self.progress.show(n_bytes, self.summary.lines);
    }

    async fn send(&mut self, lines: LineReader, context: &Context) -> anyhow::Result<()> {
        let mut client = Client::of(context)?;
        let (batches, reader) = read_ahead(lines);
        let flow = RefCell::new(Flow {
            batches,
            unacknowledged: VecDeque::new(),
            n_bytes_unacknowledged: 0,
            n_sent: 0,
            n_acknowledged: 0,
            stopped: None,
        });
        let mut patience = Patience::default();
        loop {
            let before = *self.summary;
            let Err(error) = self.attempt(&flow, &mut client).await else {
                break;
            };
            let error = placed(error, &flow.borrow());
            if *self.summary != before {
                patience.restore();
            }
            // Where nobody listened from the start, waiting helps nobody.
            let never_there = self.summary.lines == 0 && is_refused(&error);
            let wait = if may_come_back(&error) && !never_there {
                patience.next_wait()
            } else {
                None
            };
            let Some(wait) = wait else {
                return Err(error);
            };
            self.progress
                .note(&format!("{error:#}; going on in a moment"));
            tokio::time::sleep(wait).await;
        }
        reader.await?;
        match flow.into_inner().stopped {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends what is not acknowledged over one connection, until all is.
    async fn attempt(&mut self, flow: &RefCell<Flow>, client: &mut Client) -> anyhow::Result<()> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(2);
        let frames = poll_fn(move |context| {
            receiver
                .poll_recv(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        });
        let body: Body = StreamBody::new(frames).boxed();
        let call = Call::new(Method::POST, "/v1/events/bulk")
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-ndjson"),
            )
            .accept("application/x-ndjson");
        let acknowledged = Notify::new();
        flow.borrow_mut().begin();
        let feed = feed(flow, sender, &acknowledged);
        let receive = async {
            let mut receipts = client.send_streaming(call, body).await?.lines();
            while let Some(line) = receipts.next().await? {
                if !line.is_empty() {
                    self.acknowledge(flow, &line)?;
                    acknowledged.notify_one();
                }
            }
            match flow.borrow().unacknowledged.len() {
                0 => Ok(()),
                _ => Err(Failure::Unreachable {
                    url: client.url(),
                    source: io::ErrorKind::UnexpectedEof.into(),
                }
                .into()),
            }
        };
        tokio::select! {
            received = receive => received,
            never = feed => match never {},
        }
    }

    /// Takes a receipt: so many lines are durable.
    fn acknowledge(&mut self, flow: &RefCell<Flow>, line: &[u8]) -> anyhow::Result<()> {
        if let Some(problem) = Problem::of_line(line) {
            return Err(problem.into());
        }
        let mut flow = flow.borrow_mut();
        let receipt: Receipt = serde_json::from_slice(line)?;
        let n_events = receipt.appended + receipt.deduplicated;
        flow.acknowledge(n_events);
        self.summary.lines += n_events;
        self.summary.appended += receipt.appended;
        self.summary.already_there += receipt.deduplicated;
        drop(flow);
        self.show();
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    appended: u64,
    deduplicated: u64,
}

/// Says at which line of the file a problem is.
fn placed(error: anyhow::Error, flow: &Flow) -> anyhow::Error {
    let line = error
        .downcast_ref::<Problem>()
        .and_then(|problem| problem.line);
    match line.and_then(|line| flow.line_of_file(line)) {
        Some(line) => error.context(format!("line {line}")),
        None => error,
    }
}

/// The lines between the file and the server.
struct Flow {
    batches: mpsc::Receiver<Result<Vec<Prepared>, anyhow::Error>>,
    /// Lines that the server has not acknowledged, in order.
    unacknowledged: VecDeque<Prepared>,
    n_bytes_unacknowledged: usize,
    /// How many of them went over the present connection.
    n_sent: usize,
    /// How many lines the server acknowledged over the present connection.
    n_acknowledged: u64,
    /// Why no more lines are read.
    stopped: Option<anyhow::Error>,
}

/// How much may be under way, so that a broken connection costs no memory without bound.
const UNACKNOWLEDGED_LINES_MAX: usize = 20_000;
const UNACKNOWLEDGED_BYTES_MAX: usize = 32 << 20;
const BATCH_LINES_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 256 << 10;

impl Flow {
    /// Begins anew on another connection.
    const fn begin(&mut self) {
        self.n_sent = 0;
        self.n_acknowledged = 0;
    }

    /// Returns the number in the file of a line that the server counts from the beginning of the
    /// present connection.
    fn line_of_file(&self, line: u64) -> Option<u64> {
        let index = line.checked_sub(self.n_acknowledged + 1)?;
        let line = self.unacknowledged.get(usize::try_from(index).ok()?)?;
        Some(line.number)
    }

    fn acknowledge(&mut self, n_events: u64) {
        self.n_acknowledged += n_events;
        for _ in 0..n_events {
            if let Some(line) = self.unacknowledged.pop_front() {
                self.n_bytes_unacknowledged -= line.text.len();
                self.n_sent = self.n_sent.saturating_sub(1);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.unacknowledged.len() >= UNACKNOWLEDGED_LINES_MAX
            || self.n_bytes_unacknowledged >= UNACKNOWLEDGED_BYTES_MAX
    }

    /// Returns lines that have not gone over this connection.
    fn unsent(&mut self) -> Option<Bytes> {
        let mut bytes = Vec::new();
        let unsent = self.unacknowledged.iter().skip(self.n_sent);
        for line in unsent {
            bytes.extend_from_slice(&line.text);
            self.n_sent += 1;
            if bytes.len() >= BATCH_BYTES_MAX {
                break;
            }
        }
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

/// Sends lines while there are any; then ends the body, and waits to be dropped.
async fn feed(
    flow: &RefCell<Flow>,
    sender: mpsc::Sender<Bytes>,
    acknowledged: &Notify,
) -> std::convert::Infallible {
    loop {
        let unsent = flow.borrow_mut().unsent();
        if let Some(bytes) = unsent {
            if sender.send(bytes).await.is_err() {
                break;
            }
            continue;
        }
        if flow.borrow().is_full() {
            acknowledged.notified().await;
            continue;
        }
        let batch =
            std::future::poll_fn(|context| flow.borrow_mut().batches.poll_recv(context)).await;
        let mut flow = flow.borrow_mut();
        match batch {
            Some(Ok(lines)) => {
                flow.n_bytes_unacknowledged +=
                    lines.iter().map(|line| line.text.len()).sum::<usize>();
                flow.unacknowledged.extend(lines);
            }
            Some(Err(error)) => {
                flow.stopped = Some(error);
                break;
            }
            None => break,
        }
    }
    drop(sender);
    std::future::pending().await
}

type Batch = Result<Vec<Prepared>, anyhow::Error>;

/// Reads lines on a thread of their own: unpacking and hashing would hold up the connection.
fn read_ahead(mut lines: LineReader) -> (mpsc::Receiver<Batch>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(4);
    let reader = tokio::task::spawn_blocking(move || {
        loop {
            let (batch, end) = next_batch(&mut lines);
            let sent = batch.is_empty() || sender.blocking_send(Ok(batch)).is_ok();
            match end {
                End::No if sent => {}
                End::No | End::Done => return,
                End::Failed(error) => {
                    // Nobody waits for the error of an import that has ended already.
                    drop(sender.blocking_send(Err(error)));
                    return;
                }
            }
        }
    });
    (receiver, reader)
}

enum End {
    No,
    Done,
    Failed(anyhow::Error),
}

fn next_batch(lines: &mut LineReader) -> (Vec<Prepared>, End) {
    let mut batch = Vec::new();
    let mut n_bytes = 0;
    while batch.len() < BATCH_LINES_MAX && n_bytes < BATCH_BYTES_MAX {
        match lines.next() {
            Ok(Some(Ok(line))) => {
                n_bytes += line.text.len();
                batch.push(line);
            }
            Ok(Some(Err(fault))) => return (batch, End::Failed(InvalidLine::into(fault))),
            Ok(None) => return (batch, End::Done),
            Err(error) => return (batch, End::Failed(error.into())),
        }
    }
    (batch, End::No)
}

#[cfg(test)]
mod tests;
