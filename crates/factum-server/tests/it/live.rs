//! The live protocol: what each message says, where streams start, how browsers come in, and
//! what operators see.

use std::time::Duration;

use factum_engine::{KeyRing as _, Scope};
use serde_json::{Value, json};

use crate::harness::{Harness, event};
use crate::live_client::{Sse, Ws};

/// Appends an event of each type, one request each.
async fn append(server: &Harness, event_types: &[&str]) {
    for event_type in event_types {
        let body = event(event_type, "a", "1", "{\"n\": 1 }");
        assert_eq!(server.post("/v1/events", body).await.status, 201);
    }
}

/// Returns where the next event will stand: the server's own come first.
fn base(server: &Harness) -> u64 {
    server.engine.head().unwrap().get()
}

#[tokio::test]
async fn a_subscription_catches_up_and_goes_on_live() {
    let server = Harness::start().await;
    let base = base(&server);
    append(&server, &["a.x", "b.x", "a.y"]).await;
    let mut ws = Ws::admin(&server).await;
    let confirmed = ws
        .subscribe(
            "s\"1",
            json!({"eventTypes": ["a.*"]}),
            json!({"includeHistory": true}),
        )
        .await;
    assert_eq!(confirmed["subscriptionId"], "s\"1");
    assert_eq!(confirmed["data"]["filter"], json!({"eventTypes": ["a.*"]}));
    assert_eq!(confirmed["data"]["position"], 0);
    assert_eq!(confirmed["data"]["heartbeatInterval"], 15_000);
    let stream_id = confirmed["streamId"].as_str().unwrap().to_owned();
    let first = ws.next_of("event").await;
    assert_eq!(first["streamId"], stream_id.as_str());
    assert_eq!(first["subscriptionId"], "s\"1");
    assert_eq!(first["data"]["payload"], json!({"n": 1}));
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(ws.events(1).await, [base + 3]);
    let caught_up = ws.next_of("caught_up").await;
    assert_eq!(caught_up["data"], json!({"position": base + 3, "lag": 0}));
    append(&server, &["b.x", "a.z"]).await;
    let live = ws.next_of("event").await;
    assert_eq!(live["data"]["position"], base + 5);
    // The very bytes of the event are what a read of it gives.
    let id = live["data"]["id"].as_str().unwrap();
    let read = server.get(&format!("/v1/events/{id}")).await.json();
    assert_eq!(read, live["data"]);
}

#[tokio::test]
async fn every_start_delivers_what_it_names() {
    let server = Harness::start().await;
    let base = base(&server);
    append(&server, &["a.x", "b.x", "a.y", "a.z"]).await;
    let cursor = {
        let mut ws = Ws::admin(&server).await;
        let options = json!({"includeHistory": true});
        ws.subscribe("s", json!({"eventTypes": ["a.x"]}), options)
            .await;
        ws.next_of("event").await["cursor"].clone()
    };
    let check = async |options: Value, expected: &[u64]| {
        let mut ws = Ws::admin(&server).await;
        let filter = json!({"eventTypes": ["a.*"]});
        ws.subscribe("s", filter, options.clone()).await;
        let expected: Vec<u64> = expected.iter().map(|n| base + n).collect();
        assert_eq!(ws.events(expected.len()).await, expected, "{options}");
        ws.next_of("caught_up").await;
    };
    check(json!({}), &[]).await;
    check(json!({"includeHistory": false}), &[]).await;
    check(json!({"includeHistory": true}), &[1, 3, 4]).await;
    check(json!({"includeHistory": true, "historyLimit": 2}), &[3, 4]).await;
    check(json!({"historyLimit": 0}), &[]).await;
    check(json!({"fromPosition": 0}), &[1, 3, 4]).await;
    // A number names the first event that is wanted, a cursor the last one that was seen.
    check(json!({"fromPosition": base + 3}), &[3, 4]).await;
    check(json!({"fromPosition": cursor}), &[3, 4]).await;
    check(json!({"includeHistory": true, "bufferSize": 1}), &[1, 3, 4]).await;
}

#[tokio::test]
async fn many_subscriptions_share_a_connection() {
    let server = Harness::start().await;
    append(&server, &["a.x"]).await;
    let mut ws = Ws::admin(&server).await;
    for id in ["one", "two"] {
        ws.subscribe(id, json!({"eventTypes": ["a.*"]}), json!({}))
            .await;
        assert_eq!(ws.next_of("caught_up").await["subscriptionId"], id);
    }
    append(&server, &["a.y"]).await;
    let mut heard = [ws.next_of("event").await, ws.next_of("event").await];
    heard.sort_by_key(|message| message["subscriptionId"].to_string());
    assert_eq!(heard[0]["subscriptionId"], "one");
    assert_eq!(heard[0]["data"], heard[1]["data"]);
    ws.say(&json!({"type": "unsubscribe", "subscriptionId": "one"}))
        .await;
    let closed = ws.next_of("subscription_closed").await;
    assert_eq!(closed["subscriptionId"], "one");
    assert_eq!(closed["data"]["code"], "unsubscribed");
    assert_eq!(closed["cursor"], heard[0]["cursor"]);
    append(&server, &["a.z"]).await;
    assert_eq!(ws.next_of("event").await["subscriptionId"], "two");
    ws.say(&json!({"type": "ping"})).await;
    ws.next_of("pong").await;
}

#[tokio::test]
async fn a_heartbeat_carries_the_place_up_to_which_the_log_was_looked_at() {
    let server = Harness::start_with(|options| {
        options.live.heartbeat_interval_min = Duration::from_millis(1);
        options.live.heartbeat_interval = Duration::from_millis(50);
    })
    .await;
    let mut ws = Ws::admin(&server).await;
    let never = json!({"eventTypes": ["never"]});
    ws.subscribe("s", never, json!({"heartbeatInterval": 50}))
        .await;
    ws.next_of("caught_up").await;
    append(&server, &["a.x", "a.x"]).await;
    let head = base(&server);
    let cursor = loop {
        let heartbeat = ws.next_of("heartbeat").await;
        if heartbeat["data"] == json!({"position": head, "lag": 0}) {
            break heartbeat["cursor"].clone();
        }
    };
    append(&server, &["never"]).await;
    let mut later = Ws::admin(&server).await;
    later
        .subscribe("s", json!({}), json!({"fromPosition": cursor}))
        .await;
    assert_eq!(later.events(1).await, [head + 1]);

    let mut sse = Sse::with_key(&server.url, &server.admin, "?types=never&start=end").await;
    assert!(sse.next_of("").await.id.is_some());
    sse.next_of("caught_up").await;
    let heartbeat = sse.next_of("heartbeat").await;
    assert_eq!(heartbeat.json()["position"], head + 1);
    assert!(heartbeat.id.is_some());
}

#[tokio::test]
async fn what_is_not_understood_is_said_and_the_connection_stays() {
    let server = Harness::start().await;
    let mut ws = Ws::admin(&server).await;
    let check = async |ws: &mut Ws, text: &str, code: &str, words: &str| {
        ws.text(text).await;
        let error = ws.next_of("error").await;
        assert_eq!(error["data"]["code"], code, "{error}");
        let detail = error["data"]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    };
    ws.subscribe("s", json!({}), json!({})).await;
    ws.next_of("caught_up").await;
    let invalid = "invalid_request";
    check(&mut ws, "{", invalid, "not understood").await;
    check(&mut ws, "[]", invalid, "not understood").await;
    check(
        &mut ws,
        r#"{"type":"publish"}"#,
        invalid,
        "authenticate, subscribe",
    )
    .await;
    check(
        &mut ws,
        r#"{"type":"ping","x":1}"#,
        invalid,
        "unknown field",
    )
    .await;
    check(
        &mut ws,
        r#"{"type":"authenticate","token":"x"}"#,
        invalid,
        "already",
    )
    .await;
    let unsubscribe = r#"{"type":"unsubscribe","subscriptionId":"x"}"#;
    check(&mut ws, unsubscribe, "not_found", "no subscription").await;
    let ack = r#"{"type":"ack","subscriptionId":"s"}"#;
    check(&mut ws, ack, invalid, "either a cursor or a position").await;
    let ack = r#"{"type":"ack","subscriptionId":"s","cursor":"x"}"#;
    check(&mut ws, ack, "invalid_cursor", "not a cursor").await;
    let subscribe =
        |id: &str, rest: &str| format!(r#"{{"type":"subscribe","subscriptionId":"{id}"{rest}}}"#);
    check(&mut ws, &subscribe("s", ""), invalid, "open already").await;
    check(&mut ws, &subscribe("", ""), invalid, "subscriptionId").await;
    let filter = subscribe("t", r#","filter":{"eventType":["a"]}"#);
    check(&mut ws, &filter, "invalid_filter", "eventTypes").await;
    let option = |option: &str| subscribe("t", &format!(r#","options":{{{option}}}"#));
    check(
        &mut ws,
        &option(r#""histoyLimit":1"#),
        invalid,
        "historyLimit",
    )
    .await;
    check(&mut ws, &option(r#""bufferSize":0"#), invalid, "bufferSize").await;
    let beat = option(r#""heartbeatInterval":1"#);
    check(&mut ws, &beat, "limit_exceeded", "1000 to 300000").await;
    let both = option(r#""fromPosition":1,"historyLimit":1"#);
    check(&mut ws, &both, invalid, "exclude each other").await;
    let foreign = option(r#""fromPosition":"AQAAAAAA""#);
    check(&mut ws, &foreign, "invalid_cursor", "not a cursor").await;
    ws.say(&json!({"type": "ping"})).await;
    ws.next_of("pong").await;
}

#[tokio::test]
async fn the_engines_own_events_are_for_administrators() {
    let server = Harness::start().await;
    let read = server.key(&[Scope::Read]).await;
    append(&server, &["a.x"]).await;
    let head = base(&server);
    let mut ws = Ws::with_key(&server.url, &read).await;
    ws.subscribe("s", json!({}), json!({"includeHistory": true}))
        .await;
    assert_eq!(ws.events(1).await, [head]);
    ws.next_of("caught_up").await;
    let mut ws = Ws::admin(&server).await;
    ws.subscribe("s", json!({}), json!({"includeHistory": true}))
        .await;
    assert_eq!(ws.events(1).await, [1]);
}

#[tokio::test]
async fn a_ticket_opens_one_connection() {
    let server = Harness::start().await;
    let read = server.key(&[Scope::Read]).await;
    let bearer = format!("Bearer {read}");
    let headers = [("authorization", bearer.as_str())];
    let answer = server
        .send("POST", "/v1/stream/tickets", &headers, "")
        .await;
    assert_eq!(answer.status, 201);
    let ticket = answer.json();
    assert_eq!(ticket["expiresIn"], 30);
    let query = format!("?ticket={}", ticket["ticket"].as_str().unwrap());
    let mut ws = Ws::open(&server.url, &query, &[]).await.unwrap();
    ws.subscribe("s", json!({}), json!({})).await;
    assert_eq!(Ws::open(&server.url, &query, &[]).await.err(), Some(401));
    assert_eq!(
        Ws::open(&server.url, "?ticket=x", &[]).await.err(),
        Some(401)
    );
    // The connection is that of the key, and ends with it.
    let id = server.keys.authenticate(&read).unwrap();
    let id = id.identity().key_id.clone().unwrap();
    assert_eq!(
        server
            .admin("DELETE", &format!("/v1/keys/{id}"), &[], "")
            .await
            .status,
        200
    );
    assert_eq!(ws.closed().await.0, 4001);
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let server = Harness::start_with(|options| {
        options.live.allowed_origins = vec!["https://console.example".to_owned()];
    })
    .await;
    let bearer = format!("Bearer {}", server.admin);
    let check = async |origin: &str, expected: Option<u16>| {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        let refused = Ws::open(&server.url, "", &headers).await.err();
        assert_eq!(refused, expected, "{origin}");
        let refused = Sse::open(&server.url, "", &headers).await.err();
        assert_eq!(refused, expected, "{origin}");
    };
    check(&server.url, None).await;
    check("https://console.example", None).await;
    check("https://evil.example", Some(403)).await;
    check("null", Some(403)).await;
}

#[tokio::test]
async fn operators_see_connections_and_end_them() {
    let server = Harness::start().await;
    let mut ws = Ws::admin(&server).await;
    let filter = json!({"eventTypes": ["a.*"]});
    let confirmed = ws.subscribe("s", filter.clone(), json!({})).await;
    ws.next_of("caught_up").await;
    append(&server, &["a.x", "b.x"]).await;
    let event = ws.next_of("event").await;
    let cursor = &event["cursor"];
    ws.say(&json!({"type": "ack", "subscriptionId": "s", "cursor": cursor}))
        .await;
    ws.say(&json!({"type": "ping"})).await;
    ws.next_of("pong").await;
    let mut sse = Sse::with_key(&server.url, &server.admin, "?tags=x").await;
    sse.next_of("").await;
    let list = server.get("/v1/streams").await.json();
    let items = list["items"].as_array().unwrap();
    assert_eq!((items.len(), &list["hasMore"]), (2, &json!(false)));
    let of = |transport| items.iter().find(|item| item["transport"] == transport);
    let (ours, other) = (of("websocket").unwrap(), of("sse").unwrap());
    assert_eq!(ours["id"], confirmed["streamId"]);
    assert_eq!(ours["keyName"], "first");
    assert!(ours["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    let subscription = &ours["subscriptions"][0];
    assert_eq!(subscription["subscriptionId"], "s");
    assert_eq!(subscription["filter"], filter);
    assert_eq!(subscription["delivered"], 1);
    assert_eq!(subscription["acknowledged"], event["data"]["position"]);
    assert_eq!(other["subscriptions"][0]["filter"], json!({"tags": ["x"]}));
    for item in items {
        let path = format!("/v1/streams/{}", item["id"].as_str().unwrap());
        assert_eq!(server.admin("DELETE", &path, &[], "").await.status, 204);
    }
    assert_eq!(
        ws.closed().await,
        (1000, "closed by an operator".to_owned())
    );
    sse.next_of("caught_up").await;
    assert_eq!(sse.next_of("closed").await.json()["code"], 1000);
    assert!(sse.next().await.is_none());
    let gone = server.admin("DELETE", "/v1/streams/0", &[], "").await;
    gone.problem(404, "not_found");
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(
        metrics.contains("factum_live_events_delivered_total 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn server_sent_events_go_on_from_the_last_id() {
    let server = Harness::start().await;
    let base = base(&server);
    append(&server, &["a.x", "b.x", "a.y"]).await;
    let body = event("a.z", "a", "1", "{\"text\": \"\\n\",\n\r\n\"n\":1}");
    assert_eq!(server.post("/v1/events", body).await.status, 201);
    let mut sse = Sse::with_key(&server.url, &server.admin, "?types=a.*&start=beginning").await;
    sse.next_of("").await;
    let first = sse.next_of("event").await;
    assert_eq!(first.json()["position"], base + 1);
    drop(sse);
    let bearer = format!("Bearer {}", server.admin);
    let id = first.id.unwrap();
    let headers = [("authorization", bearer.as_str()), ("last-event-id", &id)];
    // A browser comes back to the address that it was given first.
    let mut sse = Sse::open(&server.url, "?types=a.*&start=beginning", &headers)
        .await
        .unwrap();
    assert_eq!(sse.next_of("").await.id, Some(id));
    assert_eq!(sse.next_of("event").await.json()["position"], base + 3);
    let last = sse.next_of("event").await;
    assert_eq!(last.json()["payload"], json!({"text": "\n", "n": 1}));
    assert_eq!(sse.next_of("caught_up").await.id, last.id);
    append(&server, &["b.x", "a.x"]).await;
    assert_eq!(sse.next_of("event").await.json()["position"], base + 6);
    let check = async |query: &str, status: u16| {
        let headers = [("authorization", bearer.as_str())];
        let refused = Sse::open(&server.url, query, &headers).await.err();
        assert_eq!(refused, Some(status), "{query}");
    };
    check("?after=x", 400).await;
    check("?start=now", 400).await;
    check("?start=end&after=1", 400).await;
    check("?limit=1", 400).await;
    check("?typ=a", 400).await;
}
