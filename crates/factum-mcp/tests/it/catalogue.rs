//! The list of tools, as agents see it: every change is a change of the contract.

use factum_engine::Scope;
use factum_mcp::Access;
use serde_json::{Value, json};

use crate::harness::Harness;

/// The tools of agent sessions that the contract names.
const OF_SESSIONS: &[&str] = &[
    "mcp_meta_register_instance",
    "mcp_meta_heartbeat",
    "mcp_meta_list_instances",
    "mcp_meta_get_instance_details",
    "mcp_meta_close_instance",
    "mcp_meta_log_command",
    "mcp_meta_search_commands",
    "mcp_meta_emit_event",
    "mcp_meta_query_events",
    "mcp_meta_replay_events",
    "mcp_meta_list_event_types",
    "mcp_meta_get_event_aggregates",
    "mcp_meta_get_latest_events",
    "mcp_meta_get_event_tree",
    "mcp_meta_get_parent_chain",
    "mcp_meta_create_checkpoint",
    "mcp_meta_get_checkpoint",
    "mcp_meta_list_checkpoints",
    "mcp_meta_cleanup_checkpoints",
    "mcp_meta_resume_instance",
    "mcp_meta_list_stale_instances",
];

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    tools.iter().map(name).collect()
}

#[tokio::test]
async fn the_list_of_tools_is_as_it_was() {
    let server = Harness::start();
    let admin = server.caller(&[Scope::Admin], Access::All);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let (list, _) = server.send(message, &admin).await;
    insta::assert_snapshot!(
        "tools",
        serde_json::to_string_pretty(&list["result"]).unwrap()
    );
    let listed = names(&list);
    for name in OF_SESSIONS {
        assert!(listed.iter().any(|listed| listed == name), "{name}");
    }
    // The list is part of the context of every agent.
    let n_bytes = list.to_string().len();
    assert!(n_bytes < 62 << 10, "{n_bytes} bytes");
    server.stop().await;
}

#[tokio::test]
async fn every_schema_is_whole_and_of_an_object() {
    let server = Harness::start();
    let list = server.request("tools/list", &json!({})).await;
    for tool in list["result"]["tools"].as_array().unwrap() {
        for schema in ["inputSchema", "outputSchema"] {
            let schema = &tool[schema];
            assert_eq!(schema["type"], "object", "{tool}");
            let text = schema.to_string();
            assert!(!text.contains("$ref"), "{text}");
        }
        let hints = &tool["annotations"];
        assert_eq!(hints["openWorldHint"], false);
        assert!(hints["readOnlyHint"].is_boolean() && hints["idempotentHint"].is_boolean());
        assert!(tool["title"].is_string() && tool["description"].is_string());
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_offered_depends_on_the_key() {
    let server = Harness::start();
    let list = |scopes: &'static [Scope], access| {
        let server = &server;
        async move {
            let caller = server.caller(scopes, access);
            let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
            names(&server.send(message, &caller).await.0)
        }
    };
    let all = list(&[Scope::Admin], Access::All).await;
    let reading = list(&[Scope::Read], Access::All).await;
    let writing = list(&[Scope::Append], Access::All).await;
    assert_eq!(list(&[Scope::Admin], Access::ReadOnly).await, reading);
    // What deletes checkpoints of others is for administrators.
    assert_eq!(all.len(), reading.len() + writing.len() + 1);
    assert!(writing.contains(&"factum_append".to_owned()));
    assert!(!reading.contains(&"factum_append".to_owned()));
    for (scopes, access) in [
        (&[Scope::Read][..], Access::All),
        (&[Scope::Admin][..], Access::ReadOnly),
    ] {
        let caller = server.caller(scopes, access);
        let refused = server.call_as(&caller, "factum_append", "{}").await;
        assert_eq!(refused["isError"], true);
        let text = refused["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("forbidden: "), "{text}");
    }
    server.stop().await;
}
