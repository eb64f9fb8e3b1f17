//! Endpoints: what several targets lead to, and are to spare together.
//!
//! Two rules that post to the same URL, or send to the same server, share one bound on attempts at
//! once and one breaker, so that a receiver in trouble is not met by the sum of what each is
//! allowed. Where they differ, the more sparing one counts for both. An endpoint is known while a
//! target that leads to it is at work, so there are never more than such targets.

mod room;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use factum_engine::EndpointState;

pub(crate) use self::room::Room;
use crate::breaker::{Breaker, BreakerOptions};
use crate::server::Server;

/// What tells one endpoint from another, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointName {
    /// Where it is, without what may be a secret.
    pub(crate) shown: String,
    /// The rest of what it is known by, such as the path of a URL; never shown.
    pub(crate) rest: String,
}

impl EndpointName {
    /// Returns the name of a server of a protocol, or of several that are one.
    pub(crate) fn of_servers(protocol: &str, servers: &[Server]) -> Self {
        let mut places: Vec<String> = servers.iter().map(|server| format!("{server:?}")).collect();
        places.sort_unstable();
        let is_encrypted = servers.iter().any(|server| server.roots.is_some());
        Self {
            shown: format!("{protocol}://{}", places.join(",")),
            // Who speaks TLS to a server that speaks none, or the other way around, says nothing
            // of the others.
            rest: if is_encrypted { "tls" } else { "" }.to_owned(),
        }
    }
}

/// How a target spares its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sparing {
    pub(crate) in_flight_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) breaker: BreakerOptions,
}

impl Sparing {
    /// Returns what spares as much as both do.
    fn and(self, other: Self) -> Self {
        let (ours, theirs) = (self.breaker, other.breaker);
        Self {
            in_flight_max: self.in_flight_max.min(other.in_flight_max),
            timeout: self.timeout.max(other.timeout),
            breaker: BreakerOptions {
                failures_max: ours.failures_max.min(theirs.failures_max),
                open_for: ours.open_for.max(theirs.open_for),
                open_for_max: ours.open_for_max.max(theirs.open_for_max),
            },
        }
    }
}

/// The endpoints that targets of this node lead to. Cloning is cheap and gives the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<EndpointName, Entry>,
    last_number: u64,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    number: u64,
    members: BTreeMap<u64, Sparing>,
}

impl Entry {
    /// Has the endpoint spared as its members say.
    fn apply(&self) {
        let sparing = self.members.values().copied().reduce(Sparing::and);
        if let Some(sparing) = sparing {
            self.endpoint.spare(sparing);
        }
    }
}

impl Known {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl Endpoints {
    /// Makes a target one of those that lead to an endpoint.
    pub(crate) fn join(&self, name: &EndpointName, sparing: Sparing) -> Member {
        let mut known = self.lock();
        let (number, fresh) = (known.number(), known.number());
        let entry = known.entries.entry(name.clone()).or_insert_with(|| Entry {
            endpoint: Arc::new(Endpoint::new(sparing)),
            number: fresh,
            members: BTreeMap::new(),
        });
        entry.members.insert(number, sparing);
        entry.apply();
        Member {
            endpoints: self.clone(),
            name: name.clone(),
            number,
            endpoint: Arc::clone(&entry.endpoint),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) room: Room,
    pub(crate) breaker: Breaker,
    timeout: Mutex<Duration>,
}

impl Endpoint {
    fn new(sparing: Sparing) -> Self {
        Self {
            room: Room::new(sparing.in_flight_max),
            breaker: Breaker::new(sparing.breaker),
            timeout: Mutex::new(sparing.timeout),
        }
    }

    fn spare(&self, sparing: Sparing) {
        self.room.resize(sparing.in_flight_max);
        self.breaker.change(sparing.breaker);
        *self.timeout() = sparing.timeout;
    }

    /// Tells whether no target gives the endpoint more time than this.
    pub(crate) fn is_longest(&self, timeout: Duration) -> bool {
        timeout >= *self.timeout()
    }

    fn timeout(&self) -> MutexGuard<'_, Duration> {
        self.timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target that leads to an endpoint. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Member {
    endpoints: Endpoints,
    name: EndpointName,
    number: u64,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Member {
    /// Says how the endpoint is.
    pub(crate) fn state(&self) -> EndpointState {
        let known = self.endpoints.lock();
        let entry = known.entries.get(&self.name);
        EndpointState {
            number: entry.map_or(0, |entry| entry.number),
            name: self.name.shown.clone(),
            breaker: self.endpoint.breaker.state(),
            in_flight: self.endpoint.room.taken(),
            in_flight_max: self.endpoint.room.max(),
            n_targets: entry.map_or(0, |entry| entry.members.len()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut known = self.endpoints.lock();
        let Some(entry) = known.entries.get_mut(&self.name) else {
            return;
        };
        entry.members.remove(&self.number);
        if entry.members.is_empty() {
            known.entries.remove(&self.name);
        } else {
            entry.apply();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rest: &str) -> EndpointName {
        EndpointName {
            shown: "https://crm.example:443".to_owned(),
            rest: rest.to_owned(),
        }
    }

    fn sparing(in_flight_max: usize, seconds: u64, failures_max: u32) -> Sparing {
        Sparing {
            in_flight_max,
            timeout: Duration::from_secs(seconds),
            breaker: BreakerOptions {
                failures_max,
                open_for: Duration::from_secs(seconds),
                ..BreakerOptions::default()
            },
        }
    }

    #[test]
    fn the_more_sparing_of_two_counts_while_it_is_there() {
        let endpoints = Endpoints::default();
        let first = endpoints.join(&name("/a"), sparing(8, 5, 10));
        let second = endpoints.join(&name("/a"), sparing(2, 15, 20));
        let other = endpoints.join(&name("/b"), sparing(1, 15, 20));
        assert!(Arc::ptr_eq(&first.endpoint, &second.endpoint));
        assert!(!Arc::ptr_eq(&first.endpoint, &other.endpoint));
        let state = first.state();
        assert_eq!((state.in_flight_max, state.n_targets), (2, 2));
        assert_eq!(state.number, second.state().number);
        assert_ne!(state.number, other.state().number);
        assert!(!first.endpoint.is_longest(Duration::from_secs(5)));
        let both = sparing(8, 5, 10).and(sparing(2, 15, 20));
        assert_eq!(both.breaker.failures_max, 10);
        assert_eq!(both.breaker.open_for, Duration::from_secs(15));
        drop(second);
        let state = first.state();
        assert_eq!((state.in_flight_max, state.n_targets), (8, 1));
        assert!(first.endpoint.is_longest(Duration::from_secs(5)));
    }

    #[test]
    fn endpoints_without_targets_are_forgotten() {
        let endpoints = Endpoints::default();
        for number in 0..1000 {
            drop(endpoints.join(&name(&number.to_string()), sparing(8, 5, 10)));
        }
        assert_eq!(endpoints.lock().entries.len(), 0);
    }
}
