//! One instance, found by its id or by the beginning of one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::id::{InstanceId, excerpt};
use crate::resolve::{Candidate, Resolution, resolve};
use crate::sessions::Sessions;
use crate::state::{InstanceStatus, SessionState};
use crate::view::InstanceView;

/// The most matches that are shown to choose from.
const MATCHES_MAX: usize = 50;

/// An instance with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct InstanceReport {
    /// The instance in short.
    pub instance: InstanceView,
    /// What its events come to.
    pub state: SessionState,
}

/// One of several instances to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceMatch {
    /// Its number, from 1.
    pub choice: u32,
    /// Its id.
    pub instance_id: String,
    /// Its project.
    pub project: String,
    /// Whether it is at work.
    pub status: String,
    /// The epic that it works on.
    pub current_epic: Option<String>,
    /// When its last event was recorded.
    pub last_event_at: String,
}

/// An instance, or several to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum InstanceDetails {
    /// It is this one.
    Found(Box<InstanceReport>),
    /// It may be one of these: at most 50, those first that were heard of last.
    Choose {
        /// The instances.
        matches: Vec<InstanceMatch>,
        /// How many there are.
        total_count: u64,
    },
}

impl Sessions {
    /// Returns an instance by its whole id, by the digits that end one, or by the beginning of
    /// one; or the instances to choose from where several fit.
    ///
    /// # Errors
    /// [`SessionError::InstanceNotFound`], [`SessionError::EventStore`].
    pub async fn instance_details(&self, id: &str) -> Result<InstanceDetails, SessionError> {
        let found = match id.parse::<InstanceId>() {
            Ok(whole) => whole,
            Err(_) => match self.meant(Some(id)).await? {
                Resolution::One(found) => found.parse()?,
                Resolution::Nobody => {
                    return Err(SessionError::InstanceNotFound { given: excerpt(id) });
                }
                Resolution::Several(ids) => {
                    return Ok(InstanceDetails::Choose {
                        total_count: u64::try_from(ids.len()).unwrap_or(u64::MAX),
                        matches: self.matches(&ids),
                    });
                }
            },
        };
        let now = self.now();
        let report = self.look(&found, |state, _| InstanceReport {
            instance: InstanceView::of(self, state, now),
            state: state.clone(),
        });
        Ok(InstanceDetails::Found(Box::new(report.await?)))
    }

    /// Finds what a hint means among the instances in memory.
    pub(crate) async fn meant(&self, hint: Option<&str>) -> Result<Resolution, SessionError> {
        self.ready().await?;
        let now = self.now();
        let registry = self.registry();
        let candidates = registry
            .states()
            .filter(|state| !self.is_past(state, now))
            .map(|state| Candidate::of(state, self.status_at(state, now)));
        Ok(resolve(hint, candidates.collect()))
    }

    /// Describes instances to choose from.
    pub(crate) fn matches(&self, ids: &[String]) -> Vec<InstanceMatch> {
        let now = self.now();
        let registry = self.registry();
        let numbered = (1_u32..).zip(ids.iter().take(MATCHES_MAX));
        let described = numbered.filter_map(|(choice, id)| {
            let state = registry.get(id)?;
            let status: InstanceStatus = self.status_at(state, now);
            Some(InstanceMatch {
                choice,
                instance_id: id.clone(),
                project: state.project.clone(),
                status: status.as_str().to_owned(),
                current_epic: state.current_epic.clone(),
                last_event_at: state.last_event_at.to_string(),
            })
        });
        described.collect()
    }
}
