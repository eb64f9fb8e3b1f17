//! Old checkpoints are deleted: no longer offered. What the log holds of them stays.

use std::collections::{HashMap, HashSet};

use factum_model::{RecordedEvent, StreamId};
use factum_query::{Filter, TimeRange};
use factum_store::{AppendRequest, LogRead, PartialRepeat};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::background::derived_id;
use crate::error::SessionError;
use crate::events;
use crate::id::InstanceId;
use crate::input::object;
use crate::sessions::Sessions;
use crate::state::{CheckpointSummary, Step};

/// How many deletions are appended at once.
const AT_ONCE: usize = 500;
const DAY_MICROS: i64 = 86_400_000_000;

/// Which checkpoints to delete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CleanupCheckpoints {
    /// Those that are older than this many days; 30 by default.
    pub retention_days: Option<u32>,
}

/// What was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CleanedCheckpoints {
    /// How many checkpoints this call deleted.
    pub deleted_count: u64,
    /// How much space was given back: none, as the events stay in the log.
    pub freed_bytes: u64,
    /// How large the content of the deleted checkpoints is.
    pub marked_bytes: u64,
    /// There may be more to delete: one call has a bound.
    pub has_more: bool,
}

impl Sessions {
    /// Deletes the checkpoints that are too old: each is marked by an event of its instance, also
    /// of a closed one, and is found and listed no more. Deleting twice, from several nodes, is
    /// the same as once.
    ///
    /// # Errors
    /// [`SessionError::EventStore`]; what was deleted until then stays deleted.
    pub async fn cleanup_checkpoints(
        &self,
        input: CleanupCheckpoints,
    ) -> Result<CleanedCheckpoints, SessionError> {
        let options = &self.inner.options;
        let retention = match input.retention_days {
            Some(days) => i64::from(days).saturating_mul(DAY_MICROS),
            None => i64::try_from(options.checkpoint_retention.as_micros()).unwrap_or(i64::MAX),
        };
        let until = self.now().saturating_add_micros(retention.saturating_neg());
        let checkpoints_max = options.cleanup_checkpoints_max;
        let gone = self.deleted_checkpoints().await?;
        let mut cleaned = CleanedCheckpoints {
            deleted_count: 0,
            freed_bytes: 0,
            marked_bytes: 0,
            has_more: false,
        };
        let mut read = LogRead {
            filter: Filter {
                recorded_at: TimeRange {
                    from: None,
                    to: Some(until),
                },
                ..of_type(events::CHECKPOINT_CREATED)
            },
            limit: AT_ONCE,
            ..LogRead::forwards()
        };
        let mut n_found = 0;
        loop {
            let page = self.inner.engine.read_log(read.clone()).await?;
            let old = page.events.iter().filter(|event| {
                let summary = CheckpointSummary::read(&Step::of(event));
                !gone.contains(&(event.aggregate_id().to_owned(), summary.checkpoint_id))
            });
            let old: Vec<&RecordedEvent> = old.take(checkpoints_max - n_found).collect();
            n_found += old.len();
            self.delete(&old, &mut cleaned).await?;
            if n_found == checkpoints_max {
                cleaned.has_more = page.has_more;
                return Ok(cleaned);
            }
            if !page.has_more || page.scanned_to == read.after {
                return Ok(cleaned);
            }
            read.after = page.scanned_to;
        }
    }

    /// Returns the checkpoints that were deleted, by instance and id.
    async fn deleted_checkpoints(&self) -> Result<HashSet<(String, String)>, SessionError> {
        let mut gone = HashSet::new();
        let mut read = LogRead {
            filter: of_type(events::CHECKPOINT_DELETED),
            ..LogRead::forwards()
        };
        loop {
            let page = self.inner.engine.read_log(read.clone()).await?;
            for event in &page.events {
                let summary = CheckpointSummary::read(&Step::of(event));
                gone.insert((event.aggregate_id().to_owned(), summary.checkpoint_id));
            }
            if !page.has_more || page.scanned_to == read.after {
                return Ok(gone);
            }
            read.after = page.scanned_to;
        }
    }

    async fn delete(
        &self,
        old: &[&RecordedEvent],
        cleaned: &mut CleanedCheckpoints,
    ) -> Result<(), SessionError> {
        let mut events = Vec::with_capacity(old.len());
        let mut sizes = HashMap::new();
        for checkpoint in old {
            let Ok(id) = checkpoint.aggregate_id().parse::<InstanceId>() else {
                continue;
            };
            let summary = CheckpointSummary::read(&Step::of(checkpoint));
            let payload = object(&json!({
                "checkpoint_id": summary.checkpoint_id,
                "reason": "retention",
            }))?;
            let mut event = self.event(&id, events::CHECKPOINT_DELETED, payload)?;
            let event_id = derived_id("checkpoint_deleted", &[checkpoint.id.as_bytes()]);
            event.id = Some(event_id);
            event.causation_id = Some(checkpoint.id);
            sizes.insert(event_id, summary.size_bytes);
            events.push(event);
        }
        if events.is_empty() {
            return Ok(());
        }
        let streams: HashSet<StreamId> = events.iter().map(|event| event.stream.clone()).collect();
        let request = AppendRequest {
            events,
            // Another node may be at the same.
            partial_repeat: PartialRepeat::Skip,
            ..AppendRequest::default()
        };
        let receipt = self.inner.engine.append_to_instances(request).await?;
        for receipt in receipt
            .events
            .iter()
            .filter(|receipt| !receipt.deduplicated)
        {
            cleaned.deleted_count += 1;
            cleaned.marked_bytes += sizes.get(&receipt.id).copied().unwrap_or(0);
        }
        for stream in streams {
            if let Ok(id) = stream.aggregate_id.as_str().parse::<InstanceId>()
                && self.registry().get(id.as_str()).is_some()
            {
                self.refresh(&id).await?;
            }
        }
        Ok(())
    }
}

fn of_type(event_type: &str) -> Filter {
    Filter {
        aggregate_types: events::AGGREGATE_TYPE.parse().into_iter().collect(),
        event_types: event_type.parse().into_iter().collect(),
        ..Filter::default()
    }
}
