//! Clients of live delivery: one WebSocket, one Server-Sent Events response.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::Harness;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("nothing came in time")
}

/// A WebSocket client.
pub(crate) struct Ws {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Ws {
    /// Opens a WebSocket; a refusal is its HTTP status.
    pub(crate) async fn open(
        url: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let address = url.strip_prefix("http://").unwrap();
        let request = format!("ws://{address}/v1/stream{query}");
        let mut request = request.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        match soon(client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a WebSocket with a key in the header.
    pub(crate) async fn with_key(url: &str, key: &str) -> Self {
        let bearer = format!("Bearer {key}");
        Self::open(url, "", &[("authorization", &bearer)])
            .await
            .unwrap()
    }

    /// Opens a WebSocket as the administrator.
    pub(crate) async fn admin(server: &Harness) -> Self {
        Self::with_key(&server.url, &server.admin).await
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.text(&message.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Subscribes and waits for the confirmation, which it returns.
    pub(crate) async fn subscribe(&mut self, id: &str, filter: Value, options: Value) -> Value {
        self.say(&json!({
            "type": "subscribe", "subscriptionId": id, "filter": filter, "options": options,
        }))
        .await;
        self.next_of("subscription_confirmed").await
    }

    /// Returns the next message of the server.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match soon(self.socket.next()).await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the next message, which is of this type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Returns the positions of the next events.
    pub(crate) async fn events(&mut self, n_events: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < n_events {
            let message = self.next_of("event").await;
            positions.push(message["data"]["position"].as_u64().unwrap());
        }
        positions
    }

    /// Reads to the end and returns the code and the reason of the close.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match soon(self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    // The answer goes out with the next read.
                    while let Some(Ok(_)) = soon(self.socket.next()).await {}
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("ended without a close frame: {other:?}"),
            }
        }
    }
}

/// A client of Server-Sent Events.
pub(crate) struct Sse {
    body: Incoming,
    text: String,
}

/// A block of a stream of Server-Sent Events.
#[derive(Debug, Default, Clone)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl Block {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Sse {
    /// Asks for a stream; a refusal is its status.
    pub(crate) async fn open(
        url: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        // A client of its own: its connection ends when the stream is dropped.
        let client: Client<HttpConnector, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let mut request = Request::get(format!("{url}/v1/events/stream{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(!headers.contains_key("content-encoding"));
        Ok(Self {
            body: response.into_body(),
            text: String::new(),
        })
    }

    /// Asks for a stream with a key in the header, which must be given.
    pub(crate) async fn with_key(url: &str, key: &str, query: &str) -> Self {
        let bearer = format!("Bearer {key}");
        Self::open(url, query, &[("authorization", &bearer)])
            .await
            .unwrap()
    }

    /// Returns the next block; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = read_block(block);
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = soon(self.body.frame()).await?.ok()?;
            let bytes = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// Returns the next block, which is of this kind.
    pub(crate) async fn next_of(&mut self, event: &str) -> Block {
        let block = self.next().await.expect("the stream ended");
        assert_eq!(block.event, event, "{block:?}");
        block
    }
}

fn read_block(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("event", name) => name.clone_into(&mut block.event),
            ("id", id) => block.id = Some(id.to_owned()),
            ("data", data) => block.data.push_str(data),
            ("retry", _) => {}
            other => panic!("{other:?}"),
        }
    }
    block
}
