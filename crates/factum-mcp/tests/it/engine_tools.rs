//! The tools of the general engine.

use factum_engine::Scope;
use factum_mcp::{Access, McpOptions};
use serde_json::{Value, json};

use crate::harness::Harness;

async fn append(server: &Harness, n_events: usize, payload: &Value) {
    for number in 0..n_events {
        let event = json!({"type": "order.placed", "aggregateType": "order", "aggregateId": format!("o-{}", number % 2), "payload": payload, "metadata": {"userId": "ann"}});
        server
            .call("factum_append", &json!({"events": [event]}))
            .await;
    }
}

#[tokio::test]
async fn payloads_are_kept_byte_for_byte() {
    let server = Harness::start();
    let caller = server.caller(&[Scope::Read, Scope::Append], Access::All);
    let payload = r#"{"amount": 12.50, "n":123456789012345678901234567890,"b":1,"a":2}"#;
    let arguments = format!(
        r#"{{"events":[{{"type":"a.b","aggregateType":"a","aggregateId":"1","payload":{payload}}}]}}"#
    );
    let appended = server.call_as(&caller, "factum_append", &arguments).await;
    let id = appended["structuredContent"]["events"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let message = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"factum_get","arguments":{{"id":"{id}"}}}}}}"#
    );
    let message = bytes::Bytes::from(message);
    let factum_mcp::Reply::Message { body, .. } = server.mcp.answer(&message, None, &caller).await
    else {
        panic!("no answer");
    };
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains(&format!("\"payload\":{payload}")), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn pages_go_on_with_their_cursor() {
    let server = Harness::start();
    append(&server, 5, &json!({"text": "some words"})).await;
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let mut asked = json!({"q": "type:order.*", "limit": 2, "totalCount": true});
        if !cursor.is_null() {
            asked["cursor"] = cursor;
        }
        let page = server.call("factum_query", &asked).await;
        assert_eq!(page["totalCount"], 5);
        let events = page["events"].as_array().unwrap();
        seen.extend(
            events
                .iter()
                .map(|event| event["position"].as_u64().unwrap()),
        );
        cursor = page["cursor"].clone();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let newest = server
        .call("factum_query", &json!({"sort": "desc", "limit": 1}))
        .await;
    assert_eq!(newest["events"][0]["position"], 5);
    let filter = json!({"filter": {"payloadQuery": [{"path": "$.text", "operator": "exists"}], "aggregateIds": ["o-1"]}});
    let found = server.call("factum_query", &filter).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 2);
    let counted = server.call("factum_count", &json!({"by": "stream"})).await;
    assert_eq!(
        counted["groups"][0],
        json!({"key": "order/o-0", "count": 3})
    );
    let read = server
        .call(
            "factum_read",
            &json!({"aggregateId": "o-0", "newestFirst": true}),
        )
        .await;
    assert_eq!(
        (&read["version"], &read["events"][0]["sequenceNumber"]),
        (&json!(3), &json!(3))
    );
    server.stop().await;
}

#[tokio::test]
async fn an_answer_stays_within_its_budget() {
    let server = Harness::start_with(McpOptions {
        answer_bytes: 4096,
        ..McpOptions::default()
    });
    append(&server, 20, &json!({"text": "x".repeat(500)})).await;
    let mut n_events = 0;
    let mut cursor = json!(0);
    loop {
        let page = server
            .call("factum_query", &json!({"cursor": cursor}))
            .await;
        assert!(page.to_string().len() < 4096 + 256);
        n_events += page["events"].as_array().unwrap().len();
        cursor = page["cursor"].clone();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(n_events, 20);
    let page = server
        .call("factum_query", &json!({"maxBytes": 1_000_000}))
        .await;
    assert_eq!(page["events"].as_array().unwrap().len(), 20);
    // One event that is larger than any page comes without what is large about it.
    append(&server, 1, &json!({"text": "x".repeat(9000)})).await;
    let last = server
        .call("factum_query", &json!({"sort": "desc", "limit": 1}))
        .await;
    assert_eq!(last["events"][0]["payload"], json!({"omittedBytes": 9011}));
    let metrics = server.mcp.metrics();
    let of_query = metrics
        .tools
        .iter()
        .find(|tool| tool.name == "factum_query")
        .unwrap();
    assert!(of_query.cut_total >= 1 && of_query.failures_total == 0);
    assert_eq!(metrics.events_appended_total, 21);
    server.stop().await;
}

#[tokio::test]
async fn a_tail_waits_and_misses_nothing() {
    let server = Harness::start();
    let begin = server.call("factum_tail", &json!({})).await;
    assert_eq!(begin["events"], json!([]));
    let mut ask = json!({"cursor": begin["cursor"], "waitSeconds": 20, "q": "type:order.placed"});
    let payload = json!({});
    let (tail, ()) = tokio::join!(
        server.call("factum_tail", &ask),
        append(&server, 1, &payload)
    );
    assert_eq!(tail["events"].as_array().unwrap().len(), 1);
    append(&server, 2, &json!({})).await;
    ask["cursor"] = tail["cursor"].clone();
    let tail = server.call("factum_tail", &ask).await;
    assert_eq!(tail["events"].as_array().unwrap().len(), 2);
    assert_eq!(tail["hasMore"], false);
    let (sentence, _) = server
        .refused("factum_tail", &json!({"waitSeconds": 3600}))
        .await;
    assert!(
        sentence.contains("waitSeconds must be from 0 to 20"),
        "{sentence}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_event_is_explained_by_causes_and_effects() {
    let server = Harness::start();
    let ids: Vec<String> = (1..=4)
        .map(|n| format!("018bcfe5-6800-7000-8000-00000000000{n}"))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let mut event = json!({"id": id, "type": "a.b", "aggregateType": "a", "aggregateId": "1", "payload": {}});
        if number > 0 {
            event["causationId"] = ids[number - 1].clone().into();
        }
        server
            .call("factum_append", &json!({"events": [event]}))
            .await;
    }
    let explained = server.call("factum_explain", &json!({"id": ids[1]})).await;
    assert_eq!(explained["ancestors"][0]["id"], ids[0].as_str());
    assert_eq!(explained["tree"][0]["depth"], 0);
    assert_eq!(explained["tree"].as_array().unwrap().len(), 3);
    assert_eq!(explained["complete"], true);
    let (sentence, document) = server
        .refused(
            "factum_explain",
            &json!({"id": "018bcfe5-6800-7000-8000-0000000000ff"}),
        )
        .await;
    assert!(sentence.starts_with("not_found: "), "{sentence}");
    assert_eq!(document["code"], "not_found");
    server.stop().await;
}

#[tokio::test]
async fn refusals_say_which_field_breaks_which_rule() {
    let server = Harness::start();
    let check = async |tool: &str, arguments: Value, code: &str, words: &str| {
        let (sentence, document) = server.refused(tool, &arguments).await;
        assert_eq!(document["code"], code, "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
    };
    check(
        "factum_query",
        json!({"limt": 1}),
        "invalid_request",
        "unknown field `limt`",
    )
    .await;
    check(
        "factum_query",
        json!({"limit": 0}),
        "invalid_request",
        "limit must be from 1 to 1000",
    )
    .await;
    check(
        "factum_query",
        json!({"maxBytes": 1}),
        "invalid_request",
        "maxBytes must be from 1024",
    )
    .await;
    check(
        "factum_query",
        json!({"q": "payload."}),
        "invalid_request",
        "q is not understood",
    )
    .await;
    check("factum_query", json!({"cursor": "x"}), "invalid_cursor", "").await;
    check(
        "factum_query",
        json!({"filter": {"typ": 1}}),
        "invalid_filter",
        "typ",
    )
    .await;
    check("factum_get", json!({"id": "x"}), "invalid_request", "id").await;
    check(
        "factum_read",
        json!({"aggregateId": "none"}),
        "not_found",
        "no aggregate",
    )
    .await;
    check(
        "factum_append",
        json!({"events": []}),
        "invalid_request",
        "at least one event",
    )
    .await;
    check("factum_append", json!({"events": [{"type": "a b", "aggregateType": "a", "aggregateId": "1", "payload": {}}]}), "invalid_event", "").await;
    check("factum_append", json!({"events": [{"type": "factum.x", "aggregateType": "a", "aggregateId": "1", "payload": {}}]}), "reserved_name", "").await;
    let event = json!({"events": [{"type": "a.b", "aggregateType": "a", "aggregateId": "1", "payload": {}, "expectedVersion": 7}]});
    let (_, document) = server.refused("factum_append", &event).await;
    assert_eq!(
        (&document["code"], &document["actualVersion"]),
        (&json!("version_conflict"), &json!(0))
    );
    server.stop().await;
}
