//! The model of the bookkeeping: a map behind a lock.
//!
//! It is what the other stores are compared with, so it must be obviously right. Every question
//! walks all records; nothing is remembered beside them that could disagree.

mod claims;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_model::{Clock, SystemClock, Timestamp};
use tokio::sync::watch;

use super::batch::{Action, Applied, Batch, Change, Put, later};
use super::error::StateError;
use super::lease::{Acquire, Acquired, Epoch, Fence, Lease, LeasePage, LeaseScan};
use super::limits::StateLimits;
use super::name::{LeaseName, OwnerName, RecordGroup, RecordKind};
use super::queue::{Claim, Claimed, QueueStatus};
use super::record::{
    GroupCount, GroupPage, GroupScan, HeldClaim, Record, RecordId, RecordPage, RecordScan,
    RecordVersion,
};
use super::store::{StateHealth, StateStore, StateWatch};
use crate::health::{StoreMetrics, WriteState};
use crate::read::Direction;
use crate::store::{BoxFuture, Capability};

/// Bookkeeping that is kept in memory and forgotten when it is dropped: for tests and models.
#[derive(Debug)]
pub struct MemoryStateStore {
    clock: Arc<dyn Clock>,
    limits: StateLimits,
    state: Mutex<State>,
    written: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct State {
    records: BTreeMap<RecordId, Stored>,
    leases: BTreeMap<LeaseName, Lease>,
    /// The last version or epoch that was given.
    counter: u64,
    /// The latest instant that was ever read: time does not go back.
    now: Timestamp,
    closed: bool,
}

/// A record as it is kept.
#[derive(Debug, Clone)]
struct Stored {
    version: RecordVersion,
    put: Put,
    due_at: Option<Timestamp>,
    /// The last claim, also when its time is up.
    claim: Option<HeldClaim>,
    n_claims: u32,
    written_at: Timestamp,
}

impl Stored {
    fn is_claimed(&self, now: Timestamp) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.until > now)
    }

    fn record(&self, id: &RecordId, now: Timestamp) -> Record {
        Record {
            id: id.clone(),
            version: self.version,
            body: self.put.body.clone(),
            due_at: self.due_at,
            group: self.put.group.clone(),
            claim: self.claim.clone().filter(|claim| claim.until > now),
            n_claims: self.n_claims,
            written_at: self.written_at,
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn of_kind<'a>(
        &'a self,
        kind: &'a RecordKind,
    ) -> impl Iterator<Item = (&'a RecordId, &'a Stored)> {
        self.records.iter().filter(move |(id, _)| id.kind == *kind)
    }

    fn is_held(&self, fence: &Fence) -> bool {
        let lease = self.leases.get(&fence.name);
        lease.is_some_and(|lease| lease.epoch == fence.epoch && lease.expires_at > self.now)
    }

    fn check(&self, batch: &Batch) -> Result<(), StateError> {
        for fence in &batch.fences {
            if !self.is_held(fence) {
                let fence = fence.clone();
                return Err(StateError::LeaseLost { fence });
            }
        }
        for (index, change) in batch.changes.iter().enumerate() {
            let present = self.records.get(&change.id);
            let actual = present.map(|stored| stored.version);
            let is_claimed = present.is_some_and(|stored| stored.is_claimed(self.now));
            let lacks_claim = matches!(change.action, Action::Extend(_)) && !is_claimed;
            if lacks_claim || !change.precondition.is_met(actual) {
                let id = change.id.clone();
                return Err(StateError::Conflict { index, id, actual });
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change, version: RecordVersion) {
        let now = self.now;
        match change.action {
            Action::Put(put) => {
                let stored = Stored {
                    version,
                    due_at: put.due.at(now),
                    put,
                    claim: None,
                    n_claims: 0,
                    written_at: now,
                };
                self.records.insert(change.id, stored);
            }
            Action::Delete => {
                self.records.remove(&change.id);
            }
            Action::Extend(hold) => {
                if let Some(stored) = self.records.get_mut(&change.id)
                    && let Some(claim) = &mut stored.claim
                {
                    claim.until = later(now, hold);
                }
            }
            Action::Check => {}
        }
    }

    fn scan(&self, scan: &RecordScan, page_bytes_max: usize) -> RecordPage {
        let mut page = RecordPage {
            records: Vec::new(),
            next: None,
        };
        let Some(bounds) = scan.bounds() else {
            return page;
        };
        let inside = |id: &RecordId| bounds.contains(id.key.as_str());
        let mut found: Vec<_> = self
            .of_kind(&scan.kind)
            .filter(|(id, _)| inside(id))
            .filter(|(_, stored)| scan.group.is_none() || stored.put.group == scan.group)
            .collect();
        if scan.direction == Direction::Backwards {
            found.reverse();
        }
        let mut bytes = 0;
        for (id, stored) in found {
            if page.records.len() == scan.limit || bytes >= page_bytes_max {
                page.next = page.records.last().map(|last| last.id.key.clone());
                break;
            }
            bytes += stored.put.body.len();
            page.records.push(stored.record(id, self.now));
        }
        page
    }

    fn groups(&self, scan: &GroupScan) -> GroupPage {
        let mut counts: BTreeMap<&RecordGroup, u64> = BTreeMap::new();
        for (_, stored) in self.of_kind(&scan.kind) {
            if let Some(group) = &stored.put.group
                && Some(group) > scan.after.as_ref()
            {
                *counts.entry(group).or_default() += 1;
            }
        }
        let has_more = counts.len() > scan.limit;
        let counted = |(group, n_records): (&RecordGroup, u64)| GroupCount {
            group: group.clone(),
            n_records,
        };
        let groups: Vec<_> = counts.into_iter().take(scan.limit).map(counted).collect();
        let last = groups.last().map(|last| last.group.clone());
        GroupPage {
            groups,
            next: last.filter(|_| has_more),
        }
    }

    fn acquire(&mut self, acquire: Acquire) -> Acquired {
        let now = self.now;
        if let Some(lease) = self.leases.get(&acquire.name)
            && lease.expires_at > now
            && lease.owner != acquire.owner
        {
            return Acquired::Held(lease.clone());
        }
        let lease = Lease {
            name: acquire.name,
            owner: acquire.owner,
            epoch: Epoch::new(self.next_number()),
            expires_at: later(now, acquire.ttl),
        };
        self.leases.insert(lease.name.clone(), lease.clone());
        Acquired::Granted(lease)
    }

    fn renew(&mut self, fence: Fence, ttl: Duration) -> Result<Lease, StateError> {
        let held = self.is_held(&fence);
        let until = later(self.now, ttl);
        match self.leases.get_mut(&fence.name) {
            Some(lease) if held => {
                lease.expires_at = until;
                Ok(lease.clone())
            }
            Some(_) | None => Err(StateError::LeaseLost { fence }),
        }
    }

    fn release(&mut self, fence: &Fence) {
        if self.is_held(fence) {
            self.leases.remove(&fence.name);
        }
    }

    fn leases(&self, scan: &LeaseScan) -> LeasePage {
        let wanted = |lease: &&Lease| {
            lease.expires_at > self.now
                && lease.name.as_str().starts_with(&scan.prefix)
                && Some(&lease.name) > scan.after.as_ref()
        };
        let mut leases: Vec<_> = self.leases.values().filter(wanted).cloned().collect();
        let has_more = leases.len() > scan.limit;
        leases.truncate(scan.limit);
        let last = leases.last().map(|last| last.name.clone());
        LeasePage {
            leases,
            next: last.filter(|_| has_more),
        }
    }
}

impl MemoryStateStore {
    /// Makes an empty store with the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Arc::new(SystemClock), StateLimits::default())
    }

    /// Makes an empty store with another clock and other bounds.
    #[must_use]
    pub fn with(clock: Arc<dyn Clock>, limits: StateLimits) -> Self {
        Self {
            clock,
            limits,
            state: Mutex::new(State {
                records: BTreeMap::new(),
                leases: BTreeMap::new(),
                counter: 0,
                now: Timestamp::MIN,
                closed: false,
            }),
            written: watch::Sender::new(0),
        }
    }

    /// Locks the state, with the time of this moment.
    fn read(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of the state, so it is whole even then.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now.max(self.clock.now());
        state
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut state = self.read();
        if state.closed {
            return Err(StateError::ShuttingDown);
        }
        change(&mut state)
    }

    /// Wakes those that wait for work or for a lease.
    fn wake(&self) {
        self.written.send_modify(|count| *count += 1);
    }
}

impl Default for MemoryStateStore {
    fn default() -> Self {
        Self::new()
    }
}

impl StateStore for MemoryStateStore {
    fn capability(&self) -> Capability {
        Capability {
            name: "memory",
            durable: false,
            shared: false,
        }
    }

    fn limits(&self) -> StateLimits {
        self.limits
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StateError>> {
        Box::pin(async { Ok(self.read().now) })
    }

    fn record(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Record>, StateError>> {
        Box::pin(async move {
            let state = self.read();
            let stored = state.records.get(&id);
            Ok(stored.map(|stored| stored.record(&id, state.now)))
        })
    }

    fn scan(&self, scan: RecordScan) -> BoxFuture<'_, Result<RecordPage, StateError>> {
        Box::pin(async move {
            self.limits.check_scan(&scan)?;
            Ok(self.read().scan(&scan, self.limits.page_bytes_max))
        })
    }

    fn groups(&self, scan: GroupScan) -> BoxFuture<'_, Result<GroupPage, StateError>> {
        Box::pin(async move {
            self.limits.check_groups(&scan)?;
            Ok(self.read().groups(&scan))
        })
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, StateError>> {
        Box::pin(async move {
            self.limits.check_batch(&batch)?;
            let applied = self.write(|state| {
                state.check(&batch)?;
                let version = RecordVersion::new(state.next_number());
                for change in batch.changes {
                    state.change(change, version);
                }
                let at = state.now;
                Ok(Applied { version, at })
            })?;
            self.wake();
            Ok(applied)
        })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, StateError>> {
        Box::pin(async move {
            self.limits.check_claim(&claim)?;
            self.write(|state| Ok(state.claim(&claim, self.limits.page_bytes_max)))
        })
    }

    fn abandon(
        &self,
        kind: RecordKind,
        owner: OwnerName,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(async move {
            let n_abandoned = self.write(|state| Ok(state.abandon(&kind, &owner)))?;
            self.wake();
            Ok(n_abandoned)
        })
    }

    fn queue(&self, kind: RecordKind) -> BoxFuture<'_, Result<QueueStatus, StateError>> {
        Box::pin(async move { Ok(self.read().queue(&kind)) })
    }

    fn acquire(&self, acquire: Acquire) -> BoxFuture<'_, Result<Acquired, StateError>> {
        Box::pin(async move {
            self.limits.check_acquire(&acquire)?;
            self.write(|state| Ok(state.acquire(acquire)))
        })
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<Lease, StateError>> {
        Box::pin(async move {
            self.limits.check_renew(ttl)?;
            self.write(|state| state.renew(fence, ttl))
        })
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move {
            self.write(|state| {
                state.release(&fence);
                Ok(())
            })?;
            self.wake();
            Ok(())
        })
    }

    fn leases(&self, scan: LeaseScan) -> BoxFuture<'_, Result<LeasePage, StateError>> {
        Box::pin(async move {
            self.limits.check_leases(&scan)?;
            Ok(self.read().leases(&scan))
        })
    }

    fn watch(&self) -> StateWatch {
        self.written.subscribe()
    }

    fn health(&self) -> StateHealth {
        let writes = if self.read().closed {
            WriteState::Closed
        } else {
            WriteState::Open
        };
        StateHealth { writes }
    }

    fn metrics(&self) -> StoreMetrics {
        let state = self.read();
        let values = vec![
            ("state_records", state.records.len() as u64),
            ("state_leases", state.leases.len() as u64),
        ];
        StoreMetrics { values }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.read().closed = true })
    }
}
