//! A subscriber whose connection is cut again and again.

use std::time::{Duration, Instant};

use factum_testkit::Random;
use tokio::sync::watch;
use tokio::time::timeout;

use super::feed::{Address, Door, Feed, Message, Start};
use super::plan::Plan;

/// Who subscribes to what.
pub(super) struct Subscriber {
    pub(super) number: usize,
    pub(super) plan: usize,
    pub(super) filter: Plan,
    pub(super) door: Door,
    pub(super) from_beginning: bool,
    pub(super) random: Random,
    pub(super) address: Address,
    pub(super) epoch: Instant,
}

/// What a subscriber received over all its connections.
pub(super) struct Received {
    pub(super) number: usize,
    pub(super) plan: usize,
    pub(super) door: Door,
    /// The position after which it wanted everything.
    pub(super) start: u64,
    /// Position and number, in the order of arrival.
    pub(super) events: Vec<(u64, u64)>,
    pub(super) n_cuts: u64,
    /// Connections that the server ended.
    pub(super) n_ended: u64,
    /// The last place that the server named.
    cursor: Option<String>,
    pub(super) latency: Latency,
}

/// The last position that each plan matches, once it is known.
type Finish = watch::Receiver<Option<Vec<u64>>>;

/// Why a connection was left.
enum Left {
    Cut,
    EndedByServer,
    Complete,
}

/// How long a subscriber waits for a sign of life; heartbeats come every second.
const SILENCE_MAX: Duration = Duration::from_secs(30);

impl Subscriber {
    pub(super) async fn run(mut self, mut finish: Finish) -> Received {
        let mut received = Received {
            number: self.number,
            plan: self.plan,
            door: self.door,
            start: 0,
            events: Vec::new(),
            n_cuts: 0,
            n_ended: 0,
            cursor: None,
            latency: Latency::default(),
        };
        loop {
            let start = match &received.cursor {
                Some(cursor) => Start::After(cursor),
                None if self.from_beginning => Start::Beginning,
                None => Start::Now,
            };
            let mut feed = Feed::open(&self.address, self.door, &self.filter, start).await;
            match self.stay(&mut feed, &mut received, &mut finish).await {
                Left::Complete => return received,
                Left::Cut => {
                    received.n_cuts += 1;
                    feed.cut(self.random.one_in(2));
                }
                Left::EndedByServer => received.n_ended += 1,
            }
        }
    }

    /// Receives until the connection is cut: after a time or after a number of messages, whatever
    /// has come of later ones being thrown away.
    async fn stay(
        &mut self,
        feed: &mut Feed,
        received: &mut Received,
        finish: &mut Finish,
    ) -> Left {
        let opened = self.epoch.elapsed();
        let cut_at = tokio::time::sleep(Duration::from_millis(50 + self.random.below(5000)));
        tokio::pin!(cut_at);
        let mut n_left = 1 + self.random.below(3000);
        loop {
            while let Some(message) = feed.next() {
                if !self.take(message, received, opened) {
                    return Left::EndedByServer;
                }
                n_left = n_left.saturating_sub(1);
                if n_left == 0 && finish.borrow().is_none() {
                    return Left::Cut;
                }
            }
            if self.is_complete(received, finish) {
                return Left::Complete;
            }
            let finishing = finish.borrow().is_some();
            tokio::select! {
                () = &mut cut_at, if !finishing => return Left::Cut,
                changed = finish.changed(), if !finishing => changed.unwrap(),
                more = timeout(SILENCE_MAX, feed.fill()) => {
                    if !more.expect("the server is silent") {
                        return Left::EndedByServer;
                    }
                }
            }
        }
    }

    /// Notes a message. Returns whether the connection goes on.
    fn take(&self, message: Message, received: &mut Received, opened: Duration) -> bool {
        match message {
            Message::Event(event) => {
                received.events.push((event.position, event.number));
                // What was appended before is no live delivery.
                let sent = Duration::from_micros(event.sent_micros);
                if sent > opened {
                    let took = self.epoch.elapsed().saturating_sub(sent);
                    received.latency.add(took);
                }
                received.cursor = Some(event.cursor);
            }
            Message::Place { cursor: place } => {
                if received.cursor.is_none() && !self.from_beginning {
                    received.start = place.parse::<factum_store::Cursor>().map_or(0, |cursor| {
                        cursor.position.map_or(0, factum_model::Position::get)
                    });
                }
                received.cursor = Some(place);
            }
            Message::Other => {}
            Message::Closed => return false,
        }
        true
    }

    fn is_complete(&self, received: &Received, finish: &Finish) -> bool {
        let Some(last) = finish.borrow().as_ref().map(|lasts| lasts[self.plan]) else {
            return false;
        };
        let placed = received.cursor.is_some() || self.from_beginning;
        let reached = received.events.last().map_or(received.start, |one| one.0);
        placed && reached >= last
    }
}

/// Times in buckets whose bounds grow by an eighth.
#[derive(Clone)]
pub(super) struct Latency(Vec<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(vec![0; 256])
    }
}

impl Latency {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap().max(8);
        let power = micros.ilog2();
        let eighth = micros >> (power - 3) & 7;
        let bucket = usize::try_from(u64::from(power - 3) * 8 + eighth).unwrap();
        self.0[bucket.min(255)] += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// Returns the upper bound of the bucket in which a quantile lies, given in thousandths.
    pub(super) fn quantile(&self, thousandths: u64) -> Duration {
        let rank = self.0.iter().sum::<u64>() * thousandths / 1000;
        let mut seen = 0;
        for (bucket, n) in (0_u64..).zip(&self.0) {
            seen += n;
            if seen > rank {
                return Duration::from_micros((8 + bucket % 8 + 1) << (bucket / 8));
            }
        }
        Duration::ZERO
    }
}
