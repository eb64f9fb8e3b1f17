//! What is served beside the log: opened, run, ended.

use std::hash::{BuildHasher as _, Hasher as _};

use anyhow::Context as _;
use bytes::Bytes;
use factum_api::{filter_json, parse_filter};
use factum_engine::{
    Engine, FilterForm, Schedule, ScheduleOptions, SubscriptionOptions, Subscriptions,
};
use factum_query::FilterLimits;
use factum_server::Services;
use factum_store::OwnerName;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::serving::rules;

/// Filters of subscriptions stand in the log as clients write them. They were checked against the
/// limits of their time; those of this one are checked when they are used.
const FORM: FilterForm = FilterForm {
    read: |text| {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let limits = FilterLimits {
            values_max: usize::MAX,
            depth_max: 64,
            ..FilterLimits::default()
        };
        parse_filter(&text, &limits).map_err(|error| error.to_string())
    },
    write: filter_json,
};

/// Opens what is served beside the log.
pub(crate) async fn open(config: &Config, engine: &Engine) -> anyhow::Result<Services> {
    let options = subscriptions(config, engine)?;
    let subscriptions = Subscriptions::open(engine.clone(), options.clone(), FORM)
        .await
        .context("opening the subscriptions")?;
    let planned = schedule(config, options.node.clone());
    let schedule = Schedule::new(engine.clone(), planned).context("opening the schedule")?;
    let deliveries = rules::open(config, engine, options).await?;
    Ok(Services {
        subscriptions: Some(subscriptions),
        deliveries: Some(deliveries),
        schedule: Some(schedule),
    })
}

/// Runs what has to run for it, until it is stopped.
pub(crate) async fn run(services: &Services, stop: &CancellationToken) -> anyhow::Result<()> {
    let subscribed = async {
        let Some(subscriptions) = &services.subscriptions else {
            return Ok(());
        };
        let ran = subscriptions.run(stop).await;
        ran.context("following the subscriptions failed")
    };
    let delivered = async {
        if let Some(deliveries) = &services.deliveries {
            deliveries.run(stop).await;
        }
    };
    let planned = async {
        if let Some(schedule) = &services.schedule {
            schedule.run(stop).await;
        }
    };
    let (subscribed, (), ()) = tokio::join!(subscribed, delivered, planned);
    subscribed
}

/// Returns what subscriptions of this node are run with.
pub(crate) fn subscriptions(
    config: &Config,
    engine: &Engine,
) -> anyhow::Result<SubscriptionOptions> {
    let node = node_name(config, engine).context("node.name")?;
    Ok(SubscriptionOptions {
        lease_ttl: config.subscriptions_lease_ms.0,
        poll_interval: config.subscriptions_poll_ms.0,
        idle_max: config.subscriptions_idle_ms_max.0,
        batch_events_max: config.subscriptions_batch_events_max.0,
        batch_bytes_max: config.subscriptions_batch_bytes_max.in_memory(),
        window_bytes_max: config.subscriptions_window_bytes_max.in_memory(),
        scan_max: config.subscriptions_scan_events_max.0,
        subscriptions_max: config.subscriptions_count_max.0,
        fetch_wait_max: config.subscriptions_fetch_wait_ms_max.0,
        fetch_bytes_max: config.subscriptions_fetch_bytes_max.in_memory(),
        extend_max: config.subscriptions_extend_ms_max.0,
        ..SubscriptionOptions::of(node)
    })
}

/// Returns what the schedule of this node is run with.
const fn schedule(config: &Config, node: OwnerName) -> ScheduleOptions {
    ScheduleOptions {
        node,
        entries_max: config.schedule_count_max.0,
        poll_interval: config.schedule_poll_ms.0,
        claim_time: config.schedule_claim_ms.0,
        batch_max: config.schedule_batch_events_max.0,
        late_after: config.schedule_late_ms.0,
    }
}

/// Returns the name of this node. A log that only one process can have open has one node, so it
/// finds what it had before it was started again.
fn node_name(config: &Config, engine: &Engine) -> anyhow::Result<OwnerName> {
    if !config.node_name.is_empty() {
        return Ok(config.node_name.parse()?);
    }
    if !engine.store().capability().shared {
        return Ok("local".parse()?);
    }
    let random = std::hash::RandomState::new().build_hasher().finish();
    let pid = std::process::id();
    Ok(format!("node-{pid}-{random:016x}").parse()?)
}
