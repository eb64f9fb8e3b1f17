//! Keeps what is on record within its bounds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use factum_store::{Batch, Change, Precondition, RecordId, RecordScan};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dead_letter::DeadLetterStatus;
use super::error::DeliveriesError;
use super::record::{DELIVERIES, DeliveryRecord, DeliveryStatus};
use super::runner::Deliveries;

/// How often to look when nothing says that there are too many.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// How many records are deleted at once.
const BATCH: usize = 500;

/// What is on record and done with, as far as is known without counting it.
#[derive(Debug, Default)]
struct Tally {
    counted_at: Option<Instant>,
    n_deliveries: u64,
    /// How many had come on record by then.
    n_added: u64,
    /// How many dead letters, when they were last gone through.
    n_dead: u64,
}

impl Deliveries {
    /// Deletes the oldest records when there are too many, until it is stopped.
    pub(super) async fn keep_within_bounds(&self, stop: &CancellationToken) {
        let mut tally = Tally::default();
        while !stop.is_cancelled() {
            if let Err(error) = self.look(&mut tally).await {
                tally.counted_at = None;
                if error.code() != factum_model::ErrorCode::ShuttingDown {
                    tracing::warn!(%error, "records of deliveries cannot be kept within bounds for now");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.shared.crowded.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Counting goes through all there is, so it is done now and then, and what came on record in
    /// between is added.
    async fn look(&self, tally: &mut Tally) -> Result<(), DeliveriesError> {
        let shared = &self.shared;
        let is_due = tally
            .counted_at
            .is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
        let n_dead = shared.n_dead.load(Ordering::Relaxed);
        let n_added = shared.n_added.load(Ordering::Relaxed);
        tally.n_deliveries += n_added - tally.n_added;
        tally.n_added = n_added;
        let max = shared.options.deliveries_max as u64;
        // What other nodes have added or deleted is known only after counting.
        let is_shared = shared.state.capability().shared;
        if is_due || (is_shared && tally.n_deliveries > max) {
            let queue = shared.state.queue(DELIVERIES.parse()?).await?;
            let n_going_on = queue.n_waiting + queue.n_due + queue.n_claimed;
            tally.n_deliveries = queue.n_records.saturating_sub(n_going_on);
            tally.counted_at = Some(Instant::now());
        }
        self.drop_deliveries(tally, max).await?;
        if is_due || n_dead != tally.n_dead {
            self.evict_dead_letters().await?;
            tally.n_dead = n_dead;
        }
        Ok(())
    }

    /// Deletes the records of the oldest deliveries. Those that go on are passed over: their record
    /// says how many attempts there were.
    async fn drop_deliveries(&self, tally: &mut Tally, max: u64) -> Result<(), DeliveriesError> {
        let unread = self.shared.rules.unread();
        let mut after = None;
        while tally.n_deliveries > max {
            let page = self.shared.state.scan(RecordScan {
                after,
                limit: BATCH,
                ..RecordScan::all(DELIVERIES.parse()?)
            });
            let page = page.await?;
            let excess = usize::try_from(tally.n_deliveries - max).unwrap_or(usize::MAX);
            let over = page.records.into_iter();
            let over = over.filter(|record| !self.goes_on(&record.body, &unread));
            let changes: Vec<Change> = over
                .take(excess)
                .map(|record| Change::delete(record.id, Precondition::Version(record.version)))
                .collect();
            let n_deleted = changes.len() as u64;
            if n_deleted > 0 {
                self.shared.state.apply(Batch::of(changes)).await?;
            }
            tally.n_deliveries -= n_deleted;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells whether a delivery waits for another attempt that its target may still make.
    fn goes_on(&self, body: &[u8], unread: &[String]) -> bool {
        let record: Result<DeliveryRecord, _> = serde_json::from_slice(body);
        record.is_ok_and(|record| {
            let rule = self.shared.rules.get(&record.rule);
            let has_target = rule.is_ok_and(|rule| rule.target(&record.target).is_some());
            let may = has_target || unread.contains(&record.rule);
            record.status == DeliveryStatus::Retrying && may
        })
    }

    /// Gives up dead letters that are too old, and of too many those that were given up by somebody
    /// first, then those that were delivered after all, then the oldest ones.
    async fn evict_dead_letters(&self) -> Result<(), DeliveriesError> {
        let options = &self.shared.options;
        let now = self.shared.engine.clock().now();
        let age_max = i64::try_from(options.dead_letter_age_max.as_micros()).unwrap_or(i64::MAX);
        let oldest = now.as_micros().saturating_sub(age_max);
        let mut kept: Vec<(u8, i64, RecordId)> = Vec::new();
        let mut evicted: Vec<(RecordId, &'static str)> = Vec::new();
        self.each_dead_letter(|record, letter| {
            if letter.status == DeadLetterStatus::Retrying {
                return;
            }
            if letter.dead_micros < oldest {
                evicted.push((record.id, "it is too old"));
                return;
            }
            let rank = match letter.status {
                DeadLetterStatus::PermanentFailure => 0,
                DeadLetterStatus::Resolved => 1,
                DeadLetterStatus::PendingRetry | DeadLetterStatus::Retrying => 2,
            };
            kept.push((rank, letter.dead_micros, record.id));
        })
        .await?;
        let excess = kept.len().saturating_sub(options.dead_letters_max);
        if excess > 0 {
            kept.sort();
            let ids = kept.into_iter().take(excess);
            evicted.extend(ids.map(|(.., id)| (id, "there are too many")));
        }
        for part in evicted.chunks(BATCH) {
            let changes = part.iter().map(|(id, why)| {
                tracing::error!(key = %id.key, why, "a dead letter is given up");
                Change::delete(id.clone(), Precondition::Any)
            });
            self.shared
                .state
                .apply(Batch::of(changes.collect()))
                .await?;
            let n_evicted = part.len() as u64;
            self.shared
                .meters
                .evicted
                .fetch_add(n_evicted, Ordering::Relaxed);
        }
        Ok(())
    }
}
