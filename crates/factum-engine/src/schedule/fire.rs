//! Fires what is due.

use std::time::Duration;

use factum_model::{ErrorCode, EventId, Timestamp};
use factum_store::{
    AppendRequest, Batch, Change, Claim, ClaimOrder, Due, Precondition, Put, Record, StateError,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::calendar::Missed;
use super::record::{self, Stored};
use super::{KIND, Schedule, ScheduleError, decode};

/// How long to wait after a failure that passes, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long to wait when the bookkeeping cannot be asked.
const TROUBLE_WAIT: Duration = Duration::from_secs(1);

/// What became of an append.
enum Fired {
    Appended(Timestamp),
    /// It had been appended by somebody who did not get to say so.
    Repeated(Timestamp),
    Later(String),
    Never(String),
}

impl Schedule {
    /// Fires what is due, until it is stopped. Several nodes may do so at once.
    pub async fn run(&self, stop: &CancellationToken) {
        self.take_back().await;
        let mut watch = self.shared.state.watch();
        while !stop.is_cancelled() {
            // Seen before looking, so that nothing is missed in between.
            watch.mark_unchanged();
            let wait = match self.fire_due().await {
                Ok(wait) => wait,
                Err(error) if error.code() == ErrorCode::ShuttingDown => return,
                Err(error) => {
                    tracing::warn!(%error, "scheduled events cannot be fired for now");
                    TROUBLE_WAIT
                }
            };
            if wait.is_zero() {
                continue;
            }
            let interval = self.shared.options.poll_interval.min(wait);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(interval) => {}
                changed = watch.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Ends the claims that this node held before it was started again.
    async fn take_back(&self) {
        let shared = &self.shared;
        let Ok(kind) = KIND.parse() else {
            return;
        };
        let abandoned = shared.state.abandon(kind, shared.options.node.clone());
        if let Err(error) = abandoned.await {
            // They run out by themselves.
            tracing::warn!(%error, "firings that were begun are waited for");
        }
    }

    /// Fires what is due now, and returns how long to wait for what is next.
    async fn fire_due(&self) -> Result<Duration, ScheduleError> {
        let options = &self.shared.options;
        let claimed = self.shared.state.claim(Claim {
            kind: KIND.parse()?,
            owner: options.node.clone(),
            limit: options
                .batch_max
                .clamp(1, self.shared.state.limits().page_records_max),
            visibility: options.claim_time,
            order: ClaimOrder::Free,
        });
        let claimed = claimed.await?;
        if claimed.records.is_empty() {
            let wait = claimed.next_at.map(|next| {
                let micros = next.as_micros() - claimed.now.as_micros();
                Duration::from_micros(u64::try_from(micros).unwrap_or(0).max(1000))
            });
            return Ok(wait.unwrap_or(options.poll_interval));
        }
        let mut firings = JoinSet::new();
        for record in claimed.records {
            let (schedule, now) = (self.clone(), claimed.now);
            firings.spawn(async move {
                let key = record.id.key.clone();
                if let Err(error) = schedule.fire(record, now).await {
                    // The claim runs out, and it is tried again.
                    tracing::warn!(id = %key, %error, "a scheduled event is not fired for now");
                }
            });
        }
        while let Some(done) = firings.join_next().await {
            if let Err(error) = done {
                tracing::error!(%error, "firing a scheduled event ended badly");
            }
        }
        Ok(Duration::ZERO)
    }

    /// Fires one record and writes what comes next.
    async fn fire(&self, record: Record, now: Timestamp) -> Result<(), ScheduleError> {
        let mut stored = match decode(&record) {
            Ok(stored) => stored,
            Err(error) => {
                // Tried again for ever it would only be in the way of others.
                tracing::error!(id = %record.id.key, %error, "a scheduled event cannot be read");
                self.shared.meters.failed();
                let put = Put::new(record.body.clone());
                return self.settle(&record, Some(put)).await;
            }
        };
        if let Some(latest) = latest_missed(&stored, now)? {
            // Written down before it fires, so that whoever comes after a crash fires the same.
            stored.due_micros = latest.as_micros();
            let put = Put::new(stored.encode()?).due(Due::At(latest));
            return self.settle(&record, Some(put)).await;
        }
        let id = record.id.key.as_str().to_owned();
        let event = record::fired(&stored.event()?, &id, stored.due())?;
        let event_id = event.id.unwrap_or(EventId::from_bytes([0; 16]));
        let request = AppendRequest {
            events: vec![event],
            ..AppendRequest::default()
        };
        let fired = self.append(request, now).await;
        let put = self.after(&record, stored, (fired, event_id), now)?;
        self.settle(&record, put).await
    }

    async fn append(&self, request: AppendRequest, now: Timestamp) -> Fired {
        match self.shared.engine.append(request).await {
            Ok(receipt) => {
                let event = receipt.events.first();
                let recorded_at = event.map_or(now, |event| event.recorded_at);
                if event.is_some_and(|event| event.deduplicated) {
                    Fired::Repeated(recorded_at)
                } else {
                    Fired::Appended(recorded_at)
                }
            }
            // Nobody else makes such ids; an earlier version of this program may have made the
            // event otherwise.
            Err(error) if error.code() == ErrorCode::DuplicateEvent => Fired::Repeated(now),
            Err(error) if error.is_retryable() => Fired::Later(error.to_string()),
            Err(error) => Fired::Never(error.to_string()),
        }
    }

    /// Returns what the record is after a firing; `None` when it goes.
    fn after(
        &self,
        record: &Record,
        mut stored: Stored,
        (fired, event_id): (Fired, EventId),
        now: Timestamp,
    ) -> Result<Option<Put>, ScheduleError> {
        let meters = &self.shared.meters;
        let id = &record.id.key;
        match fired {
            Fired::Appended(at) => {
                self.note_fired(id.as_str(), &stored, at);
                stored.fired(at, event_id);
            }
            Fired::Repeated(at) => {
                meters.repeated();
                stored.fired(at, event_id);
            }
            Fired::Later(reason) => {
                tracing::warn!(%id, %reason, "a scheduled event is tried again later");
                let doublings = record.n_claims.saturating_sub(1).min(16);
                let wait = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
                return Ok(Some(Put::new(stored.encode()?).due(Due::After(wait))));
            }
            Fired::Never(reason) => {
                tracing::error!(%id, %reason, "a scheduled event cannot be appended");
                meters.failed();
                stored.failure = Some(reason);
                return Ok(Some(Put::new(stored.encode()?)));
            }
        }
        let Some(calendar) = stored.calendar()? else {
            return Ok(None);
        };
        let Some(next) = calendar.following(stored.due(), now) else {
            return Ok(None);
        };
        stored.due_micros = next.as_micros();
        Ok(Some(Put::new(stored.encode()?).due(Due::At(next))))
    }

    fn note_fired(&self, id: &str, stored: &Stored, recorded_at: Timestamp) {
        let late_micros = recorded_at.as_micros() - stored.due_micros;
        let late = Duration::from_micros(u64::try_from(late_micros).unwrap_or(0));
        self.shared.meters.fired(late);
        if late >= self.shared.options.late_after {
            self.shared.meters.was_late();
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(id, due_at = %stored.due(), late_ms, "a scheduled event fired late");
        }
    }

    async fn settle(&self, record: &Record, put: Option<Put>) -> Result<(), ScheduleError> {
        let precondition = Precondition::Version(record.version);
        let change = match put {
            Some(put) => Change::put(record.id.clone(), precondition, put),
            None => Change::delete(record.id.clone(), precondition),
        };
        match self.shared.state.apply(Batch::of(vec![change])).await {
            // Cancelled, or taken over by another node, in the meantime.
            Ok(_) | Err(StateError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the latest firing that was missed, if it alone is to happen and is not the one that is
/// due.
fn latest_missed(stored: &Stored, now: Timestamp) -> Result<Option<Timestamp>, ScheduleError> {
    let calendar = stored.calendar()?;
    let calendar = calendar.filter(|calendar| calendar.missed() == Missed::Latest);
    let latest = calendar.and_then(|calendar| calendar.following(stored.due(), now));
    Ok(latest.filter(|latest| *latest <= now))
}
