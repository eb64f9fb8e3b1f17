//! Every sequence of steps of two owners that share a lease: the model is small enough to look at
//! all states that they lead to, and the other stores are compared with it.

use std::collections::HashSet;
use std::time::Duration;

use factum_model::Timestamp;

use super::State;
use crate::state::{
    Acquire, Acquired, Batch, Change, Epoch, Fence, Precondition, Put, RecordId, StateError,
};

const TTL: Duration = Duration::from_secs(2);

/// What one owner may do next. It acts on what it believes, which may be long over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Tick,
    Acquire(usize),
    Renew(usize),
    Release(usize),
    Write(usize),
}

const STEPS: [Step; 9] = [
    Step::Tick,
    Step::Acquire(0),
    Step::Acquire(1),
    Step::Renew(0),
    Step::Renew(1),
    Step::Release(0),
    Step::Release(1),
    Step::Write(0),
    Step::Write(1),
];

/// A state of the store and of the owners.
#[derive(Debug, Clone)]
struct World {
    state: State,
    /// The grant that each owner last had, and when it runs out as far as it was told.
    beliefs: [Option<(Epoch, Timestamp)>; 2],
    /// The greatest epoch that was granted, and the one that wrote last.
    granted: Option<Epoch>,
    written: Option<Epoch>,
}

impl World {
    fn new() -> Self {
        let store = super::MemoryStateStore::new();
        let mut state = store.read().clone();
        state.now = Timestamp::from_micros(0).unwrap();
        Self {
            state,
            beliefs: [None; 2],
            granted: None,
            written: None,
        }
    }

    fn fence(&self, owner: usize) -> Option<Fence> {
        let (epoch, _) = self.beliefs[owner]?;
        let name = "l".parse().unwrap();
        Some(Fence { name, epoch })
    }

    /// Takes a step; `None` where it changes nothing worth looking at.
    fn step(&self, step: Step) -> Option<Self> {
        let mut next = self.clone();
        match step {
            Step::Tick => next.state.now = self.state.now.saturating_add_micros(1_000_000),
            Step::Acquire(owner) => next.acquire(owner),
            Step::Renew(owner) => {
                let fence = self.fence(owner)?;
                match next.state.renew(fence, TTL) {
                    Ok(lease) => next.beliefs[owner] = Some((lease.epoch, lease.expires_at)),
                    Err(_) => next.beliefs[owner] = None,
                }
            }
            Step::Release(owner) => {
                next.state.release(&self.fence(owner)?);
                next.beliefs[owner] = None;
            }
            Step::Write(owner) => next.write(owner)?,
        }
        next.check();
        Some(next)
    }

    fn acquire(&mut self, owner: usize) {
        let acquire = Acquire {
            name: "l".parse().unwrap(),
            owner: ["one", "two"][owner].parse().unwrap(),
            ttl: TTL,
        };
        if let Acquired::Granted(lease) = self.state.acquire(acquire) {
            assert!(Some(lease.epoch) > self.granted, "{self:?}");
            self.granted = Some(lease.epoch);
            self.beliefs[owner] = Some((lease.epoch, lease.expires_at));
        }
    }

    fn write(&mut self, owner: usize) -> Option<()> {
        let fence = self.fence(owner)?;
        let (epoch, until) = self.beliefs[owner]?;
        let id = RecordId::new("k".parse().unwrap(), "a".parse().unwrap());
        let batch = Batch {
            changes: vec![Change::put(id, Precondition::Any, Put::new(*b""))],
            fences: vec![fence],
        };
        match self.state.check(&batch) {
            Ok(()) => {
                assert!(Some(epoch) >= self.written, "a stale owner wrote: {self:?}");
                assert!(until > self.state.now, "a lease that is over: {self:?}");
                self.written = Some(epoch);
            }
            Err(error) => assert!(matches!(error, StateError::LeaseLost { .. })),
        }
        Some(())
    }

    /// At no time do two owners rightly believe that they hold the lease.
    fn check(&self) {
        let holds = |owner: &usize| self.fence(*owner).is_some_and(|f| self.state.is_held(&f));
        assert!(
            [0, 1].iter().filter(|owner| holds(owner)).count() < 2,
            "{self:?}"
        );
    }

    /// What makes two worlds the same from here on: epochs count by their order alone, and time by
    /// what is left of a lease.
    fn essence(&self) -> String {
        let lease = self.state.leases.values().next();
        let now = self.state.now.as_micros();
        // How long ago a lease ran out does not matter.
        let left = lease.map(|lease| (lease.expires_at.as_micros() - now).max(0));
        let order = |epoch: Option<Epoch>| epoch.map(|epoch| Some(epoch).cmp(&self.written));
        let belief = |owner: usize| {
            let epoch = self.beliefs[owner].map(|(epoch, _)| epoch);
            let current = epoch.is_some() && epoch == lease.map(|lease| lease.epoch);
            let until = self.beliefs[owner].map(|(_, until)| until > self.state.now);
            (order(epoch), current, until)
        };
        let owner = lease.map(|lease| lease.owner.as_str());
        format!("{left:?} {owner:?} {:?} {:?}", belief(0), belief(1))
    }
}

#[test]
fn no_sequence_of_steps_lets_a_stale_owner_write() {
    let mut seen = HashSet::new();
    let mut worlds = vec![World::new()];
    // Until nothing new comes of going on.
    while !worlds.is_empty() {
        let mut reached = Vec::new();
        for world in &worlds {
            for next in STEPS.iter().filter_map(|step| world.step(*step)) {
                if seen.insert(next.essence()) {
                    reached.push(next);
                }
            }
        }
        worlds = reached;
    }
    assert!((50..100_000).contains(&seen.len()), "{}", seen.len());
}
