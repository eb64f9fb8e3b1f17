//! Whether and whom to trust on the way to PostgreSQL.
//!
//! `sslmode` in the URL has two meanings here: `disable`, `allow` and `prefer` (and nothing at all)
//! speak without TLS, as they promise nothing; `require`, `verify-ca` and `verify-full` speak TLS with a
//! server whose certificate and name are verified, against the authorities of the system or
//! of the file that `sslrootcert` names. TLS that trusts everybody is not offered.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;

/// What a URL says of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trust {
    is_required: bool,
    roots: Option<String>,
}

impl Trust {
    /// Takes the parameters of TLS out of a URL.
    pub(crate) fn split(url: &str) -> Result<(String, Self), OpenError> {
        let mut trust = Self::default();
        let Some((address, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
            return Ok((url.to_owned(), trust));
        };
        let mut rest = form_urlencoded::Serializer::new(String::new());
        let mut n_rest = 0;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("sslmode", "disable" | "allow" | "prefer") => trust.is_required = false,
                ("sslmode", "require" | "verify-ca" | "verify-full") => trust.is_required = true,
                ("sslmode", _) => {
                    let rule = "sslmode is disable, prefer, require or verify-full";
                    return Err(OpenError::Tls { rule, source: None });
                }
                ("sslrootcert", path) => trust.roots = Some(path.to_owned()),
                (name, value) => {
                    rest.append_pair(name, value);
                    n_rest += 1;
                }
            }
        }
        // A plus sign is no space to PostgreSQL.
        let rest = rest.finish().replace('+', "%20");
        let url = if n_rest == 0 {
            address.to_owned()
        } else {
            format!("{address}?{rest}")
        };
        Ok((url, trust))
    }

    /// Sets up how a connection is made.
    pub(crate) fn connector(&self, config: &mut Config) -> Result<MakeRustlsConnect, OpenError> {
        let is_required = self.is_required || config.get_ssl_mode() == SslMode::Require;
        let roots = if is_required {
            config.ssl_mode(SslMode::Require);
            self.roots()?
        } else {
            config.ssl_mode(SslMode::Disable);
            RootCertStore::empty()
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed("no version of it is known", error))?;
        let client = client.with_root_certificates(roots).with_no_client_auth();
        Ok(MakeRustlsConnect::new(client))
    }

    fn roots(&self) -> Result<RootCertStore, OpenError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.roots else {
            let found = rustls_native_certs::load_native_certs();
            let (n_added, _) = roots.add_parsable_certificates(found.certs);
            if n_added == 0 {
                let rule = "the system has no trusted certificates; name a file with sslrootcert";
                return Err(OpenError::Tls { rule, source: None });
            }
            return Ok(roots);
        };
        let rule = "sslrootcert is not a PEM file with certificates";
        let certificates = CertificateDer::pem_file_iter(path);
        for certificate in certificates.map_err(|error| failed(rule, error))? {
            let certificate = certificate.map_err(|error| failed(rule, error))?;
            roots
                .add(certificate)
                .map_err(|error| failed(rule, error))?;
        }
        if roots.is_empty() {
            return Err(OpenError::Tls { rule, source: None });
        }
        Ok(roots)
    }
}

fn failed(rule: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    let source = Some(error.into());
    OpenError::Tls { rule, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_tls_is_taken_out_of_a_url() {
        let check = |url: &str, rest: &str, is_required: bool, roots: Option<&str>| {
            let roots = roots.map(str::to_owned);
            let trust = Trust { is_required, roots };
            assert_eq!(Trust::split(url).unwrap(), (rest.to_owned(), trust));
        };
        check("postgresql://h/d", "postgresql://h/d", false, None);
        check(
            "postgresql://h/d?sslmode=prefer",
            "postgresql://h/d",
            false,
            None,
        );
        check(
            "postgresql://h/d?sslmode=verify-full",
            "postgresql://h/d",
            true,
            None,
        );
        check(
            "postgresql://h/d?password=a%20b%2B&sslmode=require&sslrootcert=%2Fx%20y.pem&port=1",
            "postgresql://h/d?password=a%20b%2B&port=1",
            true,
            Some("/x y.pem"),
        );
        check(
            "host=h sslmode=require",
            "host=h sslmode=require",
            false,
            None,
        );
        assert!(Trust::split("postgresql://h/d?sslmode=maybe").is_err());
    }
}
