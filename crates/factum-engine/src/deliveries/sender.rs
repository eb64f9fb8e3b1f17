//! One target of a rule at work: renders nothing itself, tries, records, and says what is next.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use factum_model::{EventId, RecordedEvent, Timestamp};
use factum_query::Explanation;
use factum_store::{BoxFuture, Change, Due, Precondition, Put};
use tokio::time::Instant;

use super::dead_letter::{Cause, DeadLetter, rule_cause};
use super::error::DeliveriesError;
use super::limiter::Limiter;
use super::meters::TargetMeters;
use super::options::DeliveryOptions;
use super::record::{Attempt, DEAD_LETTERS, DELIVERIES, DeliveryKey, DeliveryRecord};
use super::record::{DeliveryStatus, cut};
use super::runner::Shared;
use crate::deliver::{Again, Deliver, DeliverError, Delivered, Delivery, ErrorClass};
use crate::rules::{Rule, RuleTarget};
use crate::subscriptions::{Handler, Handout, Outcome, Readiness, Verdict};

/// How long a rate limit may hold an event before it is given back.
const LIMIT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long to wait before asking a target again that could not even be tried.
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// How long an event is left alone that a rule has which was changed meanwhile: the rule as it is
/// now gets it then.
const CHANGED_WAIT: Duration = Duration::from_secs(1);
/// The longest error message that is kept with an attempt.
const MESSAGE_BYTES_MAX: usize = 500;

/// Sends what a rule has for one of its targets.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) shared: Arc<Shared>,
    pub(super) rule: Arc<Rule>,
    pub(super) target: RuleTarget,
    pub(super) to: Arc<dyn Deliver>,
    pub(super) meters: Arc<TargetMeters>,
    limiter: Option<Limiter>,
}

/// What an attempt came to.
pub(super) enum Tried {
    Delivered(Attempt),
    Failed(Attempt, DeliverError),
    /// Nothing was sent.
    Unsent(DeliverError),
}

impl Sender {
    pub(super) fn new(
        shared: Arc<Shared>,
        rule: Arc<Rule>,
        target: RuleTarget,
        to: Arc<dyn Deliver>,
    ) -> Self {
        let meters = shared.meters.of(rule.id.as_str(), target.id.as_str());
        let limiter = rule.rate_limit.map(Limiter::new);
        Self {
            shared,
            rule,
            target,
            to,
            meters,
            limiter,
        }
    }

    fn options(&self) -> &DeliveryOptions {
        &self.shared.options
    }

    /// Tries once.
    pub(super) async fn attempt(&self, event: &RecordedEvent, number: u32) -> Tried {
        let delivery = Delivery::first(
            event.clone(),
            self.rule.id.as_str(),
            self.target.id.as_str(),
        );
        let delivery = delivery.with_attempt(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN));
        let at = self.shared.engine.clock().now();
        let begun = Instant::now();
        let time_max = self.options().attempt_time_max;
        let result = tokio::time::timeout(time_max, self.to.deliver(&delivery)).await;
        let result = result.unwrap_or_else(|_| {
            let millis = time_max.as_millis();
            let message = format!("no answer within {millis} ms");
            Err(DeliverError::passing(ErrorClass::Timeout, message))
        });
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let excerpt_max = self.options().excerpt_bytes_max;
        let attempt = |status, excerpt: &Option<String>| Attempt {
            number,
            at_micros: at.as_micros(),
            duration_ms,
            status,
            error_class: None,
            error: None,
            excerpt: excerpt.as_deref().map(|text| cut(text, excerpt_max)),
        };
        match result {
            Ok(Delivered { status, excerpt }) => Tried::Delivered(attempt(status, &excerpt)),
            Err(error) if !error.class.was_attempted() => Tried::Unsent(error),
            Err(error) => {
                let attempt = Attempt {
                    error_class: Some(error.class.as_str().to_owned()),
                    error: Some(cut(&error.message, MESSAGE_BYTES_MAX)),
                    ..attempt(error.status, &error.excerpt)
                };
                Tried::Failed(attempt, error)
            }
        }
    }

    pub(super) fn cause(&self, error: &DeliverError) -> Cause {
        let excerpt_max = self.options().excerpt_bytes_max;
        Cause {
            class: error.class.as_str().to_owned(),
            message: cut(&error.message, MESSAGE_BYTES_MAX),
            status: error.status,
            excerpt: error.excerpt.as_deref().map(|text| cut(text, excerpt_max)),
        }
    }

    pub(super) fn note_delivered(&self, event: &RecordedEvent, now: Timestamp) {
        let micros = now
            .as_micros()
            .saturating_sub(event.recorded_at.as_micros());
        let latency = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        self.meters.delivered(latency);
    }

    async fn verdict(&self, handout: &Handout) -> Result<Verdict, DeliveriesError> {
        let event = &handout.event;
        let current = self.shared.rules.get(self.rule.id.as_str());
        if current.map_or(true, |rule| rule.revision != self.rule.revision) {
            let cause = "the rule was changed".to_owned();
            let after = Some(CHANGED_WAIT);
            return Ok(Outcome::Retry { after, cause }.into());
        }
        match self.rule.explain(event) {
            Explanation::Matched => {}
            // The rule was changed since, or only an expression can say so.
            Explanation::NotMatched(_) => {
                self.meters.was_not_meant();
                let changes = match handout.attempt {
                    1 => Vec::new(),
                    // Nothing more will come of what was tried before.
                    _ => vec![self.forget(event)?],
                };
                return Ok(Outcome::Ack.with(changes));
            }
            Explanation::Failed { pointer, failure } => {
                let cause = rule_cause(&pointer, &failure.to_string());
                let record = self.fresh(event);
                return self.dead(record, cause);
            }
        }
        if let Some(wait) = self.limited().await {
            let cause = "the rate limit of the rule".to_owned();
            let after = Some(wait);
            return Ok(Outcome::Retry { after, cause }.into());
        }
        let mut record = match handout.attempt {
            1 => self.fresh(event),
            _ => self.known(event).await?,
        };
        let number = record.attempts_made.saturating_add(1);
        let kept_max = self.options().attempts_kept_max;
        match self.attempt(event, number).await {
            Tried::Delivered(attempt) => {
                self.note_delivered(event, self.shared.engine.clock().now());
                record.push(attempt, kept_max);
                record.status = DeliveryStatus::Delivered;
                record.next_attempt_micros = None;
                let changes = vec![put(DELIVERIES, &record, &record)?];
                self.shared.added();
                Ok(Outcome::Ack.with(changes))
            }
            Tried::Unsent(error) => {
                self.meters.failed(error.class.as_str());
                let asked = match error.again {
                    Again::Yes { after } => after,
                    Again::No | Again::DisableTarget => None,
                };
                let after = asked.unwrap_or(BUSY_WAIT).min(self.target.retry.max_delay);
                let cause = error.to_string();
                let after = Some(after);
                Ok(Outcome::Retry { after, cause }.into())
            }
            Tried::Failed(attempt, error) => {
                self.meters.failed(error.class.as_str());
                record.push(attempt, kept_max);
                self.failed(record, &error).await
            }
        }
    }

    async fn failed(
        &self,
        mut record: DeliveryRecord,
        error: &DeliverError,
    ) -> Result<Verdict, DeliveriesError> {
        let number = record.attempts_made;
        let wait = match error.again {
            Again::Yes { after } => {
                self.target
                    .retry
                    .wait(number, after, spread(&record.delivery_id, number))
            }
            Again::No => None,
            Again::DisableTarget => {
                self.disable(&error.message).await;
                // The event waits until somebody switches the target on again.
                Some(CHANGED_WAIT)
            }
        };
        let Some(wait) = wait else {
            return self.dead(record, self.cause(error));
        };
        let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let next = self
            .shared
            .engine
            .clock()
            .now()
            .saturating_add_micros(micros);
        record.next_attempt_micros = Some(next.as_micros());
        // That it is due tells those that go on from those that are done with, when they are counted.
        let due = Due::After(wait);
        let changes = vec![put_due(DELIVERIES, &record, &record, due)?];
        let cause = error.to_string();
        let after = Some(wait);
        Ok(Outcome::Retry { after, cause }.with(changes))
    }

    async fn disable(&self, message: &str) {
        let (rule, target) = (self.rule.id.as_str(), self.target.id.as_str());
        tracing::warn!(
            rule,
            target,
            message,
            "a target asks for nothing more; it is switched off"
        );
        let reason = format!("target {target} asks for nothing more: {message}");
        let disabled = self.shared.rules.disable_target(rule, target, &reason);
        if let Err(error) = disabled.await {
            tracing::error!(rule, target, %error, "a target could not be switched off");
        }
    }

    fn dead(&self, mut record: DeliveryRecord, cause: Cause) -> Result<Verdict, DeliveriesError> {
        record.status = DeliveryStatus::Dead;
        record.next_attempt_micros = None;
        self.meters.died();
        let now = self.shared.engine.clock().now();
        let letter = DeadLetter::new(record.clone(), cause, now);
        let (rule, target) = (&record.rule, &record.target);
        let (class, message) = (&letter.cause.class, &letter.cause.message);
        tracing::warn!(%rule, %target, event = %record.event_id, class, message, "an event could not be delivered; it is a dead letter now");
        self.shared.n_dead.fetch_add(1, Ordering::Relaxed);
        self.shared.added();
        Ok(Outcome::Ack.with(vec![
            put(DELIVERIES, &record, &record)?,
            put(DEAD_LETTERS, &record, &letter)?,
        ]))
    }

    fn fresh(&self, event: &RecordedEvent) -> DeliveryRecord {
        DeliveryRecord::new(event, self.rule.id.as_str(), self.target.id.as_str())
    }

    fn forget(&self, event: &RecordedEvent) -> Result<Change, DeliveriesError> {
        let key = DeliveryKey::of(event, self.rule.id.as_str(), self.target.id.as_str());
        Ok(Change::delete(key.record(DELIVERIES)?, Precondition::Any))
    }

    async fn known(&self, event: &RecordedEvent) -> Result<DeliveryRecord, DeliveriesError> {
        let key = DeliveryKey::of(event, self.rule.id.as_str(), self.target.id.as_str());
        let record = self.shared.state.record(key.record(DELIVERIES)?).await?;
        Ok(match record {
            Some(record) => serde_json::from_slice(&record.body)?,
            None => self.fresh(event),
        })
    }

    /// Waits for the rate limit, or says when to come back.
    async fn limited(&self) -> Option<Duration> {
        let limiter = self.limiter.as_ref()?;
        let until = Instant::now() + LIMIT_WAIT_MAX;
        loop {
            let wait = limiter.pass().err()?;
            if Instant::now() + wait > until {
                self.meters.was_limited();
                return Some(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl Handler for Sender {
    fn handle<'a>(&'a self, handout: &'a Handout) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            self.verdict(handout).await.unwrap_or_else(|error| {
                let rule = self.rule.id.as_str();
                tracing::error!(rule, %error, "an attempt could not be recorded; it is made again");
                let cause = error.to_string();
                Outcome::Retry { after: None, cause }.into()
            })
        })
    }

    fn readiness(&self) -> Readiness {
        self.to.readiness()
    }
}

/// Writes a record under the key of a delivery.
pub(super) fn put(
    kind: &'static str,
    of: &DeliveryRecord,
    body: &impl serde::Serialize,
) -> Result<Change, DeliveriesError> {
    put_due(kind, of, body, Due::Never)
}

fn put_due(
    kind: &'static str,
    of: &DeliveryRecord,
    body: &impl serde::Serialize,
    due: Due,
) -> Result<Change, DeliveriesError> {
    let key = of.key().ok_or(DeliveriesError::Invalid {
        field: "delivery",
        rule: "must have a position and an id",
    })?;
    let put = Put::new(serde_json::to_vec(body)?).due(due);
    Ok(Change::put(key.record(kind)?, Precondition::Any, put))
}

/// Returns a number that differs between deliveries and attempts, evenly over all numbers.
fn spread(delivery: &str, attempt: u32) -> u64 {
    let id = EventId::derived(&["jitter", delivery, &attempt.to_string()]);
    let (head, tail) = id.as_bytes().split_at(8);
    // A UUID has some bits that are always the same, in each half at another place.
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    number(head) ^ number(tail).rotate_left(17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_spread_evenly() {
        let mut eighths = [0_u32; 8];
        for number in 0..4000_u32 {
            let of = spread(&number.to_string(), 1) >> 61;
            eighths[usize::try_from(of).unwrap()] += 1;
        }
        assert!(
            eighths.iter().all(|count| (400..600).contains(count)),
            "{eighths:?}"
        );
    }
}
