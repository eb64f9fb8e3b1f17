//! Leases: work that one owner does at a time.

use std::fmt;
use std::time::Duration;

use factum_model::Timestamp;

use super::name::{LeaseName, OwnerName};

/// Which grant of leases it is.
///
/// Every grant of a store has another epoch, and of two grants of the same lease the later one has
/// the greater epoch, also across release, expiry and a restart of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Takes the number of an epoch as a store keeps it.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number, which may be given to others as a fencing token.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What for.
    pub name: LeaseName,
    /// By whom.
    pub owner: OwnerName,
    /// Which grant it is.
    pub epoch: Epoch,
    /// When it runs out, by the store's clock: at this instant it is no longer held.
    pub expires_at: Timestamp,
}

impl Lease {
    /// Returns what proves to the store that this grant is held.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            name: self.name.clone(),
            epoch: self.epoch,
        }
    }
}

/// A grant of a lease. An epoch belongs to one owner, so the owner is not named again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The lease.
    pub name: LeaseName,
    /// The grant.
    pub epoch: Epoch,
}

/// What an owner asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// The lease.
    pub name: LeaseName,
    /// Who asks.
    pub owner: OwnerName,
    /// For how long, from now on.
    pub ttl: Duration,
}

/// What an owner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The lease is the owner's.
    Granted(Lease),
    /// Another owner has it.
    Held(Lease),
}

impl Acquired {
    /// Returns the lease if it was granted.
    #[must_use]
    pub fn granted(self) -> Option<Lease> {
        match self {
            Self::Granted(lease) => Some(lease),
            Self::Held(_) => None,
        }
    }
}

/// Which leases to list, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseScan {
    /// Only names that begin so; empty for all.
    pub prefix: String,
    /// Where to go on, exclusive: [`LeasePage::next`] of the page before.
    pub after: Option<LeaseName>,
    /// The largest number of leases to return.
    pub limit: usize,
}

/// A page of leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePage {
    /// The leases that are held. Those that have run out are not listed.
    pub leases: Vec<Lease>,
    /// Where to go on; `None` when there is no more.
    pub next: Option<LeaseName>,
}
