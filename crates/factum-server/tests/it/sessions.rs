//! Agent sessions and the catalogue over HTTP: every operation, and every mistake as a problem.

use factum_engine::Scope;
use serde_json::{Value, json};

use crate::harness::{Answer, Harness, event};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(server: &Harness, path: &str, body: &Value) -> Answer {
    server.admin("POST", path, &[JSON], body.to_string()).await
}

async fn get(server: &Harness, path: &str) -> Value {
    let answer = server.admin("GET", path, &[], "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

async fn made(server: &Harness, path: &str, body: &Value, status: u16) -> Value {
    let answer = post(server, path, body).await;
    assert_eq!(answer.status, status, "{path}: {answer:?}");
    answer.json()
}

async fn register(server: &Harness, project: &str) -> String {
    let body = json!({ "project": project, "instance_type": "PS" });
    let instance = made(server, "/v1/sessions", &body, 201).await;
    assert_eq!(instance["status"], "active");
    instance["instance_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its beginning to its end"
)]
async fn a_session_from_its_registration_to_its_end() {
    let server = Harness::start().await;
    let id = register(&server, "shop").await;
    let at = |rest: &str| format!("/v1/sessions/{id}{rest}");
    let data = json!({ "commit_hash": "9f3c2ab", "message": "Accept passkeys", "branch": "b" });
    let commit = json!({ "event_type": "commit_created", "event_data": data });
    let commit = made(&server, &at("/events"), &commit, 201).await;
    assert_eq!(commit["sequence_num"], 2);
    let details = json!({ "description": "make test", "result": { "success": true } });
    let command = json!({ "action": "run_tests", "details": details });
    assert!(made(&server, &at("/commands"), &command, 201).await["logged_id"].is_string());
    let beat = json!({ "instance_id": id, "context_percent": 85 });
    let beat = made(&server, &at("/heartbeat"), &beat, 200).await;
    let checkpoint_id = beat["checkpoint_id"].as_str().unwrap();
    let manual = json!({ "checkpoint_type": "manual", "note": "n" });
    assert_eq!(
        made(&server, &at("/checkpoints"), &manual, 201).await["sequence_num"],
        6
    );

    let list = get(&server, "/v1/sessions?project=shop&active_only=true").await;
    assert_eq!(
        (&list["total_count"], &list["instances"][0]["instance_id"]),
        (&json!(1), &json!(id))
    );
    assert_eq!(get(&server, "/v1/sessions/stale").await["total_count"], 0);
    let details = get(&server, "/v1/sessions/shop").await;
    assert_eq!(
        (&details["outcome"], &details["state"]["branch"]),
        (&json!("found"), &json!("b"))
    );
    let events = get(
        &server,
        &at("/events?event_type=commit_created,checkpoint_created&limit=2"),
    )
    .await;
    assert_eq!(
        (&events["total_count"], &events["has_more"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(events["events"][0]["event_data"], data);
    let words = get(&server, &at("/events?keyword=passkeys&limit=1")).await;
    assert_eq!(words["events"][0]["event_id"], commit["event_id"]);
    let latest = get(&server, &at("/events/latest?limit=1")).await;
    assert_eq!(latest["events"][0]["event_type"], "checkpoint_created");
    let commands = get(&server, &at("/commands?success=true&action=run_tests")).await;
    assert_eq!(commands["total_count"], 1);
    let state = get(&server, &at("/state?to_sequence_num=2")).await;
    assert_eq!(
        state["final_state"]["last_commit"]["commit_hash"],
        "9f3c2ab"
    );
    assert_eq!(get(&server, &at("/counts")).await["total"], 6);
    let checkpoints = get(&server, &at("/checkpoints?checkpoint_type=context_window")).await;
    assert_eq!(
        checkpoints["checkpoints"][0]["checkpoint_id"],
        checkpoint_id
    );
    let checkpoint = get(
        &server,
        &format!("/v1/sessions/checkpoints/{checkpoint_id}"),
    )
    .await;
    let instructions = checkpoint["recovery_instructions"].as_str().unwrap();
    assert!(instructions.contains("`9f3c2ab`"), "{instructions}");
    let chain = get(
        &server,
        &format!("/v1/sessions/events/{checkpoint_id}/parents"),
    )
    .await;
    assert_eq!(chain["chain"][1]["event_type"], "instance_heartbeat");
    let beat = chain["chain"][1]["event_id"].as_str().unwrap();
    let tree = get(&server, &format!("/v1/sessions/events/{beat}/tree")).await;
    assert_eq!(tree["tree"][1]["depth"], 1);
}

#[tokio::test]
async fn an_instance_is_taken_over_and_closed() {
    let server = Harness::start().await;
    let id = register(&server, "shop").await;
    let close = format!("/v1/sessions/{id}/close");
    made(
        &server,
        &format!("/v1/sessions/{id}/heartbeat"),
        &json!({ "context_percent": 85 }),
        200,
    )
    .await;
    let resume = json!({ "instance_id_hint": "shop", "force": true });
    let resumed = made(&server, "/v1/sessions/resume", &resume, 200).await;
    assert_eq!(
        (&resumed["outcome"], &resumed["confidence_score"]),
        (&json!("resumed"), &json!(100))
    );
    let clean = made(&server, "/v1/sessions/checkpoints/cleanup", &json!({}), 200).await;
    assert_eq!(clean["deleted_count"], 0);
    let closed = made(&server, &close, &json!({ "reason": "done" }), 200).await;
    assert_eq!(closed["status"], "closed");
}

#[tokio::test]
async fn mistakes_are_problems_with_code_and_field() {
    let server = Harness::start().await;
    let id = register(&server, "shop").await;
    let events = format!("/v1/sessions/{id}/events");
    let emit =
        |event_type: &str, data: Value| json!({ "event_type": event_type, "event_data": data });
    let no_hash = emit("commit_created", json!({ "message": "m" }));
    let answer = post(&server, &events, &no_hash).await;
    assert_eq!(
        answer.problem(422, "invalid_event")["pointer"],
        "/commit_hash"
    );
    let unknown = post(&server, &events, &emit("x", json!({}))).await;
    assert_eq!(
        unknown.problem(422, "unknown_event_type")["pointer"],
        "/event_type"
    );
    let much = emit("instance_heartbeat", json!({ "context_percent": 101 }));
    let answer = post(&server, &events, &much).await;
    assert_eq!(
        answer.problem(422, "context_out_of_range")["pointer"],
        "/context_percent"
    );
    let beat = json!({ "context_percent": 1 });
    let other = post(&server, "/v1/sessions/shop-PS-000000/heartbeat", &beat).await;
    other.problem(404, "instance_not_found");
    let malformed = post(&server, "/v1/sessions/shop/heartbeat", &beat).await;
    malformed.problem(400, "invalid_instance_id");
    let two = json!({ "instance_id": "shop-PS-000000", "context_percent": 1 });
    let answer = post(&server, &format!("/v1/sessions/{id}/heartbeat"), &two).await;
    assert_eq!(
        answer.problem(400, "invalid_request")["pointer"],
        "/instance_id"
    );
    let resume = json!({ "instance_id_hint": "shop" });
    let active = post(&server, "/v1/sessions/resume", &resume).await;
    active.problem(409, "instance_active");
    let close = format!("/v1/sessions/{id}/close");
    let answer = server.admin("POST", &close, &[], "").await;
    assert_eq!(answer.status, 200, "a body may be left out: {answer:?}");
    post(&server, &close, &json!({}))
        .await
        .problem(409, "instance_closed");
}

#[tokio::test]
async fn what_is_no_input_is_refused_and_repeats_no_secret() {
    let server = Harness::start().await;
    let id = register(&server, "shop").await;
    let secret = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv";
    let events = format!("/v1/sessions/{id}/events");
    for body in [
        "",
        "[]",
        "{",
        "null",
        r#"{"event_type":1}"#,
        r#"{"event_type":"x","event_data":{},"event_data":{}}"#,
        r#"{"event_type":"x","event_data":{},"other":1}"#,
        "{\"event_type\":\"\u{0}\",\"event_data\":{}}",
        &format!(r#"{{"event_type":"x","event_data":{{}},"metadata":{{}},"{secret}":1}}"#),
    ] {
        let answer = server
            .admin("POST", &events, &[JSON], body.to_owned())
            .await;
        let problem = answer.problem(400, "invalid_request");
        assert!(!problem.to_string().contains(secret), "{problem}");
    }
    let deep = format!(
        r#"{{"event_type":"feature_requested","event_data":{{"feature_name":"x","requested_by":"y","z":{}{}}}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let answer = server.admin("POST", &events, &[JSON], deep).await;
    answer.problem(422, "invalid_event");
    for query in [
        "limit=0",
        "limit=x",
        "limit=1&limit=2",
        "other=1",
        "event_type=x",
        "start_date=x",
    ] {
        let answer = server
            .admin("GET", &format!("{events}?{query}"), &[], "")
            .await;
        assert!(
            [400, 422].contains(&answer.status.as_u16()),
            "{query}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn the_catalogue_is_public_to_readers_and_strict_if_told() {
    let server = Harness::start().await;
    let list = get(&server, "/v1/catalogue").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 47);
    assert_eq!(list["strict"], false);
    let entry = get(&server, "/v1/catalogue/plugin.executed").await;
    assert_eq!(entry["schema"]["required"][4], "success");
    assert_eq!(entry["example"]["pluginId"], "audit");
    let missing = server.admin("GET", "/v1/catalogue/x", &[], "").await;
    missing.problem(404, "not_found");
    let types = get(&server, "/v1/sessions/event-types?category=git").await;
    assert_eq!(types["total_count"], 3);
}

#[tokio::test]
async fn reading_writing_and_cleaning_take_different_scopes() {
    let server = Harness::start().await;
    let reader = server.key(&[Scope::Read]).await;
    let writer = server.key(&[Scope::Append]).await;
    let body = json!({ "project": "shop", "instance_type": "PS" }).to_string();
    let send = async |key: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), JSON];
        server
            .send(method, path, &headers, body.to_owned())
            .await
            .status
            .as_u16()
    };
    assert_eq!(send(&reader, "POST", "/v1/sessions", &body).await, 403);
    assert_eq!(send(&writer, "POST", "/v1/sessions", &body).await, 201);
    assert_eq!(send(&reader, "GET", "/v1/sessions", "").await, 200);
    assert_eq!(send(&writer, "GET", "/v1/sessions", "").await, 403);
    let cleanup = "/v1/sessions/checkpoints/cleanup";
    assert_eq!(send(&writer, "POST", cleanup, "{}").await, 403);
}

#[tokio::test]
async fn no_other_door_writes_the_streams_of_instances() {
    let server = Harness::start().await;
    let id = register(&server, "shop").await;
    let beat = |id: &str| {
        event(
            "instance_heartbeat",
            "agent_session",
            id,
            r#"{"context_percent":1}"#,
        )
    };
    for id in [id.as_str(), "shop-MS-0a1b2c"] {
        let refused = server.post("/v1/events", beat(id)).await;
        let problem = refused.problem(403, "reserved_name");
        assert_eq!(problem["pointer"], "/events/0/aggregateId");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("/v1/sessions/{id}/events"), "{detail}");
        let many = format!("{{\"events\":[{},{}]}}", beat("other"), beat(id));
        let problem = server.post("/v1/events", many).await;
        assert_eq!(
            problem.problem(403, "reserved_name")["pointer"],
            "/events/1/aggregateId"
        );
        let arguments: Value = serde_json::from_str(&beat(id)).unwrap();
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
            {"name": "factum_append", "arguments": {"events": [arguments]}}});
        let answer = post(&server, "/mcp", &call).await.json();
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let sentence = answer["result"]["content"][0]["text"].as_str().unwrap();
        assert!(
            sentence.starts_with("reserved_name") && sentence.contains("mcp_meta_emit_event"),
            "{sentence}"
        );
    }
    assert_eq!(
        get(&server, &format!("/v1/sessions/{id}/counts")).await["total"],
        1
    );
    // Streams of this type under names of other forms are like any other.
    let other = server.post("/v1/events", beat("marshmallow-1867~2")).await;
    assert_eq!(other.status, 201);
}

#[tokio::test]
async fn a_bulk_append_brings_instances_back_only_with_a_key_that_is_admin() {
    let server = Harness::start().await;
    let registered = event(
        "instance_registered",
        "agent_session",
        "shop-PS-0a1b2c",
        r#"{"instance_type":"PS","project":"shop"}"#,
    );
    let beat = event(
        "instance_heartbeat",
        "agent_session",
        "shop-PS-0a1b2c",
        r#"{"context_percent":7}"#,
    );
    let body = format!("{registered}\n{beat}\n");
    let writer = server.key(&[Scope::Append, Scope::Read]).await;
    let bearer = format!("Bearer {writer}");
    let lines = ("content-type", "application/x-ndjson");
    let headers = [("authorization", bearer.as_str()), lines];
    let refused = server
        .send("POST", "/v1/events/bulk", &headers, body.clone())
        .await;
    let problem = refused.problem(403, "reserved_name");
    assert_eq!(
        (&problem["line"], &problem["pointer"]),
        (&json!(1), &json!("/aggregateId"))
    );
    let brought = server
        .admin("POST", "/v1/events/bulk", &[lines], body)
        .await;
    assert_eq!(brought.status, 200, "{brought:?}");
    let details = get(&server, "/v1/sessions/shop-PS-0a1b2c").await;
    assert_eq!(details["instance"]["context_percent"], 7);
}
