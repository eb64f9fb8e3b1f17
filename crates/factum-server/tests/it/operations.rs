//! Health, metrics, documents, stopping.

use factum_server::Authentication;

use crate::harness::{Harness, event};

#[tokio::test]
async fn health_has_components() {
    let server = Harness::start().await;
    server.fill(3).await;
    let health = server.get("/v1/health").await;
    let health = health.shaped::<factum_api::HealthDto>();
    assert_eq!(health.status, factum_api::HealthStatusDto::Ok);
    assert_eq!(health.head, 4);
    let names = health.components.iter().map(|part| part.name.as_str());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["writes", "reads", "bookkeeping"]
    );
    assert_eq!(
        server.send("GET", "/healthz", &[], "").await.json()["status"],
        "ok"
    );
    assert_eq!(
        server.send("GET", "/readyz", &[], "").await.json()["status"],
        "ok"
    );
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let server = Harness::start().await;
    server.fill(3).await;
    server.get("/v1/events").await;
    let page = server.get("/metrics").await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    has("factum_http_events_appended_total 3");
    has("factum_http_events_read_total 4");
    has("factum_http_requests_total{method=\"POST\",route=\"/v1/events\",status=\"2xx\"} 1");
    has("factum_store_head_position 4");
    let name_of = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(name_of(line).starts_with("factum_"), "{line}");
        assert!(
            line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn every_answer_has_its_id_and_the_headers_of_a_careful_server() {
    let server = Harness::start().await;
    let mine = [("x-request-id", "abc-1")];
    let answer = server.admin("GET", "/v1/nothing", &mine, "").await;
    assert_eq!(answer.header("x-request-id"), "abc-1");
    assert_eq!(answer.json()["requestId"], "abc-1");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.header("access-control-allow-origin").is_empty());
    let wrong = [("x-request-id", "a b")];
    let answer = server.admin("GET", "/v1/events", &wrong, "").await;
    assert_ne!(answer.header("x-request-id"), "a b");
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn origins_are_allowed_by_name() {
    let server = Harness::start_with(|options| {
        options.cors_allowed_origins = vec!["https://app.example".to_owned()];
    })
    .await;
    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ]
    };
    let answer = server
        .send(
            "OPTIONS",
            "/v1/events",
            &preflight("https://app.example"),
            "",
        )
        .await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    let answer = server
        .send(
            "OPTIONS",
            "/v1/events",
            &preflight("https://evil.example"),
            "",
        )
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn the_reference_page_needs_no_network() {
    let server = Harness::start().await;
    let page = server.send("GET", "/docs", &[], "").await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"));
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
    let gzip = [("accept-encoding", "gzip")];
    let script = server.send("GET", "/docs/rapidoc.js", &gzip, "").await;
    assert_eq!(script.header("content-encoding"), "gzip");
    assert!(script.body.len() < 300_000);
    let document = server.send("GET", "/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let error = server
        .send("GET", "/docs/errors/version_conflict", &[], "")
        .await;
    assert_eq!(error.status, 200);
    let page = include_str!("../../../../docs/errors/version_conflict.md");
    assert_eq!(String::from_utf8_lossy(&error.body), page);
}

#[test]
fn the_openapi_document_is_the_one_that_was_agreed() {
    insta::assert_snapshot!("openapi", factum_server::Server::openapi().unwrap());
}

#[tokio::test]
async fn authentication_can_be_switched_off_by_name() {
    let server = Harness::start_with(|options| options.authentication = Authentication::Off).await;
    let body = event("a.b", "a", "1", "{}");
    let json = [("content-type", "application/json")];
    assert_eq!(
        server.send("POST", "/v1/events", &json, body).await.status,
        201
    );
    assert_eq!(server.send("GET", "/v1/keys", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_store_without_maintenance_says_so() {
    let server = Harness::start().await;
    server
        .post("/v1/admin/verify", "")
        .await
        .problem(400, "invalid_request");
    let problem = server.post("/v1/admin/backup", r#"{"path":"x"}"#).await;
    assert_eq!(problem.problem(400, "invalid_request")["pointer"], "/path");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_began() {
    let server = Harness::start_with(|options| options.stream_page_events = 10).await;
    server.fill(100).await;
    let lines = [("accept", "application/x-ndjson")];
    let read = server
        .admin("GET", "/v1/events?types=a.b", &lines, "")
        .await;
    assert_eq!(read.lines().len(), 100);
    server.stop().await;
}
