//! What no honest client sends.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Harness, event};

/// Sends bytes over a connection of their own and returns what comes back until it ends.
async fn raw(server: &Harness, bytes: &[u8]) -> String {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("no end")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn each_fault_has_its_own_answer() {
    let server = Harness::start().await;
    let with = |payload: &str| event("a.b", "a", "1", payload);
    let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let check = async |body: Vec<u8>, status, code| {
        server.post("/v1/events", body).await.problem(status, code)
    };
    check(Vec::new(), 400, "invalid_request").await;
    check(b"{\"a\":\"\xff\"}".to_vec(), 400, "invalid_request").await;
    check(with("{\"a\":1,\"a\":2}").into(), 422, "invalid_event").await;
    check(with("{\"a\":\"\\u0000\"}").into(), 422, "invalid_event").await;
    check(with("{\"a\":\"\\ud800\"}").into(), 422, "invalid_event").await;
    check(with(&deep(100)).into(), 413, "limit_exceeded").await;
    check(with(&deep(100_000)).into(), 413, "limit_exceeded").await;
    check("[".repeat(1_000_000).into(), 400, "invalid_request").await;
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20));
    let problem = check(with(&large).into(), 413, "limit_exceeded").await;
    assert!(problem["detail"].as_str().unwrap().contains("event size"));
    check(vec![b' '; (8 << 20) + 1], 413, "limit_exceeded").await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.admin("POST", "/v1/events", &form, "a=b").await;
    answer.problem(415, "unsupported_media_type");
    let gzip = [("content-encoding", "gzip")];
    let answer = server.admin("POST", "/v1/events", &gzip, "{}").await;
    answer.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems_too() {
    let server = Harness::start().await;
    server.get("/v1/nothing").await.problem(404, "not_found");
    server
        .send("GET", "/", &[], "")
        .await
        .problem(404, "not_found");
    let answer = server.admin("PUT", "/v1/events", &[], "").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST,GET,HEAD");
    server
        .get("/v1/events/no-uuid")
        .await
        .problem(400, "invalid_request");
    server
        .get("/v1/aggregates/a/%ff")
        .await
        .problem(400, "invalid_request");
    server
        .get("/v1/aggregates/a/%0a")
        .await
        .problem(400, "invalid_request");
    server
        .get("/v1/events?limit=1001")
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let server = Harness::start_with(|options| {
        options.header_time_max = Duration::from_millis(300);
    })
    .await;
    let answer = raw(&server, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = raw(
        &server,
        format!("GET /healthz HTTP/1.1\r\n{many}\r\n").as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = raw(&server, b"\x16\x03\x01 this is no HTTP\r\n\r\n").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Harness::start_with(|options| {
        options.request_time_max = Duration::from_millis(300);
    })
    .await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        server.admin
    );
    let answer = raw(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_long_is_not_waited_for() {
    let server = Harness::start().await;
    for path in ["/v1/events", "/v1/events/query", "/v1/keys"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-length: 99999999999\r\n\r\n{{",
            server.admin
        );
        let answer = raw(&server, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer}");
        assert!(answer.contains("limit_exceeded"), "{answer}");
    }
}

#[tokio::test]
async fn two_keys_are_none() {
    let server = Harness::start().await;
    let bearer = format!("Bearer {}", server.admin);
    for other in ["Bearer x", bearer.as_str()] {
        let headers = [("authorization", bearer.as_str()), ("authorization", other)];
        let answer = server.send("GET", "/v1/events", &headers, "").await;
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let server = Harness::start_with(|options| options.connections_max = 2).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        open.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // Either nothing comes, or the system says that the connection was reset.
    let read = third.read_to_end(&mut answer).await;
    assert!(read.is_err() || answer.is_empty());
}

#[tokio::test]
async fn too_many_bodies_in_memory_are_told_to_come_back() {
    let server = Harness::start_with(|options| options.bodies_in_flight_bytes_max = 1000).await;
    let body = event(
        "a.b",
        "a",
        "1",
        &format!("{{\"x\":\"{}\"}}", "x".repeat(2000)),
    );
    let answer = server.post("/v1/events", body).await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(
        server
            .post("/v1/events", event("a.b", "a", "1", "{}"))
            .await
            .status,
        201
    );
}
