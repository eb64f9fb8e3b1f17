//! How often each tool was called, and how it ended.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tools;

/// What happened to the calls of one tool since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolMetrics {
    /// The tool.
    pub name: &'static str,
    /// How often it was called.
    pub calls_total: u64,
    /// How often it was refused or failed.
    pub failures_total: u64,
    /// How often its answer was cut to stay within its budget.
    pub cut_total: u64,
}

/// What happened since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct McpMetrics {
    /// Of each tool, in the order of the list of tools.
    pub tools: Vec<ToolMetrics>,
    /// How many events the tools of the engine appended.
    pub events_appended_total: u64,
    /// How many of those that were to be appended were there already.
    pub events_deduplicated_total: u64,
}

/// How many events were appended.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) new: AtomicU64,
    pub(crate) repeated: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    tools: Vec<Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    failures: AtomicU64,
    cut: AtomicU64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Cut,
    Failed,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            tools: tools::ALL.iter().map(|_| Counter::default()).collect(),
        }
    }

    /// Counts a call of the tool at this place of the list.
    pub(crate) fn count(&self, index: usize, ending: Ending) {
        let Some(counter) = self.tools.get(index) else {
            return;
        };
        counter.calls.fetch_add(1, Ordering::Relaxed);
        match ending {
            Ending::Answered => {}
            Ending::Cut => {
                counter.cut.fetch_add(1, Ordering::Relaxed);
            }
            Ending::Failed => {
                counter.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn read(&self, appended: &Appended) -> McpMetrics {
        let tools = tools::ALL.iter().zip(&self.tools);
        McpMetrics {
            tools: tools
                .map(|(tool, counter)| ToolMetrics {
                    name: tool.name,
                    calls_total: counter.calls.load(Ordering::Relaxed),
                    failures_total: counter.failures.load(Ordering::Relaxed),
                    cut_total: counter.cut.load(Ordering::Relaxed),
                })
                .collect(),
            events_appended_total: appended.new.load(Ordering::Relaxed),
            events_deduplicated_total: appended.repeated.load(Ordering::Relaxed),
        }
    }
}
