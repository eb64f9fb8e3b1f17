//! What is scheduled, and how it fired.

use std::time::Duration;

use factum_engine::{LATENESS_BOUNDS_MS, ScheduleMeters};

use crate::metrics::Page;

pub(super) fn write(page: &mut Page, meters: &ScheduleMeters) {
    let values = [
        (
            "schedule_pending",
            "Events that are scheduled.",
            meters.entries,
        ),
        (
            "schedule_pending_max",
            "How many events may be scheduled.",
            meters.entries_max,
        ),
        (
            "schedule_due",
            "Scheduled events whose time has come and that were not appended yet.",
            meters.due,
        ),
        (
            "schedule_fired_total",
            "Scheduled events that were appended.",
            meters.fired,
        ),
        (
            "schedule_repeated_total",
            "Firings that another node had appended already, or this one before it was started.",
            meters.repeated,
        ),
        (
            "schedule_late_total",
            "Scheduled events that were appended late.",
            meters.late,
        ),
        (
            "schedule_failed_total",
            "Scheduled events that could not be appended.",
            meters.failed,
        ),
        (
            "schedule_refused_total",
            "Events that were not scheduled because there were as many as may be.",
            meters.refused,
        ),
    ];
    for (name, help, value) in values {
        page.value(name, help, value);
    }
    lateness(page, meters);
}

fn lateness(page: &mut Page, meters: &ScheduleMeters) {
    let name = "schedule_lateness_seconds";
    page.head(
        name,
        "Time from when an event was due to when it was appended.",
        "histogram",
    );
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    for (count, bound) in meters.lateness_buckets.iter().zip(LATENESS_BOUNDS_MS) {
        let bound = seconds(bound);
        page.line(format_args!(
            "factum_{name}_bucket{{le=\"{bound}\"}} {count}"
        ));
    }
    let fired = meters.fired;
    page.line(format_args!("factum_{name}_bucket{{le=\"+Inf\"}} {fired}"));
    let total = seconds(meters.lateness_sum_ms);
    page.line(format_args!("factum_{name}_sum {total}"));
    page.line(format_args!("factum_{name}_count {fired}"));
}
