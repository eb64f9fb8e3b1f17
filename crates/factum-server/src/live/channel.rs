//! Channels: live subscriptions to the events of the rules that name a channel.
//!
//! A channel is a filter on the log and no queue: every node asks its rules, as they are when it
//! reads, so a client gets the same on whichever node, and nothing is kept for those who are not
//! there.

use std::sync::Arc;

use factum_engine::{Rule, Rules};
use factum_model::RecordedEvent;
use factum_query::Explanation;
use factum_store::ReadError;
use tokio::sync::watch;

/// A channel that a subscription listens to.
#[derive(Debug)]
pub(crate) struct Channel {
    name: String,
    rules: Rules,
    changes: watch::Receiver<u64>,
    leading: Vec<Arc<Rule>>,
}

impl Channel {
    pub(crate) fn new(name: String, rules: Rules) -> Self {
        let changes = rules.watch();
        let leading = rules.of_channel(&name);
        Self {
            name,
            rules,
            changes,
            leading,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the events that a rule leads here. The rules are at least as new as the events, also
    /// those that another node made.
    pub(crate) async fn keep(&mut self, events: &mut Vec<RecordedEvent>) -> Result<(), ReadError> {
        let Some(last) = events.last() else {
            return Ok(());
        };
        self.rules.know(last.position).await?;
        // It fails when the rules are gone, and then they stay as they were.
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            self.leading = self.rules.of_channel(&self.name);
        }
        events.retain(|event| self.leading.iter().any(|rule| is_meant(rule, event)));
        Ok(())
    }
}

/// An expression that fails says no: there is nobody to put a dead letter before.
fn is_meant(rule: &Rule, event: &RecordedEvent) -> bool {
    match rule.explain(event) {
        Explanation::Matched => true,
        Explanation::NotMatched(_) | Explanation::Failed { .. } => false,
    }
}
