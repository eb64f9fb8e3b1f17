//! The Model Context Protocol over HTTP.

use factum_engine::Scope;
use factum_model::ErrorCode;
use factum_server::Authentication;
use serde_json::{Value, json};

use crate::harness::{Answer, Harness};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn call(server: &Harness, headers: &[(&str, &str)], message: &Value) -> Answer {
    let headers = [&[JSON], headers].concat();
    server
        .admin("POST", "/mcp", &headers, message.to_string())
        .await
}

fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn stateless(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    request(method, &params)
}

#[tokio::test]
async fn a_client_initializes_and_calls_a_tool() {
    let server = Harness::start().await;
    let initialize = request(
        "initialize",
        &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}),
    );
    let answer = call(&server, &[], &initialize).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-11-25");
    assert!(answer.headers.get("mcp-session-id").is_none());
    let version = [("mcp-protocol-version", "2025-11-25")];
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let accepted = call(&server, &version, &note).await;
    assert_eq!((accepted.status.as_u16(), accepted.body.len()), (202, 0));
    let event =
        json!({"type": "a.b", "aggregateType": "a", "aggregateId": "1", "payload": {"n": 1}});
    let append = request(
        "tools/call",
        &json!({"name": "factum_append", "arguments": {"events": [event]}}),
    );
    let appended = call(&server, &version, &append).await.json();
    assert_eq!(appended["result"]["isError"], false, "{appended}");
    let id = appended["result"]["structuredContent"]["events"][0]["id"]
        .as_str()
        .unwrap();
    let read = server.get(&format!("/v1/events/{id}")).await.json();
    assert_eq!(read["payload"], json!({"n": 1}));
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = "factum_mcp_calls_total{tool=\"factum_append\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[tokio::test]
async fn a_stateless_client_states_in_headers_what_it_asks() {
    let server = Harness::start().await;
    let headers = |method| {
        [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ]
    };
    let list = stateless("tools/list", json!({}));
    let listed = call(&server, &headers("tools/list"), &list).await;
    assert_eq!(listed.status, 200);
    assert_eq!(listed.json()["result"]["resultType"], "complete");
    let mismatched = call(&server, &headers("tools/call"), &list).await;
    assert_eq!(
        (
            mismatched.status.as_u16(),
            &mismatched.json()["error"]["code"]
        ),
        (400, &json!(-32020))
    );
    let unstated = call(&server, &[], &list).await;
    assert_eq!(
        (unstated.status.as_u16(), &unstated.json()["error"]["code"]),
        (400, &json!(-32020))
    );
    let unknown = call(
        &server,
        &headers("nonsense"),
        &stateless("nonsense", json!({})),
    )
    .await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["error"]["code"]),
        (404, &json!(-32601))
    );
    let other = [("mcp-protocol-version", "1999-01-01")];
    let other = call(&server, &other, &request("tools/list", &json!({}))).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["error"]["code"]),
        (400, &json!(-32022))
    );
}

#[tokio::test]
async fn there_are_no_streams_and_no_sessions() {
    let server = Harness::start().await;
    for method in ["GET", "DELETE"] {
        let answer = server.admin(method, "/mcp", &[], "").await;
        answer.problem(405, ErrorCode::MethodNotAllowed.as_str());
        assert_eq!(answer.header("allow"), "POST");
    }
    let text = server
        .admin("POST", "/mcp", &[("content-type", "text/plain")], "{}")
        .await;
    text.problem(415, "unsupported_media_type");
    let nonsense = server.admin("POST", "/mcp", &[JSON], "nonsense").await;
    assert_eq!(
        (nonsense.status.as_u16(), &nonsense.json()["error"]["code"]),
        (400, &json!(-32700))
    );
}

#[tokio::test]
async fn a_key_is_needed_and_says_which_tools_there_are() {
    let server = Harness::start().await;
    let list = request("tools/list", &json!({})).to_string();
    server
        .send("POST", "/mcp", &[JSON], list.clone())
        .await
        .problem(401, "unauthenticated");
    let names = async |scope: Scope, path: &str| {
        let key = format!("Bearer {}", server.key(&[scope]).await);
        let headers = [JSON, ("authorization", key.as_str())];
        let listed = server
            .send("POST", path, &headers, list.clone())
            .await
            .json();
        listed["result"]["tools"].as_array().unwrap().len()
    };
    let (all, read) = (
        names(Scope::Admin, "/mcp").await,
        names(Scope::Read, "/mcp").await,
    );
    assert!(read > 10 && all > read);
    assert_eq!(names(Scope::Admin, "/mcp?access=read").await, read);
    assert_eq!(names(Scope::Admin, "/mcp?access=all").await, all);
    assert!(names(Scope::Append, "/mcp").await > 0);
    let wrong = server
        .admin("POST", "/mcp?access=write", &[JSON], list.clone())
        .await;
    wrong.problem(400, "invalid_request");
}

#[tokio::test]
async fn pages_of_other_sites_and_made_up_hosts_are_refused() {
    let server = Harness::start_with(|options| {
        options.authentication = Authentication::Off;
        options.mcp_allowed_hosts = vec!["factum.example".to_owned()];
    })
    .await;
    let list = request("tools/list", &json!({})).to_string();
    let own = server.url.clone();
    for (headers, status) in [
        (vec![], 200),
        (vec![("host", "localhost:1")], 200),
        (vec![("host", "factum.example")], 200),
        (vec![("host", "evil.example")], 403),
        (
            vec![("host", "evil.example"), ("origin", "http://evil.example")],
            403,
        ),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", own.as_str())], 200),
    ] {
        let headers = [&[JSON], &headers[..]].concat();
        let answer = server.send("POST", "/mcp", &headers, list.clone()).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}
