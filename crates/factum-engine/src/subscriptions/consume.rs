//! Handlers within the process: claim, handle, settle, over and over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::SubscriptionError;
use super::feed::{Feed, Look};
use super::handout::{Handler, Handout, Outcome, Readiness, Settled, Verdict};
use super::settle::Item;

/// How a handler is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerOptions {
    /// How many events it may have at once on this node. It bounds what is repeated after a crash.
    pub concurrency: usize,
    /// How long it may take with one event. The ack deadline of the subscription must be longer.
    pub time_max: Duration,
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            time_max: Duration::from_secs(20),
        }
    }
}

/// How long to wait before something that failed is tried again.
const FAILED_WAIT: Duration = Duration::from_millis(500);
/// The longest to leave a handler alone that is not ready: it may be ready earlier than it said.
const NOT_READY_MAX: Duration = Duration::from_secs(1);
/// How long to wait before a handler is asked again that has just got the one event it wanted.
const ONE_LOOK: Duration = Duration::from_millis(50);

/// What a task of a consumer ends with.
enum Done {
    Looked(Looked),
    Handled(Verdict),
    Committed(Result<Vec<Settled>, SubscriptionError>, Option<Looked>),
}

/// What a look at the queue came to.
type Looked = Result<Look, SubscriptionError>;

/// A consumer at work.
struct Consumer {
    feed: Feed,
    handler: Arc<dyn Handler>,
    options: HandlerOptions,
    tasks: JoinSet<Done>,
    /// What is with the handler.
    out: HashMap<Id, Handout>,
    /// What it has said and is not committed yet.
    said: Vec<Item>,
    /// How many outcomes are being committed.
    committing: usize,
    is_looking: bool,
    /// Something was queued while it looked, and may have come too late for that.
    was_woken: bool,
    /// The handler wanted one event only, when it was last asked.
    wanted_one: bool,
    /// When to look for more.
    look_at: Instant,
    /// Something failed: nothing is claimed before then.
    failed_until: Instant,
    is_stopping: bool,
}

impl Feed {
    /// Fills the queue and lets a handler have its events, until it is stopped. Events that the
    /// handler has then are waited for as long as it may take with one.
    pub async fn run(
        &self,
        handler: Arc<dyn Handler>,
        options: HandlerOptions,
        stop: &CancellationToken,
    ) {
        tokio::join!(self.dispatch(stop), self.consume(handler, options, stop));
    }

    /// Lets a handler have the events that are queued, here or on another node, until it is
    /// stopped.
    pub async fn consume(
        &self,
        handler: Arc<dyn Handler>,
        options: HandlerOptions,
        stop: &CancellationToken,
    ) {
        // What this node had before it was started again is nobody's now.
        let left = self.abandon(self.inner.options.node.clone()).await;
        if let Err(error) = left {
            self.warn(&error);
        }
        let mut ready = self.watch_ready();
        let mut consumer = Consumer {
            feed: self.clone(),
            handler,
            options,
            tasks: JoinSet::new(),
            out: HashMap::new(),
            said: Vec::new(),
            committing: 0,
            is_looking: false,
            was_woken: false,
            wanted_one: false,
            look_at: Instant::now(),
            failed_until: Instant::now(),
            is_stopping: false,
        };
        while !stop.is_cancelled() {
            consumer.look();
            let look_at = consumer.look_at;
            let sleeps = !consumer.is_looking && consumer.room() > 0;
            tokio::select! {
                () = stop.cancelled() => {}
                Some(done) = consumer.tasks.join_next_with_id() => consumer.take_in(done),
                changed = ready.changed() => match changed {
                    Ok(()) => consumer.wake(),
                    Err(_) => break,
                },
                () = tokio::time::sleep_until(look_at), if sleeps => {}
            }
            consumer.commit();
        }
        consumer.finish().await;
    }

    /// Claims for the handler of this node.
    async fn look_here(&self, limit: usize) -> Looked {
        self.look(&self.inner.options.node, limit).await
    }

    fn warn(&self, error: &SubscriptionError) {
        let name = &self.inner.spec.name;
        if error.code() != factum_model::ErrorCode::ShuttingDown {
            tracing::warn!(subscription = %name, %error, "a handler cannot go on; it is tried again");
        }
    }
}

impl Consumer {
    fn room(&self) -> usize {
        let busy = self.out.len() + self.said.len() + self.committing;
        self.options.concurrency.max(1).saturating_sub(busy)
    }

    fn wake(&mut self) {
        self.was_woken = self.is_looking;
        self.look_at = Instant::now().max(self.failed_until);
    }

    /// Claims more, if it is time and there is room.
    fn look(&mut self) {
        if self.is_looking || self.room() == 0 || Instant::now() < self.look_at {
            return;
        }
        let limit = self.wanted(self.room());
        if limit == 0 {
            return;
        }
        self.is_looking = true;
        let feed = self.feed.clone();
        let looked = async move { Done::Looked(feed.look_here(limit).await) };
        self.tasks.spawn(looked);
    }

    /// Says for how many events there is a use, where there is room for some.
    fn wanted(&mut self, room: usize) -> usize {
        let readiness = self.handler.readiness();
        self.wanted_one = readiness == Readiness::One;
        match readiness {
            Readiness::Ready => room,
            Readiness::One => room.min(1),
            Readiness::NotFor(wait) => {
                self.look_at = Instant::now() + wait.min(NOT_READY_MAX);
                0
            }
        }
    }

    fn take_in(&mut self, done: Result<(Id, Done), JoinError>) {
        match done {
            Ok((_, Done::Looked(looked))) => self.looked(looked),
            Ok((id, Done::Handled(verdict))) => self.said_of(id, verdict),
            Ok((_, Done::Committed(settled, looked))) => {
                self.committing = 0;
                self.look_at = Instant::now();
                if let Some(looked) = looked {
                    self.looked(looked);
                }
                // What could not be made durable is handed out again when its time is up.
                if let Err(error) = settled {
                    self.failed(&error);
                }
            }
            Err(error) => {
                // Only a handler's task has anything to say of an event.
                let cause = "the handler panicked".to_owned();
                let after = None;
                self.said_of(error.id(), Outcome::Retry { after, cause }.into());
            }
        }
    }

    fn looked(&mut self, looked: Looked) {
        self.is_looking = false;
        let was_woken = std::mem::take(&mut self.was_woken);
        match looked {
            // What is claimed when it stops is given back at the end.
            Ok(_) if self.is_stopping => {}
            Ok(look) => {
                // Whoever got something gets more at once, most likely.
                let pause = if self.wanted_one && !look.handouts.is_empty() {
                    ONE_LOOK
                } else if was_woken || !look.handouts.is_empty() {
                    Duration::ZERO
                } else {
                    look.next.unwrap_or(Duration::MAX).min(self.feed.poll())
                };
                self.look_at = (Instant::now() + pause).max(self.failed_until);
                for handout in look.handouts {
                    self.handle(handout);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &SubscriptionError) {
        self.feed.warn(error);
        self.failed_until = Instant::now() + FAILED_WAIT;
        self.look_at = self.failed_until;
    }

    fn handle(&mut self, handout: Handout) {
        let handler = Arc::clone(&self.handler);
        let time_max = self.options.time_max;
        let copy = handout.clone();
        let task = self.tasks.spawn(async move {
            let handled = tokio::time::timeout(time_max, handler.handle(&copy)).await;
            Done::Handled(handled.unwrap_or_else(|_| {
                let cause = format!("the handler took longer than {} ms", time_max.as_millis());
                Outcome::Retry { after: None, cause }.into()
            }))
        });
        self.out.insert(task.id(), handout);
    }

    fn said_of(&mut self, id: Id, verdict: Verdict) {
        if let Some(handout) = self.out.remove(&id) {
            self.said.push(Item {
                token: handout.token,
                lent: Some((handout.lent, handout.attempt)),
                verdict,
            });
        }
    }

    /// Commits what was said, all of it together. What is said meanwhile waits for the next time.
    ///
    /// A store that is this node's alone takes changes in the order in which they are handed over:
    /// there the next claim is handed over right behind, so that both are one commit. What is
    /// claimed is with the handler only after what was said is durable.
    fn commit(&mut self) {
        if self.committing > 0 || self.said.is_empty() {
            return;
        }
        let said = std::mem::take(&mut self.said);
        self.committing = said.len();
        let room = self.options.concurrency.saturating_sub(self.out.len());
        let may_look = !self.is_stopping && !self.is_looking && room > 0;
        let may_look = may_look && Instant::now() >= self.failed_until;
        let limit = if may_look && !self.feed.inner.state.capability().shared {
            self.wanted(room)
        } else {
            0
        };
        let feed = self.feed.clone();
        if limit == 0 {
            let commit = async move { Done::Committed(feed.commit(said).await, None) };
            self.tasks.spawn(commit);
            return;
        }
        self.is_looking = true;
        self.tasks.spawn(async move {
            let (settled, looked) = tokio::join!(feed.commit(said), feed.look_here(limit));
            Done::Committed(settled, Some(looked))
        });
    }

    /// Waits for what is out, and commits it.
    async fn finish(&mut self) {
        self.is_stopping = true;
        while let Some(done) = self.tasks.join_next_with_id().await {
            self.take_in(done);
            self.commit();
        }
        let node = self.feed.inner.options.node.clone();
        if let Err(error) = self.feed.abandon(node).await {
            self.feed.warn(&error);
        }
    }
}
