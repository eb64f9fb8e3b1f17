//! `POST /v1/events/bulk`.

use std::io::Write as _;

use crate::harness::{Answer, Harness, event};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

fn body(n_events: usize) -> String {
    let lines = (0..n_events).map(|n| {
        let id = format!("{{\"id\":\"00000000-0000-7000-8000-{n:012}\",");
        let event = event("a.b", "a", &(n % 7).to_string(), &format!("{{\"n\":{n}}}"));
        event.replacen('{', &id, 1) + "\n"
    });
    lines.collect()
}

async fn send(server: &Harness, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut all = vec![LINES];
    all.extend_from_slice(headers);
    server.admin("POST", "/v1/events/bulk", &all, body).await
}

#[tokio::test]
async fn a_body_of_any_length_is_appended_in_chunks() {
    let server = Harness::start_with(|options| options.bulk.chunk_events_max = 100).await;
    let answer = send(&server, &[], body(1050).into()).await;
    assert_eq!(answer.status, 200);
    let receipts: Vec<factum_api::ChunkReceiptDto> = answer
        .lines()
        .into_iter()
        .map(|line| serde_json::from_value(line).unwrap())
        .collect();
    assert_eq!(
        receipts.iter().map(|receipt| receipt.appended).sum::<u64>(),
        1050
    );
    assert!(receipts.iter().all(|receipt| receipt.appended <= 100));
    assert_eq!(receipts[0].lines.from, 1);
    assert_eq!(receipts.last().unwrap().lines.to, 1050);
    let seamless = |pair: &[factum_api::ChunkReceiptDto]| {
        pair[0].lines.to + 1 == pair[1].lines.from && pair[0].chunk + 1 == pair[1].chunk
    };
    assert!(receipts.windows(2).all(seamless));
}

#[tokio::test]
async fn a_transfer_can_be_repeated_with_other_chunks() {
    let server = Harness::start_with(|options| options.bulk.chunk_events_max = 64).await;
    send(&server, &[], body(100).into()).await;
    let lines = send(&server, &[], body(150).into()).await.lines();
    let sum = |name: &str| {
        lines
            .iter()
            .map(|line| line[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("appended"), sum("deduplicated")), (50, 100));
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let server = Harness::start().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body(500).as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = zstd::encode_all(body(700).as_bytes(), 1).unwrap();
    let lines = send(&server, &[("content-encoding", "gzip")], gzip.clone())
        .await
        .lines();
    assert_eq!(lines.last().unwrap()["lines"]["to"], 500);
    let lines = send(&server, &[("content-encoding", "zstd")], zstd)
        .await
        .lines();
    assert_eq!(lines.last().unwrap()["lines"]["to"], 700);
    let broken = gzip[..gzip.len() / 2].to_vec();
    let answer = send(&server, &[("content-encoding", "gzip")], broken).await;
    if answer.status == 200 {
        let last = answer.lines().pop().unwrap();
        assert_eq!(last["error"]["code"], "invalid_request");
    } else {
        answer.problem(400, "invalid_request");
    }
    let answer = send(&server, &[("content-encoding", "br")], Vec::new()).await;
    answer.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_failure_names_its_line_and_what_came_before_stays() {
    let server = Harness::start_with(|options| options.bulk.chunk_events_max = 10).await;
    let mut text = body(25);
    text.push_str("\n{\"type\":\"a..b\"}\n");
    text.push_str(&body(30));
    let lines = send(&server, &[], text.into()).await.lines();
    let error = &lines.last().unwrap()["error"];
    assert_eq!(
        (&error["code"], &error["line"]),
        (&"invalid_event".into(), &27.into())
    );
    assert_eq!(error["pointer"], "/type");
    assert_eq!(lines[lines.len() - 2]["lines"]["to"], 25);
    let at_once = send(&server, &[], b"[]\n".to_vec())
        .await
        .problem(422, "invalid_event");
    assert_eq!(at_once["line"], 1);
    let reserved = format!("{}{}\n", body(1), event("a.b", "factum", "1", "{}"));
    let problem = send(&server, &[], reserved.into())
        .await
        .problem(403, "reserved_name");
    assert_eq!(
        (&problem["line"], &problem["pointer"]),
        (&2.into(), &"/aggregateType".into())
    );
}

#[tokio::test]
async fn nothing_is_nothing() {
    let server = Harness::start().await;
    for nothing in ["", "\n", "\r\n\n  \n"] {
        let answer = send(&server, &[], nothing.into()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    }
    let long = vec![b'x'; 3 << 20];
    send(&server, &[], long)
        .await
        .problem(413, "limit_exceeded");
    let json = [("content-type", "application/json")];
    let answer = server
        .admin("POST", "/v1/events/bulk", &json, body(1))
        .await;
    answer.problem(415, "unsupported_media_type");
}
