//! Named subscriptions: made, changed and used through one handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_model::{LimitExceeded, Position};
use factum_query::{Filter, TimeRange};
use factum_store::{AppendError, AppendRequest, LogRead, OwnerName, StreamExpectation, Visibility};
use tokio::sync::watch;
use tokio::time::Instant;

use super::counters::FeedCounters;
use super::definition::{
    Definition, FilterForm, NewSubscription, Start, SubscriptionInfo, check_name,
};
use super::error::SubscriptionError;
use super::events::{self, Act, Read};
use super::extend::Extended;
use super::feed::{Feed, Take};
use super::handout::{Handout, HandoutToken, Outcome, Settled};
use super::options::SubscriptionOptions;
use super::registry::{Known, Registry};
use super::spec::{FeedId, FeedSpec};
use crate::engine::Engine;
use crate::error::EngineError;

/// The named subscriptions of a store. Cloning is cheap and gives another handle to the same ones.
///
/// Each act is an event of the log, so every node knows it as soon as it has read it. The handle
/// works without [`Subscriptions::run`], but then nothing is queued and the acts of other nodes
/// are not seen.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    pub(super) inner: Arc<Service>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) engine: Engine,
    pub(super) options: SubscriptionOptions,
    form: FilterForm,
    registry: Mutex<Registry>,
    feeds: Mutex<Feeds>,
    /// Changes with the registry.
    pub(super) changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Feeds {
    feeds: BTreeMap<String, Feed>,
    /// By name; they go on when a feed is made anew.
    counters: BTreeMap<String, Arc<FeedCounters>>,
}

/// How long to wait at most for a subscription to be resumed, before looking again.
const PAUSED_WAIT: Duration = Duration::from_secs(1);
/// What the bookkeeping of named subscriptions begins with.
pub(super) const BASE_PREFIX: &str = "s:";

impl Subscriptions {
    /// Reads all subscriptions of the log.
    ///
    /// # Errors
    /// [`SubscriptionError::NoBookkeeping`], or what reading the log ends with.
    pub async fn open(
        engine: Engine,
        options: SubscriptionOptions,
        form: FilterForm,
    ) -> Result<Self, SubscriptionError> {
        if engine.state().is_none() {
            return Err(SubscriptionError::NoBookkeeping);
        }
        let service = Self {
            inner: Arc::new(Service {
                engine,
                options,
                form,
                registry: Mutex::default(),
                feeds: Mutex::default(),
                changed: watch::Sender::new(0),
            }),
        };
        service.refresh().await?;
        Ok(service)
    }

    /// Returns all subscriptions, by name.
    #[must_use]
    pub fn list(&self) -> Vec<SubscriptionInfo> {
        let registry = self.registry();
        registry.iter().map(|known| known.info.clone()).collect()
    }

    /// Returns a subscription.
    ///
    /// # Errors
    /// `not_found`.
    pub fn get(&self, name: &str) -> Result<SubscriptionInfo, SubscriptionError> {
        self.known(name).map(|known| known.info)
    }

    /// Returns the bounds that all subscriptions of this node share.
    #[must_use]
    pub fn options(&self) -> &SubscriptionOptions {
        &self.inner.options
    }

    /// Returns a watch that changes when anything about subscriptions does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Makes a subscription. It is durable, and known to this node, when this returns.
    ///
    /// # Errors
    /// `already_exists`, `limit_exceeded`, `invalid_filter`, or a field that breaks a rule.
    pub async fn create(
        &self,
        new: NewSubscription,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        check_name(&new.name)?;
        self.check(&new.definition)?;
        let (is_there, n_subscriptions) = {
            let registry = self.registry();
            (registry.get(&new.name).is_some(), registry.iter().count())
        };
        let exists = || SubscriptionError::Exists {
            name: new.name.clone(),
        };
        if is_there {
            return Err(exists());
        }
        let limit = self.inner.options.subscriptions_max;
        if n_subscriptions >= limit {
            let exceeded = LimitExceeded {
                what: "number of subscriptions",
                limit,
                actual: n_subscriptions + 1,
            };
            return Err(exceeded.into());
        }
        let after = self.resolve(new.start).await?;
        let definition = Box::new(Read {
            definition: new.definition.clone(),
            fault: None,
        });
        let created = self
            .act(&new.name, Act::Created { definition, after }, by)
            .await;
        match created {
            Err(SubscriptionError::Changed { .. }) if self.known(&new.name).is_ok() => {
                Err(exists())
            }
            created => created,
        }
    }

    /// Changes what a subscription hands out from now on, and how. What is queued stays so.
    ///
    /// # Errors
    /// `not_found`, `version_conflict` when somebody else changed it at the same moment, or as
    /// [`Subscriptions::create`].
    pub async fn change(
        &self,
        name: &str,
        definition: Definition,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        self.check(&definition)?;
        let known = self.known(name)?;
        if known.info.definition == definition && known.info.fault.is_none() {
            return Ok(known.info);
        }
        let fault = None;
        let read = Box::new(Read { definition, fault });
        self.act(name, Act::Changed(read), by).await
    }

    /// Stops handing out. What is out may still be settled. Pausing what is paused changes nothing.
    ///
    /// # Errors
    /// As [`Subscriptions::change`].
    pub async fn pause(&self, name: &str, by: &str) -> Result<SubscriptionInfo, SubscriptionError> {
        let info = self.get(name)?;
        if info.is_paused {
            return Ok(info);
        }
        self.act(name, Act::Paused, by).await
    }

    /// Goes on handing out.
    ///
    /// # Errors
    /// As [`Subscriptions::change`].
    pub async fn resume(
        &self,
        name: &str,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        let info = self.get(name)?;
        if !info.is_paused {
            return Ok(info);
        }
        self.act(name, Act::Resumed, by).await
    }

    /// Begins another pass over the log. What is queued, out or waiting is forgotten; what is
    /// parked stays.
    ///
    /// # Errors
    /// As [`Subscriptions::change`].
    pub async fn reset(
        &self,
        name: &str,
        start: Start,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        self.known(name)?;
        let after = self.resolve(start).await?;
        self.act(name, Act::Reset { after }, by).await
    }

    /// Deletes a subscription, with what is parked. Returns what it was.
    ///
    /// # Errors
    /// As [`Subscriptions::change`].
    pub async fn delete(
        &self,
        name: &str,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        let info = self.get(name)?;
        self.record(name, Act::Deleted, by).await?;
        Ok(info)
    }

    /// Returns this node's part of a subscription: its status, its counters, what is parked.
    ///
    /// # Errors
    /// `not_found`, or [`SubscriptionError::Unusable`].
    pub fn feed(&self, name: &str) -> Result<Feed, SubscriptionError> {
        let spec = spec_of(self.known(name)?)?;
        let inner = &*self.inner;
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.feeds.get(name)
            && *feed.spec() == spec
            && !feed.is_retired()
        {
            return Ok(feed.clone());
        }
        let counters = feeds.counters.entry(name.to_owned()).or_default();
        let feed = Feed::counting(&inner.engine, spec, &inner.options, Arc::clone(counters))?;
        if let Some(old) = feeds.feeds.insert(name.to_owned(), feed.clone()) {
            old.retire();
        }
        Ok(feed)
    }

    /// Returns the counters of all subscriptions on this node, by name.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, Arc<FeedCounters>)> {
        let feeds = self.feeds();
        let counters = feeds.counters.iter();
        counters
            .map(|(name, one)| (name.clone(), Arc::clone(one)))
            .collect()
    }

    /// Hands out events as [`Feed::take`] does; of a subscription that is paused, none until it is
    /// resumed.
    ///
    /// # Errors
    /// As [`Feed::take`]; `not_found`, also when it is deleted meanwhile.
    pub async fn take(&self, name: &str, take: &Take) -> Result<Vec<Handout>, SubscriptionError> {
        let deadline = Instant::now() + take.wait;
        let mut changed = self.inner.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let is_paused = self.get(name)?.is_paused;
            if !is_paused {
                let feed = self.feed(name)?;
                let left = deadline.saturating_duration_since(Instant::now());
                let rest = Take {
                    wait: left,
                    ..take.clone()
                };
                let handouts = feed.take(&rest).await?;
                if !handouts.is_empty() {
                    return Ok(handouts);
                }
            }
            if Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            let until = deadline.min(Instant::now() + PAUSED_WAIT);
            tokio::select! {
                changed = changed.changed() => changed.map_err(|_| SubscriptionError::Stopping)?,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Settles what was handed out, as [`Feed::settle`] does.
    ///
    /// # Errors
    /// As [`Feed::settle`], and `not_found`.
    pub async fn settle(
        &self,
        name: &str,
        outcomes: Vec<(HandoutToken, Outcome)>,
    ) -> Result<Vec<Settled>, SubscriptionError> {
        self.feed(name)?.settle(outcomes).await
    }

    /// Gives a consumer more time for what it has, as [`Feed::extend`] does.
    ///
    /// # Errors
    /// As [`Feed::extend`], and `not_found`.
    pub async fn extend(
        &self,
        name: &str,
        tokens: Vec<HandoutToken>,
        by: Option<Duration>,
    ) -> Result<Vec<Extended>, SubscriptionError> {
        self.feed(name)?.extend(tokens, by).await
    }

    /// Lets go of what a consumer has, as [`Feed::abandon`] does.
    ///
    /// # Errors
    /// As [`Feed::abandon`], and `not_found`.
    pub async fn abandon(&self, name: &str, consumer: OwnerName) -> Result<u64, SubscriptionError> {
        self.feed(name)?.abandon(consumer).await
    }

    /// Reads what the log says of subscriptions up to its head.
    pub(super) async fn refresh(&self) -> Result<(), SubscriptionError> {
        loop {
            let after = self.registry().folded_to();
            let page = self.inner.engine.store().read_log(LogRead {
                filter: events::filter(),
                visibility: Visibility::Everything,
                after,
                ..LogRead::forwards()
            });
            let page = page.await?;
            self.fold(&page.events, page.scanned_to);
            if !page.has_more {
                return Ok(());
            }
        }
    }

    pub(super) fn fold(&self, events: &[factum_model::RecordedEvent], through: Option<Position>) {
        let form = self.inner.form;
        if self.registry().fold(events, through, form) {
            self.inner.changed.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn folded_to(&self) -> Option<Position> {
        self.registry().folded_to()
    }

    /// Returns what is there to be worked on: every subscription that is neither paused nor broken.
    pub(super) fn wanted(&self) -> BTreeMap<String, Feed> {
        let names: Vec<String> = {
            let registry = self.registry();
            let live = registry
                .iter()
                .filter(|known| !known.info.is_paused && known.info.fault.is_none());
            live.map(|known| known.info.name.clone()).collect()
        };
        let feed = |name: String| match self.feed(&name) {
            Ok(feed) => Some((name, feed)),
            Err(error) => {
                tracing::error!(subscription = %name, %error, "a subscription cannot be used");
                None
            }
        };
        names.into_iter().filter_map(feed).collect()
    }

    /// Forgets this node's parts of subscriptions that are not there any more, and tells those who
    /// wait for their events. Returns the bookkeeping of all that are there.
    pub(super) fn settle_feeds(&self) -> Vec<String> {
        let (live, paused): (Vec<(String, String)>, Vec<String>) = {
            let registry = self.registry();
            let live = registry
                .iter()
                .map(|known| (known.info.name.clone(), base_of(known)));
            let paused = registry.iter().filter(|known| known.info.is_paused);
            let paused = paused.map(|known| known.info.name.clone());
            (live.collect(), paused.collect())
        };
        let mut feeds = self.feeds();
        feeds.feeds.retain(|name, feed| {
            let is_live = live.iter().any(|(live, _)| live == name);
            let stays = is_live && !paused.contains(name);
            if !stays {
                feed.retire();
            }
            stays
        });
        feeds
            .counters
            .retain(|name, _| live.iter().any(|(live, _)| live == name));
        live.into_iter().map(|(_, base)| base).collect()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        let registry = self.inner.registry.lock();
        registry.unwrap_or_else(PoisonError::into_inner)
    }

    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        let feeds = self.inner.feeds.lock();
        feeds.unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, name: &str) -> Result<Known, SubscriptionError> {
        let registry = self.registry();
        registry
            .get(name)
            .cloned()
            .ok_or_else(|| SubscriptionError::NotFound {
                name: name.chars().take(100).collect(),
            })
    }

    fn check(&self, definition: &Definition) -> Result<(), SubscriptionError> {
        definition.settings.check()?;
        Ok(self.inner.engine.check_filter(&definition.filter)?)
    }

    /// Returns the position after which a pass begins.
    async fn resolve(&self, start: Start) -> Result<Option<Position>, SubscriptionError> {
        let engine = &self.inner.engine;
        match start {
            Start::Beginning => Ok(None),
            Start::End => Ok(engine.head()),
            Start::After(position) => Ok(Some(position)),
            Start::At(instant) => {
                let until = engine.head();
                let mut after = None;
                loop {
                    let page = engine.store().read_log(LogRead {
                        filter: Filter {
                            recorded_at: TimeRange {
                                from: Some(instant),
                                to: None,
                            },
                            ..Filter::default()
                        },
                        visibility: Visibility::Everything,
                        after,
                        until,
                        limit: 1,
                        ..LogRead::forwards()
                    });
                    let page = page.await?;
                    if let Some(first) = page.events.first() {
                        return Ok(first.position.previous());
                    }
                    if !page.has_more {
                        return Ok(until);
                    }
                    after = page.scanned_to;
                }
            }
        }
    }

    async fn act(
        &self,
        name: &str,
        act: Act,
        by: &str,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        self.record(name, act, by).await?;
        self.get(name)
    }

    /// Appends the event of an act, if nothing has become true of the subscription meanwhile.
    async fn record(&self, name: &str, act: Act, by: &str) -> Result<(), SubscriptionError> {
        let version = self.registry().version(name);
        let event = events::write(name, &act, self.inner.form, by)?;
        let expected = vec![StreamExpectation {
            stream: event.stream.clone(),
            version,
        }];
        let request = AppendRequest {
            events: vec![event],
            expected,
            ..AppendRequest::default()
        };
        let appended = self.inner.engine.append_own(request).await;
        self.refresh().await?;
        match appended {
            Err(EngineError::Append(AppendError::VersionConflict { .. })) => {
                Err(SubscriptionError::Changed {
                    name: name.to_owned(),
                })
            }
            appended => Ok(appended.map(|_| ())?),
        }
    }
}

fn base_of(known: &Known) -> String {
    let id = known.created.as_bytes();
    let digits = id.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once(BASE_PREFIX.to_owned())
        .chain(digits)
        .collect()
}

fn spec_of(known: Known) -> Result<FeedSpec, SubscriptionError> {
    let id = FeedId::new(base_of(&known), known.generation.get())?;
    let info = known.info;
    if let Some(cause) = info.fault {
        let name = info.name;
        return Err(SubscriptionError::Unusable { name, cause });
    }
    Ok(FeedSpec {
        name: info.name,
        id,
        filter: info.definition.filter,
        visibility: Visibility::Application,
        after: info.after,
        settings: info.definition.settings,
    })
}
