//! The metrics of the tools of AI agents.

use factum_mcp::{McpMetrics, ToolMetrics};

use crate::metrics::Page;

/// A family of counters: its name, what it says, and the counter of a tool.
type Family = (&'static str, &'static str, fn(&ToolMetrics) -> u64);

/// Writes them. Tools that were not called have no line.
pub(crate) fn write(page: &mut Page, metrics: &McpMetrics) {
    let families: [Family; 3] = [
        ("mcp_calls_total", "Calls of tools.", |tool| {
            tool.calls_total
        }),
        (
            "mcp_failures_total",
            "Calls of tools that were refused or failed.",
            |tool| tool.failures_total,
        ),
        (
            "mcp_cut_total",
            "Answers of tools that were cut to stay within their budget.",
            |tool| tool.cut_total,
        ),
    ];
    for (name, help, of) in families {
        page.head(name, help, "counter");
        for tool in &metrics.tools {
            let (tool, count) = (tool.name, of(tool));
            if count > 0 {
                page.line(format_args!("factum_{name}{{tool=\"{tool}\"}} {count}"));
            }
        }
    }
    page.value(
        "mcp_events_appended_total",
        "Events appended by the tool factum_append.",
        metrics.events_appended_total,
    );
    page.value(
        "mcp_events_deduplicated_total",
        "Events of that tool that were there already.",
        metrics.events_deduplicated_total,
    );
}
