//! Reads of the log, of streams and of single events.

use serde_json::Value;

use crate::harness::{Harness, event};

fn numbers(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["payload"]["n"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_follow_each_other_by_cursor() {
    let server = Harness::start().await;
    server.fill(25).await;
    for direction in ["forwards", "backwards"] {
        let mut after = String::new();
        let mut found = Vec::new();
        loop {
            let path = format!("/v1/events?types=a.b&limit=10&direction={direction}{after}");
            let answer = server.get(&path).await;
            answer.shaped::<factum_api::EventPageDto>();
            let page = answer.json();
            found.extend(numbers(&page));
            if page["hasMore"] == false {
                break;
            }
            after = format!("&after={}", page["cursor"].as_str().unwrap());
        }
        let mut expected: Vec<u64> = (0..25).collect();
        if direction == "backwards" {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn lines_without_a_limit_are_the_whole_log() {
    let server = Harness::start_with(|options| options.stream_page_events = 100).await;
    server.fill(1234).await;
    let lines = [("accept", "application/x-ndjson")];
    let answer = server
        .admin("GET", "/v1/events?types=a.b", &lines, "")
        .await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let events = answer.lines();
    assert_eq!(events.len(), 1234);
    assert!(
        events
            .iter()
            .enumerate()
            .all(|(n, event)| event["payload"]["n"] == n)
    );
    let path = "/v1/events?types=a.b&direction=backwards";
    let backwards = server.admin("GET", path, &lines, "").await.lines();
    assert_eq!(backwards.first(), events.last());
    assert_eq!(backwards.len(), 1234);
    let some = server
        .admin("GET", "/v1/events?types=a.b&limit=3", &lines, "")
        .await;
    assert_eq!(some.lines(), events[..3]);
    assert_eq!(some.header("factum-has-more"), "true");
    let after = format!("/v1/events?after={}", some.header("factum-cursor"));
    let rest = server.admin("GET", &after, &lines, "").await.lines();
    assert_eq!(rest, events[3..]);
    let head = server.engine.head().unwrap();
    let none = server
        .admin("GET", &format!("/v1/events?after={head}"), &lines, "")
        .await;
    assert!(none.body.is_empty());
    let beyond = server
        .admin("GET", "/v1/events?after=99999", &lines, "")
        .await;
    assert!(beyond.body.is_empty());
}

#[tokio::test]
async fn a_payload_with_line_ends_is_one_line() {
    let server = Harness::start().await;
    server
        .post("/v1/events", event("a.b", "a", "1", "{\n\"n\":\r\n1}"))
        .await;
    let lines = [("accept", "application/x-ndjson")];
    let answer = server
        .admin("GET", "/v1/events?types=a.b", &lines, "")
        .await;
    assert_eq!(answer.lines().len(), 1);
    let page = server.get("/v1/events?types=a.b").await;
    let text = std::str::from_utf8(&page.body).unwrap();
    assert!(text.contains("{\n\"n\":\r\n1}"));
}

#[tokio::test]
async fn a_query_has_a_whole_filter() {
    let server = Harness::start().await;
    server.fill(5).await;
    server
        .post("/v1/events", event("c.d", "c", "2", "{\"n\":7}"))
        .await;
    let check = async |body: &str, expected: &[u64]| {
        let answer = server.post("/v1/events/query", body.to_owned()).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!(numbers(&answer.json()), expected, "{body}");
    };
    check(r#"{"filter":{"eventTypes":["c.>"]}}"#, &[7]).await;
    check(
        r#"{"filter":{"anyOf":[{"eventTypes":["c.d"]},{"aggregateIds":["1"]}]},"direction":"backwards","limit":2}"#,
        &[7, 4],
    )
    .await;
    let problem = server
        .post("/v1/events/query", r#"{"filter":{"type":["x"]}}"#)
        .await;
    assert_eq!(
        problem.problem(400, "invalid_filter")["pointer"],
        "/filter/type"
    );
}

#[tokio::test]
async fn a_stream_is_read_by_sequence_number() {
    let server = Harness::start().await;
    server.fill(9).await;
    let path = "/v1/aggregates/a/1/events";
    let page = server.get(&format!("{path}?from=3&to=8&limit=4")).await;
    page.shaped::<factum_api::StreamPageDto>();
    let page = page.json();
    assert_eq!(numbers(&page), [2, 3, 4, 5]);
    assert_eq!(
        (&page["hasMore"], &page["version"]),
        (&true.into(), &9.into())
    );
    let page = server
        .get(&format!("{path}?direction=backwards&limit=2"))
        .await
        .json();
    assert_eq!(numbers(&page), [8, 7]);
    server
        .get("/v1/aggregates/a/none/events")
        .await
        .problem(404, "not_found");
    let problem = server
        .get(&format!("{path}?form=3"))
        .await
        .problem(400, "invalid_request");
    assert_eq!(problem["parameter"], "form");
}

#[tokio::test]
async fn an_id_alone_names_an_aggregate_where_it_is_unambiguous() {
    let server = Harness::start().await;
    server.fill(2).await;
    let info = server.get("/v1/aggregates/1").await;
    let info = info.shaped::<factum_api::AggregateDto>();
    assert_eq!(
        (info.aggregate_type.as_str(), info.version, info.event_count),
        ("a", 2, 2)
    );
    server
        .post("/v1/events", event("c.d", "c", "1", "{}"))
        .await;
    let problem = server
        .get("/v1/aggregates/1")
        .await
        .problem(409, "ambiguous_aggregate");
    assert_eq!(problem["aggregateTypes"], serde_json::json!(["a", "c"]));
    server
        .get("/v1/aggregates/2")
        .await
        .problem(404, "not_found");
    server
        .post("/v1/events", event("c.d", "ü/x", "a b%", "{}"))
        .await;
    let info = server.get("/v1/aggregates/%C3%BC%2Fx/a%20b%25").await;
    assert_eq!(info.json()["aggregateType"], "ü/x");
}

#[tokio::test]
async fn events_come_as_cloud_events() {
    let server = Harness::start().await;
    server.fill(2).await;
    let accept = [("accept", "application/cloudevents+json")];
    let page = server
        .admin("GET", "/v1/events?types=a.b", &accept, "")
        .await;
    assert_eq!(
        page.header("content-type"),
        "application/cloudevents-batch+json"
    );
    let events = page.json();
    assert_eq!(events[1]["specversion"], "1.0");
    assert_eq!(events[1]["data"]["n"], 1);
    let id = events[1]["id"].as_str().unwrap();
    let one = server
        .admin("GET", &format!("/v1/events/{id}"), &accept, "")
        .await;
    assert_eq!(one.header("content-type"), "application/cloudevents+json");
    assert_eq!(one.json(), events[1]);
    let html = [("accept", "text/html")];
    server
        .admin("GET", "/v1/events", &html, "")
        .await
        .problem(406, "not_acceptable");
}

#[tokio::test]
async fn cursors_of_others_are_refused() {
    let server = Harness::start().await;
    let other = Harness::start().await;
    other.fill(1).await;
    let cursor = other.get("/v1/events").await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = server.get(&format!("/v1/events?after={cursor}")).await;
    if answer.status != 200 {
        answer.problem(400, "foreign_cursor");
    }
    let problem = server
        .get("/v1/events?after=nonsense")
        .await
        .problem(400, "invalid_cursor");
    assert_eq!(problem["parameter"], "after");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let server = Harness::start().await;
    server.fill(100).await;
    for encoding in ["gzip", "zstd"] {
        let accept = [("accept-encoding", encoding)];
        let answer = server
            .admin("GET", "/v1/events?types=a.b", &accept, "")
            .await;
        assert_eq!(answer.header("content-encoding"), encoding);
        let plain = match encoding {
            "gzip" => {
                let mut plain = Vec::new();
                let mut decoder = flate2::read::GzDecoder::new(&*answer.body);
                std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
                plain
            }
            _ => zstd::decode_all(&*answer.body).unwrap(),
        };
        let page: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(numbers(&page).len(), 100);
    }
}
