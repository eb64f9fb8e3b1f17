//! One connection of a subscriber, read by hand: so it can be cut in the middle of a message, and
//! costs less than the server that is under load.

use memchr::memmem;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::plan::Plan;
use crate::server::Server;

/// Where the server is, and how to come in.
#[derive(Debug, Clone)]
pub(super) struct Address {
    host: String,
    key: String,
}

impl Address {
    pub(super) fn of(server: &Server) -> Self {
        Self {
            host: server.url.strip_prefix("http://").unwrap().to_owned(),
            key: server.key(),
        }
    }
}

/// How a subscriber comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    WebSocket,
    EventSource,
}

/// Where a subscription starts.
pub(super) enum Start<'a> {
    Beginning,
    Now,
    After(&'a str),
}

/// What came.
pub(super) enum Message {
    Event(Event),
    /// A place in the log without an event.
    Place {
        cursor: String,
    },
    /// Nothing that a subscriber needs to know.
    Other,
    /// The server ends the subscription.
    Closed,
}

/// An event that came.
pub(super) struct Event {
    pub(super) position: u64,
    pub(super) number: u64,
    pub(super) sent_micros: u64,
    pub(super) cursor: String,
}

/// An open subscription.
pub(super) struct Feed {
    door: Door,
    stream: TcpStream,
    /// What has come and is no whole frame or chunk yet.
    raw: Vec<u8>,
    /// Blocks of Server-Sent Events, out of their chunks.
    text: Vec<u8>,
}

impl Feed {
    /// Subscribes, which the server must allow.
    pub(super) async fn open(address: &Address, door: Door, plan: &Plan, start: Start<'_>) -> Self {
        let stream = TcpStream::connect(&address.host).await.unwrap();
        Self::on(stream, address, door, plan, start).await
    }

    async fn on(
        stream: TcpStream,
        address: &Address,
        door: Door,
        plan: &Plan,
        start: Start<'_>,
    ) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut feed = Self {
            door,
            stream,
            raw: Vec::new(),
            text: Vec::new(),
        };
        let Address { host, key } = address;
        let head = match door {
            Door::WebSocket => format!(
                "GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: ZmFjdHVtIHNvYWsgdGVzdA==\r\n\r\n"
            ),
            Door::EventSource => {
                let (start, last) = match start {
                    Start::Beginning => ("start=beginning", String::new()),
                    Start::Now => ("start=end", String::new()),
                    Start::After(cursor) => ("", format!("Last-Event-ID: {cursor}\r\n")),
                };
                let query = plan.query;
                format!(
                    "GET /v1/events/stream?{query}&{start} HTTP/1.1\r\nHost: {host}\r\n\
                     Authorization: Bearer {key}\r\n{last}\r\n"
                )
            }
        };
        feed.stream.write_all(head.as_bytes()).await.unwrap();
        feed.head().await;
        if door == Door::WebSocket {
            let mut options = json!({"heartbeatInterval": 1000});
            match start {
                Start::Beginning => options["includeHistory"] = true.into(),
                Start::Now => {}
                Start::After(cursor) => options["fromPosition"] = cursor.into(),
            }
            let subscribe = json!({
                "type": "subscribe", "subscriptionId": "soak", "filter": plan.json,
                "options": options,
            });
            feed.say(0x1, subscribe.to_string().as_bytes()).await;
        }
        feed
    }

    /// Reads the head of the answer.
    async fn head(&mut self) {
        let end = loop {
            assert!(self.fill_raw().await, "the server hung up");
            if let Some(end) = memmem::find(&self.raw, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let status = &self.raw[9..12];
        assert!(
            matches!(status, b"101" | b"200"),
            "{}",
            String::from_utf8_lossy(&self.raw)
        );
        self.raw.drain(..end);
    }

    /// Sends a frame. The mask is zero, which leaves the text as it is.
    async fn say(&mut self, opcode: u8, text: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(text.len()) {
            Ok(length @ 0..=125) => frame.push(0x80 | length),
            Ok(_) | Err(_) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text);
        // A server that ended the connection is noticed when it is read.
        self.stream.write_all(&frame).await.unwrap_or_default();
    }

    async fn fill_raw(&mut self) -> bool {
        self.raw.reserve(64 << 10);
        matches!(self.stream.read_buf(&mut self.raw).await, Ok(1..))
    }

    /// Waits for more. Returns whether there is any. Dropping the future loses nothing.
    pub(super) async fn fill(&mut self) -> bool {
        let more = self.fill_raw().await;
        if more && self.door == Door::EventSource {
            self.unchunk();
        }
        more
    }

    /// Moves whole chunks of the body out of their frames.
    fn unchunk(&mut self) {
        let mut at = 0;
        while let Some(end) = memmem::find(&self.raw[at..], b"\r\n") {
            let size = std::str::from_utf8(&self.raw[at..at + end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let start = at + end + 2;
            if self.raw.len() < start + size + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[start..start + size]);
            at = start + size + 2;
        }
        self.raw.drain(..at);
    }

    /// Returns the next message that is there in full.
    pub(super) fn next(&mut self) -> Option<Message> {
        match self.door {
            Door::WebSocket => {
                let (opcode, start, end) = frame(&self.raw)?;
                let message = match opcode {
                    0x1 => read_message(&self.raw[start..end]),
                    0x8 => Message::Closed,
                    _ => Message::Other,
                };
                self.raw.drain(..end);
                Some(message)
            }
            Door::EventSource => {
                let end = memmem::find(&self.text, b"\n\n")?;
                let message = read_block(&self.text[..end]);
                self.text.drain(..end + 2);
                Some(message)
            }
        }
    }

    /// Ends the connection without a word; hard, so that the server's next write fails, or by
    /// closing it.
    pub(super) fn cut(self, hard: bool) {
        if hard {
            self.stream.set_zero_linger().unwrap();
        }
    }
}

/// A subscriber to everything that never reads.
pub(super) struct Stalled {
    _feed: Feed,
}

impl Stalled {
    pub(super) async fn open(address: &Address) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // So that little is enough to fill it.
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address.host.parse().unwrap()).await.unwrap();
        let everything = Plan {
            json: json!({}),
            query: "",
        };
        let door = Door::WebSocket;
        let mut feed = Feed::on(stream, address, door, &everything, Start::Beginning).await;
        let subscribe = json!({
            "type": "subscribe", "subscriptionId": "stalled", "filter": {},
            "options": {"includeHistory": true},
        });
        feed.say(0x1, subscribe.to_string().as_bytes()).await;
        Self { _feed: feed }
    }
}

/// Returns the kind of the first frame and where its payload begins and ends, if it is whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let opcode = bytes.first()? & 0x0f;
    let short = usize::from(*bytes.get(1)? & 0x7f);
    let big_endian = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range)?.iter();
        Some(digits.fold(0_usize, |number, &byte| (number << 8) | usize::from(byte)))
    };
    let (head, length) = match short {
        126 => (4, big_endian(2..4)?),
        127 => (10, big_endian(2..10)?),
        short => (2, short),
    };
    let end = head + length;
    (bytes.len() >= end).then_some((opcode, head, end))
}

fn read_message(text: &[u8]) -> Message {
    let cursor = string_after(text, b"\"cursor\":\"", b'"');
    match (string_after(text, b"{\"type\":\"", b'"').as_deref(), cursor) {
        (Some("event"), Some(cursor)) => Message::Event(read_event(text, cursor)),
        (Some("subscription_closed"), _) => Message::Closed,
        (Some("error"), _) => panic!("{}", String::from_utf8_lossy(text)),
        (_, Some(cursor)) => Message::Place { cursor },
        (_, None) => Message::Other,
    }
}

fn read_block(text: &[u8]) -> Message {
    let cursor = string_after(text, b"id: ", b'\n');
    match (string_after(text, b"event: ", b'\n').as_deref(), cursor) {
        (Some("event"), Some(cursor)) => Message::Event(read_event(text, cursor)),
        (Some("closed"), _) => Message::Closed,
        (_, Some(cursor)) => Message::Place { cursor },
        (_, None) => Message::Other,
    }
}

fn read_event(text: &[u8], cursor: String) -> Event {
    Event {
        position: number_after(text, b"\"position\":"),
        number: number_after(text, b"\"number\":"),
        sent_micros: number_after(text, b"\"sentMicros\":"),
        cursor,
    }
}

/// Reads what stands between a name and an end.
fn string_after(text: &[u8], name: &[u8], end: u8) -> Option<String> {
    let rest = &text[memmem::find(text, name)? + name.len()..];
    let end = memchr::memchr(end, rest).unwrap_or(rest.len());
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

/// Reads the number behind a name; zero where there is none.
fn number_after(text: &[u8], name: &[u8]) -> u64 {
    let Some(at) = memmem::find(text, name) else {
        return 0;
    };
    let digits = text[at + name.len()..].iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
