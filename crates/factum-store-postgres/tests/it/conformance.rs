//! The conformance suite over PostgreSQL, with the default bounds and with the smallest.

use factum_store::conformance::{Setting, Subject};
use factum_store_postgres::{LeafPolicy, Options};

use crate::opened;

async fn open(setting: Setting) -> Subject {
    let (database, options) = opened::database(LeafPolicy::Monthly).await;
    let options = Options {
        clock: setting.clock.clone(),
        ids: setting.ids.clone(),
        ..options
    };
    Subject::new(&setting, opened::open(&options).await, database)
}

/// Leaves of a few events, groups of one request, a node that remembers next to nothing and hears
/// of nothing: whatever depends on where something is cut comes out here.
async fn open_small(setting: Setting) -> Subject {
    let (database, options) = opened::database(LeafPolicy::Events(7)).await;
    let options = Options {
        clock: setting.clock.clone(),
        ids: setting.ids.clone(),
        group_events_max: 1,
        versions_max: 0,
        connections_max: 2,
        notify: false,
        leaves_ahead: 20,
        ..options
    };
    Subject::new(&setting, opened::open(&options).await, database)
}

factum_store::conformance!(postgres, open);
factum_store::conformance!(postgres_small, open_small);
