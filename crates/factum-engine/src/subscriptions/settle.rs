//! Outcomes become changes of the bookkeeping: all that come together are committed together.

use std::collections::HashSet;
use std::time::Duration;

use factum_store::{Batch, Change, Due, Precondition, Put, RecordId, RecordKind, StateError};

use super::error::SubscriptionError;
use super::feed::Feed;
use super::handout::{HandoutToken, Lent, Outcome, Settled, Verdict};
use super::record::{Entry, key_of};

/// The longest wait for a retry.
const WAIT_MAX: Duration = Duration::from_hours(30 * 24);

/// An outcome that is to be committed.
pub(super) struct Item {
    pub(super) token: HandoutToken,
    /// What was known when the event was handed out, and which attempt that was; it is read where
    /// it is not at hand.
    pub(super) lent: Option<(Lent, u32)>,
    pub(super) verdict: Verdict,
}

/// What an outcome changes. The first change is that of the record in the queue: it settles.
struct Plan {
    index: usize,
    token: HandoutToken,
    changes: Vec<Change>,
    settled: Settled,
    skipped: bool,
}

impl Feed {
    /// Commits outcomes; the answers stand in their order.
    pub(super) async fn commit(&self, items: Vec<Item>) -> Result<Vec<Settled>, SubscriptionError> {
        let mut settled = vec![Settled::Stale; items.len()];
        let mut seen = HashSet::new();
        let mut plans = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let ours = item.token.generation == self.inner.spec.id.generation();
            if ours
                && seen.insert(item.token.position)
                && let Some(plan) = self.plan(index, item).await?
            {
                plans.push(plan);
            }
        }
        let changes_max = self.inner.state.limits().batch_changes_max;
        while !plans.is_empty() {
            let mut n_changes = 0;
            let fits = |plan: &&Plan| {
                n_changes += plan.changes.len();
                n_changes <= changes_max
            };
            let n_plans = plans.iter().take_while(fits).count().max(1);
            let rest = plans.split_off(n_plans);
            for plan in self.apply(plans).await? {
                if let Some(place) = settled.get_mut(plan.index) {
                    *place = plan.settled;
                }
                self.count(&plan);
            }
            plans = rest;
        }
        let n_stale = settled.iter().filter(|one| **one == Settled::Stale).count();
        self.inner.counters.stale.add(n_stale);
        if settled.contains(&Settled::Parked) {
            self.evict().await?;
        }
        self.wake_consumers();
        self.wake_dispatcher();
        Ok(settled)
    }

    fn count(&self, plan: &Plan) {
        let counters = &self.inner.counters;
        let counter = match plan.settled {
            Settled::Done if plan.skipped => &counters.skipped,
            Settled::Done => &counters.acked,
            Settled::Waiting { .. } => &counters.retried,
            Settled::Parked => &counters.parked,
            Settled::Stale => &counters.stale,
        };
        counter.add(1);
    }

    /// Says what an outcome changes; `None` when its token is stale.
    async fn plan(&self, index: usize, item: Item) -> Result<Option<Plan>, SubscriptionError> {
        let Item {
            token,
            lent,
            verdict: Verdict { outcome, changes },
        } = item;
        let id = RecordId::new(self.inner.queue.clone(), key_of(token.position)?);
        let version = Precondition::Version(token.version);
        let done = |settled, skipped, own: Vec<Change>| {
            let changes = own.into_iter().chain(changes).collect();
            Ok(Some(Plan {
                index,
                token,
                changes,
                settled,
                skipped,
            }))
        };
        let (cause, wait) = match outcome {
            Outcome::Ack => {
                return done(Settled::Done, false, vec![Change::delete(id, version)]);
            }
            Outcome::Skip { reason } => {
                let (name, position) = (&self.inner.spec.name, token.position);
                tracing::info!(subscription = %name, %position, reason, "an event is skipped");
                return done(Settled::Done, true, vec![Change::delete(id, version)]);
            }
            Outcome::Retry { after, cause } => (cause, Some(after)),
            Outcome::Park { cause } => (cause, None),
        };
        let lent = match lent {
            Some(lent) => Some(lent),
            None => self.lent(&id, token).await?,
        };
        let Some((lent, attempt)) = lent else {
            return Ok(None);
        };
        let settings = &self.inner.spec.settings;
        let entry = Entry {
            failed: attempt,
            cause,
            ..lent.entry
        };
        let put = Put {
            body: entry.encode(),
            due: Due::Never,
            group: lent.group,
        };
        match wait {
            Some(after) if settings.attempts_max == 0 || attempt < settings.attempts_max => {
                let after = after.unwrap_or_else(|| settings.backoff.after(attempt));
                let after = after.min(WAIT_MAX);
                let put = put.due(Due::After(after));
                let again = vec![Change::put(id, version, put)];
                done(Settled::Waiting { after }, false, again)
            }
            Some(_) | None => {
                let parked = RecordId::new(self.inner.parked.clone(), id.key.clone());
                let park = Change::put(parked, Precondition::Any, put);
                done(
                    Settled::Parked,
                    false,
                    vec![Change::delete(id, version), park],
                )
            }
        }
    }

    /// Looks up what was handed out under a token, if it still is.
    async fn lent(
        &self,
        id: &RecordId,
        token: HandoutToken,
    ) -> Result<Option<(Lent, u32)>, SubscriptionError> {
        let record = self.inner.state.record(id.clone()).await?;
        let record = record.filter(|record| record.version == token.version);
        Ok(record.and_then(|record| {
            let entry = Entry::decode(&record.body)?;
            let attempt = entry.failed.saturating_add(record.n_claims.max(1));
            let group = record.group;
            Some((Lent { entry, group }, attempt))
        }))
    }

    /// Makes the changes of plans, and returns those that were made: the others are stale.
    async fn apply(&self, plans: Vec<Plan>) -> Result<Vec<Plan>, SubscriptionError> {
        let mut parts = vec![plans];
        let mut made = Vec::new();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let changes = part.iter().flat_map(|plan| plan.changes.iter().cloned());
            let applied = self.inner.state.apply(Batch::of(changes.collect())).await;
            match applied {
                Ok(_) => {
                    self.forget(part.iter().map(|plan| plan.token.position));
                    made.extend(part);
                }
                Err(StateError::Conflict { index, .. }) => {
                    parts.push(self.without_stale(part, index).await?);
                }
                // Two outcomes want the same record, or all together are too large.
                Err(StateError::Invalid { .. } | StateError::Limit(_)) if part.len() > 1 => {
                    let mut first = part;
                    let second = first.split_off(first.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(made)
    }

    /// Leaves out the plan of which a change was refused, and others that would be.
    async fn without_stale(
        &self,
        part: Vec<Plan>,
        refused: usize,
    ) -> Result<Vec<Plan>, SubscriptionError> {
        let mut good = Vec::with_capacity(part.len());
        let mut n_changes = 0;
        for plan in part {
            let is_refused = (n_changes..n_changes + plan.changes.len()).contains(&refused);
            n_changes += plan.changes.len();
            if is_refused {
                continue;
            }
            let id = RecordId::new(self.inner.queue.clone(), key_of(plan.token.position)?);
            let present = self.inner.state.record(id).await?;
            if present.is_some_and(|record| record.version == plan.token.version) {
                good.push(plan);
            }
        }
        Ok(good)
    }

    /// Makes room among the parked events when there are more than may be.
    async fn evict(&self) -> Result<(), SubscriptionError> {
        let parked_max = self.inner.spec.settings.parked_max as u64;
        let kind: &RecordKind = &self.inner.parked;
        loop {
            let n_parked = self.inner.state.queue(kind.clone()).await?.n_records;
            let excess = usize::try_from(n_parked.saturating_sub(parked_max)).unwrap_or(usize::MAX);
            if excess == 0 {
                return Ok(());
            }
            let page = self.inner.state.scan(factum_store::RecordScan {
                limit: excess.min(500),
                ..factum_store::RecordScan::all(kind.clone())
            });
            let records = page.await?.records;
            self.inner.counters.evicted.add(records.len());
            let name = &self.inner.spec.name;
            for record in &records {
                let position = &record.id.key;
                tracing::error!(subscription = %name, %position, parked_max, "a parked event is given up: there are too many");
            }
            let changes = records
                .into_iter()
                .map(|record| Change::delete(record.id, Precondition::Any));
            self.inner.state.apply(Batch::of(changes.collect())).await?;
        }
    }
}
