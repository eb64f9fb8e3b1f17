//! A receiver of webhooks that notes what it gets, and is as bad as a test wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) delivery: String,
    pub(crate) event: String,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    pub(crate) taken: bool,
    pub(crate) after: Duration,
    pub(crate) recorded: String,
}

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    Fails,
    TakesAfter(Duration),
    /// Never answers; the other side gives up.
    Hangs,
}

type PathAndStream = (String, String);
type Moods = dyn Fn(&Got) -> Mood + Send + Sync;

/// What all connections of a receiver have in common.
struct Desk {
    begun: Instant,
    got: Mutex<Vec<Got>>,
    moods: Mutex<Arc<Moods>>,
    /// The requests under way of each path and stream.
    under_way: Mutex<BTreeMap<PathAndStream, Vec<(u64, TcpStream)>>>,
    overlaps: Mutex<Vec<Got>>,
}

/// An HTTP server that notes what it gets.
pub(crate) struct Receiver {
    port: u16,
    desk: Arc<Desk>,
}

impl Receiver {
    pub(crate) fn start(moods: impl Fn(&Got) -> Mood + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk = Arc::new(Desk {
            begun: now(),
            got: Mutex::default(),
            moods: Mutex::new(Arc::new(moods)),
            under_way: Mutex::default(),
            overlaps: Mutex::default(),
        });
        let receiver = Self {
            port,
            desk: Arc::clone(&desk),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let desk = Arc::clone(&desk);
                std::thread::spawn(move || {
                    // A client that is killed leaves half a request behind.
                    desk.serve(stream).unwrap_or_default();
                });
            }
        });
        receiver
    }

    pub(crate) fn becomes(&self, moods: impl Fn(&Got) -> Mood + Send + Sync + 'static) {
        *self.desk.moods.lock().unwrap() = Arc::new(moods);
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.desk.got.lock().unwrap().clone()
    }

    /// Returns the requests that came while another one of their stream was under way, from a
    /// client that still waited for its answer.
    pub(crate) fn overlaps(&self) -> Vec<Got> {
        self.desk.overlaps.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the events that were taken on a path.
    pub(crate) fn taken(&self, path: &str) -> BTreeSet<String> {
        let got = self.desk.got.lock().unwrap();
        let taken = got.iter().filter(|one| one.taken && one.path == path);
        taken.map(|one| one.event.clone()).collect()
    }
}

/// A request under way; it is over when this is dropped.
struct UnderWay<'a> {
    desk: &'a Desk,
    of: PathAndStream,
    number: u64,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.desk.under_way.lock().unwrap();
        if let Some(others) = under_way.get_mut(&self.of) {
            others.retain(|(number, _)| *number != self.number);
        }
    }
}

impl Desk {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some(one) = read(&mut reader, self.begun)? {
            let mood = (Arc::clone(&*self.moods.lock().unwrap()))(&one);
            let (index, under_way) = self.note(one, mood, writer.try_clone()?);
            let status = match mood {
                Mood::Takes => "200 OK",
                Mood::Fails => "503 Service Unavailable",
                Mood::TakesAfter(wait) => {
                    pause(wait);
                    "200 OK"
                }
                Mood::Hangs => {
                    // Until the client gives up and closes.
                    reader.read_line(&mut String::new())?;
                    return Ok(());
                }
            };
            let is_gone = is_gone(&writer);
            drop(under_way);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            if is_gone || writer.write_all(answer.as_bytes()).is_err() {
                // The client gave up or died, and never hears that it was taken.
                self.got.lock().unwrap()[index].taken = false;
                return Ok(());
            }
        }
        Ok(())
    }

    fn note(&self, mut one: Got, mood: Mood, stream: TcpStream) -> (usize, UnderWay<'_>) {
        one.taken = matches!(mood, Mood::Takes | Mood::TakesAfter(_));
        let of = (one.path.clone(), one.stream.clone());
        let mut got = self.got.lock().unwrap();
        let index = got.len();
        let number = u64::try_from(index).unwrap();
        let mut under_way = self.under_way.lock().unwrap();
        let others = under_way.entry(of.clone()).or_default();
        // A client that was killed, or gave up, has closed before anybody gets its event.
        if others.iter().any(|(_, other)| !is_gone(other)) {
            self.overlaps.lock().unwrap().push(one.clone());
        }
        others.push((number, stream));
        got.push(one);
        let desk = self;
        (index, UnderWay { desk, of, number })
    }
}

/// Reads a request; `None` when the client is done.
fn read(reader: &mut BufReader<TcpStream>, begun: Instant) -> std::io::Result<Option<Got>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut delivery) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or_default(),
            "webhook-id" => value.trim().clone_into(&mut delivery),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let event: Value = serde_json::from_slice(&body)?;
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Ok(Some(Got {
        path,
        delivery,
        event: text("id"),
        stream: text("aggregateId"),
        sequence: event["sequenceNumber"].as_u64().unwrap_or_default(),
        taken: false,
        after: begun.elapsed(),
        recorded: text("recordedAt"),
    }))
}

/// Tells whether the other side has closed a connection.
fn is_gone(stream: &TcpStream) -> bool {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(stream, &mut [0_u8; 1], look) {
        Ok((_, n_bytes)) => n_bytes == 0,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server under test is another process, with the time of the machine"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a receiver that is slow")]
pub(crate) fn pause(wait: Duration) {
    std::thread::sleep(wait);
}

/// Returns the definition of a webhook whose breaker stays out of it.
pub(crate) fn webhook(url: &str, timeout_ms: u64) -> Value {
    json!({
        "type": "webhook",
        "url": url,
        "secrets": [SECRET],
        "limits": {"timeoutMs": timeout_ms, "breaker": {"failuresMax": 1_000_000}},
    })
}

/// Returns whether a text has the secret of the webhooks.
pub(crate) fn tells_the_secret(text: &str) -> bool {
    text.contains(SECRET)
}

/// Checks that each stream came in order, every event again at most before the next one.
pub(crate) fn in_order(got: &[Got]) {
    let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in got {
        let place = last.entry((&one.path, &one.stream)).or_insert(one.sequence);
        assert!(
            one.sequence >= *place,
            "{one:?} came after number {place} of its stream"
        );
        *place = one.sequence;
    }
}
