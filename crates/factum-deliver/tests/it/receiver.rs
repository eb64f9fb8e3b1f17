//! A receiver of webhooks that answers as a test wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// What a receiver does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Says this, byte for byte.
    Says(String),
    /// Says nothing, and keeps the connection.
    Hangs,
    /// Closes the connection.
    Closes,
}

impl Answer {
    pub(crate) fn status(status: &str) -> Self {
        Self::full(status, "", "")
    }

    /// Each header ends with a line end.
    pub(crate) fn full(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Says(format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }
}

/// A receiver that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Starts a receiver that gives the answers one after the other, and the last one from then on.
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        Self::start_at("127.0.0.1", answers, None).await
    }

    /// Starts a receiver that speaks TLS.
    pub(crate) async fn start_tls(answers: Vec<Answer>, certificate: &str, key: &str) -> Self {
        let acceptor = acceptor(certificate, key);
        Self::start_at("127.0.0.1", answers, Some(acceptor)).await
    }

    pub(crate) async fn start_at(
        address: &str,
        answers: Vec<Answer>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let shared = Shared {
            requests: Arc::clone(&requests),
            answers: Arc::new(Mutex::new(answers)),
        };
        let count = Arc::clone(&connections);
        let accept = async move {
            let mut served = tokio::task::JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                let (shared, tls) = (shared.clone(), tls.clone());
                served.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(connection) = tls.accept(connection).await {
                                serve(connection, shared).await;
                            }
                        }
                        None => serve(connection, shared).await,
                    }
                });
            }
        };
        Self {
            address,
            requests,
            connections,
            task: spawn(accept),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?x=y", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// Returns what accepts TLS with a certificate and its key.
pub(crate) fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[expect(
    clippy::disallowed_methods,
    reason = "ended when the receiver is dropped"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

#[derive(Clone)]
struct Shared {
    requests: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

async fn serve(mut connection: impl AsyncRead + AsyncWrite + Unpin, shared: Shared) {
    while let Some(request) = read(&mut connection).await {
        shared.requests.lock().unwrap().push(request);
        let answer = {
            let mut answers = shared.answers.lock().unwrap();
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            }
        };
        match answer {
            Answer::Says(text) => {
                if connection.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Hangs => std::future::pending().await,
            Answer::Closes => return,
        }
    }
}

/// Reads a request; `None` when there is no other.
async fn read(connection: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            break end;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        })
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < end + 4 + length {
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
    Some(Request {
        line,
        headers,
        body,
    })
}
