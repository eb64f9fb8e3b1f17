//! `factum export`: the log as lines that `factum import` takes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::Context;
use crate::client::{Call, Client, Problem, Query};
use crate::event_view::EventView;
use crate::exit::{Failure, may_come_back};
use crate::filter_flags::FilterFlags;
use crate::output::{grouped, note, size};
use crate::progress::{Patience, Progress};

/// Write the log, or what a filter keeps of it, as one JSON event a line
///
/// The engine's own events (aggregate type `factum`) are left out: no other store would take them.
/// Payload and metadata are written byte for byte, but for line ends between their tokens, which
/// become spaces. `factum import` takes the lines again and keeps
/// ids, timestamps, causation and correlation.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to write, packed if it ends in .gz or .zst [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "out")]
    force: bool,
    /// Start after this position or cursor
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// The first instant at which it happened
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The first instant after it happened
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Write the engine's own events too
    #[arg(long)]
    with_system: bool,
    #[command(flatten)]
    filter: FilterFlags,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    events: u64,
    bytes: u64,
    last_position: Option<u64>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut client = Client::of(context)?;
    let mut sink = Sink::open(args.out.as_deref(), args.force)?;
    let progress = Progress::of_bytes(context.out.audience(), None);
    let mut export = Export {
        args: &args,
        summary: Summary::default(),
    };
    let mut patience = Patience::default();
    while let Err(error) = export
        .follow(&mut client, &mut sink, &progress, &mut patience)
        .await
    {
        let Some(wait) = may_come_back(&error)
            .then(|| patience.next_wait())
            .flatten()
        else {
            progress.done();
            return Err(export.unfinished(&error, sink));
        };
        progress.note(&format!("{error:#}; going on in a moment"));
        tokio::time::sleep(wait).await;
    }
    sink.finish()?;
    let time = progress.done();
    let summary = export.summary;
    if args.out.is_none() {
        // Standard output belongs to the events.
        return Ok(());
    }
    if context.out.is_json() {
        return Ok(context.out.json(&summary)?);
    }
    Ok(context.out.line(format_args!(
        "exported {} events, {}, up to position {} in {:.1} s",
        grouped(summary.events),
        size(summary.bytes),
        summary.last_position.unwrap_or_default(),
        time.as_secs_f64()
    ))?)
}

struct Export<'a> {
    args: &'a Args,
    summary: Summary,
}

/// How often the progress is shown, in events.
const SHOW_EVERY: u64 = 1000;

impl Export<'_> {
    async fn follow(
        &mut self,
        client: &mut Client,
        sink: &mut Sink,
        progress: &Progress,
        patience: &mut Patience,
    ) -> anyhow::Result<()> {
        let call = Call::get(self.path()).accept("application/x-ndjson");
        let mut lines = client.send(call).await?.lines();
        while let Some(line) = lines.next().await? {
            if line.is_empty() {
                continue;
            }
            if let Some(problem) = Problem::of_line(&line) {
                return Err(problem.into());
            }
            let event = EventView::parse(&line)?;
            self.summary.last_position = Some(event.position);
            if event.aggregate_type == factum_model::SYSTEM_AGGREGATE_TYPE && !self.args.with_system
            {
                continue;
            }
            sink.write_all(&line)?;
            sink.write_all(b"\n")?;
            self.summary.events += 1;
            self.summary.bytes += line.len() as u64 + 1;
            if self.summary.events.is_multiple_of(SHOW_EVERY) {
                patience.restore();
                progress.show(self.summary.bytes, self.summary.events);
            }
        }
        Ok(())
    }

    fn path(&self) -> String {
        let mut query = Query::default();
        let last = self
            .summary
            .last_position
            .map(|position| position.to_string());
        query.add_some("after", last.as_deref().or(self.args.after.as_deref()));
        query.add_some("from", self.args.from.as_deref());
        query.add_some("to", self.args.to.as_deref());
        self.args.filter.add_to(&mut query);
        format!("/v1/events{}", query.as_str())
    }

    /// Says how to go on. What was written stays.
    fn unfinished(&self, error: &anyhow::Error, sink: Sink) -> anyhow::Error {
        let Some(position) = self.summary.last_position else {
            return anyhow::anyhow!("{error:#}");
        };
        if let Err(error) = sink.finish() {
            note(format_args!(
                "warning: the last lines may be missing: {error:#}"
            ));
        }
        let events = grouped(self.summary.events);
        Failure::Incomplete {
            message: format!("stopped after {events} events: {error:#}"),
            hint: format!("go on with --after {position} and another --out"),
        }
        .into()
    }
}

/// Where the lines go.
enum Sink {
    Standard(BufWriter<io::Stdout>),
    Plain(BufWriter<File>),
    Gzip(flate2::write::GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

const BUFFER_BYTES: usize = 1 << 17;

impl Sink {
    fn open(path: Option<&Path>, force: bool) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::Standard(BufWriter::with_capacity(
                BUFFER_BYTES,
                io::stdout(),
            )));
        };
        let mut options = File::options();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .create_new(!force);
        let file = options.open(path).map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return anyhow::Error::new(error);
            }
            Failure::Usage {
                message: format!("{} exists", path.display()),
                hint: "name another file, or write over it with --force".to_owned(),
            }
            .into()
        });
        let file = BufWriter::with_capacity(
            BUFFER_BYTES,
            file.with_context(|| path.display().to_string())?,
        );
        Ok(match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("gz") => Self::Gzip(flate2::write::GzEncoder::new(
                file,
                flate2::Compression::default(),
            )),
            Some("zst") => Self::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
            Some(_) | None => Self::Plain(file),
        })
    }

    /// Ends the file and makes it durable.
    fn finish(self) -> anyhow::Result<()> {
        let file = match self {
            Self::Standard(mut output) => return Ok(output.flush()?),
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Pipes and devices cannot be synced, and need not be.
        if file.metadata()?.is_file() {
            file.sync_all()?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(output) => output.write(bytes),
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_how_a_file_is_packed_and_none_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
            let path = dir.path().join(name);
            let mut sink = Sink::open(Some(&path), false).unwrap();
            sink.write_all(b"{\"a\":1}\n").unwrap();
            sink.finish().unwrap();
            let mut text = String::new();
            let mut source = crate::import::open(&path).unwrap();
            io::Read::read_to_string(&mut source.reader, &mut text).unwrap();
            assert_eq!(text, "{\"a\":1}\n");
            assert!(Sink::open(Some(&path), false).is_err());
            assert!(Sink::open(Some(&path), true).is_ok());
        }
    }
}
