//! The server: bound, run, stopped.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use factum_engine::{Engine, KeyRing};
use factum_model::ErrorCode;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::connections::Connections;
use crate::metrics::Metrics;
use crate::options::{ServerOptions, TlsFiles};
use crate::services::Services;
use crate::state::{AppState, Shared};
use crate::{openapi, table};

/// A server that is bound to its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    tls: Option<TlsAcceptor>,
    state: AppState,
}

/// Why a server could not be bound.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("{address} cannot be bound")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("certificate {} with key {} cannot be used", files.certificate.display(), files.key.display())]
    Tls {
        /// The files.
        files: TlsFiles,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An allowed origin is not one.
    #[error("{origin:?} is not an origin, such as https://app.example")]
    Origin {
        /// The text as it was configured.
        origin: String,
    },
}

impl ServerError {
    /// Returns the stable code of this failure.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Bind { .. } => ErrorCode::Locked,
            Self::Tls { .. } | Self::Origin { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Binds the address. Connections are accepted when the server runs.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind(
        options: ServerOptions,
        engine: Engine,
        keys: Arc<dyn KeyRing>,
    ) -> Result<Self, ServerError> {
        Self::bind_with(options, engine, keys, Services::default()).await
    }

    /// Binds the address of a server that offers more than the log.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind_with(
        options: ServerOptions,
        engine: Engine,
        keys: Arc<dyn KeyRing>,
        services: Services,
    ) -> Result<Self, ServerError> {
        let tls = options.tls.as_ref().map(acceptor).transpose()?;
        let cors = cors(&options.cors_allowed_origins)?;
        let listen = options.listen;
        let bound = |source| ServerError::Bind {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        let metrics = Metrics {
            routes: table::counters(),
            ..Metrics::default()
        };
        let state = Arc::new(Shared::new(options, engine, keys, (metrics, services)));
        let mut router = table::router(&state);
        if let Some(cors) = cors {
            router = router.layer(cors);
        }
        Ok(Self {
            listener,
            address,
            router,
            tls,
            state,
        })
    }

    /// Returns the address, with the port that was given out.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the scheme and the address, as clients name the server.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `shutdown` resolves, then stops accepting, lets requests and live connections
    /// end within the time that the options give them, and returns. The engine stays open.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let sessions = self.state.sessions.clone();
        let served = CancellationToken::new();
        let serving = async {
            Connections::new(self.listener, self.router, self.tls, self.state)
                .serve(shutdown)
                .await;
            served.cancel();
        };
        tokio::join!(serving, sessions.run(served.clone()));
    }

    /// Returns the OpenAPI document, as `/openapi.json` serves it.
    ///
    /// # Errors
    /// When the document cannot be written as JSON, which a test rules out.
    pub fn openapi() -> Result<String, serde_json::Error> {
        let document = openapi::render(&table::document())?;
        serde_json::to_string_pretty(&document)
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServerError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ServerError::Tls {
        files: files.clone(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.into()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(error.into()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| failed(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn cors(origins: &[String]) -> Result<Option<CorsLayer>, ServerError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let mut allowed = Vec::new();
    for origin in origins {
        let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
        });
        match HeaderValue::from_str(origin) {
            Ok(value) if is_origin => allowed.push(value),
            Ok(_) | Err(_) => {
                let origin = origin.clone();
                return Err(ServerError::Origin { origin });
            }
        }
    }
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::HeaderName::from_static("x-request-id"),
            header::HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::HeaderName::from_static("x-request-id"),
            header::HeaderName::from_static("factum-cursor"),
            header::HeaderName::from_static("factum-has-more"),
        ]);
    Ok(Some(layer))
}
