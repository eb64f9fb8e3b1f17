//! The bounded queue between those who append and the one writer of this node.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_model::EventId;
use factum_store::{AppendError, AppendReceipt, AppendRequest};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::options::Options;

/// When to come back if the queue is full.
const RETRY_AFTER_MS: u64 = 200;

/// A request on its way to the writer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) request: AppendRequest,
    /// The id of each event, given or assigned.
    pub(crate) ids: Vec<EventId>,
    pub(crate) bytes: usize,
    /// Whoever asked gets an answer by then.
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Result<AppendReceipt, AppendError>>,
}

impl Pending {
    /// Answers. Who asked may have gone away; the outcome stands all the same.
    pub(crate) fn answer(self, answer: Result<AppendReceipt, AppendError>) {
        drop(self.reply.send(answer));
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    events_max: usize,
    bytes_max: usize,
    group_events_max: usize,
    group_bytes_max: usize,
    group_delay: Duration,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Pending>,
    n_events: usize,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            events_max: options.queue_events_max,
            bytes_max: options.queue_bytes_max,
            group_events_max: options.group_events_max,
            group_bytes_max: options.group_bytes_max,
            group_delay: options.group_delay,
            state: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of the state, so it is whole even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request at the end.
    ///
    /// # Errors
    /// [`AppendError::Overloaded`] when there is no room, [`AppendError::ShuttingDown`] when the
    /// queue is closed.
    pub(crate) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(AppendError::ShuttingDown);
        }
        let n_events = state.n_events + pending.ids.len();
        let bytes = state.bytes + pending.bytes;
        let is_full = n_events > self.events_max || bytes > self.bytes_max;
        // An empty queue takes whatever a request may be.
        if is_full && !state.pending.is_empty() {
            return Err(AppendError::Overloaded {
                limit: "events that wait to be appended",
                retry_after_ms: RETRY_AFTER_MS,
            });
        }
        (state.n_events, state.bytes) = (n_events, bytes);
        state.pending.push_back(pending);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes requests up to the bounds of a group, at least one, and waits for the first. Returns
    /// `None` when the queue is closed and empty.
    pub(crate) async fn take(&self) -> Option<Vec<Pending>> {
        loop {
            let (is_empty, is_closed) = {
                let state = self.lock();
                (state.pending.is_empty(), state.closed)
            };
            match (is_empty, is_closed) {
                (false, _) => break,
                (true, true) => return None,
                (true, false) => self.arrived.notified().await,
            }
        }
        if !self.group_delay.is_zero() {
            self.gather().await;
        }
        Some(self.drain())
    }

    /// Waits for more requests, until a group is full or the delay is over.
    async fn gather(&self) {
        let end = Instant::now() + self.group_delay;
        loop {
            let is_done = {
                let state = self.lock();
                state.closed
                    || state.n_events >= self.group_events_max
                    || state.bytes >= self.group_bytes_max
            };
            if is_done || timeout_at(end, self.arrived.notified()).await.is_err() {
                return;
            }
        }
    }

    fn drain(&self) -> Vec<Pending> {
        let mut state = self.lock();
        let (mut n_events, mut bytes, mut n_requests) = (0, 0, 0);
        for pending in &state.pending {
            n_events += pending.ids.len();
            bytes += pending.bytes;
            let over = n_events > self.group_events_max || bytes > self.group_bytes_max;
            if n_requests > 0 && over {
                break;
            }
            n_requests += 1;
        }
        let taken: Vec<_> = state.pending.drain(..n_requests).collect();
        for pending in &taken {
            state.n_events -= pending.ids.len();
            state.bytes -= pending.bytes;
        }
        taken
    }

    /// Puts requests that were taken back to the front, in their order.
    pub(crate) fn put_back(&self, requests: Vec<Pending>) {
        let mut state = self.lock();
        for pending in requests.into_iter().rev() {
            state.n_events += pending.ids.len();
            state.bytes += pending.bytes;
            state.pending.push_front(pending);
        }
    }

    /// Takes no more requests; those that are there are still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns how many events and bytes wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.lock();
        (state.n_events, state.bytes)
    }
}
