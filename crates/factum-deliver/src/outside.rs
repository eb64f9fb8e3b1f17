//! What targets need of the world: names resolved and checked, TLS, the time, a vault.

use std::sync::Arc;
use std::time::Duration;

use factum_engine::{InvalidTarget, Vault};
use factum_model::Clock;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::endpoint::Endpoints;
use crate::guard::Guard;

/// The bounds that definitions cannot exceed, from configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverLimits {
    /// When the engine ends an attempt, waiting for room included. Definitions can give no more.
    pub timeout_max: Duration,
    /// The longest that a target can ask to be left alone for.
    pub retry_after_max: Duration,
    /// How many attempts may be under way at one target.
    pub concurrency_max: usize,
    /// How much of an answer is kept.
    pub excerpt_bytes_max: usize,
}

impl Default for DeliverLimits {
    fn default() -> Self {
        Self {
            timeout_max: Duration::from_secs(60),
            retry_after_max: Duration::from_hours(24),
            concurrency_max: 64,
            excerpt_bytes_max: 1024,
        }
    }
}

/// What targets need of the world. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    pub(crate) guard: Arc<Guard>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: DeliverLimits,
    pub(crate) endpoints: Endpoints,
    /// The authorities that the system trusts, read once.
    pub(crate) roots: Arc<RootCertStore>,
}

impl Outside {
    pub(crate) fn vault(&self) -> &dyn Vault {
        &*self.vault
    }

    /// Returns the authorities that a target trusts: those of the system, or those it names.
    pub(crate) fn roots(
        &self,
        authorities: Option<&str>,
    ) -> Result<Arc<RootCertStore>, InvalidTarget> {
        match authorities {
            Some(pem) => Ok(Arc::new(named_roots(pem)?)),
            None => Ok(Arc::clone(&self.roots)),
        }
    }
}

/// Returns TLS that trusts these authorities.
pub(crate) fn tls(roots: Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Returns the authorities that the system trusts. Those that cannot be read are left out.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unreadable) = roots.add_parsable_certificates(found.certs);
    if !found.errors.is_empty() || unreadable > 0 {
        let failed = found.errors.len();
        tracing::warn!(
            failed,
            unreadable,
            "some authorities of the system cannot be read"
        );
    }
    roots
}

fn named_roots(pem: &str) -> Result<RootCertStore, InvalidTarget> {
    let fault = |rule: &str| InvalidTarget::at("/caCertificates", rule);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| fault("must be certificates as PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| fault("has a certificate that cannot be read"))?;
    }
    if roots.is_empty() {
        return Err(fault("must have at least one certificate as PEM"));
    }
    Ok(roots)
}
