//! What happened to sessions, on the metrics page.

use factum_sessions::SessionMetrics;

use crate::metrics::Page;

/// Writes the counters and sizes.
pub(crate) fn write(page: &mut Page, metrics: &SessionMetrics) {
    page.head(
        "sessions_instances",
        "Agent instances in memory, by status.",
        "gauge",
    );
    for (status, count) in [
        ("active", metrics.active),
        ("stale", metrics.stale),
        ("closed", metrics.closed),
    ] {
        page.line(format_args!(
            "factum_sessions_instances{{status=\"{status}\"}} {count}"
        ));
    }
    let values = [
        (
            "sessions_evicted_total",
            "How often instances left memory: for others, or as they were past their retention.",
            metrics.evicted_total,
        ),
        (
            "sessions_events_total",
            "Events recorded for agents.",
            metrics.events_total,
        ),
        (
            "sessions_redacted_total",
            "Secrets taken out before anything was recorded.",
            metrics.redacted_total,
        ),
        (
            "sessions_checkpoints_total",
            "Checkpoints made.",
            metrics.checkpoints_total,
        ),
        (
            "sessions_stale_total",
            "Instances found stale.",
            metrics.stale_total,
        ),
        (
            "sessions_resumed_total",
            "Instances that others took over from.",
            metrics.resumed_total,
        ),
        (
            "sessions_overtaken_total",
            "Operations tried again, since others had overtaken them.",
            metrics.overtaken_total,
        ),
    ];
    for (name, help, value) in values {
        page.value(name, help, value);
    }
}
