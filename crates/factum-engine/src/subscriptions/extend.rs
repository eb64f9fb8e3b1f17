//! More time for events that a consumer has.

use std::collections::HashMap;
use std::time::Duration;

use factum_model::{LimitExceeded, Position, Timestamp};
use factum_store::{Action, Batch, Change, Precondition, RecordId, StateError};

use super::error::SubscriptionError;
use super::feed::{Feed, micros};
use super::handout::HandoutToken;
use super::record::key_of;

/// What became of a wish for more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// The consumer has the event until then, by the clock of the bookkeeping.
    Until(Timestamp),
    /// The consumer does not have it any more: its time was up, the event was settled, or the
    /// subscription was reset or deleted.
    Stale,
}

/// A wish that can be granted, as far as is known.
struct Wish {
    index: usize,
    change: Change,
}

impl Feed {
    /// Gives a consumer more time for events that it has: so long from now, whatever was left; as
    /// long as the subscription says where nothing is said. The tokens stay good. It may be asked
    /// for again and again, each time for at most `extend_max`; who dies meanwhile holds up others
    /// for that long. The answers stand in the order of the tokens.
    ///
    /// # Errors
    /// [`SubscriptionError::Invalid`] for no time at all, `limit_exceeded` for too much; see
    /// [`SubscriptionError`]. After `outcome_unknown` some may have more time and some may not.
    pub async fn extend(
        &self,
        tokens: Vec<HandoutToken>,
        by: Option<Duration>,
    ) -> Result<Vec<Extended>, SubscriptionError> {
        let usual = self.inner.spec.settings.ack_deadline;
        let by = by.unwrap_or_else(|| usual.min(self.inner.options.extend_max));
        self.check_extension(by)?;
        let mut extended = vec![Extended::Stale; tokens.len()];
        let mut wishes: Vec<Wish> = Vec::with_capacity(tokens.len());
        let mut first = HashMap::new();
        let mut wished: HashMap<Position, usize> = HashMap::new();
        for (index, token) in tokens.iter().enumerate() {
            // A token that is named twice has its answer copied below.
            let is_first = *first.entry(*token).or_insert(index) == index;
            if !is_first || token.generation != self.inner.spec.id.generation() {
                continue;
            }
            let id = RecordId::new(self.inner.queue.clone(), key_of(token.position)?);
            if let Some(other) = wished.get(&token.position) {
                // Of two tokens of one event at most one is good; a batch bears but one of them.
                let record = self.inner.state.record(id.clone()).await?;
                if record.is_none_or(|record| record.version != token.version) {
                    continue;
                }
                wishes.retain(|wish| wish.index != *other);
            }
            wished.insert(token.position, index);
            let change = Change {
                id,
                precondition: Precondition::Version(token.version),
                action: Action::Extend(by),
            };
            wishes.push(Wish { index, change });
        }
        self.grant(wishes, by, &mut extended).await?;
        let answers = tokens.iter().map(|token| {
            let answer = first.get(token).and_then(|first| extended.get(*first));
            answer.copied().unwrap_or(Extended::Stale)
        });
        let extended: Vec<Extended> = answers.collect();
        let is_stale = |one: &&Extended| **one == Extended::Stale;
        let n_stale = extended.iter().filter(is_stale).count();
        self.inner.counters.stale.add(n_stale);
        self.inner.counters.extended.add(extended.len() - n_stale);
        Ok(extended)
    }

    fn check_extension(&self, by: Duration) -> Result<(), SubscriptionError> {
        if by.is_zero() {
            return Err(SubscriptionError::Invalid {
                field: "extendMs",
                rule: "must be at least 1",
            });
        }
        let limit = self.inner.options.extend_max;
        if by > limit {
            let millis = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
            return Err(LimitExceeded {
                what: "extension of a deadline in milliseconds",
                limit: millis(limit),
                actual: millis(by),
            }
            .into());
        }
        Ok(())
    }

    /// Grants all wishes that can be, and notes until when.
    async fn grant(
        &self,
        mut wishes: Vec<Wish>,
        by: Duration,
        extended: &mut [Extended],
    ) -> Result<(), SubscriptionError> {
        let state = &self.inner.state;
        let changes_max = state.limits().batch_changes_max.max(1);
        while !wishes.is_empty() {
            let rest = wishes.split_off(wishes.len().min(changes_max));
            let changes = wishes.iter().map(|wish| wish.change.clone()).collect();
            match state.apply(Batch::of(changes)).await {
                Ok(applied) => {
                    let until = applied.at.saturating_add_micros(micros(by));
                    for wish in wishes {
                        if let Some(place) = extended.get_mut(wish.index) {
                            *place = Extended::Until(until);
                        }
                    }
                    wishes = rest;
                }
                Err(StateError::Conflict { index, .. }) => {
                    wishes = self.without_lost(wishes, index).await?;
                    wishes.extend(rest);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Leaves out the wish that was refused, and others that would be.
    async fn without_lost(
        &self,
        wishes: Vec<Wish>,
        refused: usize,
    ) -> Result<Vec<Wish>, SubscriptionError> {
        let mut good = Vec::with_capacity(wishes.len());
        for (place, wish) in wishes.into_iter().enumerate() {
            if place == refused {
                continue;
            }
            let record = self.inner.state.record(wish.change.id.clone()).await?;
            let is_held = record.is_some_and(|record| {
                record.claim.is_some() && wish.change.precondition.is_met(Some(record.version))
            });
            if is_held {
                good.push(wish);
            }
        }
        Ok(good)
    }
}
