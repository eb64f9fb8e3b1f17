//! The instances that are kept in memory, and which of them make room for others.

use std::collections::HashMap;

use factum_model::Position;

use crate::id::InstanceId;
use crate::state::{InstanceStatus, SessionState, Step};

/// The instances in memory. Everything here is a plain decision; reading is for others.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    instances: HashMap<String, SessionState>,
    /// Every event up to here is folded into those that are kept.
    pub(crate) folded_to: Option<Position>,
    /// How many instances were registered up to there, kept or not.
    n_registered: u64,
    /// How often an instance left memory, for others or for ever; one that was looked up since may
    /// have done so more than once.
    pub(crate) n_evicted: u64,
}

/// What became of an event that was shown to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is folded, now or earlier.
    Folded,
    /// Events before it are missing.
    Gap,
    /// The instance is not in memory.
    Absent,
}

impl Registry {
    pub(crate) fn get(&self, id: &str) -> Option<&SessionState> {
        self.instances.get(id)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &SessionState> {
        self.instances.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.instances.len()
    }

    /// Returns the last position of which it is certain that every event of the instance up to it
    /// is folded.
    pub(crate) fn seen_to(&self, state: &SessionState) -> Option<Position> {
        state.position.max(self.folded_to)
    }

    /// Notes that every event up to a position is folded, and how many of the events since the last
    /// time were registrations.
    pub(crate) fn folded(&mut self, through: Option<Position>, n_registered: u64) {
        self.folded_to = through;
        self.n_registered += n_registered;
    }

    /// Returns how many instances had to make room and are not here, of those that the log had when
    /// it was last looked at.
    pub(crate) fn n_elsewhere(&self) -> u64 {
        let counted = |state: &&SessionState| {
            let registered = state.registered_position;
            registered.is_some() && registered <= self.folded_to
        };
        let here = self.instances.values().filter(counted).count();
        self.n_registered
            .saturating_sub(u64::try_from(here).unwrap_or(u64::MAX))
    }

    /// Takes an event of an instance.
    pub(crate) fn take(&mut self, id: &InstanceId, step: &Step<'_>) -> Taken {
        if let Some(state) = self.instances.get_mut(id.as_str()) {
            let is_new = step.sequence_num > state.sequence_num;
            return if !is_new || state.apply(step) {
                Taken::Folded
            } else {
                Taken::Gap
            };
        }
        match SessionState::begin(id, step) {
            Some(state) => {
                self.instances.insert(id.as_str().to_owned(), state);
                Taken::Folded
            }
            None => Taken::Absent,
        }
    }

    /// Keeps a state that was read, unless a later one is here.
    pub(crate) fn keep(&mut self, state: SessionState) {
        let known = self.instances.get(&state.instance_id);
        if known.is_none_or(|known| known.sequence_num < state.sequence_num) {
            self.instances.insert(state.instance_id.clone(), state);
        }
    }

    /// Tells whether another instance may be registered.
    pub(crate) fn n_active(&self) -> usize {
        let active = |state: &&SessionState| state.status == InstanceStatus::Active;
        self.instances.values().filter(active).count()
    }

    /// Forgets the instances of which this is told.
    pub(crate) fn forget(&mut self, is_past: impl Fn(&SessionState) -> bool) {
        let before = self.instances.len();
        self.instances.retain(|_, state| !is_past(state));
        let n_forgotten = before - self.instances.len();
        self.n_evicted += u64::try_from(n_forgotten).unwrap_or(u64::MAX);
    }

    /// Forgets closed instances, then stale ones, those first that were silent for longest, until
    /// there is some room again. Active ones stay.
    pub(crate) fn make_room(&mut self, instances_max: usize) {
        if self.instances.len() <= instances_max {
            return;
        }
        // A few more than needed, so that not every instance costs a walk over all.
        let wanted = instances_max - instances_max / 16;
        let mut candidates: Vec<_> = self
            .instances
            .values()
            .filter(|state| state.status != InstanceStatus::Active)
            .map(|state| {
                let is_open = state.status == InstanceStatus::Stale;
                (is_open, state.last_event_at, state.instance_id.clone())
            })
            .collect();
        candidates.sort();
        let surplus = self.instances.len().saturating_sub(wanted);
        for (_, _, id) in candidates.into_iter().take(surplus) {
            self.instances.remove(&id);
            self.n_evicted += 1;
        }
    }
}
