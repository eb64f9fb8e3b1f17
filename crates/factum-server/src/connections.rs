//! Connections: accepted within bounds, served, and ended in good order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::patient::Patient;
use crate::shortcut::Shortcut;
use crate::state::AppState;

/// How long to wait after the system refused to give out a connection, as when there are too
/// many open files: the listener would be ready again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many requests one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 128;
/// How many bytes of a connection are buffered, which bounds the head of a request.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// The connections of a server.
pub(crate) struct Connections {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    tasks: JoinSet<()>,
    shared: Arc<Serving>,
}

/// What every connection is served with.
struct Serving {
    router: Router,
    shortcut: Option<Shortcut>,
    tls: Option<TlsAcceptor>,
    state: AppState,
    http: Builder<TokioExecutor>,
    /// Cancelled when connections are to finish what they do.
    ending: CancellationToken,
}

impl Connections {
    pub(crate) fn new(
        listener: TcpListener,
        router: Router,
        tls: Option<TlsAcceptor>,
        state: AppState,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(state.options.connections_max));
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(state.options.header_time_max)
            .max_buf_size(BUFFER_BYTES_MAX);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .keep_alive_interval(Some(state.options.header_time_max));
        let serving = Serving {
            router,
            shortcut: Shortcut::new(&state),
            tls,
            http,
            ending: state.shutdown.clone(),
            state,
        };
        Self {
            listener,
            permits,
            tasks: JoinSet::new(),
            shared: Arc::new(serving),
        }
    }

    /// Accepts until `shutdown` resolves, then lets connections end.
    pub(crate) async fn serve(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = self.tasks.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, client)) => self.admit(stream, client),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "no connection could be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        self.end().await;
    }

    fn admit(&mut self, stream: TcpStream, client: SocketAddr) {
        let metrics = &self.shared.state.metrics;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            // Closing at once costs less than an answer, of which there could be many.
            metrics
                .connections_refused_total
                .fetch_add(1, Ordering::Relaxed);
            return;
        };
        metrics.connections_total.fetch_add(1, Ordering::Relaxed);
        metrics.connections_open.fetch_add(1, Ordering::Relaxed);
        let serving = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let open = Open(Arc::clone(&serving));
            if let Err(error) = serving.connection(stream, client).await {
                tracing::debug!(error = &*error, %client, "a connection broke");
            }
            drop(open);
            drop(permit);
        });
    }

    async fn end(mut self) {
        let state = Arc::clone(&self.shared.state);
        drop(self.listener);
        self.shared.ending.cancel();
        state.live.shut_down();
        let all_end = async {
            while self.tasks.join_next().await.is_some() {}
            state.live.drained().await;
        };
        if timeout(state.options.shutdown_time_max, all_end)
            .await
            .is_err()
        {
            let n_connections = self.tasks.len();
            tracing::warn!(
                n_connections,
                "connections were cut at the end of the time to stop"
            );
            self.tasks.shutdown().await;
        }
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Serving>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0
            .state
            .metrics
            .connections_open
            .fetch_sub(1, Ordering::Relaxed);
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Serving {
    async fn connection(
        self: &Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
    ) -> Result<(), BoxError> {
        // Answers are small and awaited; waiting to fill a packet would only delay them.
        stream.set_nodelay(true)?;
        let options = &self.state.options;
        let stream = Patient::new(stream, options.write_time_max);
        match &self.tls {
            None => self.http(stream, client).await,
            Some(tls) => {
                let stream = timeout(options.handshake_time_max, tls.accept(stream)).await??;
                self.http(stream, client).await
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Body>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        if let Some(shortcut) = self
            .shortcut
            .as_ref()
            .filter(|_| Shortcut::serves(&request))
        {
            return Ok(shortcut.answer(request).await);
        }
        request.extensions_mut().insert(ConnectInfo(client));
        self.router.clone().oneshot(request).await
    }

    async fn http(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        client: SocketAddr,
    ) -> Result<(), BoxError> {
        let service = service_fn(move |request: Request<Incoming>| {
            Arc::clone(self).answer(request.map(Body::new), client)
        });
        let connection = self
            .http
            .serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = &mut connection => return result,
            () = self.ending.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }
}
