//! A handler that panics, a queue that is full, a client that does not read what it asked for.

use std::sync::Arc;
use std::time::Duration;

use factum_engine::{Engine, EngineOptions};
use factum_model::ErrorCode;
use factum_query::Filter;
use factum_store::CountRead;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use crate::harness::{Harness, event};
use crate::moody_store::{Mood, MoodyStore};

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives() {
    let store = MoodyStore::new();
    let server = Harness::start_over(store.clone(), |_| {}).await;
    let receipt = server
        .post("/v1/events", event("a.b", "a", "1", "{}"))
        .await;
    let path = format!("/v1/events/{}", receipt.json()["id"].as_str().unwrap());
    store.feel(Mood::Panics);
    let problem = server.get(&path).await.problem(500, "internal");
    assert!(!problem["requestId"].as_str().unwrap().is_empty());
    assert!(!problem.to_string().contains("had enough"), "{problem}");
    store.feel(Mood::Honest);
    assert_eq!(server.get(&path).await.status, 200);
    let metrics = server.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("\nfactum_http_panics_total 1\n"), "{text}");
    assert!(text.contains("\nfactum_http_requests_in_flight 1\n"));
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_a_503_that_says_when_to_come_back() {
    let store = MoodyStore::new();
    let server = Harness::start_over(store.clone(), |options| {
        options.bulk.overload_time_max = Duration::ZERO;
    })
    .await;
    let head = server.engine.head();
    store.feel(Mood::Overloaded);
    let one = event("a.b", "a", "1", "{}");
    let lines = [("content-type", "application/x-ndjson")];
    for answer in [
        server.post("/v1/events", one.clone()).await,
        server
            .admin("POST", "/v1/events/bulk", &lines, one.clone())
            .await,
    ] {
        let problem = answer.problem(503, "overloaded");
        // One and a half seconds, in whole ones.
        assert_eq!(answer.header("retry-after"), "2");
        assert_eq!(problem["retryAfter"], 2);
    }
    store.feel(Mood::Honest);
    assert_eq!(server.engine.head(), head, "nothing was appended");
    assert_eq!(server.post("/v1/events", one).await.status, 201);
}

/// The server reads on only while the client takes its receipts. What it has read and not answered
/// is bounded by the buffers of the two sockets.
#[tokio::test]
async fn a_bulk_append_whose_receipts_nobody_reads_comes_to_a_halt() {
    let store = MoodyStore::new();
    let server = Harness::start_over(store.clone(), |options| {
        options.bulk.chunk_events_max = 1;
    })
    .await;
    store.feel(Mood::Pretends);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let endless: u64 = 1 << 40;
    let head = format!(
        "POST /v1/events/bulk HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {endless}\r\n\r\n",
        server.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let line = event("a.b", "a", "1", "{}") + "\n";
    let block = line.repeat(500).into_bytes();
    let mut n_sent = 0;
    let halted = loop {
        assert!(n_sent < 256 << 20, "the server reads without end");
        let rest = &block[n_sent % block.len()..];
        match tokio::time::timeout(Duration::from_secs(2), stream.write(rest)).await {
            Ok(sent) => n_sent += sent.unwrap(),
            Err(_) => break n_sent,
        }
    };
    assert!(halted > 0);
    // Others are served meanwhile.
    assert_eq!(server.get("/v1/events").await.status, 200);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn counts_that_take_long_leave_room_for_others() {
    let store = MoodyStore::new();
    store.feel(Mood::Ponders);
    let options = EngineOptions {
        counts_max: 2,
        count_time_max: Duration::from_millis(20),
        ..EngineOptions::default()
    };
    let engine = Engine::new(Arc::<MoodyStore>::clone(&store), options);
    let all = || CountRead::all(Filter::default());
    {
        let (first, second) = (engine.count(all()), engine.count(all()));
        let third = tokio::select! {
            _ = first => None,
            _ = second => None,
            third = async {
                // The others have begun before this one asks.
                tokio::task::yield_now().await;
                engine.count(all()).await
            } => Some(third),
        };
        let refused = third.unwrap().unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Overloaded);
        assert!(refused.is_retryable());
    }
    store.feel(Mood::Honest);
    assert!(engine.count(all()).await.unwrap().complete);
}
