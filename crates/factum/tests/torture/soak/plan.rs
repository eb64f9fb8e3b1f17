//! The filters of the subscribers, in the form of each door.

use serde_json::{Value, json};

/// A filter.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// As WebSocket messages and queries have it.
    pub(super) json: Value,
    /// As a query string has it.
    pub(super) query: &'static str,
}

/// Returns a filter of each kind.
pub(super) fn plans() -> Vec<Plan> {
    let plan = |json, query| Plan { json, query };
    vec![
        plan(json!({}), ""),
        plan(
            json!({"eventTypes": ["soak.alpha.*"]}),
            "types=soak.alpha.*",
        ),
        plan(
            json!({"eventTypes": ["*.beta.made", "soak.gamma.>"]}),
            "types=*.beta.made,soak.gamma.%3E",
        ),
        plan(json!({"aggregateTypes": ["order"]}), "aggregateTypes=order"),
        plan(json!({"tags": ["t1"]}), "tags=t1"),
        plan(
            json!({"aggregateTypes": ["order"], "aggregateIds": ["s-3"]}),
            "aggregateTypes=order&aggregateIds=s-3",
        ),
        plan(
            json!({"eventTypes": ["soak.>"], "tags": ["t0"], "userId": "u2"}),
            "types=soak.%3E&tags=t0&userId=u2",
        ),
        plan(json!({"correlationId": "case-1"}), "correlationId=case-1"),
    ]
}
