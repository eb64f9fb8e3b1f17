//! Rules and what they send: opened.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use factum_deliver::{Allowed, BuiltInTargets, DeliverLimits, Guard, SystemResolver};
use factum_engine::{Deliveries, DeliveryOptions, Engine, RuleLimits, Rules, SubscriptionOptions};
use factum_security::MasterKey;

use crate::config::Config;

/// Opens the rules of a log, and what sends for them.
pub(crate) async fn open(
    config: &Config,
    engine: &Engine,
    subscriptions: SubscriptionOptions,
) -> anyhow::Result<Deliveries> {
    let vault = MasterKey::open_or_create(&key_file(config)).context("the key of secrets")?;
    let rules = open_rules(config, engine, Arc::new(vault)).await?;
    Ok(Deliveries::new(
        engine,
        rules,
        options(config),
        subscriptions,
    )?)
}

/// Opens the rules of a log alone; the vault has their secrets.
pub(crate) async fn open_rules(
    config: &Config,
    engine: &Engine,
    vault: Arc<MasterKey>,
) -> anyhow::Result<Rules> {
    let targets = Arc::new(targets(config, engine, vault)?);
    let limits = RuleLimits {
        rules_max: config.rules_count_max.0,
        filter: engine.options().filter_limits,
        ..RuleLimits::default()
    };
    let rules = Rules::open(engine.clone(), targets, limits).await;
    rules.context("opening the rules")
}

/// Returns where the key is under which secrets are kept.
pub(crate) fn key_file(config: &Config) -> PathBuf {
    let beside = || config.data.join("master.key");
    config.secrets_key_file.clone().unwrap_or_else(beside)
}

fn targets(
    config: &Config,
    engine: &Engine,
    vault: Arc<MasterKey>,
) -> anyhow::Result<BuiltInTargets> {
    let allowed: Result<Vec<Allowed>, _> = config
        .deliver_allow
        .0
        .iter()
        .map(|text| text.parse())
        .collect();
    let guard = Guard::new(allowed.context("deliver.allow")?, Arc::new(SystemResolver));
    let limits = DeliverLimits {
        timeout_max: config.deliver_attempt_ms_max.0,
        excerpt_bytes_max: config.deliver_excerpt_bytes_max.in_memory(),
        ..DeliverLimits::default()
    };
    let clock = Arc::clone(&engine.options().clock);
    Ok(BuiltInTargets::new(guard, vault, clock, limits))
}

fn options(config: &Config) -> DeliveryOptions {
    DeliveryOptions {
        attempt_time_max: config.deliver_attempt_ms_max.0,
        window_max: config.deliver_window_events_max.0,
        retries_max: config.deliver_retries_max.0,
        deliveries_max: config.deliver_kept_max.0,
        attempts_kept_max: config.deliver_attempts_kept_max.0,
        excerpt_bytes_max: config.deliver_excerpt_bytes_max.in_memory(),
        dead_letters_max: config.dead_letters_count_max.0,
        dead_letter_age_max: config.dead_letters_age_ms_max.0,
        redrive_concurrency: config.dead_letters_retry_concurrency.0,
    }
}
