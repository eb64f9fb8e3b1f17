//! The supervisor: keeps one subscription at work for each target of each rule that is switched on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use factum_model::{EventId, SequenceNumber};
use factum_store::{StateStore, Visibility};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::DeliveriesError;
use super::meters::DeliveryMeters;
use super::options::DeliveryOptions;
use super::sender::Sender;
use crate::deliver::TargetState;
use crate::engine::Engine;
use crate::rules::{Rule, RuleTarget, Rules};
use crate::subscriptions::{
    Backoff, Feed, FeedId, FeedSettings, FeedSpec, FeedStatus, HandlerOptions, SubscriptionOptions,
};

/// What all senders, and who looks at what they did, have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) rules: Rules,
    pub(super) options: DeliveryOptions,
    pub(super) subscriptions: SubscriptionOptions,
    pub(super) meters: DeliveryMeters,
    /// There may be more on record than there may be.
    pub(super) crowded: Notify,
    /// Dead letters are to be tried again.
    pub(super) redrive: Notify,
    running: RwLock<BTreeMap<TargetKey, Running>>,
    /// How many deliveries came on record since the start.
    pub(super) n_added: AtomicU64,
    /// How many of them as dead letters.
    pub(super) n_dead: AtomicU64,
}

/// A rule and a target of it.
type TargetKey = (String, String);

/// After how many new records the janitor looks for too many.
const ADDED_LOOK: u64 = 1000;

impl Shared {
    /// Notes that there is one more record.
    pub(super) fn added(&self) {
        let n_added = self.n_added.fetch_add(1, Ordering::Relaxed) + 1;
        if n_added.is_multiple_of(ADDED_LOOK) {
            self.crowded.notify_one();
        }
    }

    pub(super) fn sender(&self, rule: &str, target: &str) -> Option<Arc<Sender>> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let key = (rule.to_owned(), target.to_owned());
        running.get(&key).map(|running| Arc::clone(&running.sender))
    }
}

/// A target at work.
#[derive(Debug)]
struct Running {
    revision: SequenceNumber,
    sender: Arc<Sender>,
    feed: Feed,
    stop: CancellationToken,
}

/// Deliveries of a node. Cloning is cheap and gives another handle to the same ones.
#[derive(Debug, Clone)]
pub struct Deliveries {
    pub(super) shared: Arc<Shared>,
}

/// How a target of a rule is on this node.
#[derive(Debug, Clone)]
pub struct TargetReport {
    /// The rule.
    pub rule: String,
    /// The target.
    pub target: String,
    /// How the target itself is.
    pub state: TargetState,
    /// How its queue is.
    pub feed: FeedStatus,
}

/// How often to look again at what could not be started or cleaned up.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How much longer a claim lasts than an attempt may take.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// How long an event may wait for its rate limit with a handler, and be settled.
const HANDLER_MARGIN: Duration = Duration::from_secs(10);

impl Deliveries {
    /// Makes the deliveries of the rules of a node. Nothing is sent before [`Deliveries::run`].
    ///
    /// # Errors
    /// [`DeliveriesError::NoBookkeeping`].
    pub fn new(
        engine: &Engine,
        rules: Rules,
        options: DeliveryOptions,
        subscriptions: SubscriptionOptions,
    ) -> Result<Self, DeliveriesError> {
        let state = engine.state().ok_or(DeliveriesError::NoBookkeeping)?;
        let shared = Shared {
            state: Arc::clone(state),
            engine: engine.clone(),
            rules,
            options,
            subscriptions,
            meters: DeliveryMeters::default(),
            crowded: Notify::new(),
            redrive: Notify::new(),
            running: RwLock::default(),
            n_added: AtomicU64::new(0),
            n_dead: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// Returns what is counted.
    #[must_use]
    pub fn meters(&self) -> &DeliveryMeters {
        &self.shared.meters
    }

    /// Returns the bounds.
    #[must_use]
    pub fn options(&self) -> &DeliveryOptions {
        &self.shared.options
    }

    /// Sends what rules say, follows their changes, and keeps what is on record within bounds,
    /// until it is stopped. Attempts that are under way then are waited for.
    pub async fn run(&self, stop: &CancellationToken) {
        tokio::join!(
            self.supervise(stop),
            self.follow(stop),
            self.redrive(stop),
            self.keep_within_bounds(stop),
        );
    }

    async fn follow(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.shared.rules.follow() => followed,
            };
            match followed {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "changes of rules are not seen; it is tried again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn supervise(&self, stop: &CancellationToken) {
        let mut changes = self.shared.rules.watch();
        let mut tasks = JoinSet::new();
        let mut sweeps = true;
        let mut complained = BTreeMap::new();
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            self.reconcile(&mut tasks, &mut complained);
            if sweeps {
                sweeps = match self.sweep().await {
                    Ok(is_clean) => !is_clean,
                    Err(error) => {
                        tracing::warn!(%error, "what targets that are gone have left stays for now");
                        true
                    }
                };
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => sweeps = true,
                Some(ended) = tasks.join_next() => {
                    sweeps = true;
                    match ended {
                        Ok(key) => self.ended(&key),
                        Err(error) => tracing::error!(%error, "the task of a target has failed"),
                    }
                }
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
        for running in self.write().values() {
            running.stop.cancel();
        }
        while tasks.join_next().await.is_some() {}
        self.write().clear();
    }

    /// Stops what is not wanted as it is, and starts what is wanted and not there.
    fn reconcile(
        &self,
        tasks: &mut JoinSet<TargetKey>,
        complained: &mut BTreeMap<TargetKey, SequenceNumber>,
    ) {
        let mut wanted = BTreeMap::new();
        for rule in self.shared.rules.list() {
            for target in rule
                .targets
                .iter()
                .filter(|target| target.enabled && rule.enabled)
            {
                let key = (rule.id.to_string(), target.id.to_string());
                wanted.insert(key, (Arc::clone(&rule), target.clone()));
            }
        }
        for (key, running) in &*self.write() {
            let same = wanted
                .get(key)
                .is_some_and(|(rule, _)| rule.revision == running.revision);
            if !same {
                running.stop.cancel();
            }
        }
        for (key, (rule, target)) in wanted {
            if self.read().contains_key(&key) || self.shared.rules.channel_of(&target).is_some() {
                continue;
            }
            let revision = rule.revision;
            if let Err(error) = self.start(key.clone(), (rule, target), tasks) {
                // It is tried again and again, and told of once.
                if complained.insert(key.clone(), revision) != Some(revision) {
                    let (rule, target) = &key;
                    tracing::error!(rule, target, %error, "a target cannot be sent to");
                }
            }
        }
    }

    fn start(
        &self,
        key: TargetKey,
        (rule, target): (Arc<Rule>, RuleTarget),
        tasks: &mut JoinSet<TargetKey>,
    ) -> Result<(), DeliveriesError> {
        let shared = &self.shared;
        let to = shared
            .rules
            .targets()
            .open(&target.definition)
            .map_err(|error| crate::rules::RuleError::Invalid(error.into()))?;
        let feed = self.feed(&rule, &target)?;
        let options = HandlerOptions {
            concurrency: target.concurrency,
            time_max: shared.options.attempt_time_max + HANDLER_MARGIN,
        };
        let revision = rule.revision;
        let sender = Arc::new(Sender::new(Arc::clone(shared), rule, target, to));
        let stop = CancellationToken::new();
        let running = Running {
            revision,
            sender: Arc::clone(&sender),
            feed: feed.clone(),
            stop: stop.clone(),
        };
        self.write().insert(key.clone(), running);
        tasks.spawn(async move {
            feed.run(sender, options, &stop).await;
            key
        });
        Ok(())
    }

    fn feed(&self, rule: &Rule, target: &RuleTarget) -> Result<Feed, DeliveriesError> {
        let options = &self.shared.options;
        let base = feed_base(rule, target);
        let longest = options.attempt_time_max + HANDLER_MARGIN;
        let spec = FeedSpec {
            name: format!("rule {}/{}", rule.id, target.id),
            id: FeedId::new(base, 1)?,
            filter: rule.filter(),
            visibility: Visibility::Application,
            after: rule.starts_after(target),
            settings: FeedSettings {
                order: rule.order,
                ack_deadline: longest + CLAIM_MARGIN,
                // Attempts are counted here: what could not be tried is none.
                attempts_max: 0,
                window_max: options.window_max,
                retries_max: options.retries_max,
                parked_max: 1,
                backoff: Backoff::default(),
            },
        };
        Ok(Feed::new(
            &self.shared.engine,
            spec,
            &self.shared.subscriptions,
        )?)
    }

    /// Forgets what has ended, and what was counted of it where it is gone for good.
    fn ended(&self, key: &TargetKey) {
        let Some(running) = self.write().remove(key) else {
            return;
        };
        let (rule, target) = key;
        let kept = self.shared.rules.get(rule).is_ok_and(|rule| {
            let known = rule.target(target);
            known.is_some_and(|known| known.since == running.sender.target.since)
        });
        if !kept {
            self.shared.meters.forget(rule, target);
        }
    }

    /// Returns the bookkeeping of the targets that are at work here.
    pub(super) fn bases_at_work(&self) -> Vec<String> {
        let running = self.read();
        let feeds = running.values().map(|running| running.feed.spec());
        feeds.map(|spec| spec.id.base().to_owned()).collect()
    }

    /// Says how each target is that this node sends to.
    ///
    /// # Errors
    /// See [`DeliveriesError`].
    pub async fn targets(&self) -> Result<Vec<TargetReport>, DeliveriesError> {
        let running: Vec<(TargetKey, Arc<Sender>, Feed)> = self
            .read()
            .iter()
            .map(|(key, running)| {
                (
                    key.clone(),
                    Arc::clone(&running.sender),
                    running.feed.clone(),
                )
            })
            .collect();
        let mut reports = Vec::with_capacity(running.len());
        for ((rule, target), sender, feed) in running {
            reports.push(TargetReport {
                rule,
                target,
                state: sender.to.state(),
                feed: feed.status().await?,
            });
        }
        Ok(reports)
    }

    /// Returns the targets that are switched on and cannot be sent to from this node.
    #[must_use]
    pub fn broken(&self) -> Vec<(String, String)> {
        let running: BTreeSet<TargetKey> = self.read().keys().cloned().collect();
        let mut broken = Vec::new();
        for rule in self.shared.rules.list().iter().filter(|rule| rule.enabled) {
            for target in rule.targets.iter().filter(|target| target.enabled) {
                let key = (rule.id.to_string(), target.id.to_string());
                if !running.contains(&key) && self.shared.rules.channel_of(target).is_none() {
                    broken.push(key);
                }
            }
        }
        broken
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TargetKey, Running>> {
        let running = self.shared.running.read();
        running.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<TargetKey, Running>> {
        let running = self.shared.running.write();
        running.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the bookkeeping of a target: another one if it is deleted and made again.
pub(super) fn feed_base(rule: &Rule, target: &RuleTarget) -> String {
    let since = target.since.to_string();
    let id = EventId::derived(&["rule-feed", rule.id.as_str(), target.id.as_str(), &since]);
    let id = id.to_string();
    let mut base = String::from("r");
    base.extend(id.chars().filter(|character| *character != '-'));
    base
}
