//! What goes on beside the operations: following the log, finding silent instances, deleting old
//! checkpoints.

use std::time::Duration;

use factum_engine::{EngineError, LiveRead, LiveStart, LiveStep};
use factum_model::{EventId, RecordedEvent};
use factum_query::Filter;
use factum_store::{AppendError, ReadError};
use serde_json::json;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::hash::Hasher as _;
use tokio_util::sync::CancellationToken;

use crate::error::SessionError;
use crate::events;
use crate::id::InstanceId;
use crate::input::object;
use crate::metrics::count;
use crate::ops::CleanupCheckpoints;
use crate::registry::Taken;
use crate::sessions::{Sessions, Unless};
use crate::state::{InstanceStatus, Step};
use crate::wire::seconds_between;

/// How long to wait before the log is asked for again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Operations of this node see what they record at once; others' records may come a little later.
const COALESCE: Duration = Duration::from_millis(10);

impl Sessions {
    /// Follows the log, and looks for instances that are silent and checkpoints that are too old,
    /// until `shutdown` is cancelled or the store is closed.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
            () = self.sweep_for_ever() => {}
            () = self.clean_up_for_ever() => {}
        }
    }

    async fn follow(&self) {
        let filter = Filter {
            aggregate_types: events::AGGREGATE_TYPE.parse().into_iter().collect(),
            ..Filter::default()
        };
        loop {
            let folded_to = self.registry().folded_to;
            let request = LiveRead {
                filter: filter.clone(),
                start: folded_to.map_or(LiveStart::Beginning, LiveStart::After),
                batch_events_max: 1000,
                batch_bytes_max: 4 << 20,
                coalesce: COALESCE,
                ..LiveRead::default()
            };
            match self.follow_from(request).await {
                Err(SessionError::EventStore(EngineError::Read(ReadError::Closed))) => return,
                Ok(()) => {}
                Err(error) => {
                    // Operations read what they need by themselves; only overviews fall behind.
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "agent sessions of other nodes are not seen for now");
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn follow_from(&self, request: LiveRead) -> Result<(), SessionError> {
        let mut reader = self.inner.engine.live(request)?;
        loop {
            match reader.next().await? {
                LiveStep::Batch { events, through } => {
                    let (missing, n_registered) = self.fold(&events);
                    for id in missing {
                        self.read_missing(&id).await?;
                    }
                    self.registry_mut().folded(through, n_registered);
                }
                LiveStep::CaughtUp { .. } => {
                    self.inner.ready.send_replace(true);
                }
            }
        }
    }

    /// Folds events, and returns the instances of which events are missing in memory, and how many
    /// instances begin with these events.
    fn fold(&self, events: &[RecordedEvent]) -> (Vec<InstanceId>, u64) {
        let mut missing: Vec<InstanceId> = Vec::new();
        let mut n_registered = 0;
        let mut registry = self.registry_mut();
        for event in events {
            // Other programs may keep streams of this type too; they are none of ours.
            let Ok(id) = event.aggregate_id().parse::<InstanceId>() else {
                continue;
            };
            let step = Step::of(event);
            n_registered += u64::from(step.registers());
            match registry.take(&id, &step) {
                Taken::Folded => {}
                Taken::Gap | Taken::Absent if missing.contains(&id) => {}
                Taken::Gap | Taken::Absent => missing.push(id),
            }
        }
        registry.make_room(self.inner.options.instances_max);
        (missing, n_registered)
    }

    async fn read_missing(&self, id: &InstanceId) -> Result<(), SessionError> {
        match self.refresh(id).await {
            // A stream with such a name that does not begin with a registration.
            Err(SessionError::InstanceNotFound { .. }) => Ok(()),
            done => done,
        }
    }

    async fn sweep_for_ever(&self) {
        let mut ready = self.inner.ready.subscribe();
        if ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        // Whoever could not reach the server while it was down has a moment to say that it is
        // there.
        let interval = self.inner.options.sweep_interval;
        let first = tokio::time::Instant::now() + interval;
        let mut ticks = tokio::time::interval_at(first, interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.sweep().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "looking for silent agent instances failed");
            }
        }
    }

    /// Records of every instance that has been silent for too long that it is stale, once per
    /// silence, however many nodes look at once, and returns how many this call found.
    ///
    /// # Errors
    /// [`SessionError::EventStore`]; what was found until then is recorded.
    pub async fn sweep(&self) -> Result<usize, SessionError> {
        let now = self.now();
        let silent: Vec<InstanceId> = self
            .registry()
            .states()
            .filter(|state| state.status == InstanceStatus::Active && self.is_silent(state, now))
            .filter_map(|state| state.instance_id.parse().ok())
            .collect();
        let mut n_found = 0;
        for id in silent {
            n_found += usize::from(self.mark_stale(&id).await?);
        }
        Ok(n_found)
    }

    async fn mark_stale(&self, id: &InstanceId) -> Result<bool, SessionError> {
        for _ in 0..self.inner.options.attempts_max {
            let now = self.now();
            let seen = self.look(id, |state, after| {
                let due = state.status == InstanceStatus::Active && self.is_silent(state, now);
                due.then_some((state.last_heartbeat, state.heartbeat_event, after))
            });
            let Some((last_heartbeat, heartbeat, after)) = seen.await? else {
                return Ok(false);
            };
            let limit = self.inner.options.stale_after.as_secs();
            let payload = object(&json!({
                "last_heartbeat": last_heartbeat.to_string(),
                "age_seconds": seconds_between(last_heartbeat, now),
                "reason": format!("no heartbeat for {limit} s"),
            }))?;
            let mut event = self.event(id, events::STALE, payload)?;
            // One silence has one id, so a node that overlooked the event of another is refused.
            event.id = Some(silence_id(id, heartbeat));
            event.causation_id = Some(heartbeat);
            let unless = Unless {
                any_of: &[events::HEARTBEAT, events::STALE, events::CLOSED],
                after,
            };
            match self.record(id, vec![event], unless).await {
                // Another node may have recorded the very same.
                Ok(receipts) => {
                    let is_new = receipts.iter().any(|receipt| !receipt.deduplicated);
                    if is_new {
                        count(&self.inner.counters.stale_total);
                    }
                    return Ok(is_new);
                }
                Err(SessionError::EventStore(EngineError::Append(
                    AppendError::DuplicateEvent { .. },
                ))) => {
                    self.refresh(id).await?;
                    return Ok(false);
                }
                Err(error) if error.is_overtaken() => self.overtaken(id).await?,
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Contended)
    }

    /// Catches up with whoever was faster.
    pub(crate) async fn overtaken(&self, id: &InstanceId) -> Result<(), SessionError> {
        count(&self.inner.counters.overtaken_total);
        self.refresh(id).await
    }

    /// Takes instances out of memory that are past their retention.
    pub(crate) fn forget_past(&self) {
        let now = self.now();
        self.registry_mut().forget(|state| self.is_past(state, now));
    }

    async fn clean_up_for_ever(&self) {
        let mut ticks = tokio::time::interval(self.inner.options.cleanup_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.forget_past();
            let done = self.cleanup_checkpoints(CleanupCheckpoints::default());
            if let Err(error) = done.await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "deleting old checkpoints failed");
            }
        }
    }
}

/// Returns the id of the event that ends the patience with one silence.
fn silence_id(id: &InstanceId, heartbeat: EventId) -> EventId {
    derived_id(
        "instance_stale",
        &[id.as_str().as_bytes(), heartbeat.as_bytes()],
    )
}

/// Returns an id that whoever knows the same facts works out too.
pub(crate) fn derived_id(what: &str, facts: &[&[u8]]) -> EventId {
    let mut hasher = SipHasher13::new_with_keys(0x6661_6374_756d, 0x7365_7373_696f_6e73);
    for part in std::iter::once(&what.as_bytes()).chain(facts) {
        let n_bytes = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hasher.write(&n_bytes.to_be_bytes());
        hasher.write(part);
    }
    let mut bytes = hasher.finish128().as_bytes();
    // UUIDs of version 8 are those that are made in a way of one's own.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    EventId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_every_fact_and_nothing_else() {
        let id = derived_id("a", &[b"bc"]);
        assert_eq!(id, derived_id("a", &[b"bc"]));
        assert_ne!(id, derived_id("ab", &[b"c"]));
        assert_ne!(id, derived_id("a", &[b"b", b"c"]));
        assert_eq!(&id.to_string()[14..15], "8");
    }
}
