//! A server that a target keeps a connection to: where it is, how the connection is made secure,
//! and the one connection itself.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use factum_engine::{DeliverError, ErrorClass, InvalidTarget};
use factum_store::BoxFuture;
use rustls::RootCertStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::guard::{Guard, Host, Refusal};
use crate::outside::Outside;

/// Where a server is, as definitions say it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServerDefinition {
    host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Connections are encrypted unless this says otherwise.
    #[serde(default = "yes")]
    tls: bool,
    /// The authorities that are trusted in place of the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_certificates: Option<String>,
}

impl ServerDefinition {
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// Reads `host` or `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn parse(
        text: &str,
        tls: bool,
        ca_certificates: Option<&str>,
    ) -> Result<Self, &'static str> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (text, None),
        };
        let port = port.map(str::parse).transpose();
        Ok(Self {
            host: host.to_owned(),
            port: port.map_err(|_| "must be a host, or a host, ':' and a port")?,
            tls,
            ca_certificates: ca_certificates.map(str::to_owned),
        })
    }
}

const fn yes() -> bool {
    true
}

/// A server that was checked.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The authorities that are trusted, where connections are encrypted.
    pub(crate) roots: Option<Arc<RootCertStore>>,
    pub(crate) ca_certificates: Option<String>,
    guard: Arc<Guard>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    /// Checks where a server is; the pointers of faults begin at `/server`.
    pub(crate) fn new(
        definition: &ServerDefinition,
        default_port: u16,
        outside: &Outside,
    ) -> Result<Self, InvalidTarget> {
        Self::checked(definition, default_port, outside).map_err(|fault| fault.under("/server"))
    }

    /// Checks where a server is; the pointers of faults begin at the definition of the server.
    pub(crate) fn checked(
        definition: &ServerDefinition,
        default_port: u16,
        outside: &Outside,
    ) -> Result<Self, InvalidTarget> {
        let host = Host::parse(&definition.host)
            .map_err(|error| InvalidTarget::at("/host", error.rule).with_value(&definition.host))?;
        if let Host::Address(address) = host {
            let checked = outside.guard.check_address(address);
            checked.map_err(|refusal| InvalidTarget::at("/host", refusal.to_string()))?;
        }
        let port = definition.port.unwrap_or(default_port);
        if port == 0 {
            return Err(InvalidTarget::at("/port", "must be 1 to 65535"));
        }
        let authorities = definition.ca_certificates.as_deref();
        if authorities.is_some() && !definition.tls {
            return Err(InvalidTarget::at(
                "/caCertificates",
                "mean nothing without tls",
            ));
        }
        let roots = definition
            .tls
            .then(|| outside.roots(authorities))
            .transpose()?;
        Ok(Self {
            host,
            port,
            roots,
            ca_certificates: definition.ca_certificates.clone(),
            guard: Arc::clone(&outside.guard),
        })
    }

    /// Returns another server that is reached as this one is; `None` if what is given is no host. It
    /// is checked when it is connected to.
    pub(crate) fn elsewhere(&self, host: &str, port: u16) -> Option<Self> {
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => Host::Address(address.into()),
            Err(_) => Host::parse(host).ok()?,
        };
        Some(Self {
            host,
            port,
            ..self.clone()
        })
    }

    /// Returns where to connect, resolved and checked now.
    pub(crate) async fn sockets(&self) -> Result<Vec<SocketAddr>, DeliverError> {
        let sockets = self.guard.sockets(&self.host, self.port).await;
        sockets.map_err(|refusal| refused(&refusal))
    }
}

/// Returns the failure that a refusal of the guard is.
pub(crate) fn refused(refusal: &Refusal) -> DeliverError {
    let class = match refusal {
        Refusal::Address { .. } => ErrorClass::Policy,
        Refusal::Unresolved { .. } => ErrorClass::Resolve,
    };
    // Both may change without us: names get other addresses, operators allow more.
    DeliverError::passing(class, refusal.to_string())
}

/// The one connection of a target, made when it is needed and made anew when it broke.
#[derive(Debug)]
pub(crate) struct Kept<C> {
    connection: Mutex<Option<Arc<C>>>,
}

impl<C> Kept<C> {
    pub(crate) fn none() -> Self {
        Self {
            connection: Mutex::new(None),
        }
    }

    /// Returns the connection if it lives, or makes one. Who comes meanwhile waits for it, so
    /// that there is never more than one.
    pub(crate) async fn get(
        &self,
        lives: impl Fn(&C) -> bool,
        make: impl Future<Output = Result<C, DeliverError>>,
    ) -> Result<Arc<C>, DeliverError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref().filter(|connection| lives(connection)) {
            return Ok(Arc::clone(connection));
        }
        // What is dead goes before its successor is made.
        *connection = None;
        let made = Arc::new(make.await?);
        *connection = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Forgets a connection that failed, so that the next attempt makes another.
    pub(crate) async fn forget(&self, failed: &Arc<C>) {
        let mut connection = self.connection.lock().await;
        if connection
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept, failed))
        {
            *connection = None;
        }
    }
}

/// Tries to connect to one socket after the other, and returns what the last one said if none
/// answers.
pub(crate) async fn first_of<'a, T>(
    sockets: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> BoxFuture<'a, Result<T, DeliverError>>,
) -> Result<T, DeliverError> {
    let mut last = DeliverError::passing(ErrorClass::Resolve, "the host has no address");
    for socket in sockets {
        match connect(socket).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}
