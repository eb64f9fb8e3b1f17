//! How many events of each type an instance has.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::sessions::Sessions;

/// The events of an instance, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventAggregates {
    /// The instance.
    pub instance_id: String,
    /// How many there are of each type.
    pub counts: BTreeMap<String, u64>,
    /// How many there are.
    pub total: u64,
}

impl Sessions {
    /// Counts the events of an instance by type.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::EventStore`].
    pub async fn event_aggregates(
        &self,
        instance_id: &str,
    ) -> Result<EventAggregates, SessionError> {
        let id = Self::instance_id(instance_id)?;
        self.look(&id, |state, _| EventAggregates {
            instance_id: state.instance_id.clone(),
            counts: state.event_counts.clone(),
            total: state.event_count,
        })
        .await
    }
}
