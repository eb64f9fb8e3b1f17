//! Live delivery: how long it takes from an append to its arrival at WebSocket subscribers.
//!
//! The payload of each event says when its request was sent, by the clock of this process.
//! Frames are read by hand: a WebSocket library would cost more than the server that is measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bench::cases::Outcome;
use crate::bench::histogram::Histogram;
use crate::bench::raw::{Connection, request};
use crate::machine::now;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    /// How many subscribers there are, each on a connection of its own.
    pub(crate) n_subscribers: usize,
    /// How many events are appended a second.
    pub(crate) events_per_s: u32,
    /// How long.
    pub(crate) time: Duration,
}

/// How many connections append.
const N_WRITERS: u32 = 8;
/// How long a subscriber waits for the next frame.
const FRAME_MAX: Duration = Duration::from_secs(30);
/// How long subscribers wait for the last events after the last append.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs it. `n_things` counts deliveries, `n_failed` those that did not come.
pub(crate) async fn run(address: SocketAddr, key: Option<&str>, live: Live) -> io::Result<Outcome> {
    let epoch = now();
    let mut subscribers = JoinSet::new();
    let done = Arc::new(AtomicBool::new(false));
    for _ in 0..live.n_subscribers {
        let socket = Socket::subscribe(address, key).await?;
        subscribers.spawn(receive(socket, epoch, Arc::clone(&done)));
    }
    let mut writers = JoinSet::new();
    let started = now();
    for writer in 0..N_WRITERS {
        let connection = Connection::open(address).await?;
        let key = key.map(str::to_owned);
        writers.spawn(write(connection, key, epoch, writer, live));
    }
    let mut n_appended = 0;
    while let Some(written) = writers.join_next().await {
        n_appended += written.map_err(io::Error::other)??;
    }
    let time = started.elapsed();
    done.store(true, Ordering::Relaxed);
    let mut latency = Histogram::default();
    while let Some(received) = subscribers.join_next().await {
        latency.merge(&received.map_err(io::Error::other)??);
    }
    let n_wanted = n_appended * live.n_subscribers as u64;
    Ok(Outcome {
        n_things: latency.n_values(),
        n_failed: n_wanted.saturating_sub(latency.n_values()),
        time,
        latency,
    })
}

async fn write(
    mut connection: Connection,
    key: Option<String>,
    epoch: Instant,
    writer: u32,
    live: Live,
) -> io::Result<u64> {
    let mut ticks = interval(Duration::from_secs(1) * N_WRITERS / live.events_per_s.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = now() + live.time;
    let mut n_appended = 0;
    while now() < end {
        ticks.tick().await;
        let sent = now() - epoch;
        let body = format!(
            concat!(
                r#"{{"type":"bench.live","aggregateType":"bench","aggregateId":"live-{}","#,
                r#""payload":{{"note":"the quick brown fox jumps over the lazy dog, once for each event that is measured here","#,
                r#""sentNs":{}}}}}"#
            ),
            writer,
            sent.as_nanos()
        );
        let answer = connection
            .call(&request("POST", "/v1/events", key.as_deref(), &body))
            .await?;
        if answer.status >= 300 {
            return Err(io::Error::other(format!(
                "append answered with status {}",
                answer.status
            )));
        }
        n_appended += 1;
    }
    Ok(n_appended)
}

async fn receive(
    mut socket: Socket,
    epoch: Instant,
    done: Arc<AtomicBool>,
) -> io::Result<Histogram> {
    let mut latency = Histogram::default();
    loop {
        let wait = if done.load(Ordering::Relaxed) {
            DRAIN_MAX
        } else {
            FRAME_MAX
        };
        let more = match timeout(wait.min(Duration::from_millis(500)), socket.fill()).await {
            Ok(more) => more?,
            Err(_) if done.load(Ordering::Relaxed) => return Ok(latency),
            Err(_) => continue,
        };
        if !more {
            return Ok(latency);
        }
        let received = now() - epoch;
        socket.frames(|text| {
            if let Some(sent) = sent_of(text) {
                latency.add(received.saturating_sub(sent));
            }
        });
    }
}

/// Returns the time that an event says it was sent at.
fn sent_of(text: &[u8]) -> Option<Duration> {
    const NAME: &[u8] = b"\"sentNs\":";
    let at = text
        .windows(NAME.len())
        .rposition(|window| window == NAME)?;
    let digits = text[at + NAME.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let nanos = digits.fold(0_u64, |number, digit| {
        number.wrapping_mul(10) + u64::from(digit - b'0')
    });
    Some(Duration::from_nanos(nanos))
}

/// The receiving side of a WebSocket.
struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    async fn subscribe(address: SocketAddr, key: Option<&str>) -> io::Result<Self> {
        let authorization = key.map_or_else(String::new, |key| {
            format!("Authorization: Bearer {key}\r\n")
        });
        let upgrade = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZmFjdHVtIGJlbmNobWFyaw==\r\n{authorization}\r\n"
        );
        let mut connection = Connection::open(address).await?;
        let answer = connection.call(upgrade.as_bytes()).await?;
        if answer.status != 101 {
            let message = format!("the WebSocket was answered with status {}", answer.status);
            return Err(io::Error::other(message));
        }
        let (stream, buffer) = connection.into_parts();
        let mut socket = Self { stream, buffer };
        let subscribe = r#"{"type":"subscribe","subscriptionId":"bench","filter":{"eventTypes":["bench.live"]}}"#;
        socket.stream.write_all(&masked(subscribe)).await?;
        let mut confirmed = false;
        while !confirmed {
            socket.frames(|text| {
                let wanted = b"subscription_confirmed";
                confirmed |= text.windows(wanted.len()).any(|window| window == wanted);
            });
            if !confirmed {
                let more = timeout(FRAME_MAX, socket.fill()).await;
                if !more.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(socket)
    }

    /// Reads what has come. Returns whether there was anything.
    async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(64 << 10);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Hands over each frame that is complete.
    fn frames(&mut self, mut take: impl FnMut(&[u8])) {
        let mut start = 0;
        while let Some((payload, end)) = frame(&self.buffer[start..]) {
            take(&self.buffer[start + payload..start + end]);
            start += end;
        }
        self.buffer.drain(..start);
    }
}

/// Returns where the payload of the first frame begins and ends, if it is complete.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(*bytes.get(1)? & 0x7f);
    let big_endian = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range)?;
        Some(
            digits
                .iter()
                .fold(0_usize, |number, &byte| (number << 8) | usize::from(byte)),
        )
    };
    let (head, length) = match short {
        126 => (4, big_endian(2..4)?),
        127 => (10, big_endian(2..10)?),
        short => (2, short),
    };
    let end = head + length;
    (bytes.len() >= end).then_some((head, end))
}

/// Returns a text as a frame of a client. The mask is zero, which leaves the text as it is.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        Ok(_) | Err(_) => {
            frame.push(0x80 | 126);
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_each_length_are_found() {
        let check = |head: &[u8], length: usize| {
            let mut bytes = head.to_vec();
            bytes.extend(std::iter::repeat_n(b'x', length));
            assert_eq!(frame(&bytes), Some((head.len(), head.len() + length)));
            assert_eq!(frame(&bytes[..bytes.len() - 1]), None);
        };
        check(&[0x81, 5], 5);
        check(&[0x81, 126, 1, 0], 256);
        check(&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65536);
        assert_eq!(frame(&[]), None);
    }

    #[test]
    fn the_time_of_sending_is_found_in_the_event() {
        let text = br#"{"data":{"payload":{"sentNs":1500}},"x":1}"#;
        assert_eq!(sent_of(text), Some(Duration::from_nanos(1500)));
        assert_eq!(sent_of(b"{\"type\":\"heartbeat\"}"), None);
    }
}
