//! The writer: one thread, one connection, and as many changes in a commit as are waiting.
//!
//! Each change decides before it writes, so one that is refused has changed nothing and needs no
//! savepoint. All are answered after the commit, also those that were refused: what they were
//! refused for may stand in the same commit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use factum_model::{Clock, Timestamp};
use factum_store::{StateError, WriteState};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::open::failure;

/// Counters since the store was opened.
#[derive(Debug, Default)]
pub(super) struct StateCounters {
    pub(super) changes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) queue_full: AtomicU64,
}

/// What the writer shares with those that hand it changes.
#[derive(Debug)]
pub(super) struct WriterState {
    pub(super) counters: StateCounters,
    pub(super) writes: Mutex<WriteState>,
    pub(super) queued_bytes: AtomicUsize,
    pub(super) written: watch::Sender<u64>,
    pub(super) now: Now,
}

impl WriterState {
    pub(super) fn writes(&self) -> WriteState {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.clone()
    }

    pub(super) fn set(&self, to: WriteState) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        // A store that is closed or has failed stays so.
        if matches!(*writes, WriteState::Open | WriteState::Full) {
            *writes = to;
        }
    }
}

/// The clock of the store, which does not go back.
#[derive(Debug)]
pub(super) struct Now {
    clock: Arc<dyn Clock>,
    last: Mutex<Timestamp>,
}

impl Now {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = Mutex::new(Timestamp::MIN);
        Self { clock, last }
    }

    pub(super) fn read(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = self.clock.now().max(*last);
        *last
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Halt {
    /// It was refused, and the transaction goes on.
    Refused(StateError),
    /// The transaction cannot go on.
    Sqlite(rusqlite::Error),
}

impl From<StateError> for Halt {
    fn from(error: StateError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Where a change is made.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) connection: &'a Connection,
    /// The instant of the change.
    pub(super) now: Timestamp,
    counter: &'a mut u64,
    /// Whether those that wait for work are to be woken.
    pub(super) wakes: bool,
}

impl Work<'_> {
    /// Gives a number that was never given.
    pub(super) const fn next_number(&mut self) -> u64 {
        *self.counter += 1;
        *self.counter
    }
}

/// A change that waits to be made, whatever it answers.
pub(super) trait Job: Send {
    /// Makes the change, or finds out why not.
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), rusqlite::Error>;
    /// Answers, once it is known whether the commit was made.
    fn answer(self: Box<Self>, committed: Result<(), StateError>, counters: &StateCounters);
    /// How many bytes it holds.
    fn bytes(&self) -> usize;
}

/// What a change answers to.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, StateError>>;

struct Typed<T, F> {
    work: Option<F>,
    done: Option<Result<T, StateError>>,
    bytes: usize,
    reply: oneshot::Sender<Result<T, StateError>>,
}

/// Makes a job of a change, and returns where its answer arrives.
pub(super) fn job<T, F>(bytes: usize, work: F) -> (Box<dyn Job>, Answer<T>)
where
    T: Send + 'static,
    F: FnOnce(&mut Work<'_>) -> Result<T, Halt> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job = Typed {
        work: Some(work),
        done: None,
        bytes,
        reply,
    };
    (Box::new(job), answer)
}

impl<T, F> Job for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Work<'_>) -> Result<T, Halt> + Send,
{
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), rusqlite::Error> {
        let Some(change) = self.work.take() else {
            return Ok(());
        };
        self.done = match change(work) {
            Ok(done) => Some(Ok(done)),
            Err(Halt::Refused(error)) => Some(Err(error)),
            Err(Halt::Sqlite(error)) => return Err(error),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StateError>, counters: &StateCounters) {
        let answer = match (committed, self.done) {
            (Ok(()), Some(done)) => done,
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StateError::OutcomeUnknown),
        };
        let counter = match answer {
            Ok(_) => &counters.changes,
            Err(_) => &counters.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Nobody may be waiting for it any more.
        drop(self.reply.send(answer));
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The thread that writes.
pub(super) struct StateWriter {
    pub(super) connection: Connection,
    pub(super) state: Arc<WriterState>,
    pub(super) queue: mpsc::Receiver<Box<dyn Job>>,
    pub(super) group_changes_max: usize,
    /// The last number that was given, as in the file or further.
    pub(super) counter: u64,
}

impl StateWriter {
    /// Writes until nobody can hand over changes any more and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < self.group_changes_max
                && let Ok(job) = self.queue.try_recv()
            {
                group.push(job);
            }
            let bytes = group.iter().map(|job| job.bytes()).sum();
            self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let committed = self.commit(&mut group);
            if matches!(committed, Ok(true)) {
                self.state.written.send_modify(|count| *count += 1);
            }
            let committed = committed.map(|_| ());
            for job in group {
                job.answer(committed.clone(), &self.state.counters);
            }
        }
        // Empties the write-ahead log into the file. What it cannot do, the next start does.
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the bookkeeping was not closed");
        }
    }

    /// Makes the changes of a group durable, and says whether anybody is to be woken.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<bool, StateError> {
        if let WriteState::Failed { cause } = self.state.writes() {
            return Err(StateError::Failed { cause });
        }
        let (made, at_commit) = match self.make(group) {
            Ok(wakes) => {
                let committed = self.connection.execute_batch("COMMIT");
                (committed.map(|()| wakes), true)
            }
            Err(error) => (Err(error), false),
        };
        match made {
            Ok(wakes) => {
                self.state.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.state.set(WriteState::Open);
                Ok(wakes)
            }
            Err(error) => Err(self.failed(&error, at_commit)),
        }
    }

    fn make(&mut self, group: &mut [Box<dyn Job>]) -> Result<bool, rusqlite::Error> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let before = self.counter;
        let mut wakes = false;
        for job in group {
            let mut work = Work {
                connection: &self.connection,
                now: self.state.now.read(),
                counter: &mut self.counter,
                wakes: false,
            };
            job.run(&mut work)?;
            wakes |= work.wakes;
        }
        if self.counter != before {
            let sql = "UPDATE meta SET counter = ?1";
            self.connection
                .prepare_cached(sql)?
                .execute([self.counter])?;
        }
        Ok(wakes)
    }

    /// Takes back what was not committed, and decides whether the writer can go on.
    fn failed(&self, error: &rusqlite::Error, at_commit: bool) -> StateError {
        tracing::error!(%error, at_commit, "changes of the bookkeeping were not committed");
        let rolled_back =
            self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        let answer = failure(error);
        match &answer {
            StateError::StorageFull if rolled_back => self.state.set(WriteState::Full),
            StateError::Overloaded { .. } if rolled_back => {}
            _ => {
                let cause = error.to_string();
                self.state.set(WriteState::Failed { cause });
                // The file may have the commit without the disk having it.
                if at_commit {
                    return StateError::OutcomeUnknown;
                }
            }
        }
        answer
    }
}
