//! What is left of targets that are gone: deleted, also where nobody ran when they went.

use std::collections::BTreeSet;

use super::error::DeliveriesError;
use super::runner::{Deliveries, feed_base};
use crate::subscriptions::leftovers;

/// What the names of the bookkeeping of targets begin with.
const BASE_PREFIX: &str = "r";

impl Deliveries {
    /// Deletes what targets that are gone have left in the bookkeeping. Returns whether nothing is
    /// left; what another node still works on is.
    pub(super) async fn sweep(&self) -> Result<bool, DeliveriesError> {
        let shared = &self.shared;
        let found = leftovers::found(&*shared.state, BASE_PREFIX).await?;
        // The events of all targets of which something was found are in the log now. Only who has
        // read them knows which are gone, and which another node has made a moment ago.
        shared.rules.refresh().await?;
        // A rule that this release cannot read has targets all the same, and they go on when one
        // that can is at work again. It is looked at again when a rule has changed.
        if !shared.rules.unread().is_empty() {
            return Ok(true);
        }
        let mut kept: BTreeSet<String> = self.bases_at_work().into_iter().collect();
        for rule in shared.rules.list() {
            kept.extend(rule.targets.iter().map(|target| feed_base(&rule, target)));
        }
        let mut is_clean = true;
        for id in found {
            if is_of_a_target(id.base()) && !kept.contains(id.base()) {
                let engine = &shared.engine;
                is_clean &= leftovers::clean(engine, id, &shared.subscriptions).await?;
            }
        }
        Ok(is_clean)
    }
}

/// Tells the bookkeeping of targets from that of subscriptions which a program has named itself.
fn is_of_a_target(base: &str) -> bool {
    let hex = base.strip_prefix(BASE_PREFIX);
    hex.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
