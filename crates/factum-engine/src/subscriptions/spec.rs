//! What a subscription is made of.

use std::time::Duration;

use factum_model::Position;
use factum_query::Filter;
use factum_store::{ClaimOrder, LeaseName, RecordId, RecordKind, Visibility};

use super::error::SubscriptionError;

/// What the retries of one event mean to the later events of its stream.
///
/// Either way no two events of a stream are out at a time, and other streams are never held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Order {
    /// Events of a stream come in order, always: while one waits for its retry, those behind it
    /// wait as well.
    #[default]
    Strict,
    /// First attempts of a stream come in order; what waits for its retry is passed by.
    Relaxed,
}

impl Order {
    pub(super) const fn claims(self) -> ClaimOrder {
        match self {
            Self::Strict => ClaimOrder::InOrder,
            Self::Relaxed => ClaimOrder::OneAtATime,
        }
    }
}

/// How long to wait before a failed attempt is made again, where nobody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// The wait after the first attempt.
    pub first: Duration,
    /// What each wait is multiplied with for the next.
    pub factor: u32,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            factor: 2,
            max: Duration::from_mins(5),
        }
    }
}

impl Backoff {
    /// Returns the wait after an attempt; the first one is 1.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Duration {
        let times = self.factor.max(1).saturating_pow(attempt.saturating_sub(1));
        self.first.saturating_mul(times).min(self.max)
    }
}

/// How a subscription hands out its events. Every bound of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FeedSettings {
    /// What retries mean to the events behind them.
    pub order: Order,
    /// How long a consumer may have an event before it counts as failed and is handed out again.
    pub ack_deadline: Duration,
    /// After how many failed attempts an event is parked; 0 for never.
    pub attempts_max: u32,
    /// How many events may be out or ready to go out at once. It bounds what is repeated after a
    /// crash.
    pub window_max: usize,
    /// How many events may wait for their retry; while there are as many, no more are read.
    pub retries_max: usize,
    /// How many events may be parked; the oldest one makes room for another, which is logged and
    /// counted.
    pub parked_max: usize,
    /// The waits between attempts.
    pub backoff: Backoff,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            order: Order::default(),
            ack_deadline: Duration::from_secs(30),
            attempts_max: 10,
            window_max: 1000,
            retries_max: 10_000,
            parked_max: 10_000,
            backoff: Backoff::default(),
        }
    }
}

const DAY: Duration = Duration::from_hours(24);

impl FeedSettings {
    /// Checks that every number is one that works.
    ///
    /// # Errors
    /// [`SubscriptionError::Invalid`] with the field.
    pub fn check(&self) -> Result<(), SubscriptionError> {
        let within = |field, holds, rule| {
            if holds {
                Ok(())
            } else {
                Err(SubscriptionError::Invalid { field, rule })
            }
        };
        let deadline = (Duration::from_millis(100)..=DAY).contains(&self.ack_deadline);
        within("ackDeadlineMs", deadline, "must be from 100 ms to 24 h")?;
        let window = (1..=10_000).contains(&self.window_max);
        within("inFlightMax", window, "must be from 1 to 10000")?;
        let retries = (1..=100_000).contains(&self.retries_max);
        within("retriesMax", retries, "must be from 1 to 100000")?;
        let parked = (1..=100_000).contains(&self.parked_max);
        within("parkedMax", parked, "must be from 1 to 100000")?;
        let attempts = self.attempts_max <= 1000;
        within("attemptsMax", attempts, "must be at most 1000")?;
        let first = self.backoff.first <= self.backoff.max;
        within("retry.firstMs", first, "must not exceed retry.maxMs")?;
        let longest = self.backoff.max <= DAY;
        within("retry.maxMs", longest, "must be at most 24 h")?;
        let factor = (1..=10).contains(&self.backoff.factor);
        within("retry.factor", factor, "must be from 1 to 10")
    }
}

/// Which bookkeeping belongs to a subscription.
///
/// `base` stands for the subscription as long as it exists, `generation` for one pass over the log:
/// a reset begins another, so nothing that was handed out before it can be taken for something that
/// was handed out after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId {
    base: String,
    generation: u64,
}

/// The records of checkpoints, one for each pass over the log.
pub(super) const CHECKPOINTS: &str = "subscription.checkpoint";

impl FeedId {
    /// The longest `base` in bytes.
    pub const BASE_BYTES_MAX: usize = 34;

    /// Names the bookkeeping of a subscription. `base` is for this subscription alone, now and
    /// later: what was deleted and made again has another one.
    ///
    /// # Errors
    /// [`SubscriptionError::Name`] for a `base` that is empty, too long, or has other characters than
    /// letters, digits and `_ - :`.
    pub fn new(base: impl Into<String>, generation: u64) -> Result<Self, SubscriptionError> {
        let base = base.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte);
        if base.is_empty() || base.len() > Self::BASE_BYTES_MAX || !base.bytes().all(allowed) {
            return Err(SubscriptionError::Invalid {
                field: "base",
                rule: "must have 1 to 34 letters, digits and _ - :",
            });
        }
        Ok(Self { base, generation })
    }

    /// Returns what stands for the subscription.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns what stands for this pass over the log.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn from_key(key: &str) -> Option<Self> {
        let (base, generation) = key.rsplit_once('.')?;
        Self::new(base, generation.parse().ok()?).ok()
    }

    pub(super) fn queue(&self) -> Result<RecordKind, SubscriptionError> {
        Ok(format!("sub.{}.{}", self.base, self.generation).parse()?)
    }

    pub(super) fn parked(&self) -> Result<RecordKind, SubscriptionError> {
        Ok(format!("parked.{}", self.base).parse()?)
    }

    pub(super) fn lease(&self) -> Result<LeaseName, SubscriptionError> {
        Ok(format!("subscription/{}", self.base).parse()?)
    }

    pub(super) fn checkpoint(&self) -> Result<RecordId, SubscriptionError> {
        let key = format!("{}.{}", self.base, self.generation).parse()?;
        Ok(RecordId::new(CHECKPOINTS.parse()?, key))
    }
}

/// A subscription as a node works on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedSpec {
    /// What people call it.
    pub name: String,
    /// Which bookkeeping is its own.
    pub id: FeedId,
    /// Which events.
    pub filter: Filter,
    /// Which events it may see.
    pub visibility: Visibility,
    /// Where the pass over the log begins, exclusive; `None` before the first event. Only read
    /// where there is no checkpoint yet.
    pub after: Option<Position>,
    /// How events are handed out.
    pub settings: FeedSettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let backoff = Backoff::default();
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 4_000_000_000]
            .iter()
            .map(|attempt| backoff.after(*attempt).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn the_longest_base_leaves_room_for_a_generation() {
        let id = FeedId::new("x".repeat(FeedId::BASE_BYTES_MAX), u64::MAX).unwrap();
        assert!(id.queue().is_ok() && id.parked().is_ok() && id.lease().is_ok());
        let key = id.checkpoint().unwrap().key;
        assert_eq!(FeedId::from_key(key.as_str()), Some(id));
        assert!(FeedId::new("a.b", 1).is_err() && FeedId::new("", 1).is_err());
    }
}
