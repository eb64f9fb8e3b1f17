//! Dead letters that are tried again.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use factum_store::{
    Batch, Change, Claim, ClaimOrder, Precondition, Put, Record, StateError, Visibility,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dead_letter::{Cause, DeadLetter, DeadLetterStatus};
use super::error::DeliveriesError;
use super::record::{DEAD_LETTERS, DELIVERIES, DeliveryStatus};
use super::runner::{Deliveries, Shared};
use super::sender::{Tried, put};

/// How fast dead letters are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedriveRate(Option<NonZeroU32>);

impl RedriveRate {
    /// As fast as the targets take them.
    pub const UNBOUNDED: Self = Self(None);

    /// So many a second; 0 for as fast as the targets take them.
    #[must_use]
    pub const fn per_second_of(rate: u32) -> Self {
        Self(NonZeroU32::new(rate))
    }

    pub(super) fn per_second(self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

/// How often to look for what other nodes have been told.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How much longer a claim lasts than an attempt may take.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// How long to wait before asking a target again that could not even be tried.
const BUSY_WAIT: Duration = Duration::from_secs(1);

impl Deliveries {
    /// Tries dead letters again that are due, until it is stopped.
    pub(super) async fn redrive(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.redrive_due().await {
                Ok(pause) => pause.min(LOOK_INTERVAL),
                Err(error) => {
                    if error.code() != factum_model::ErrorCode::ShuttingDown {
                        tracing::warn!(%error, "dead letters cannot be tried again for now");
                    }
                    LOOK_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shared.redrive.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries what is due, and says how long nothing will be.
    async fn redrive_due(&self) -> Result<Duration, DeliveriesError> {
        let shared = &self.shared;
        loop {
            let claimed = shared.state.claim(Claim {
                kind: DEAD_LETTERS.parse()?,
                owner: shared.subscriptions.node.clone(),
                limit: shared.options.redrive_concurrency.max(1),
                visibility: shared.options.attempt_time_max + CLAIM_MARGIN,
                order: ClaimOrder::Free,
            });
            let claimed = claimed.await?;
            if claimed.records.is_empty() {
                let wait = claimed.next_at.map_or(LOOK_INTERVAL, |at| {
                    let micros = at.as_micros().saturating_sub(claimed.now.as_micros());
                    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
                });
                return Ok(wait + Duration::from_millis(1));
            }
            let mut tries = JoinSet::new();
            for record in claimed.records {
                let shared = Arc::clone(shared);
                tries.spawn(async move { redrive_one(&shared, record).await });
            }
            while let Some(tried) = tries.join_next().await {
                match tried {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a dead letter could not be tried again; it is claimed anew");
                    }
                    Err(error) => tracing::error!(%error, "trying a dead letter again has failed"),
                }
            }
        }
    }
}

async fn redrive_one(shared: &Shared, record: Record) -> Result<(), DeliveriesError> {
    let version = Precondition::Version(record.version);
    let mut letter: DeadLetter = serde_json::from_slice(&record.body)?;
    let delivery = &letter.delivery;
    let sender = shared.sender(&delivery.rule, &delivery.target);
    let event = match delivery.event() {
        Some(id) => shared.engine.event(id, Visibility::Everything).await?,
        None => None,
    };
    let (Some(sender), Some(event)) = (sender, event) else {
        letter.failed_again(Cause {
            class: "rule".to_owned(),
            message: "the rule or its target is deleted or switched off, or the event is gone"
                .to_owned(),
            status: None,
            excerpt: None,
        });
        return finish(
            shared,
            vec![of(&record, version, Put::new(serde_json::to_vec(&letter)?))],
        )
        .await;
    };
    let number = delivery.attempts_made.saturating_add(1);
    let kept_max = shared.options.attempts_kept_max;
    shared.meters.redriven.fetch_add(1, Ordering::Relaxed);
    match sender.attempt(&event, number).await {
        Tried::Unsent(_) => {
            let again = Put::new(serde_json::to_vec(&letter)?);
            let again = again.due(factum_store::Due::After(BUSY_WAIT));
            return finish(shared, vec![of(&record, version, again)]).await;
        }
        Tried::Delivered(attempt) => {
            letter.last_micros = attempt.at_micros;
            letter.delivery.push(attempt, kept_max);
            letter.delivery.status = DeliveryStatus::Delivered;
            letter.status = DeadLetterStatus::Resolved;
            sender.note_delivered(&event, shared.engine.clock().now());
            shared.meters.resolved.fetch_add(1, Ordering::Relaxed);
        }
        Tried::Failed(attempt, error) => {
            sender.meters.failed(error.class.as_str());
            letter.delivery.push(attempt, kept_max);
            letter.failed_again(sender.cause(&error));
        }
    }
    let changes = vec![
        of(&record, version, Put::new(serde_json::to_vec(&letter)?)),
        put(DELIVERIES, &letter.delivery, &letter.delivery)?,
    ];
    finish(shared, changes).await
}

fn of(record: &Record, version: Precondition, put: Put) -> Change {
    Change::put(record.id.clone(), version, put)
}

async fn finish(shared: &Shared, changes: Vec<Change>) -> Result<(), DeliveriesError> {
    match shared.state.apply(Batch::of(changes)).await {
        // Somebody has decided otherwise meanwhile, or claimed it after the time was up.
        Err(StateError::Conflict { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
