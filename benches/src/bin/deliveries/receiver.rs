//! The endpoints: each an HTTP server on a port of its own, all on one thread.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::{N_ENDPOINTS, Outcome};

/// How long the slow endpoint takes to answer.
const SLOW: Duration = Duration::from_secs(10);

/// What an endpoint got.
#[derive(Debug, Default)]
struct Got {
    n_requests: usize,
    /// From the number of an event to how long it took the first time.
    events: HashMap<usize, Duration>,
    /// The last event of each stream that came for the first time.
    last: HashMap<usize, usize>,
    n_disorders: usize,
}

/// All endpoints.
#[derive(Debug)]
pub(crate) struct Endpoints {
    addresses: Vec<SocketAddr>,
    got: Arc<Vec<Mutex<Got>>>,
    revive: Mutex<Option<oneshot::Sender<()>>>,
}

fn lock(got: &Mutex<Got>) -> MutexGuard<'_, Got> {
    got.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoints {
    /// Starts all but the dead one, whose port is only reserved.
    pub(crate) fn start(begun: Instant) -> Outcome<Self> {
        let got: Arc<Vec<Mutex<Got>>> =
            Arc::new((0..N_ENDPOINTS).map(|_| Mutex::default()).collect());
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for _ in 0..N_ENDPOINTS {
            let listener = StdListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        // Nobody listens there until it is back.
        drop(listeners.remove(0));
        let (revive, revived) = oneshot::channel();
        let (dead, shared) = (addresses[0], Arc::clone(&got));
        std::thread::spawn(move || -> Outcome<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                for (index, listener) in listeners.into_iter().enumerate() {
                    let listener = TcpListener::from_std(listener)?;
                    tokio::spawn(listen(listener, index + 1, begun, Arc::clone(&shared)));
                }
                revived.await?;
                let listener = TcpListener::bind(dead).await?;
                listen(listener, 0, begun, shared).await;
                Ok(())
            })
        });
        Ok(Self { addresses, got, revive: Mutex::new(Some(revive)) })
    }

    pub(crate) fn url(&self, endpoint: usize) -> String {
        format!("http://{}/hook", self.addresses[endpoint])
    }

    pub(crate) fn n_events(&self, endpoint: usize) -> usize {
        lock(&self.got[endpoint]).events.len()
    }

    pub(crate) fn n_requests(&self, endpoint: usize) -> usize {
        lock(&self.got[endpoint]).n_requests
    }

    pub(crate) fn latencies(&self, endpoint: usize) -> Vec<Duration> {
        lock(&self.got[endpoint]).events.values().copied().collect()
    }

    /// How often an event came after a later one of its stream.
    pub(crate) fn n_disorders(&self) -> usize {
        self.got.iter().map(|got| lock(got).n_disorders).sum()
    }

    /// Brings the dead endpoint back.
    pub(crate) fn revive(&self) {
        let revive = self.revive.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(revive) = revive {
            // The endpoints end with the program only.
            let _ = revive.send(());
        }
    }
}

async fn listen(
    listener: TcpListener,
    endpoint: usize,
    begun: Instant,
    got: Arc<Vec<Mutex<Got>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let got = Arc::clone(&got);
        tokio::spawn(async move {
            // A client that goes away in the middle is none of the endpoint's business.
            let _ = serve(stream, endpoint, begun, &got).await;
        });
    }
}

/// Answers requests one after another.
async fn serve(
    mut stream: TcpStream,
    endpoint: usize,
    begun: Instant,
    got: &[Mutex<Got>],
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(8192);
    loop {
        let length = loop {
            if let Some(length) = request_length(&bytes) && bytes.len() >= length {
                break length;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        note(&bytes[..length], begun, &mut lock(&got[endpoint]));
        bytes.drain(..length);
        if endpoint == 1 {
            tokio::time::sleep(SLOW).await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

/// Returns how long a request is, once its headers are there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some(head + length.unwrap_or(0))
}

fn note(request: &[u8], begun: Instant, got: &mut Got) {
    let at = begun.elapsed();
    got.n_requests += 1;
    let text = String::from_utf8_lossy(request);
    let number = |name: &str| -> Option<u64> {
        let at = text.find(name)? + name.len();
        let digits = text[at..].trim_start_matches([' ', ':', '"']);
        let end = digits.find(|digit: char| !digit.is_ascii_digit())?;
        digits[..end].parse().ok()
    };
    let (Some(event), Some(stream), Some(due)) =
        (number("\"number\""), number("\"stream\""), number("\"dueMicros\""))
    else {
        return;
    };
    let (event, stream) = (event as usize, stream as usize);
    if got.events.contains_key(&event) {
        return;
    }
    got.events.insert(event, at.saturating_sub(Duration::from_micros(due)));
    if got.last.insert(stream, event).is_some_and(|last| last > event) {
        got.n_disorders += 1;
    }
}
