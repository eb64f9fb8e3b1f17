//! What a consumer gets, and what it says about it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use factum_model::{Position, RecordedEvent, Timestamp};
use factum_store::{BoxFuture, Change, RecordGroup, RecordVersion};

use super::record::Entry;

/// An event that is out: nobody else has it or another event of its stream until it is settled or
/// its time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handout {
    /// The event.
    pub event: RecordedEvent,
    /// Which attempt this is; the first one is 1. An attempt of which nothing was heard counts.
    pub attempt: u32,
    /// What settles it.
    pub token: HandoutToken,
    /// When others may get it, by the clock of the bookkeeping.
    pub until: Timestamp,
    pub(super) lent: Lent,
}

/// What the bookkeeping said of an event when it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lent {
    /// With the attempts that had failed before this one.
    pub(super) entry: Entry,
    pub(super) group: Option<RecordGroup>,
}

/// Names one handing out of one event. It is no secret, and good for nothing once the event was
/// settled or handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandoutToken {
    pub(super) generation: u64,
    pub(super) position: Position,
    pub(super) version: RecordVersion,
}

impl HandoutToken {
    /// Returns the position of the event.
    #[must_use]
    pub const fn position(self) -> Position {
        self.position
    }
}

impl fmt::Display for HandoutToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (generation, position) = (self.generation, self.position);
        write!(f, "{generation}-{position}-{}", self.version)
    }
}

/// A text is not the token of a handout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a token as it was handed out")]
pub struct InvalidHandoutToken;

impl FromStr for HandoutToken {
    type Err = InvalidHandoutToken;

    fn from_str(text: &str) -> Result<Self, InvalidHandoutToken> {
        let mut numbers = text.split('-').map(|part| {
            let is_number = part.len() <= 20 && part.bytes().all(|byte| byte.is_ascii_digit());
            let is_number = is_number && (part == "0" || !part.starts_with('0'));
            part.parse::<u64>().ok().filter(|_| is_number)
        });
        let mut next = || numbers.next().flatten().ok_or(InvalidHandoutToken);
        let (generation, position, version) = (next()?, next()?, next()?);
        if numbers.next().is_some() {
            return Err(InvalidHandoutToken);
        }
        Ok(Self {
            generation,
            position: Position::new(position).ok_or(InvalidHandoutToken)?,
            version: RecordVersion::new(version),
        })
    }
}

/// What a consumer says about an event that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It is passed over, on purpose.
    Skip {
        /// Why, for the log.
        reason: String,
    },
    /// It is to be tried again; or is parked, if that was the last attempt.
    Retry {
        /// When; `None` leaves it to the subscription.
        after: Option<Duration>,
        /// What went wrong.
        cause: String,
    },
    /// It is set aside for a person to decide on.
    Park {
        /// What went wrong.
        cause: String,
    },
}

impl Outcome {
    /// Adds changes of the bookkeeping that are made together with the outcome, or not at all.
    #[must_use]
    pub const fn with(self, changes: Vec<Change>) -> Verdict {
        Verdict {
            outcome: self,
            changes,
        }
    }
}

/// An outcome, and what else becomes true with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// Changes of the bookkeeping that are made together with it, or not at all: if one of them is
    /// refused, the outcome does not count, and the event is handed out again when its time is up.
    /// They are of records that no other handler writes at the same moment.
    pub changes: Vec<Change>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        outcome.with(Vec::new())
    }
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The event is done with, durably.
    Done,
    /// It will be handed out again.
    Waiting {
        /// In how long.
        after: Duration,
    },
    /// It is parked.
    Parked,
    /// The outcome does not count: the event was settled already, was handed out again after its
    /// time was up, or the subscription was reset or deleted since.
    Stale,
}

/// What a handler can do with more events at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It takes as many as its concurrency allows.
    Ready,
    /// It takes one, to see how that goes.
    One,
    /// It takes none, and is to be asked again after this time.
    NotFor(Duration),
}

/// Handles the events of a subscription within the process.
///
/// It gets an event again after a crash, after a failure, and when the outcome could not be made
/// durable: what it does must bear that. Events of one stream come one at a time; those of several
/// come at once, as many as its concurrency says.
///
/// ```
/// use std::sync::Arc;
///
/// use factum_engine::{Feed, FeedId, FeedSettings, FeedSpec, Handler, HandlerOptions, Handout};
/// use factum_engine::{Outcome, SubscriptionOptions, Verdict};
/// use factum_store::{BoxFuture, Visibility};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// impl Handler for Printer {
///     fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict> {
///         Box::pin(async move {
///             println!("{} {}", handout.event.position, handout.event.event_type());
///             Outcome::Ack.into()
///         })
///     }
/// }
/// # use factum_engine::{Engine, EngineOptions};
/// # use factum_model::{JsonObject, NewEvent, StreamId};
/// # use factum_store::{AppendRequest, MemoryStateStore, MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Engine::new(Arc::new(MemoryStore::new()), EngineOptions::default())
/// #     .with_state(Arc::new(MemoryStateStore::new()));
/// # let stream = StreamId::new("order".parse()?, "o-1".parse()?);
/// # let events = vec![NewEvent::new("order.placed".parse()?, stream, JsonObject::empty())];
/// # engine.append(AppendRequest { events, ..AppendRequest::default() }).await?;
///
/// let spec = FeedSpec {
///     name: "printer".to_owned(),
///     id: FeedId::new("app:printer", 0)?,
///     filter: factum_query::Filter::default(),
///     visibility: Visibility::Application,
///     after: None,
///     settings: FeedSettings::default(),
/// };
/// let feed = Feed::new(&engine, spec, &SubscriptionOptions::of("node-1".parse()?))?;
/// let stop = tokio_util::sync::CancellationToken::new();
/// # let stopper = async {
/// #     while feed.counters().acked.get() == 0 { tokio::task::yield_now().await }
/// #     stop.cancel();
/// # };
/// # let run =
/// feed.run(Arc::new(Printer), HandlerOptions::default(), &stop)
/// # ; tokio::join!(run, stopper);
/// # Ok(())
/// # }
/// ```
pub trait Handler: Send + Sync + fmt::Debug + 'static {
    /// Handles an event. A future that does not end in time is dropped, and a panic is contained;
    /// both are failed attempts.
    fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict>;

    /// Says whether there is any use in handing it events now. What is not handed out stays queued
    /// at no cost, where an outcome "again later" would be written for each event.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written_and_nothing_else_is() {
        let token = HandoutToken {
            generation: 3,
            position: Position::new(u64::MAX).unwrap(),
            version: RecordVersion::new(0),
        };
        assert_eq!(token.to_string().parse(), Ok(token));
        for wrong in [
            "", "1-2", "1-0-3", "01-2-3", "1-2-3-4", "1-2-+3", "1--3", "a-b-c", " 1-2-3",
        ] {
            assert_eq!(
                wrong.parse::<HandoutToken>(),
                Err(InvalidHandoutToken),
                "{wrong}"
            );
        }
    }
}
