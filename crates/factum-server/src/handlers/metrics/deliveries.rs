//! What rules have sent, in sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use factum_engine::{Deliveries, LATENCY_BOUNDS_MS, TargetMeters, TargetReport};

use crate::error::ApiError;
use crate::metrics::Page;

/// Sums over targets, by their kind: ids of rules are names that people chose.
pub(super) async fn write(page: &mut Page, deliveries: &Deliveries) -> Result<(), ApiError> {
    let reports = deliveries.targets().await?;
    page.head(
        "delivery_targets",
        "Targets by kind and state of their breaker.",
        "gauge",
    );
    let mut states: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for report in &reports {
        let state = (report.state.kind, report.state.breaker.as_str());
        *states.entry(state).or_default() += 1;
    }
    for ((kind, breaker), count) in states {
        page.line(format_args!(
            "factum_delivery_targets{{kind=\"{kind}\",breaker=\"{breaker}\"}} {count}"
        ));
    }
    endpoints(page, &reports);
    let n = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let sum = |of: fn(&TargetReport) -> u64| reports.iter().map(of).sum::<u64>();
    let broken = n(deliveries.broken().len());
    let in_flight = sum(|report| u64::try_from(report.state.in_flight).unwrap_or(0));
    let values = [
        (
            "delivery_targets_broken",
            "Targets that cannot be sent to from here.",
            broken,
        ),
        ("delivery_in_flight", "Attempts under way.", in_flight),
        (
            "delivery_ready",
            "Events ready to be sent.",
            sum(|report| report.feed.n_ready),
        ),
        (
            "delivery_waiting",
            "Events that wait for their retry.",
            sum(|report| report.feed.n_waiting),
        ),
        (
            "delivery_lag_events",
            "Events of the log that targets are not done with, at most.",
            sum(|report| report.feed.lag_events),
        ),
    ];
    for (name, help, value) in values {
        page.value(name, help, value);
    }
    counted(page, deliveries);
    Ok(())
}

/// Endpoints that several targets lead to count once.
fn endpoints(page: &mut Page, reports: &[TargetReport]) {
    let endpoints = reports
        .iter()
        .filter_map(|report| Some((report.state.kind, report.state.endpoint.as_ref()?)));
    let known: BTreeMap<u64, (&str, &str)> = endpoints
        .map(|(kind, endpoint)| (endpoint.number, (kind, endpoint.breaker.as_str())))
        .collect();
    let mut states: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for state in known.into_values() {
        *states.entry(state).or_default() += 1;
    }
    page.head(
        "delivery_endpoints",
        "URLs and servers that targets lead to, by kind and state of the breaker they share.",
        "gauge",
    );
    for ((kind, breaker), count) in states {
        page.line(format_args!(
            "factum_delivery_endpoints{{kind=\"{kind}\",breaker=\"{breaker}\"}} {count}"
        ));
    }
}

fn counted(page: &mut Page, deliveries: &Deliveries) {
    let meters = deliveries.meters();
    let targets = meters.targets();
    let sum = |of: fn(&TargetMeters) -> u64| targets.iter().map(|(_, target)| of(target)).sum();
    let delivered: u64 = sum(TargetMeters::n_delivered);
    page.head(
        "delivery_attempts_total",
        "Attempts by what came of them.",
        "counter",
    );
    page.line(format_args!(
        "factum_delivery_attempts_total{{outcome=\"delivered\"}} {delivered}"
    ));
    let mut failed: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, target) in &targets {
        for (class, count) in target.n_failed() {
            *failed.entry(class).or_default() += count;
        }
    }
    for (class, count) in failed {
        page.line(format_args!(
            "factum_delivery_attempts_total{{outcome=\"{class}\"}} {count}"
        ));
    }
    latency(page, &targets, delivered);
    let values = [
        (
            "delivery_dead_total",
            "Deliveries that became dead letters.",
            sum(TargetMeters::n_dead),
        ),
        (
            "delivery_rate_limited_total",
            "How often a rate limit made an event wait long.",
            sum(TargetMeters::n_rate_limited),
        ),
        (
            "delivery_not_meant_total",
            "Events that were read and that the rule is not for.",
            sum(TargetMeters::n_not_meant),
        ),
        (
            "dead_letters_retried_total",
            "Dead letters that were tried again.",
            meters.n_redriven(),
        ),
        (
            "dead_letters_resolved_total",
            "Dead letters that were delivered after all.",
            meters.n_resolved(),
        ),
        (
            "dead_letters_evicted_total",
            "Dead letters that were given up because there were too many or they were too old.",
            meters.n_evicted(),
        ),
    ];
    for (name, help, value) in values {
        page.value(name, help, value);
    }
}

type Targets = [((String, String), Arc<TargetMeters>)];

fn latency(page: &mut Page, targets: &Targets, delivered: u64) {
    let name = "delivery_latency_seconds";
    page.head(
        name,
        "Time from append to the answer of the target.",
        "histogram",
    );
    let mut buckets = [0; LATENCY_BOUNDS_MS.len()];
    for (_, target) in targets {
        for (bucket, count) in buckets.iter_mut().zip(target.latency_buckets()) {
            *bucket += count;
        }
    }
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    for (count, bound) in buckets.iter().zip(LATENCY_BOUNDS_MS) {
        let bound = seconds(bound);
        page.line(format_args!(
            "factum_{name}_bucket{{le=\"{bound}\"}} {count}"
        ));
    }
    page.line(format_args!(
        "factum_{name}_bucket{{le=\"+Inf\"}} {delivered}"
    ));
    let total = targets.iter().map(|(_, target)| target.latency_sum_ms());
    let total = seconds(total.sum());
    page.line(format_args!("factum_{name}_sum {total}"));
    page.line(format_args!("factum_{name}_count {delivered}"));
}
