//! The bounded queue between those who append and the one writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_model::EventId;
use factum_store::{AppendError, AppendReceipt, AppendRequest};
use tokio::sync::oneshot;

use crate::options::Options;
use crate::term::Term;

/// A request on its way to the writer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: AppendRequest,
    /// One for each event.
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<AppendReceipt, AppendError>>,
}

/// What is worked out of an event before it reaches the writer, on the thread of the caller.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: EventId,
    /// The caller chose the id, so it may be a repeat.
    pub(crate) id_given: bool,
    /// All terms but that of an inherited correlation id.
    pub(crate) terms: Vec<Term>,
    /// The stream, under a keyed hash wide enough not to collide.
    pub(crate) stream_key: u128,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    events_max: usize,
    bytes_max: usize,
    wake_events: usize,
    wake_bytes: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Pending>,
    n_events: usize,
    bytes: usize,
    closed: bool,
}

/// Where a group is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupBounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) delay: Duration,
}

/// What the writer finds in the queue.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Requests, in order of arrival.
    Requests(Vec<Pending>),
    /// Nothing came in time.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            events_max: options.queue_events_max,
            bytes_max: options.queue_bytes_max,
            wake_events: options.group_events_max,
            wake_bytes: options.group_bytes_max,
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    ///
    /// # Errors
    /// `Overloaded` when a bound is reached, `ShuttingDown` when the queue is closed.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let overloaded = |limit| AppendError::Overloaded {
            limit,
            retry_after_ms: 100,
        };
        let mut state = self.lock();
        if state.closed {
            return Err(AppendError::ShuttingDown);
        }
        if state.n_events + pending.request.events.len() > self.events_max {
            return Err(overloaded("queued events"));
        }
        if state.bytes + pending.bytes > self.bytes_max {
            return Err(overloaded("queued bytes"));
        }
        state.n_events += pending.request.events.len();
        state.bytes += pending.bytes;
        let was_empty = state.pending.is_empty();
        let full = state.n_events >= self.wake_events || state.bytes >= self.wake_bytes;
        state.pending.push_back(pending);
        drop(state);
        // The writer takes all that is there, so it needs to be woken only for the first, and
        // for the one that makes the group full.
        if was_empty || full {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes requests up to the bounds, at least one; waits up to `patience` for the first, and
    /// then up to `delay` for others.
    pub(crate) fn take(&self, bounds: GroupBounds, patience: Duration) -> Batch {
        let mut state = self.lock();
        if state.pending.is_empty() && !state.closed {
            let waited = self.arrived.wait_timeout_while(state, patience, |state| {
                state.pending.is_empty() && !state.closed
            });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.pending.is_empty() {
            return if state.closed {
                Batch::Closed
            } else {
                Batch::Idle
            };
        }
        if !bounds.delay.is_zero() {
            let waited = self
                .arrived
                .wait_timeout_while(state, bounds.delay, |state| {
                    state.n_events < bounds.events_max
                        && state.bytes < bounds.bytes_max
                        && !state.closed
                });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut n_events, mut bytes, mut n_requests) = (0, 0, 0);
        for pending in &state.pending {
            n_events += pending.request.events.len();
            bytes += pending.bytes;
            if n_requests > 0 && (n_events > bounds.events_max || bytes > bounds.bytes_max) {
                break;
            }
            n_requests += 1;
        }
        let taken: Vec<_> = state.pending.drain(..n_requests).collect();
        state.n_events -= taken
            .iter()
            .map(|pending| pending.request.events.len())
            .sum::<usize>();
        state.bytes -= taken.iter().map(|pending| pending.bytes).sum::<usize>();
        Batch::Requests(taken)
    }

    /// Takes no more requests; those that are there are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Returns how many events and bytes wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.lock();
        (state.n_events, state.bytes)
    }
}
