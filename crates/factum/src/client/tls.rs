//! TLS to servers whose URL says https.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::Stream;

/// Makes a TLS connection out of a plain one; trusting the certificates of a file, or those of
/// the system.
pub(crate) async fn open(
    tcp: TcpStream,
    host: &str,
    trust: Option<&Path>,
) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let roots = match trust {
        Some(path) => roots_of_file(path)?,
        None => roots_of_system()?,
    };
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, tcp).await?))
}

fn roots_of_file(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
    for certificate in certificates {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        let message = format!("{} has no certificate", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(roots)
}

fn roots_of_system() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (n_added, _) = roots.add_parsable_certificates(found.certs);
    if n_added == 0 {
        let message = "the system has no trusted certificates; name a file with --cacert";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(roots)
}
