//! What is left in the bookkeeping of subscriptions that are gone.

use factum_query::Filter;
use factum_store::{RecordScan, StateStore, Visibility};

use super::error::SubscriptionError;
use super::feed::Feed;
use super::options::SubscriptionOptions;
use super::spec::{CHECKPOINTS, FeedId, FeedSettings, FeedSpec};
use crate::engine::Engine;

/// Returns what there is bookkeeping of, as far as its name begins so.
pub(crate) async fn found(
    state: &dyn StateStore,
    prefix: &str,
) -> Result<Vec<FeedId>, SubscriptionError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = state.scan(RecordScan {
            prefix: prefix.to_owned(),
            after,
            ..RecordScan::all(CHECKPOINTS.parse()?)
        });
        let page = page.await?;
        let ids = page.records.iter();
        found.extend(ids.filter_map(|record| FeedId::from_key(record.id.key.as_str())));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Deletes what is left of a subscription that is gone. Returns whether it is; not while another
/// node still works on it.
pub(crate) async fn clean(
    engine: &Engine,
    id: FeedId,
    options: &SubscriptionOptions,
) -> Result<bool, SubscriptionError> {
    let spec = FeedSpec {
        name: id.base().to_owned(),
        id,
        filter: Filter::default(),
        visibility: Visibility::Application,
        after: None,
        settings: FeedSettings::default(),
    };
    Feed::new(engine, spec, options)?.clean().await
}
