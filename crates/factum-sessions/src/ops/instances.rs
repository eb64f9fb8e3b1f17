//! Lists of instances.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::input;
use crate::sessions::Sessions;
use crate::state::InstanceStatus;
use crate::view::InstanceView;

/// The most instances in one answer.
const PAGE_MAX: usize = 1000;

/// Which instances to list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListInstances {
    /// Those of this project.
    pub project: Option<String>,
    /// Those that are active.
    pub active_only: Option<bool>,
    /// How many, at most 1,000; 100 by default.
    pub limit: Option<u32>,
    /// How many to pass over.
    pub offset: Option<u32>,
}

/// Instances, those first that were heard of last.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InstanceList {
    /// The instances.
    pub instances: Vec<InstanceView>,
    /// How many there are, whether or not they are in this page.
    pub total_count: u64,
    /// How many of the project are active.
    pub active_count: u64,
    /// How many of the project are stale.
    pub stale_count: u64,
    /// How many closed and stale ones, of whatever project, had to make room in memory or are past
    /// the retention of sessions: they are not listed, and found by their whole id. Those of the
    /// last moment may be missing.
    pub not_listed_count: u64,
    /// There are more after this page.
    pub has_more: bool,
}

/// A stale instance.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StaleInstance {
    /// The instance.
    #[serde(flatten)]
    pub instance: InstanceView,
    /// How many minutes it has been silent.
    pub minutes_stale: u64,
}

/// Stale instances, those first that were heard of last.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StaleList {
    /// The instances, at most 1,000.
    pub instances: Vec<StaleInstance>,
    /// How many there are.
    pub total_count: u64,
}

impl Sessions {
    /// Lists instances.
    ///
    /// # Errors
    /// [`SessionError::InvalidEvent`] for a limit out of bounds, [`SessionError::TimedOut`] while
    /// the instances of the log are still being read.
    pub async fn list_instances(&self, input: ListInstances) -> Result<InstanceList, SessionError> {
        let limit = input::limit(input.limit, 100, PAGE_MAX)?;
        let offset = usize::try_from(input.offset.unwrap_or(0)).unwrap_or(usize::MAX);
        self.ready().await?;
        let (all, not_listed_count) = self.views(input.project.as_deref());
        let count = |status| {
            let of_status = all.iter().filter(|instance| instance.status == status);
            u64::try_from(of_status.count()).unwrap_or(u64::MAX)
        };
        let active_count = count(InstanceStatus::Active);
        let stale_count = count(InstanceStatus::Stale);
        let active_only = input.active_only.unwrap_or(false);
        let listed: Vec<InstanceView> = all
            .into_iter()
            .filter(|instance| !active_only || instance.status == InstanceStatus::Active)
            .collect();
        let total = listed.len();
        Ok(InstanceList {
            instances: listed.into_iter().skip(offset).take(limit).collect(),
            total_count: u64::try_from(total).unwrap_or(u64::MAX),
            active_count,
            stale_count,
            not_listed_count,
            has_more: total > offset.saturating_add(limit),
        })
    }

    /// Lists the instances that are stale.
    ///
    /// # Errors
    /// As [`Sessions::list_instances`].
    pub async fn list_stale_instances(
        &self,
        project: Option<&str>,
    ) -> Result<StaleList, SessionError> {
        self.ready().await?;
        let (mut stale, _) = self.views(project);
        stale.retain(|instance| instance.status == InstanceStatus::Stale);
        let total_count = u64::try_from(stale.len()).unwrap_or(u64::MAX);
        let minutes = |instance: InstanceView| StaleInstance {
            minutes_stale: instance.age_seconds / 60,
            instance,
        };
        Ok(StaleList {
            instances: stale.into_iter().take(PAGE_MAX).map(minutes).collect(),
            total_count,
        })
    }

    /// Returns the instances of a project, or all, those first that were heard of last, and how
    /// many, of whatever project, are not offered.
    fn views(&self, project: Option<&str>) -> (Vec<InstanceView>, u64) {
        let now = self.now();
        let registry = self.registry();
        let (past, offered): (Vec<_>, Vec<_>) = registry
            .states()
            .partition(|state| self.is_past(state, now));
        let mut states: Vec<_> = offered
            .into_iter()
            .filter(|state| project.is_none_or(|project| state.project == project))
            .collect();
        let n_past = u64::try_from(past.len()).unwrap_or(u64::MAX);
        states.sort_by(|a, b| {
            let newest_first = b.last_event_at.cmp(&a.last_event_at);
            newest_first.then_with(|| a.instance_id.cmp(&b.instance_id))
        });
        let views = states
            .into_iter()
            .map(|state| InstanceView::of(self, state, now));
        (
            views.collect(),
            registry.n_elsewhere().saturating_add(n_past),
        )
    }
}
