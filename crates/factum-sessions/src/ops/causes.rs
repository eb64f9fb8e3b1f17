//! What led to an event and what came of it.

use factum_store::Visibility;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::SessionError;
use crate::id::excerpt;
use crate::input::event_id;
use crate::sessions::Sessions;
use crate::view::EventView;

/// An event and how deep it stands in its tree.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TreeNode {
    /// 0 for the event that was asked for, 1 for what it caused, and so on.
    pub depth: u32,
    /// The event.
    #[serde(flatten)]
    pub event: EventView,
}

/// What came of an event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventTree {
    /// The event, then its effects, each followed by its own.
    pub tree: Vec<TreeNode>,
    /// Everything is there; otherwise a bound was reached.
    pub complete: bool,
}

/// What led to an event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ParentChain {
    /// The event, its cause, the cause of that, and so on.
    pub chain: Vec<EventView>,
    /// A cause that is named and not there.
    pub missing_parent_id: Option<String>,
    /// Everything is there; otherwise a bound was reached.
    pub complete: bool,
}

impl Sessions {
    /// Returns an event and all that it caused.
    ///
    /// # Errors
    /// [`SessionError::EventNotFound`], [`SessionError::EventStore`].
    pub async fn event_tree(&self, id: &str) -> Result<EventTree, SessionError> {
        let found = self.causes(id).await?;
        let nodes = found.tree.iter().map(|node| TreeNode {
            depth: node.depth,
            event: EventView::of(&node.event),
        });
        Ok(EventTree {
            tree: nodes.collect(),
            complete: found.complete,
        })
    }

    /// Returns an event and the chain of its causes, the nearest first.
    ///
    /// # Errors
    /// [`SessionError::EventNotFound`], [`SessionError::EventStore`].
    pub async fn parent_chain(&self, id: &str) -> Result<ParentChain, SessionError> {
        let found = self.causes(id).await?;
        let itself = found.tree.first().map(|node| &node.event);
        let chain = itself.into_iter().chain(found.ancestors.iter().rev());
        Ok(ParentChain {
            chain: chain.map(EventView::of).collect(),
            missing_parent_id: found.missing_cause.map(|cause| cause.to_string()),
            complete: found.complete,
        })
    }

    async fn causes(&self, id: &str) -> Result<factum_engine::CausalTree, SessionError> {
        let events_max = self.inner.options.tree_events_max;
        let found = self
            .inner
            .engine
            .causal_tree(event_id(id)?, Visibility::Application, events_max)
            .await?;
        found.ok_or_else(|| SessionError::EventNotFound { given: excerpt(id) })
    }
}
