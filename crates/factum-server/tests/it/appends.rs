//! `POST /v1/events`.

use serde_json::{Value, json};

use crate::harness::{Harness, event};

const ID: &str = "018bcfe5-6800-7fff-bfff-ffffffffffff";

#[tokio::test]
async fn one_event_is_answered_with_its_receipt() {
    let server = Harness::start().await;
    let answer = server
        .post("/v1/events", event("a.b", "a", "x\\\"y", "{\"n\" : 1.0}"))
        .await;
    assert_eq!(answer.status, 201);
    let receipt = answer.json();
    assert_eq!(receipt["aggregateId"], "x\"y");
    assert_eq!(receipt["sequenceNumber"], 1);
    assert_eq!(receipt["deduplicated"], Value::Null);
    let id = receipt["id"].as_str().unwrap();
    let read = server.get(&format!("/v1/events/{id}")).await;
    let text = std::str::from_utf8(&read.body).unwrap();
    assert!(text.ends_with(r#""payload":{"n" : 1.0}}"#), "{text}");
    let cursor = receipt["cursor"].as_str().unwrap();
    let after = server
        .get(&format!("/v1/events?after={cursor}"))
        .await
        .json();
    assert_eq!(after["events"], json!([]));
    answer.shaped::<factum_api::EventReceiptDto>();
    read.shaped::<factum_api::EventDto>();
}

#[tokio::test]
async fn many_events_are_one_unit() {
    let server = Harness::start().await;
    let good = event("a.b", "a", "1", "{}");
    let body = format!("{{\"events\":[{good},{}]}}", event("a.b", "b", "2", "{}"));
    let answer = server.post("/v1/events", body).await;
    assert_eq!(answer.status, 201);
    let receipt = answer.shaped::<factum_api::AppendReceiptDto>();
    assert_eq!(receipt.events[0].position + 1, receipt.events[1].position);
    let body = format!("{{\"events\":[{good},{}]}}", event("a..b", "b", "2", "{}"));
    let problem = server
        .post("/v1/events", body)
        .await
        .problem(422, "invalid_event");
    assert_eq!(problem["pointer"], "/events/1/type");
    let version = server.get("/v1/aggregates/a/1").await.json();
    assert_eq!(version["version"], 1);
}

#[tokio::test]
async fn a_stale_version_is_a_conflict_that_names_the_right_one() {
    let server = Harness::start().await;
    server.fill(3).await;
    let with = |version: &str| {
        event("a.b", "a", "1", "{}").replacen('{', &format!("{{\"expectedVersion\":{version},"), 1)
    };
    let problem = server
        .post("/v1/events", with("2"))
        .await
        .problem(409, "version_conflict");
    assert_eq!(problem["actualVersion"], 3);
    assert_eq!(problem["expectedVersion"], "2");
    assert_eq!(
        (&problem["aggregateType"], &problem["aggregateId"]),
        (&json!("a"), &json!("1"))
    );
    server
        .post("/v1/events", with("\"noStream\""))
        .await
        .problem(409, "version_conflict");
    assert_eq!(server.post("/v1/events", with("3")).await.status, 201);
    assert_eq!(
        server.post("/v1/events", with("\"exists\"")).await.status,
        201
    );
}

#[tokio::test]
async fn a_condition_looks_behind_a_position() {
    let server = Harness::start().await;
    server.fill(1).await;
    let head = server.engine.head().unwrap().get();
    let body = |after: &str| {
        let event = event("c.d", "c", "1", "{}");
        format!(
            r#"{{"events":[{event}],"condition":{{"filter":{{"eventTypes":["a.*"]}}{after}}}}}"#
        )
    };
    let problem = server
        .post("/v1/events", body(""))
        .await
        .problem(409, "condition_failed");
    assert_eq!(problem["position"], head);
    let after = format!(",\"after\":{head}");
    assert_eq!(server.post("/v1/events", body(&after)).await.status, 201);
    let problem = server.post("/v1/events", body(",\"after\":\"x\"")).await;
    assert_eq!(
        problem.problem(400, "invalid_cursor")["pointer"],
        "/condition/after"
    );
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_receipt() {
    let server = Harness::start().await;
    let with_id = |payload: &str| {
        event("a.b", "a", "1", payload).replacen('{', &format!("{{\"id\":\"{ID}\","), 1)
    };
    let first = server.post("/v1/events", with_id("{}")).await;
    let second = server.post("/v1/events", with_id("{}")).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    assert_eq!(second.json()["deduplicated"], true);
    assert_eq!(second.json()["position"], first.json()["position"]);
    let problem = server
        .post("/v1/events", with_id("{\"n\":1}"))
        .await
        .problem(409, "duplicate_event");
    assert_eq!(problem["id"], ID);
}

#[tokio::test]
async fn names_of_the_engine_are_refused() {
    let server = Harness::start().await;
    let problem = server
        .post("/v1/events", event("a.b", "factum", "1", "{}"))
        .await;
    assert_eq!(
        problem.problem(403, "reserved_name")["pointer"],
        "/events/0/aggregateType"
    );
    let problem = server
        .post("/v1/events", event("factum.key.created", "a", "1", "{}"))
        .await;
    problem.problem(403, "reserved_name");
}

#[tokio::test]
async fn concurrent_appends_of_one_version_are_won_once() {
    let server = Harness::start().await;
    let body = event("a.b", "a", "1", "{}").replacen('{', "{\"expectedVersion\":0,", 1);
    let answers =
        futures_util::future::join_all((0..16).map(|_| server.post("/v1/events", body.clone())));
    let statuses: Vec<u16> = answers
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 15);
}
