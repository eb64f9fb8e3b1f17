//! The methods, in the revisions with and without `initialize`.

use bytes::Bytes;
use factum_engine::Scope;
use factum_mcp::{Access, Reply, Stated, Verdict};
use serde_json::{Value, json};

use crate::harness::Harness;

fn stateless(method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn initialize_says_what_there_is() {
    let server = Harness::start();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let answer = server.request("initialize", &params).await;
    let result = &answer["result"];
    assert_eq!(result["protocolVersion"], "2025-11-25");
    assert_eq!(result["serverInfo"]["name"], "factum");
    assert!(result["capabilities"]["tools"].is_object());
    assert!(result["capabilities"]["resources"].is_object());
    assert!(result["capabilities"]["prompts"].is_object());
    assert!(result.get("resultType").is_none());
    assert_eq!(
        server.request("ping", &json!({})).await["result"],
        json!({})
    );
    let caller = server.caller(&[Scope::Read], Access::All);
    let note = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(
        server.mcp.answer(&note, None, &caller).await,
        Reply::Accepted
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stateless_client_discovers_and_calls() {
    let server = Harness::start();
    let caller = server.caller(&[Scope::Read], Access::All);
    let (answer, _) = server
        .send(&stateless("server/discover", json!({})), &caller)
        .await;
    let result = &answer["result"];
    assert_eq!(answer["id"], "a");
    assert_eq!(result["supportedVersions"][2], "2026-07-28");
    assert_eq!(result["resultType"], "complete");
    assert!(result["ttlMs"].is_u64() && result["cacheScope"].is_string());
    let (list, _) = server
        .send(&stateless("tools/list", json!({})), &caller)
        .await;
    assert_eq!(list["result"]["resultType"], "complete");
    assert!(list["result"]["ttlMs"].is_u64());
    let call = stateless(
        "tools/call",
        json!({"name": "factum_count", "arguments": {}}),
    );
    let (counted, _) = server.send(&call, &caller).await;
    assert_eq!(counted["result"]["structuredContent"]["total"], 0);
    assert_eq!(counted["result"]["resultType"], "complete");
    for method in ["initialize", "ping", "nonsense", "subscriptions/listen"] {
        let (answer, verdict) = server.send(&stateless(method, json!({})), &caller).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}");
        assert_eq!(verdict, Verdict::UnknownMethod);
    }
    server.stop().await;
}

#[tokio::test]
async fn headers_are_compared_with_the_message() {
    let server = Harness::start();
    let caller = server.caller(&[Scope::Read], Access::All);
    let call = Bytes::from(stateless("tools/call", json!({"name": "factum_count"})));
    let stated = Stated {
        protocol_version: Some("2026-07-28"),
        method: Some("tools/call"),
        name: Some("factum_append"),
    };
    let Reply::Message { body, verdict } = server.mcp.answer(&call, Some(stated), &caller).await
    else {
        panic!("no answer");
    };
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (answer["error"]["code"].as_i64(), verdict),
        (Some(-32020), Verdict::Malformed)
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_an_error_of_the_protocol() {
    let server = Harness::start();
    let code = |answer: Value| answer["error"]["code"].as_i64().unwrap();
    let unknown = json!({"name": "no_such_tool", "arguments": {}});
    assert_eq!(code(server.request("tools/call", &unknown).await), -32602);
    assert_eq!(code(server.request("nonsense", &json!({})).await), -32601);
    let cursor = json!({"cursor": "x"});
    for list in [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        assert_eq!(code(server.request(list, &cursor).await), -32602, "{list}");
    }
    for uri in [
        "",
        "x",
        "factum://sessions/none-PS-000000",
        "factum://events/x",
        "factum://events",
    ] {
        let answer = server.request("resources/read", &json!({"uri": uri})).await;
        assert_eq!(code(answer), -32002, "{uri}");
    }
    let caller = server.caller(&[Scope::Read], Access::All);
    let read = stateless("resources/read", json!({"uri": "x"}));
    assert_eq!(code(server.send(&read, &caller).await.0), -32602);
    assert_eq!(
        code(server.request("prompts/get", &json!({"name": "x"})).await),
        -32602
    );
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_read_reads_no_resource() {
    let server = Harness::start();
    let caller = server.caller(&[Scope::Append], Access::All);
    for method in ["resources/list", "resources/read", "prompts/get"] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"uri": "factum://sessions"}});
        let (answer, _) = server.send(&message.to_string(), &caller).await;
        assert_eq!(answer["error"]["code"], -32600, "{method}");
    }
    server.stop().await;
}
