//! The HTTP client of the command line: one connection, kept alive, bodies streamed both ways.
//!
//! Every wait has a limit: the connection, the head of the answer, and each pause in its body.

mod answer;
mod problem;
mod query;
mod target;
mod tls;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::Context;
use crate::exit::Failure;

pub(crate) use crate::client::answer::{Answer, Lines};
pub(crate) use crate::client::problem::Problem;
pub(crate) use crate::client::query::{Query, encode_segment};
pub(crate) use crate::client::target::{Scheme, Target, target};

/// A request body.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A byte stream to a server, plain or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to begin its answer; above its own limit on a request.
const HEAD_MAX: Duration = Duration::from_secs(120);

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    authorization: Option<HeaderValue>,
    idle: Option<SendRequest<Body>>,
    connections: JoinSet<()>,
}

/// A request, before it is bound to a server.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    wait_max: Duration,
    any_status: bool,
}

impl Call {
    /// Asks for a resource.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Makes a request without a body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            wait_max: HEAD_MAX,
            any_status: false,
        }
    }

    /// Sends a JSON body.
    pub(crate) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let mut call = Self::new(Method::POST, path)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.body = body.into();
        call
    }

    /// Makes it a request of another method.
    pub(crate) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Asks for a media type.
    pub(crate) fn accept(self, media_type: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(media_type))
    }

    /// Gives the server more time, or less, to begin its answer.
    pub(crate) const fn wait_at_most(mut self, wait_max: Duration) -> Self {
        self.wait_max = wait_max;
        self
    }

    /// Takes an answer of any status for an answer.
    pub(crate) const fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Client {
    /// Makes a client of the server that flags, environment or the data directory name.
    pub(crate) fn of(context: &Context) -> anyhow::Result<Self> {
        let (target, key) = target(context)?;
        Self::new(target, key.as_deref())
    }

    /// Makes a client of a server.
    pub(crate) fn new(target: Target, key: Option<&str>) -> anyhow::Result<Self> {
        let authorization = key.map(|key| HeaderValue::from_str(&format!("Bearer {key}")));
        let mut authorization = authorization.transpose().map_err(|_| Failure::Usage {
            message: "the key has characters that no key has".to_owned(),
            hint: "a key looks like fct_…".to_owned(),
        })?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self {
            target,
            authorization,
            idle: None,
            connections: JoinSet::new(),
        })
    }

    /// Returns the server's URL.
    pub(crate) fn url(&self) -> String {
        self.target.url()
    }

    /// Sends a request and returns its answer; a problem document is an error.
    ///
    /// A connection that the server closed while it was idle is replaced once.
    pub(crate) async fn send(&mut self, call: Call) -> anyhow::Result<Answer> {
        let body = |bytes: &Bytes| {
            Full::new(bytes.clone())
                .map_err(|never| match never {})
                .boxed()
        };
        if let Some(mut idle) = self.idle.take()
            && idle.ready().await.is_ok()
        {
            let request = self.request(&call, body(&call.body))?;
            match timeout(call.wait_max, idle.try_send_request(request)).await {
                Ok(Ok(response)) => return self.answered(&call, idle, response).await,
                // The request came back untouched: the server saw nothing of it.
                Ok(Err(mut error)) => {
                    if error.take_message().is_none() {
                        return Err(self.unreachable(io::Error::other(error.into_error())));
                    }
                }
                Err(_) => return Err(self.unreachable(io::ErrorKind::TimedOut.into())),
            }
        }
        let request_body = body(&call.body);
        self.send_streaming(call, request_body).await
    }

    /// Sends a request with a body of unknown length on a connection of its own.
    pub(crate) async fn send_streaming(
        &mut self,
        call: Call,
        body: Body,
    ) -> anyhow::Result<Answer> {
        let mut connection = self.connect().await?;
        let request = self.request(&call, body)?;
        let sent = timeout(call.wait_max, connection.send_request(request)).await;
        match sent {
            Ok(Ok(response)) => self.answered(&call, connection, response).await,
            Ok(Err(error)) => Err(self.unreachable(io::Error::other(error))),
            Err(_) => Err(self.unreachable(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn answered(
        &mut self,
        call: &Call,
        connection: SendRequest<Body>,
        response: hyper::Response<hyper::body::Incoming>,
    ) -> anyhow::Result<Answer> {
        self.idle = Some(connection);
        let answer = Answer::new(self.target.url(), response);
        if call.any_status || answer.status().is_success() {
            return Ok(answer);
        }
        Err(Problem::read(answer).await)
    }

    fn request(&self, call: &Call, body: Body) -> anyhow::Result<Request<Body>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(self.target.path(&call.path))
            .body(body)?;
        let headers = request.headers_mut();
        headers.extend(call.headers.clone());
        headers.insert(HOST, HeaderValue::from_str(&self.target.authority())?);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    /// Opens a byte stream to the server.
    pub(crate) async fn open(&self) -> anyhow::Result<Box<dyn Stream>> {
        let opened = timeout(CONNECT_MAX, async {
            let address = (self.target.host.as_str(), self.target.port);
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            match &self.target.scheme {
                Scheme::Http => Ok(Box::new(tcp) as Box<dyn Stream>),
                Scheme::Https(trust) => tls::open(tcp, &self.target.host, trust.as_deref()).await,
            }
        });
        let opened = opened
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(|error| self.unreachable(error))
    }

    async fn connect(&mut self) -> anyhow::Result<SendRequest<Body>> {
        let stream = TokioIo::new(self.open().await?);
        let handshake = hyper::client::conn::http1::handshake::<_, Body>(stream);
        let (sender, connection) = handshake
            .await
            .map_err(|error| self.unreachable(io::Error::other(error)))?;
        while self.connections.try_join_next().is_some() {}
        self.connections.spawn(async move {
            // What breaks the connection is told to whoever waits for an answer on it.
            connection.await.unwrap_or_default();
        });
        Ok(sender)
    }

    fn unreachable(&self, source: io::Error) -> anyhow::Error {
        let url = self.target.url();
        if tls::is_distrust(&source) {
            return Failure::Untrusted { url, source }.into();
        }
        Failure::Unreachable { url, source }.into()
    }
}
