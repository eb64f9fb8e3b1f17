//! How live connections end: every close code, every limit.

use std::time::Duration;

use factum_engine::{KeyRing as _, NewKey, Principal, Revocation, Scope, Scopes};
use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Harness, event};
use crate::live_client::{Sse, Ws, soon};

#[tokio::test]
async fn a_client_that_leaves_is_answered() {
    let server = Harness::start().await;
    let mut ws = Ws::admin(&server).await;
    ws.subscribe("s", json!({}), json!({})).await;
    ws.socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon(futures_util::StreamExt::next(&mut ws.socket)).await {}
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_says_so_with_1001() {
    let server = Harness::start().await;
    let mut ws = Ws::admin(&server).await;
    ws.subscribe("s", json!({}), json!({})).await;
    let mut silent = Ws::open(&server.url, "", &[]).await.unwrap();
    let mut sse = Sse::with_key(&server.url, &server.admin, "").await;
    sse.next_of("").await;
    let stopped = server.stop();
    let ended = async {
        assert_eq!(ws.closed().await.0, 1001);
        assert_eq!(silent.closed().await.0, 1001);
        sse.next_of("caught_up").await;
        assert_eq!(sse.next_of("closed").await.json()["code"], 1001);
        assert!(sse.next().await.is_none());
    };
    soon(async { tokio::join!(stopped, ended) }).await;
}

#[tokio::test]
async fn a_broken_frame_is_1002() {
    let server = Harness::start().await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let check = async |frame: &[u8]| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.admin
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon(stream.read_u8()).await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));
        stream.write_all(frame).await.unwrap();
        let mut close = Vec::new();
        soon(stream.read_to_end(&mut close)).await.unwrap();
        assert_eq!(close[0], 0x88, "{close:?}");
        assert_eq!(&close[2..4], &1002_u16.to_be_bytes(), "{close:?}");
    };
    // Not masked, as a client must; an unknown kind; a text that is not UTF-8.
    check(b"\x81\x02hi").await;
    check(b"\x83\x82\0\0\0\0hi").await;
    check(b"\x81\x82\0\0\0\0\xff\xff").await;
}

#[tokio::test]
async fn a_binary_message_is_1003() {
    let server = Harness::start().await;
    let mut ws = Ws::admin(&server).await;
    ws.socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(ws.closed().await.0, 1003);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_1009() {
    let server = Harness::start_with(|options| options.live.message_bytes_max = 1000).await;
    let mut ws = Ws::admin(&server).await;
    ws.text(&"x".repeat(1001)).await;
    assert_eq!(ws.closed().await.0, 1009);
}

#[tokio::test]
async fn authentication_by_message_is_in_time_and_right_or_4000() {
    let server =
        Harness::start_with(|o| o.live.authentication_timeout = Duration::from_millis(300)).await;
    let mut ws = Ws::open(&server.url, "", &[]).await.unwrap();
    ws.say(&json!({"type": "authenticate", "token": server.admin}))
        .await;
    ws.subscribe("s", json!({}), json!({})).await;

    let mut late = Ws::open(&server.url, "", &[]).await.unwrap();
    assert_eq!(late.closed().await.0, 4000);
    let check = async |text: String| {
        let mut ws = Ws::open(&server.url, "", &[]).await.unwrap();
        ws.text(&text).await;
        // Nothing is said before: neither an event nor why.
        let first = soon(futures_util::StreamExt::next(&mut ws.socket)).await;
        let Some(Ok(Message::Close(Some(frame)))) = first else {
            panic!("{first:?}");
        };
        assert_eq!(u16::from(frame.code), 4000, "{text}");
    };
    check("x".to_owned()).await;
    check(json!({"type": "ping"}).to_string()).await;
    check(json!({"type": "subscribe", "subscriptionId": "s"}).to_string()).await;
    check(json!({"type": "authenticate", "token": "fct_x"}).to_string()).await;
}

#[tokio::test]
async fn a_key_without_the_scope_is_4001_or_403() {
    let server = Harness::start().await;
    let append = server.key(&[Scope::Append]).await;
    let mut ws = Ws::open(&server.url, "", &[]).await.unwrap();
    ws.say(&json!({"type": "authenticate", "token": append}))
        .await;
    assert_eq!(ws.closed().await.0, 4001);
    let bearer = format!("Bearer {append}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(Ws::open(&server.url, "", &headers).await.err(), Some(403));
    let headers = [("authorization", "Bearer fct_x")];
    assert_eq!(Ws::open(&server.url, "", &headers).await.err(), Some(401));
}

#[tokio::test]
async fn a_connection_ends_with_its_key() {
    let server = Harness::start().await;
    let (_lasts, ended) = watch::channel(false);
    let now = server.engine.clock().now();
    let key = NewKey {
        name: "short".to_owned(),
        scopes: Scopes::of(&[Scope::Read]),
        expires_at: Some(now.saturating_add_micros(400_000)),
    };
    let by = Principal::unauthenticated(ended);
    let expiring = server.keys.create(key, &by).await.unwrap().secret;
    let mut ws = Ws::with_key(&server.url, &expiring).await;
    ws.subscribe("s", json!({}), json!({})).await;
    let mut sse = Sse::with_key(&server.url, &expiring, "").await;
    assert_eq!(ws.closed().await, (4000, "the key has expired".to_owned()));
    sse.next_of("").await;
    sse.next_of("caught_up").await;
    assert_eq!(sse.next_of("closed").await.json()["code"], 4000);

    let revoked = server.key(&[Scope::Read]).await;
    let mut ws = Ws::open(&server.url, "", &[]).await.unwrap();
    ws.say(&json!({"type": "authenticate", "token": revoked}))
        .await;
    ws.subscribe("s", json!({}), json!({})).await;
    ws.next_of("caught_up").await;
    let principal = server.keys.authenticate(&revoked).unwrap();
    let id = principal.identity().key_id.clone().unwrap();
    server
        .keys
        .revoke(&id, Revocation::Careful, &by)
        .await
        .unwrap();
    assert_eq!(ws.closed().await, (4001, "the key was revoked".to_owned()));
}

#[tokio::test]
async fn an_only_subscription_that_is_refused_is_4002() {
    let server = Harness::start_with(|options| options.live.subscriptions_max = 2).await;
    let mut ws = Ws::admin(&server).await;
    ws.say(&json!({"type": "subscribe", "subscriptionId": "s", "filter": {"x": 1}}))
        .await;
    assert_eq!(ws.next_of("error").await["data"]["code"], "invalid_filter");
    assert_eq!(ws.closed().await.0, 4002);

    let mut ws = Ws::admin(&server).await;
    for id in ["1", "2"] {
        ws.subscribe(id, json!({}), json!({})).await;
        ws.next_of("caught_up").await;
    }
    ws.say(&json!({"type": "subscribe", "subscriptionId": "3"}))
        .await;
    let error = ws.next_of("error").await;
    assert_eq!(error["data"]["code"], "limit_exceeded");
    assert_eq!(error["subscriptionId"], "3");
    ws.say(&json!({"type": "ping"})).await;
    ws.next_of("pong").await;
}

#[tokio::test]
async fn too_many_messages_are_4003() {
    let server = Harness::start_with(|options| {
        options.live.messages_burst = 5;
        options.live.messages_per_second = 1;
    })
    .await;
    let mut ws = Ws::admin(&server).await;
    for _ in 0..5 {
        ws.say(&json!({"type": "ping"})).await;
        ws.next_of("pong").await;
    }
    ws.say(&json!({"type": "ping"})).await;
    assert_eq!(ws.closed().await.0, 4003);
}

/// Appends so many events of about 100 kB.
async fn append_large(server: &Harness, n_events: usize) {
    let payload = format!("{{\"x\":\"{}\"}}", "x".repeat(100_000));
    for _ in 0..n_events {
        let body = event("a.b", "a", "1", &payload);
        assert_eq!(server.post("/v1/events", body).await.status, 201);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_4004_and_costs_the_others_nothing() {
    let server = Harness::start_with(|o| o.live.write_timeout = Duration::from_millis(500)).await;
    let mut stuck = Ws::admin(&server).await;
    stuck.subscribe("s", json!({}), json!({})).await;
    let mut slow = Ws::admin(&server).await;
    slow.subscribe("s", json!({}), json!({})).await;
    slow.next_of("caught_up").await;
    let mut quick = Ws::admin(&server).await;
    quick.subscribe("s", json!({}), json!({})).await;
    quick.next_of("caught_up").await;
    // More than the buffers of the sockets hold.
    let n_events = 150;
    let first = server.engine.head().unwrap().get() + 1;
    let expected: Vec<u64> = (first..).take(n_events).collect();
    let readers = async {
        let (mut all, mut half) = (Vec::new(), Vec::new());
        for n in 0..n_events {
            all.extend(quick.events(1).await);
            // This one takes half of what comes, so it falls behind, in the log.
            if n % 2 == 0 {
                half.extend(slow.events(1).await);
            }
        }
        (all, half)
    };
    let ((), (all, mut half)) = tokio::join!(append_large(&server, n_events), readers);
    assert_eq!(all, expected);
    half.extend(slow.events(n_events - half.len()).await);
    assert_eq!(half, expected);
    only_left(&server, 2).await;
    assert_eq!(closed_with(&server, 4004).await, 1);
}

/// Waits until so many live connections are open.
async fn only_left(server: &Harness, n_connections: usize) {
    let left = async {
        loop {
            let open = server.get("/v1/streams").await.json();
            if open["items"].as_array().unwrap().len() == n_connections {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(left).await;
}

/// Returns how many connections were closed with this code.
async fn closed_with(server: &Harness, code: u16) -> u64 {
    let page = server.get("/metrics").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let name = format!("factum_live_closed_total{{code=\"{code}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_ended() {
    let server = Harness::start_with(|options| {
        options.live.ping_interval = Duration::from_millis(50);
        options.live.peer_timeout = Duration::from_millis(400);
        options.live.close_timeout = Duration::from_millis(100);
    })
    .await;
    // It reads nothing, so its pongs are never made.
    let dead = Ws::admin(&server).await;
    // This one answers while it waits for its end, which never comes.
    let mut live = Ws::admin(&server).await;
    let waiting = live.next();
    tokio::select! {
        message = waiting => panic!("{message}"),
        () = only_left(&server, 1) => {}
    }
    drop(dead);
    assert_eq!(closed_with(&server, 4004).await, 1);
}

#[tokio::test]
async fn connections_are_bounded() {
    let server = Harness::start_with(|options| {
        options.live.connections_max = 3;
        options.live.unauthenticated_max = 1;
        options.live.tickets_max = 1;
    })
    .await;
    let silent = Ws::open(&server.url, "", &[]).await.unwrap();
    assert_eq!(Ws::open(&server.url, "", &[]).await.err(), Some(503));
    let _first = Ws::admin(&server).await;
    let _second = Ws::admin(&server).await;
    let bearer = format!("Bearer {}", server.admin);
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(Ws::open(&server.url, "", &headers).await.err(), Some(503));
    assert_eq!(Sse::open(&server.url, "", &headers).await.err(), Some(503));
    drop(silent);
    let freed = async {
        while Sse::open(&server.url, "", &headers).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(freed).await;
    assert_eq!(server.post("/v1/stream/tickets", "").await.status, 201);
    let full = server.post("/v1/stream/tickets", "").await;
    full.problem(429, "rate_limited");
    assert!(!full.header("retry-after").is_empty());
}
