//! The part of the metrics page that is about durable subscriptions.
//!
//! Names of subscriptions are the one label that people choose: administrators make them, and
//! `subscriptions.count_max` bounds how many there are.

use factum_engine::{FeedCounters, Subscriptions};

use crate::metrics::Page;

type Gauge = (
    &'static str,
    &'static str,
    fn(&factum_engine::FeedStatus) -> f64,
);
type Total = (&'static str, &'static str, fn(&FeedCounters) -> u64);

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float, and no count comes near the limit"
)]
const GAUGES: [Gauge; 6] = [
    (
        "subscription_lag_events",
        "Events of the log that are not done with, at most.",
        |status| status.lag_events as f64,
    ),
    (
        "subscription_lag_seconds",
        "How long ago the oldest event that is not done with was recorded.",
        |status| status.lag.as_secs_f64(),
    ),
    (
        "subscription_ready",
        "Events ready to be handed out.",
        |status| status.n_ready as f64,
    ),
    (
        "subscription_in_flight",
        "Events that consumers have.",
        |status| status.n_out as f64,
    ),
    (
        "subscription_waiting",
        "Events that wait for their retry.",
        |status| status.n_waiting as f64,
    ),
    ("subscription_parked", "Events that are parked.", |status| {
        status.n_parked as f64
    }),
];

const TOTALS: [Total; 13] = [
    (
        "subscription_queued_total",
        "Events read from the log and queued.",
        |counters| counters.queued.get(),
    ),
    (
        "subscription_handed_out_total",
        "Events handed out, each time counted.",
        |counters| counters.handed_out.get(),
    ),
    (
        "subscription_acked_total",
        "Events that consumers were done with.",
        |counters| counters.acked.get(),
    ),
    (
        "subscription_skipped_total",
        "Events that were passed over.",
        |counters| counters.skipped.get(),
    ),
    (
        "subscription_extended_total",
        "How often consumers got more time for an event.",
        |counters| counters.extended.get(),
    ),
    (
        "subscription_retried_total",
        "Failed attempts after which another was set.",
        |counters| counters.retried.get(),
    ),
    (
        "subscription_parked_total",
        "Events that were parked.",
        |counters| counters.parked.get(),
    ),
    (
        "subscription_evicted_total",
        "Parked events given up, as there were too many.",
        |counters| counters.evicted.get(),
    ),
    (
        "subscription_stale_total",
        "Outcomes that came too late to count.",
        |counters| counters.stale.get(),
    ),
    (
        "subscription_lost_total",
        "Queued events that are not in the log any more.",
        |counters| counters.lost.get(),
    ),
    (
        "subscription_window_full_total",
        "How often reading stopped because enough was in flight.",
        |counters| counters.window_full.get(),
    ),
    (
        "subscription_retries_full_total",
        "How often reading stopped because too much waited for retries.",
        |counters| counters.retries_full.get(),
    ),
    (
        "subscription_lease_lost_total",
        "How often the lease was lost.",
        |counters| counters.lease_lost.get(),
    ),
];

/// Writes how each subscription is, and what this node has done for it.
pub(crate) async fn write(page: &mut Page, subscriptions: &Subscriptions) {
    let known = subscriptions.list();
    page.value(
        "subscriptions",
        "Durable subscriptions.",
        known.len() as u64,
    );
    let mut statuses = Vec::with_capacity(known.len());
    for info in known {
        // What cannot be used, or was deleted a moment ago, has no status; nor has anything while
        // the bookkeeping fails, and then the rest of the page is wanted most.
        if let Ok(feed) = subscriptions.feed(&info.name)
            && let Ok(status) = feed.status().await
        {
            statuses.push((info.name, status));
        }
    }
    for (name, help, of) in GAUGES {
        page.head(name, help, "gauge");
        for (subscription, status) in &statuses {
            let value = of(status);
            page.line(format_args!(
                "factum_{name}{{subscription=\"{subscription}\"}} {value}"
            ));
        }
    }
    let counters = subscriptions.counters();
    for (name, help, of) in TOTALS {
        page.head(name, help, "counter");
        for (subscription, counters) in &counters {
            let value = of(counters);
            page.line(format_args!(
                "factum_{name}{{subscription=\"{subscription}\"}} {value}"
            ));
        }
    }
}
