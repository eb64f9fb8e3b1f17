//! Counters of the doors, and the metrics page in the text format of Prometheus.
//!
//! Labels are routes, methods and classes of statuses: never an id, a URL or a name that a client
//! chose, so the number of series is bounded.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the latency histogram, in microseconds.
const BOUNDS_MICROS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// The counters of all doors.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) routes: Vec<RouteMetrics>,
    pub(crate) connections_open: AtomicUsize,
    pub(crate) connections_total: AtomicU64,
    pub(crate) connections_refused_total: AtomicU64,
    pub(crate) events_appended_total: AtomicU64,
    pub(crate) events_deduplicated_total: AtomicU64,
    pub(crate) events_read_total: AtomicU64,
    pub(crate) panics_total: AtomicU64,
}

/// The counters of one endpoint.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    method: String,
    route: String,
    /// By class of status: 1xx to 5xx.
    statuses: [AtomicU64; 5],
    in_flight: AtomicUsize,
    /// By bound, not yet added up; the last is beyond all bounds.
    latencies: [AtomicU64; BOUNDS_MICROS.len() + 1],
    latency_micros_sum: AtomicU64,
}

impl RouteMetrics {
    pub(crate) fn new(method: &str, route: &str) -> Self {
        Self {
            method: method.to_owned(),
            route: route.to_owned(),
            statuses: Default::default(),
            in_flight: AtomicUsize::new(0),
            latencies: Default::default(),
            latency_micros_sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    pub(crate) fn end(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).saturating_sub(1).min(4);
        if let Some(counter) = self.statuses.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.latencies.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.latency_micros_sum.fetch_add(micros, Ordering::Relaxed);
    }
}

/// A request that is being answered; also one that its client gave up.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a RouteMetrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes a page in the text format of Prometheus.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Writes a value that stands alone; it counts up if its name says so.
    pub(crate) fn value(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, kind_of(name));
        self.line(format_args!("factum_{name} {value}"));
    }

    pub(crate) fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP factum_{name} {help}"));
        self.line(format_args!("# TYPE factum_{name} {kind}"));
    }

    pub(crate) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _: std::fmt::Result = self.0.write_fmt(line);
        self.0.push('\n');
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn kind_of(name: &str) -> &'static str {
    if name.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    }
}

impl Metrics {
    /// Writes the counters of the doors.
    pub(crate) fn write(&self, page: &mut Page) {
        page.head("http_requests_total", "Requests answered.", "counter");
        for route in &self.routes {
            let (method, path) = (&route.method, &route.route);
            for (class, counter) in route.statuses.iter().enumerate() {
                let (class, value) = (class + 1, counter.load(Ordering::Relaxed));
                if value > 0 {
                    page.line(format_args!(
                        "factum_http_requests_total{{method=\"{method}\",route=\"{path}\",status=\"{class}xx\"}} {value}"
                    ));
                }
            }
        }
        page.head(
            "http_requests_in_flight",
            "Requests being answered.",
            "gauge",
        );
        let in_flight = |route: &RouteMetrics| route.in_flight.load(Ordering::Relaxed);
        let in_flight: usize = self.routes.iter().map(in_flight).sum();
        page.line(format_args!("factum_http_requests_in_flight {in_flight}"));
        self.write_latencies(page);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let open = u64::try_from(self.connections_open.load(Ordering::Relaxed)).unwrap_or(0);
        page.value("http_connections_open", "Open connections.", open);
        let values = [
            (
                "http_connections_total",
                "Connections accepted.",
                &self.connections_total,
            ),
            (
                "http_connections_refused_total",
                "Connections refused.",
                &self.connections_refused_total,
            ),
            (
                "http_events_appended_total",
                "Events appended over HTTP.",
                &self.events_appended_total,
            ),
            (
                "http_events_deduplicated_total",
                "Events that were there already.",
                &self.events_deduplicated_total,
            ),
            (
                "http_events_read_total",
                "Events read over HTTP.",
                &self.events_read_total,
            ),
            (
                "http_panics_total",
                "Requests that ended in a fault of the server.",
                &self.panics_total,
            ),
        ];
        for (name, help, counter) in values {
            page.value(name, help, count(counter));
        }
    }

    fn write_latencies(&self, page: &mut Page) {
        let name = "http_request_duration_seconds";
        page.head(name, "Time until an answer begins.", "histogram");
        for route in &self.routes {
            let labels = format!("method=\"{}\",route=\"{}\"", route.method, route.route);
            let mut total = 0;
            let counts: Vec<u64> = route
                .latencies
                .iter()
                .map(|counter| counter.load(Ordering::Relaxed))
                .collect();
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            for (count, bound) in counts.iter().zip(BOUNDS_MICROS) {
                total += count;
                let bound = seconds(bound);
                page.line(format_args!(
                    "factum_{name}_bucket{{{labels},le=\"{bound}\"}} {total}"
                ));
            }
            total += counts.last().copied().unwrap_or_default();
            page.line(format_args!(
                "factum_{name}_bucket{{{labels},le=\"+Inf\"}} {total}"
            ));
            let sum = seconds(route.latency_micros_sum.load(Ordering::Relaxed));
            page.line(format_args!("factum_{name}_sum{{{labels}}} {sum}"));
            page.line(format_args!("factum_{name}_count{{{labels}}} {total}"));
        }
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_counts_in_every_bucket_that_holds_it() {
        let metrics = Metrics {
            routes: vec![RouteMetrics::new("GET", "/x")],
            ..Metrics::default()
        };
        metrics.routes[0].end(200, Duration::from_micros(400));
        metrics.routes[0].end(404, Duration::from_secs(60));
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        has("factum_http_requests_total{method=\"GET\",route=\"/x\",status=\"2xx\"} 1");
        has(
            "factum_http_request_duration_seconds_bucket{method=\"GET\",route=\"/x\",le=\"0.00025\"} 0",
        );
        has(
            "factum_http_request_duration_seconds_bucket{method=\"GET\",route=\"/x\",le=\"0.0005\"} 1",
        );
        has("factum_http_request_duration_seconds_bucket{method=\"GET\",route=\"/x\",le=\"10\"} 1");
        has(
            "factum_http_request_duration_seconds_bucket{method=\"GET\",route=\"/x\",le=\"+Inf\"} 2",
        );
        has("factum_http_request_duration_seconds_count{method=\"GET\",route=\"/x\"} 2");
    }
}
