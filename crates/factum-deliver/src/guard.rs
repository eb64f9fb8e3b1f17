//! Where connections may go.
//!
//! A host is checked twice: as it is written, when a target is made, and as what it resolves to,
//! when a connection is made. There is one resolution for each connection, and the connection is made to what
//! was checked, so a name that changes its mind in between gains nothing.

mod address;
mod host;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use factum_store::BoxFuture;
use thiserror::Error as ThisError;

use self::address::Block;
pub(crate) use self::host::{Host, check_url};

/// How long a name may take to resolve.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(10);
/// The most addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 32;

/// Turns names into addresses.
pub trait Resolver: Send + Sync + fmt::Debug + 'static {
    /// Returns the addresses of a name.
    ///
    /// # Errors
    /// When it has none, or they cannot be found out.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Asks the resolver of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// One thing that is allowed although it is not public: a name, an address or a block of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Allowance);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowance {
    Name(String),
    Block(Block),
}

/// The text is neither a name, nor an address, nor a block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{text:?} is no host name, no address, and no block such as 10.1.0.0/16")]
pub struct InvalidAllowed {
    /// What was given.
    pub text: String,
}

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, InvalidAllowed> {
        if let Some(block) = Block::parse(text) {
            return Ok(Self(Allowance::Block(block)));
        }
        match Host::parse(text) {
            Ok(Host::Name(name)) => Ok(Self(Allowance::Name(name))),
            Ok(Host::Address(_)) | Err(_) => Err(InvalidAllowed {
                text: text.chars().take(100).collect(),
            }),
        }
    }
}

/// Why a connection is not made.
#[derive(Debug, ThisError)]
pub enum Refusal {
    /// An address is not public, and not allowed either.
    #[error("{host} is at {address}, which is {what}; deliver.allow does not list it")]
    Address {
        /// The host as it was asked for.
        host: String,
        /// The address that is refused.
        address: IpAddr,
        /// What the address is, such as `a private address`.
        what: &'static str,
    },
    /// A name does not resolve.
    #[error("{host} does not resolve")]
    Unresolved {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Decides where connections may go.
#[derive(Debug)]
pub struct Guard {
    allowed: Vec<Allowed>,
    resolver: Arc<dyn Resolver>,
}

impl Guard {
    /// Makes a guard that lets connections go to public addresses and to what is allowed.
    #[must_use]
    pub fn new(allowed: Vec<Allowed>, resolver: Arc<dyn Resolver>) -> Self {
        Self { allowed, resolver }
    }

    /// Checks an address that stands in a definition itself.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        self.check(&address.to_string(), address, false)
    }

    /// Returns the addresses of a host, each of them checked. If one of them is refused, all are:
    /// a name that stands for a public and for a private address is a trick, or a mistake.
    pub(crate) async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, Refusal> {
        let name = match host {
            Host::Address(address) => {
                self.check_address(*address)?;
                return Ok(vec![*address]);
            }
            Host::Name(name) => name,
        };
        let unresolved = |source| Refusal::Unresolved {
            host: name.clone(),
            source,
        };
        let found = tokio::time::timeout(RESOLVE_TIME_MAX, self.resolver.resolve(name)).await;
        let mut addresses = match found {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(unresolved(error)),
            Err(_) => return Err(unresolved(io::ErrorKind::TimedOut.into())),
        };
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(unresolved(io::ErrorKind::NotFound.into()));
        }
        let is_named = self.allowed.iter().any(|allowed| match &allowed.0 {
            Allowance::Name(allowed) => allowed == name,
            Allowance::Block(_) => false,
        });
        for &address in &addresses {
            self.check(name, address, is_named)?;
        }
        Ok(addresses)
    }

    /// Returns where to connect for a host and a port, checked; see [`Guard::addresses`].
    pub(crate) async fn sockets(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        let addresses = self.addresses(host).await?;
        Ok(addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }

    fn check(&self, host: &str, address: IpAddr, is_named: bool) -> Result<(), Refusal> {
        let is_allowed = || {
            self.allowed.iter().any(|allowed| match &allowed.0 {
                Allowance::Name(_) => false,
                Allowance::Block(block) => block.contains(address),
            })
        };
        match address::why_not_public(address) {
            Some(what) if !is_named && !is_allowed() => Err(Refusal::Address {
                host: host.to_owned(),
                address,
                what,
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the refusal that an error was made of, however deep.
pub(crate) fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
