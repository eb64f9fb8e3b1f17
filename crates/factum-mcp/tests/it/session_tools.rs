//! The tools of agent sessions, from registration to hand-off.

use factum_engine::Scope;
use factum_mcp::Access;
use serde_json::{Value, json};

use crate::harness::Harness;

async fn register(server: &Harness) -> String {
    let asked = json!({"project": "shop", "instance_type": "PS"});
    let made = server.call("mcp_meta_register_instance", &asked).await;
    made["instance_id"].as_str().unwrap().to_owned()
}

/// An instance that has worked for a while.
struct Worked {
    id: String,
    event: Value,
    checkpoint: Value,
}

impl Worked {
    fn of(&self, mut rest: Value) -> Value {
        rest["instance_id"] = self.id.clone().into();
        rest
    }
}

async fn worked(server: &Harness) -> Worked {
    let mut worked = Worked {
        id: register(server).await,
        event: Value::Null,
        checkpoint: Value::Null,
    };
    let epic = json!({"epic_id": "epic-003", "feature_name": "login", "estimated_hours": 4, "spawned_by": "ann"});
    let emit = worked.of(json!({"event_type": "epic_started", "event_data": epic}));
    worked.event = server.call("mcp_meta_emit_event", &emit).await["event_id"].clone();
    let test = json!({"test_type": "unit", "passed_count": 12, "failed_count": 0, "duration_seconds": 3.5});
    let emit = worked.of(json!({"event_type": "test_passed", "event_data": test}));
    server.call("mcp_meta_emit_event", &emit).await;
    let command =
        json!({"action": "Bash", "details": {"description": "cargo test", "tags": ["test"]}});
    server
        .call("mcp_meta_log_command", &worked.of(command))
        .await;
    let beat = worked.of(json!({"context_percent": 81, "current_epic": "epic-003"}));
    let beat = server.call("mcp_meta_heartbeat", &beat).await;
    worked.checkpoint = beat["checkpoint_id"].clone();
    worked
}

#[tokio::test]
async fn what_a_session_did_is_found_again() {
    let server = Harness::start();
    let worked = worked(&server).await;
    let asked = json!({"checkpoint_id": worked.checkpoint});
    let shown = server.call("mcp_meta_get_checkpoint", &asked).await;
    let steps = shown["recovery_instructions"].as_str().unwrap();
    assert!(steps.contains("epic-003"), "{steps}");
    let asked = worked.of(json!({}));
    let counts = server.call("mcp_meta_get_event_aggregates", &asked).await;
    assert_eq!(counts["counts"]["epic_started"], 1);
    let types = json!({"filters": {"event_type": ["epic_started", "test_passed"]}});
    let page = server
        .call("mcp_meta_query_events", &worked.of(types))
        .await;
    assert_eq!(page["total_count"], 2);
    let asked = worked.of(json!({"limit": 1}));
    let latest = server.call("mcp_meta_get_latest_events", &asked).await;
    assert_eq!(latest["events"].as_array().unwrap().len(), 1);
    let asked = worked.of(json!({"action": "Bash"}));
    let found = server.call("mcp_meta_search_commands", &asked).await;
    assert_eq!(found["total_count"], 1);
    let asked = worked.of(json!({}));
    let replayed = server.call("mcp_meta_replay_events", &asked).await;
    assert!(replayed["events_replayed"].as_u64().unwrap() >= 5);
    let asked = json!({"event_id": worked.event});
    let tree = server.call("mcp_meta_get_event_tree", &asked).await;
    assert_eq!(tree["tree"][0]["depth"], 0);
    let chain = server.call("mcp_meta_get_parent_chain", &asked).await;
    assert_eq!(chain["chain"][0]["event_id"], worked.event);
    server.stop().await;
}

#[tokio::test]
async fn a_session_is_taken_over_and_closed() {
    let server = Harness::start();
    let worked = worked(&server).await;
    let resume = "mcp_meta_resume_instance";
    let (sentence, document) = server
        .refused(resume, &json!({"instance_id_hint": worked.id}))
        .await;
    assert!(sentence.starts_with("InstanceActive: "), "{sentence}");
    assert_eq!(document["error"], "InstanceActive");
    let asked = json!({"instance_id_hint": "shop", "force": true});
    let resumed = server.call(resume, &asked).await;
    assert_eq!(resumed["outcome"], "resumed");
    assert_eq!(resumed["confidence_score"], 100);
    assert!(resumed["handoff"].as_str().unwrap().contains("epic-003"));
    let asked = worked.of(json!({}));
    let list = server.call("mcp_meta_list_checkpoints", &asked).await;
    assert_eq!(list["total_count"], 1);
    let admin = server.caller(&[Scope::Admin], Access::All);
    let cleanup = server
        .call_as(&admin, "mcp_meta_cleanup_checkpoints", "{}")
        .await;
    assert_eq!(cleanup["structuredContent"]["deleted_count"], 0);
    let asked = worked.of(json!({"reason": "done"}));
    let closed = server.call("mcp_meta_close_instance", &asked).await;
    assert_eq!(closed["status"], "closed");
    let beat = worked.of(json!({"context_percent": 1}));
    let (sentence, _) = server.refused("mcp_meta_heartbeat", &beat).await;
    assert!(sentence.starts_with("InstanceClosed: "), "{sentence}");
    server.stop().await;
}

#[tokio::test]
async fn instances_are_listed_and_found_by_a_part_of_their_id() {
    let server = Harness::start();
    let ids = [register(&server).await, register(&server).await];
    let list = server
        .call("mcp_meta_list_instances", &json!({"project": "shop"}))
        .await;
    assert_eq!(
        (&list["total_count"], &list["active_count"]),
        (&json!(2), &json!(2))
    );
    let hash = ids[0].rsplit('-').next().unwrap();
    let found = server
        .call(
            "mcp_meta_get_instance_details",
            &json!({"instance_id": hash}),
        )
        .await;
    assert_eq!(found["instance"]["instance_id"], ids[0].as_str());
    let choose = server
        .call(
            "mcp_meta_get_instance_details",
            &json!({"instance_id": "shop-PS"}),
        )
        .await;
    assert_eq!(choose["matches"].as_array().unwrap().len(), 2);
    let stale = server
        .call("mcp_meta_list_stale_instances", &json!({}))
        .await;
    assert_eq!(stale["total_count"], 0);
    let types = server.call("mcp_meta_list_event_types", &json!({})).await;
    assert_eq!(types["total_count"], 23);
    server.stop().await;
}

#[tokio::test]
async fn refusals_have_the_names_of_the_contract() {
    let server = Harness::start();
    let id = register(&server).await;
    let check = async |tool: &str, arguments: Value, error: &str, field: Value| {
        let (sentence, document) = server.refused(tool, &arguments).await;
        assert_eq!(
            (&document["error"], &document["field"]),
            (&json!(error), &field),
            "{sentence}"
        );
    };
    let emit = "mcp_meta_emit_event";
    check(
        emit,
        json!({"instance_id": id, "event_type": "epic_started", "event_data": {"epic_id": "e"}}),
        "InvalidEvent",
        json!("feature_name"),
    )
    .await;
    check(
        emit,
        json!({"instance_id": id, "event_type": "nonsense", "event_data": {}}),
        "InvalidEvent",
        json!("event_type"),
    )
    .await;
    check(
        emit,
        json!({"instance_id": "shop-PS-000000", "event_type": "epic_failed", "event_data": {"epic_id": "e", "failure_reason": "x"}}),
        "InstanceNotFound",
        Value::Null,
    )
    .await;
    check(
        "mcp_meta_heartbeat",
        json!({"instance_id": id, "context_percent": 101}),
        "InvalidEvent",
        json!("context_percent"),
    )
    .await;
    check(
        "mcp_meta_heartbeat",
        json!({"instance_id": "x", "context_percent": 1}),
        "InvalidInstanceId",
        json!("instance_id"),
    )
    .await;
    check(
        "mcp_meta_get_checkpoint",
        json!({"checkpoint_id": "x"}),
        "CheckpointNotFound",
        Value::Null,
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn sessions_and_events_are_resources() {
    let server = Harness::start();
    let id = register(&server).await;
    let list = server.request("resources/list", &json!({})).await;
    let uris: Vec<&str> = list["result"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["uri"].as_str().unwrap())
        .collect();
    let own = format!("factum://sessions/{id}");
    assert_eq!(uris, ["factum://sessions", own.as_str()]);
    let read = async |uri: &str| {
        let answer = server.request("resources/read", &json!({"uri": uri})).await;
        let text = answer["result"]["contents"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(read("factum://sessions").await["total_count"], 1);
    assert_eq!(read(&own).await["instance"]["instance_id"], id.as_str());
    let events = read(&format!("{own}/events")).await;
    let event = events["events"][0]["event_id"].as_str().unwrap();
    assert_eq!(
        read(&format!("factum://events/{event}")).await["event"]["id"],
        event
    );
    let prompt = server
        .request(
            "prompts/get",
            &json!({"name": "recover_session", "arguments": {"hint": id}}),
        )
        .await;
    let text = prompt["result"]["messages"][0]["content"]["text"]
        .as_str()
        .unwrap();
    assert!(
        text.contains("mcp_meta_resume_instance") && text.contains(&id),
        "{text}"
    );
    server.stop().await;
}
