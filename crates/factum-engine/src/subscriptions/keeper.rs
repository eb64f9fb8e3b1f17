//! Keeps a dispatcher running for each named subscription, and cleans up behind those that are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use factum_store::{ReadError, Visibility};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::error::SubscriptionError;
use super::events;
use super::feed::Feed;
use super::leftovers;
use super::service::{BASE_PREFIX, Subscriptions};
use crate::live::{LiveRead, LiveStart, LiveStep};

/// How long to wait before the log is asked again after a failure.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// How often to look for what deleted subscriptions have left, while there is any.
const SWEEP_WAIT: Duration = Duration::from_secs(5);

/// A dispatcher that runs.
struct Running {
    feed: Feed,
    stop: CancellationToken,
    task: Id,
}

impl Subscriptions {
    /// Fills the queues of all subscriptions and follows what becomes of them, until it is stopped.
    ///
    /// # Errors
    /// When the log cannot be followed; what fails for a while is tried again.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), SubscriptionError> {
        let stop = stop.child_token();
        let follow = async {
            let followed = tokio::select! {
                () = stop.cancelled() => Ok(()),
                followed = self.follow() => followed,
            };
            stop.cancel();
            followed
        };
        let (followed, ()) = tokio::join!(follow, self.keep(&stop));
        followed
    }

    async fn follow(&self) -> Result<(), SubscriptionError> {
        let start = match self.folded_to() {
            Some(position) => LiveStart::After(position),
            None => LiveStart::Beginning,
        };
        let mut reader = self.inner.engine.live(LiveRead {
            filter: events::filter(),
            visibility: Visibility::Everything,
            start,
            ..LiveRead::default()
        })?;
        loop {
            match reader.next().await {
                Ok(LiveStep::Batch { events, through }) => self.fold(&events, through),
                Ok(LiveStep::CaughtUp { .. }) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(ReadError::Unavailable(error)) => {
                    tracing::warn!(%error, "changes of subscriptions are not seen for now");
                    tokio::time::sleep(FAILED_WAIT).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn keep(&self, stop: &CancellationToken) {
        let mut changed = self.inner.changed.subscribe();
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        let mut sweeps = true;
        while !stop.is_cancelled() {
            changed.mark_unchanged();
            let bases = self.settle_feeds();
            self.reconcile(&mut running, &mut tasks, stop);
            if sweeps {
                let busy = running
                    .values()
                    .map(|one| one.feed.spec().id.base().to_owned());
                let kept: Vec<String> = bases.into_iter().chain(busy).collect();
                sweeps = match self.sweep(&kept).await {
                    Ok(is_clean) => !is_clean,
                    Err(error) => {
                        tracing::warn!(%error, "what deleted subscriptions have left stays for now");
                        true
                    }
                };
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = changed.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    sweeps = true;
                }
                Some(ended) = tasks.join_next_with_id() => {
                    let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                    running.retain(|_, one| one.task != task);
                    sweeps = true;
                }
                () = tokio::time::sleep(SWEEP_WAIT), if sweeps => {}
            }
        }
        for one in running.values() {
            one.stop.cancel();
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Stops dispatchers that are not wanted any more, and starts those that are missing. What is
    /// to be replaced is started when the old one has ended.
    fn reconcile(
        &self,
        running: &mut BTreeMap<String, Running>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let wanted = self.wanted();
        for (name, one) in &*running {
            let stays = wanted.get(name).is_some_and(|feed| feed.is(&one.feed));
            if !stays {
                one.stop.cancel();
            }
        }
        for (name, feed) in wanted {
            if running.contains_key(&name) {
                continue;
            }
            let stop = stop.child_token();
            let (dispatching, token) = (feed.clone(), stop.clone());
            let task = tasks.spawn(async move { dispatching.dispatch(&token).await });
            let task = task.id();
            running.insert(name, Running { feed, stop, task });
        }
    }

    /// Deletes what subscriptions that are gone have left. Returns whether nothing is left.
    async fn sweep(&self, kept: &[String]) -> Result<bool, SubscriptionError> {
        let engine = &self.inner.engine;
        let state = engine.state().ok_or(SubscriptionError::NoBookkeeping)?;
        let mut is_clean = true;
        for id in leftovers::found(&**state, BASE_PREFIX).await? {
            if !kept.iter().any(|base| base == id.base()) {
                is_clean &= leftovers::clean(engine, id, &self.inner.options).await?;
            }
        }
        Ok(is_clean)
    }
}
