//! Factum's embedded store.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use factum_model::Position;
use factum_store::{AppendRequest, CountRead, Direction, EventStore, LogRead, StreamRead};
use factum_store_embedded::{EmbeddedStore, Options};
use tempfile::TempDir;

use crate::Outcome;
use crate::events::event;
use crate::machine::{self, Memory};
use crate::questions::{Answer, Asked, PAGE, Question};

const BATCH: u64 = 1000;
const INDEXED_WITHIN: Duration = Duration::from_secs(120);

/// A store with events in it.
#[derive(Debug)]
pub struct Factum {
    /// `None` only while it is opened again.
    store: Option<EmbeddedStore>,
    directory: TempDir,
    n_events: u64,
}

/// What appending took.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    pub append: Duration,
    /// Of the first tenth of the events, and of the last.
    pub tenths: [Duration; 2],
    /// From the last append until all was indexed.
    pub index: Duration,
    /// The most memory beside the page cache.
    pub memory_max: Memory,
}

impl Factum {
    /// Appends so many of the events of a log of `n_events`, in batches from one caller.
    pub fn load(n_events: u64, index_documents: bool) -> Outcome<(Self, Loaded)> {
        let directory = machine::temporary()?;
        let options = Options {
            index_documents,
            ..Options::at(directory.path().join("store"))
        };
        let store = EmbeddedStore::open(options)?;
        let start = Instant::now();
        let mut memory_max = Memory::now()?;
        let mut marks = Vec::new();
        for first in (0..n_events).step_by(BATCH as usize) {
            if first * 10 >= n_events * marks.len() as u64 {
                marks.push(start.elapsed());
            }
            let numbers = first..n_events.min(first + BATCH);
            let events: Outcome<Vec<_>> = numbers
                .map(|number| event(number, n_events)?.proposed())
                .collect();
            store.append_blocking(AppendRequest {
                events: events?,
                ..AppendRequest::default()
            })?;
            if first % (50 * BATCH) == 0 {
                memory_max = memory_max.max(Memory::now()?);
            }
        }
        let append = start.elapsed();
        let at = |tenth: usize| marks.get(tenth).copied().unwrap_or(append);
        if index_documents {
            wait_until_indexed(&store)?;
        }
        let index = start.elapsed() - append;
        memory_max = memory_max.max(Memory::now()?);
        let loaded = Loaded {
            append,
            tenths: [at(1), append - at(9)],
            index,
            memory_max,
        };
        Ok((
            Self {
                store: Some(store),
                directory,
                n_events,
            },
            loaded,
        ))
    }

    fn store(&self) -> Outcome<&EmbeddedStore> {
        self.store
            .as_ref()
            .ok_or_else(|| "the store is not open".into())
    }

    /// Closes the store and opens it again; returns how long until it is open, and indexed.
    pub fn reopen(&mut self) -> Outcome<(Duration, Duration)> {
        drop(self.store.take());
        let start = Instant::now();
        let store = EmbeddedStore::open(Options::at(self.directory.path().join("store")))?;
        let open = start.elapsed();
        wait_until_indexed(&store)?;
        self.store = Some(store);
        Ok((open, start.elapsed()))
    }

    /// Returns how many bytes the files of each kind have for an event.
    pub fn bytes(&self) -> Outcome<String> {
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        add_sizes(&self.directory.path().join("store"), &mut sizes)?;
        let each = |(kind, bytes): (String, u64)| {
            format!("{kind} {:.1}", bytes as f64 / self.n_events as f64)
        };
        Ok(sizes.into_iter().map(each).collect::<Vec<_>>().join(", "))
    }

    /// Returns what the store says of its memory.
    pub fn memory_metrics(&self) -> Outcome<String> {
        let values = self.store()?.metrics().values;
        let memory = values
            .into_iter()
            .filter(|(name, _)| name.contains("memory"));
        let texts = memory.map(|(name, bytes)| format!("{name} {} MiB", bytes >> 20));
        Ok(texts.collect::<Vec<_>>().join(", "))
    }

    /// Asks with other values each round.
    pub fn ask_round(&self, question: Question, round: u64) -> Outcome<(Answer, u64, Duration)> {
        let asked = question.asked(round, self.n_events)?;
        let start = Instant::now();
        let (answer, examined) = ask(self.store()?, &Waiting::AtOnce, &asked)?;
        Ok((answer, examined, start.elapsed()))
    }
}

/// How the futures of a store are waited for.
#[derive(Debug)]
pub enum Waiting {
    /// They do not wait outside of a runtime.
    AtOnce,
    /// On a runtime.
    On(tokio::runtime::Runtime),
}

impl Waiting {
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> Outcome<T> {
        match self {
            Self::AtOnce => at_once(future),
            Self::On(runtime) => Ok(runtime.block_on(future)),
        }
    }
}

/// Asks a store, and returns the answer with how many events were looked at.
pub fn ask(store: &dyn EventStore, waiting: &Waiting, question: &Asked) -> Outcome<(Answer, u64)> {
    match question {
        Asked::Newest(filter) => newest(store, waiting, filter),
        Asked::Stream(stream) => {
            let read = store.read_stream(StreamRead::forwards(stream.clone()));
            let page = waiting.wait(read)??;
            let positions = page.events.iter().map(|event| event.position.get());
            Ok((
                Answer::Events(positions.collect()),
                page.events.len() as u64,
            ))
        }
        Asked::Id(id) => {
            let event = waiting.wait(store.event(*id))??;
            let positions = event.iter().map(|event| event.position.get());
            Ok((Answer::Events(positions.collect()), 1))
        }
        Asked::Count(filter, by) => {
            let read = CountRead {
                by: *by,
                ..CountRead::all(filter.clone())
            };
            let counts = waiting.wait(store.count(read))??;
            if !counts.complete {
                return Err("a count is not complete".into());
            }
            let answer = match by {
                None => Answer::Total(counts.total),
                Some(_) => {
                    let groups = counts.groups.into_iter();
                    Answer::Groups(groups.map(|group| (group.key, group.n_events)).collect())
                }
            };
            Ok((answer, counts.examined))
        }
    }
}

/// Reads pages until one is full or nothing is left: a page may end early when it looked at many
/// events in vain.
fn newest(
    store: &dyn EventStore,
    waiting: &Waiting,
    filter: &factum_query::Filter,
) -> Outcome<(Answer, u64)> {
    let mut read = LogRead {
        filter: filter.clone(),
        direction: Direction::Backwards,
        limit: PAGE,
        ..LogRead::forwards()
    };
    let (mut positions, mut examined) = (Vec::new(), 0);
    loop {
        let page = waiting.wait(store.read_log(read.clone()))??;
        examined += page.examined;
        positions.extend(
            page.events
                .iter()
                .map(|event| event.position)
                .map(Position::get),
        );
        read.after = page.scanned_to;
        read.limit = PAGE - positions.len();
        if read.limit == 0 || !page.has_more {
            return Ok((Answer::Events(positions), examined));
        }
    }
}

/// Returns the output of a future that does not wait, as those of the store outside a runtime.
fn at_once<T>(future: impl Future<Output = T>) -> Outcome<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err("the store waits without a runtime".into()),
    }
}

fn wait_until_indexed(store: &EmbeddedStore) -> Outcome<()> {
    let start = Instant::now();
    while !store.is_indexed() {
        if start.elapsed() > INDEXED_WITHIN {
            return Err("the store is not indexed in time".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn add_sizes(directory: &Path, sizes: &mut BTreeMap<String, u64>) -> Outcome<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if path.is_dir() {
            add_sizes(&path, sizes)?;
        } else if let Some(kind) = path.extension() {
            *sizes
                .entry(kind.to_string_lossy().into_owned())
                .or_default() += entry.metadata()?.len();
        }
    }
    Ok(())
}
