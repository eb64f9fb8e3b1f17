//! The single loads: so many clients that repeat their requests for so long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::histogram::Histogram;
use crate::bench::raw::{Connection, request};
use crate::machine::now;

/// What one run of a load gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many things were done, events mostly.
    pub(crate) n_things: u64,
    /// How many requests failed.
    pub(crate) n_failed: u64,
    /// How long it took.
    pub(crate) time: Duration,
    /// How long each request took.
    pub(crate) latency: Histogram,
}

/// Requests that clients repeat.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The requests of each client, which goes through them again and again.
    pub(crate) clients: Vec<Arc<[Vec<u8>]>>,
    /// How many things a request does.
    pub(crate) n_things: u64,
}

/// How many streams a client writes to.
const STREAMS_A_CLIENT: usize = 50;

/// Returns the JSON of one event of about 300 bytes.
pub(crate) fn event(stream: &str, n: usize) -> String {
    format!(
        concat!(
            r#"{{"type":"bench.order.changed","aggregateType":"bench","aggregateId":"{stream}","#,
            r#""metadata":{{"userId":"user-{user}","sourceSystem":"bench","tags":["load"]}},"#,
            r#""payload":{{"orderId":"{stream}","step":{n},"amount":{amount}.25,"currency":"EUR","#,
            r#""note":"the quick brown fox jumps over the lazy dog","done":false}}}}"#
        ),
        stream = stream,
        user = n % 97,
        n = n,
        amount = 1000 + n % 9000,
    )
}

fn stream(client: usize, n: usize) -> String {
    format!("stream-{client:04}-{n:03}")
}

/// Appends one event a request.
pub(crate) fn appends(n_clients: usize, key: Option<&str>) -> Load {
    let requests = |client: usize| {
        let one = |n: usize| request("POST", "/v1/events", key, &event(&stream(client, n), n));
        (0..STREAMS_A_CLIENT).map(one).collect()
    };
    Load {
        clients: (0..n_clients).map(requests).collect(),
        n_things: 1,
    }
}

/// Appends a hundred events of one stream a request.
pub(crate) fn batches(n_clients: usize, key: Option<&str>) -> Load {
    let requests = |client: usize| {
        let batch = |n: usize| {
            let stream = stream(client, n);
            let events: Vec<String> = (0..100).map(|n| event(&stream, n)).collect();
            let body = format!("{{\"events\":[{}]}}", events.join(","));
            request("POST", "/v1/events", key, &body)
        };
        (0..8).map(batch).collect()
    };
    Load {
        clients: (0..n_clients).map(requests).collect(),
        n_things: 100,
    }
}

/// Reads a hundred events of one stream a request; of streams that [`batches`] wrote.
pub(crate) fn reads(n_clients: usize, key: Option<&str>) -> Load {
    let requests = |client: usize| {
        let one = |n: usize| {
            let path = format!(
                "/v1/aggregates/bench/{}/events?limit=100",
                stream(client % 4, n)
            );
            request("GET", &path, key, "")
        };
        (0..8).map(one).collect()
    };
    Load {
        clients: (0..n_clients).map(requests).collect(),
        n_things: 100,
    }
}

/// Runs a load.
pub(crate) async fn drive(address: SocketAddr, load: &Load, time: Duration) -> io::Result<Outcome> {
    let mut connections = Vec::with_capacity(load.clients.len());
    for _ in &load.clients {
        connections.push(Connection::open(address).await?);
    }
    let started = now();
    let mut clients = JoinSet::new();
    for (connection, requests) in connections.into_iter().zip(&load.clients) {
        clients.spawn(repeat(connection, Arc::clone(requests), started + time));
    }
    let mut outcome = Outcome::default();
    while let Some(done) = clients.join_next().await {
        let (latency, n_failed) = done.map_err(io::Error::other)??;
        outcome.latency.merge(&latency);
        outcome.n_failed += n_failed;
    }
    outcome.time = started.elapsed();
    outcome.n_things = outcome.latency.n_values() * load.n_things;
    Ok(outcome)
}

async fn repeat(
    mut connection: Connection,
    requests: Arc<[Vec<u8>]>,
    end: Instant,
) -> io::Result<(Histogram, u64)> {
    let mut latency = Histogram::default();
    let mut n_failed = 0;
    let mut sent = now();
    for request in requests.iter().cycle() {
        let answer = connection.call(request).await?;
        let answered = now();
        if answer.status < 300 {
            latency.add(answered - sent);
        } else {
            n_failed += 1;
        }
        if answered >= end {
            break;
        }
        sent = answered;
    }
    Ok((latency, n_failed))
}

/// How long a streamed answer may stand still.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Reads the whole log as NDJSON and counts its lines.
pub(crate) async fn catch_up(address: SocketAddr, key: Option<&str>) -> io::Result<Outcome> {
    let authorization = key.map_or_else(String::new, |key| {
        format!("Authorization: Bearer {key}\r\n")
    });
    let head =
        format!("GET /v1/events HTTP/1.0\r\nAccept: application/x-ndjson\r\n{authorization}\r\n");
    let started = now();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    let n_things = count_lines(&mut stream).await?;
    Ok(Outcome {
        n_things,
        time: started.elapsed(),
        ..Outcome::default()
    })
}

/// Sends events as one bulk append, and waits for all receipts.
pub(crate) async fn bulk(
    address: SocketAddr,
    key: Option<&str>,
    n_events: usize,
) -> io::Result<Outcome> {
    let authorization = key.map_or_else(String::new, |key| {
        format!("Authorization: Bearer {key}\r\n")
    });
    let mut body = String::with_capacity(n_events * 400);
    for n in 0..n_events {
        body.push_str(&event(&format!("bulk-{}", n / 20), n));
        body.push('\n');
    }
    // An answer in HTTP/1.0 ends with its connection, which is the cheapest to read.
    let head = format!(
        "POST /v1/events/bulk HTTP/1.0\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n{authorization}\r\n",
        body.len()
    );
    let started = now();
    let (mut reading, mut writing) = TcpStream::connect(address).await?.into_split();
    let send = async {
        writing.write_all(head.as_bytes()).await?;
        writing.write_all(body.as_bytes()).await
    };
    let (sent, n_receipts) = tokio::join!(send, count_lines(&mut reading));
    sent?;
    n_receipts?;
    Ok(Outcome {
        n_things: n_events as u64,
        time: started.elapsed(),
        ..Outcome::default()
    })
}

/// Counts the lines of a body until its connection ends.
async fn count_lines(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut head = Vec::new();
    let mut in_body = false;
    let mut n_lines = 0;
    loop {
        let read = timeout(PAUSE_MAX, stream.read(&mut buffer)).await;
        let n_bytes = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if n_bytes == 0 && !in_body {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if n_bytes == 0 {
            return Ok(n_lines);
        }
        let mut bytes = &buffer[..n_bytes];
        if !in_body {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            if head.get(9) != Some(&b'2') {
                let status = String::from_utf8_lossy(head.get(..15).unwrap_or(&head)).into_owned();
                return Err(io::Error::other(status));
            }
            in_body = true;
            bytes = &head[end + 4..];
        }
        n_lines += lines_in(bytes);
    }
}

/// Counts line ends; written so that the compiler can take many bytes at once.
fn lines_in(bytes: &[u8]) -> u64 {
    bytes
        .chunks(255)
        .map(|chunk| {
            u64::from(
                chunk
                    .iter()
                    .map(|&byte| u8::from(byte == b'\n'))
                    .sum::<u8>(),
            )
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_of_about_300_bytes() {
        let event = event("stream-0001-001", 7);
        factum_model::validate_object(&event, factum_model::JsonLimits::default()).unwrap();
        assert!((280..340).contains(&event.len()), "{}", event.len());
    }

    #[test]
    fn lines_are_counted() {
        assert_eq!(lines_in(&b"x\n".repeat(1000)), 1000);
        assert_eq!(lines_in(&b"\n".repeat(1000)), 1000);
        assert_eq!(lines_in(b""), 0);
    }
}
