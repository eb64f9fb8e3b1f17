//! Connections that we make ourselves and hand to a client, encrypted where the server is to be.

use std::net::SocketAddr;
use std::sync::Arc;

use factum_engine::{DeliverError, ErrorClass};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::outside::tls;
use crate::server::{Server, first_of};

/// A connection, whatever it goes through.
pub(crate) type Stream = Box<dyn Both>;

/// Reads and writes.
pub(crate) trait Both: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Both for T {}

/// Connects to one of the addresses of a server, resolved and checked now.
pub(crate) async fn dial(server: &Server) -> Result<Stream, DeliverError> {
    let sockets = server.sockets().await?;
    let plain = first_of(sockets, |socket| Box::pin(connect(socket))).await?;
    match &server.roots {
        Some(roots) => encrypt(server, roots, plain).await,
        None => Ok(Box::new(plain)),
    }
}

async fn connect(socket: SocketAddr) -> Result<TcpStream, DeliverError> {
    let connected = TcpStream::connect(socket).await;
    let connected = connected.map_err(|error| {
        DeliverError::passing(ErrorClass::Connect, format!("no connection: {error}"))
    })?;
    // Small requests wait for nothing. Where this cannot be set they are slower, no more.
    drop(connected.set_nodelay(true));
    Ok(connected)
}

async fn encrypt(
    server: &Server,
    roots: &Arc<RootCertStore>,
    plain: TcpStream,
) -> Result<Stream, DeliverError> {
    let unusable = |error: String| DeliverError::lasting(ErrorClass::Tls, error);
    let tls = tls(Arc::clone(roots)).map_err(|error| unusable(error.to_string()))?;
    let name = ServerName::try_from(server.host.name());
    let name = name.map_err(|error| unusable(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(tls));
    let encrypted = connector.connect(name, plain).await;
    match encrypted {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(DeliverError::passing(
            ErrorClass::Tls,
            format!("no TLS: {error}"),
        )),
    }
}
