//! The end of an instance.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::events;
use crate::input::object;
use crate::report::check_open;
use crate::sessions::{Sessions, Unless};
use crate::state::InstanceStatus;

/// An instance to close.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseInstance {
    /// The instance.
    pub instance_id: String,
    /// Why.
    pub reason: Option<String>,
}

/// A closed instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClosedInstance {
    /// The instance.
    pub instance_id: String,
    /// That it is closed.
    pub status: InstanceStatus,
    /// Since when.
    pub closed_at: String,
}

impl Sessions {
    /// Closes an instance. It takes no more events, also none that are on their way.
    ///
    /// # Errors
    /// [`SessionError::MalformedInstanceId`], [`SessionError::InstanceNotFound`],
    /// [`SessionError::InstanceClosed`] when it is closed already, [`SessionError::EventStore`].
    pub async fn close_instance(
        &self,
        input: CloseInstance,
    ) -> Result<ClosedInstance, SessionError> {
        let id = Self::instance_id(&input.instance_id)?;
        let reason = input.reason.as_deref();
        let reason = reason
            .map(|reason| self.clean_text("reason", reason))
            .transpose()?;
        let payload = object(&json!({ "reason": reason }))?;
        let event = self.event(&id, events::CLOSED, payload)?;
        for _ in 0..self.inner.options.attempts_max {
            let after = self.look(&id, |state, after| check_open(state).map(|()| after));
            let unless = Unless {
                any_of: &[events::CLOSED],
                after: after.await??,
            };
            match self.record(&id, vec![event.clone()], unless).await {
                Ok(receipts) => {
                    let at = receipts.first().map(|receipt| receipt.recorded_at);
                    return Ok(ClosedInstance {
                        instance_id: id.to_string(),
                        status: InstanceStatus::Closed,
                        closed_at: at.unwrap_or_else(|| self.now()).to_string(),
                    });
                }
                Err(error) if error.is_overtaken() => self.overtaken(&id).await?,
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Contended)
    }
}
