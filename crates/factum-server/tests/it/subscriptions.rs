//! Durable subscriptions over HTTP: made, consumed, refused.

use factum_api::{
    DurableSubscriptionDto, DurableSubscriptionListDto, EventCountDto, ExtendedDto,
    ExtendedListDto, FetchAnswerDto, ParkedListDto, SettledDto, SettledListDto,
};
use factum_engine::Scope;
use serde_json::{Value, json};

use crate::harness::Harness;
use crate::live_client::Ws;

const PATH: &str = "/v1/subscriptions";

async fn create(server: &Harness, body: &Value) -> DurableSubscriptionDto {
    let answer = server.post(PATH, body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.shaped()
}

async fn fetch(server: &Harness, body: &Value) -> FetchAnswerDto {
    let answer = server
        .post("/v1/subscriptions/crm/fetch", body.to_string())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.shaped()
}

async fn settle(server: &Harness, what: &str, body: &Value) -> SettledListDto {
    let path = format!("/v1/subscriptions/crm/{what}");
    let answer = server.post(&path, body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.shaped()
}

fn tokens(answer: &FetchAnswerDto) -> Vec<String> {
    answer
        .events
        .iter()
        .map(|handout| handout.token.clone())
        .collect()
}

fn positions(answer: &FetchAnswerDto) -> Vec<u64> {
    answer
        .events
        .iter()
        .map(|handout| handout.event.position)
        .collect()
}

#[tokio::test]
async fn events_are_fetched_and_settled() {
    let server = Harness::start().await;
    server.fill(3).await;
    let made = create(
        &server,
        &json!({"name": "crm", "start": "beginning", "order": "relaxed"}),
    )
    .await;
    assert_eq!(
        (made.in_flight_max, made.paused, made.started_after),
        (1000, false, 0)
    );
    // The streams of these three are one, so they come one after the other.
    let first = fetch(&server, &json!({"waitMs": 5000})).await;
    assert_eq!((first.events.len(), first.events[0].attempt), (1, 1));
    let again = fetch(&server, &json!({"consumer": "other"})).await;
    assert!(again.events.is_empty());
    let settled = settle(&server, "ack", &json!({"tokens": tokens(&first)})).await;
    assert_eq!(
        (settled.results[0].result, settled.stale),
        (SettledDto::Done, 0)
    );
    let settled = settle(&server, "ack", &json!({"tokens": tokens(&first)})).await;
    assert_eq!(
        (settled.results[0].result, settled.stale),
        (SettledDto::Stale, 1)
    );
    let second = fetch(&server, &json!({"waitMs": 5000})).await;
    assert!(positions(&second) > positions(&first));
    let nack = json!({"tokens": tokens(&second), "delayMs": 3_600_000, "cause": "down"});
    let settled = settle(&server, "nack", &nack).await;
    assert_eq!(settled.results[0].retry_in_ms, Some(3_600_000));
    let third = fetch(&server, &json!({"waitMs": 5000})).await;
    let nack = json!({"tokens": tokens(&third), "action": "park", "cause": "no such customer"});
    let settled = settle(&server, "nack", &nack).await;
    assert_eq!(settled.results[0].result, SettledDto::Parked);
    let one: DurableSubscriptionDto = server.get("/v1/subscriptions/crm").await.shaped();
    let status = one.status.unwrap();
    assert_eq!((status.waiting, status.parked, status.in_flight), (1, 1, 0));
    assert!(status.lag_events >= 1 && status.lag_seconds >= 0.0);
    let parked: ParkedListDto = server.get("/v1/subscriptions/crm/parked").await.shaped();
    assert_eq!(parked.items[0].cause, "no such customer");
    let redrive = server
        .post("/v1/subscriptions/crm/parked/redrive", r#"{"all":true}"#)
        .await;
    assert_eq!(redrive.shaped::<EventCountDto>().count, 1);
    let fourth = fetch(&server, &json!({"waitMs": 5000})).await;
    assert_eq!(positions(&fourth), positions(&third));
    // A consumer that stops gives back what it has.
    let released = server.post("/v1/subscriptions/crm/release", "{}").await;
    assert_eq!(released.shaped::<EventCountDto>().count, 1);
    let fifth = fetch(&server, &json!({"waitMs": 5000, "consumer": "other"})).await;
    assert_eq!(
        (positions(&fifth), fifth.events[0].attempt),
        (positions(&third), 2)
    );
    // An event comes as it was written, byte for byte.
    let event = server
        .get(&format!("/v1/events/{}", fifth.events[0].event.id))
        .await;
    assert_eq!(
        event.shaped::<factum_api::EventDto>(),
        fifth.events[0].event
    );
}

#[tokio::test]
async fn a_consumer_gets_more_time() {
    let server = Harness::start().await;
    server.fill(2).await;
    create(&server, &json!({"name": "crm", "start": "beginning"})).await;
    let first = fetch(&server, &json!({"waitMs": 5000})).await;
    settle(&server, "ack", &json!({"tokens": tokens(&first)})).await;
    let second = fetch(&server, &json!({"waitMs": 5000})).await;
    let both = [tokens(&second), tokens(&first)].concat();
    let both = json!({"tokens": both, "extendMs": 600_000});
    let extend = "/v1/subscriptions/crm/extend";
    let answer = server.post(extend, both.to_string()).await;
    let extended: ExtendedListDto = answer.shaped();
    let results: Vec<ExtendedDto> = extended.results.iter().map(|one| one.result).collect();
    assert_eq!(
        (results.as_slice(), extended.stale),
        (&[ExtendedDto::Extended, ExtendedDto::Stale][..], 1)
    );
    let deadline = extended.results[0].deadline.clone().unwrap();
    assert!(deadline > second.events[0].deadline, "{deadline}");
    let long = json!({"tokens": tokens(&second), "extendMs": 3_600_001});
    server
        .post(extend, long.to_string())
        .await
        .problem(413, "limit_exceeded");
    let malformed = server.post(extend, r#"{"tokens":["x"]}"#).await;
    malformed.problem(400, "invalid_request");
}

#[tokio::test]
async fn a_subscription_is_managed() {
    let server = Harness::start().await;
    server.fill(2).await;
    let body = json!({"name": "crm", "filter": {"eventTypes": ["no.such"]}, "start": "beginning"});
    create(&server, &body).await;
    let body = json!({"filter": {}, "ackDeadlineMs": 500, "retry": {"firstMs": 5}}).to_string();
    let changed = server
        .admin("PUT", "/v1/subscriptions/crm", &[], body)
        .await;
    let changed: DurableSubscriptionDto = changed.shaped();
    assert_eq!(
        (changed.ack_deadline_ms, changed.retry.first_ms),
        (500, Some(5))
    );
    for (act, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let answer = server
            .post(&format!("/v1/subscriptions/crm/{act}"), "")
            .await;
        assert_eq!(answer.shaped::<DurableSubscriptionDto>().paused, paused);
        if paused {
            let answer = fetch(&server, &json!({})).await;
            assert!(answer.paused && answer.events.is_empty());
        }
    }
    let reset = json!({"start": "beginning"}).to_string();
    server
        .post("/v1/subscriptions/crm/reset", reset)
        .await
        .shaped::<DurableSubscriptionDto>();
    assert_eq!(
        fetch(&server, &json!({"waitMs": 5000})).await.events.len(),
        1
    );
    let list: DurableSubscriptionListDto = server.get(PATH).await.shaped();
    assert_eq!(list.items.len(), 1);
    assert_eq!(
        server
            .admin("DELETE", "/v1/subscriptions/crm", &[], "")
            .await
            .status,
        200
    );
    server
        .get("/v1/subscriptions/crm")
        .await
        .problem(404, "not_found");
    server
        .post("/v1/subscriptions/crm/fetch", "{}")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_fetch_waits_for_the_first_event() {
    let server = Harness::start().await;
    create(&server, &json!({"name": "crm"})).await;
    let body = json!({"waitMs": 20_000});
    let waits = fetch(&server, &body);
    let appends = async {
        tokio::task::yield_now().await;
        server.fill(1).await;
    };
    let (answer, ()) = tokio::join!(waits, appends);
    assert_eq!(answer.events.len(), 1);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn what_breaks_a_rule_is_refused_with_its_place() {
    let server = Harness::start().await;
    create(&server, &json!({"name": "crm"})).await;
    let cases = [
        (PATH, json!({"name": "crm"}), 409, "already_exists", None),
        (
            PATH,
            json!({"name": "a/b"}),
            400,
            "invalid_request",
            Some("/name"),
        ),
        (PATH, json!({}), 400, "invalid_request", Some("/name")),
        (
            PATH,
            json!({"name": "a", "inFlightMax": 0}),
            400,
            "invalid_request",
            Some("/inFlightMax"),
        ),
        (
            PATH,
            json!({"name": "a", "retry": {"maxMs": 1}}),
            400,
            "invalid_request",
            Some("/retry/firstMs"),
        ),
        (
            PATH,
            json!({"name": "a", "filter": {"eventTypes": [">.a"]}}),
            400,
            "invalid_filter",
            Some("/filter/eventTypes/0"),
        ),
        (
            PATH,
            json!({"name": "a", "after": "x"}),
            400,
            "invalid_cursor",
            None,
        ),
        (
            "/v1/subscriptions/no/fetch",
            json!({}),
            404,
            "not_found",
            None,
        ),
        (
            "/v1/subscriptions/crm/fetch",
            json!({"limit": 0}),
            400,
            "invalid_request",
            Some("/limit"),
        ),
        (
            "/v1/subscriptions/crm/ack",
            json!({"tokens": ["1-2-3", "x"]}),
            400,
            "invalid_request",
            Some("/tokens/1"),
        ),
        (
            "/v1/subscriptions/crm/ack",
            json!({}),
            400,
            "invalid_request",
            Some("/tokens"),
        ),
        (
            "/v1/subscriptions/crm/nack",
            json!({"tokens": [], "action": "drop"}),
            400,
            "invalid_request",
            Some("/action"),
        ),
        (
            "/v1/subscriptions/crm/parked/discard",
            json!({}),
            400,
            "invalid_request",
            Some("/positions"),
        ),
        (
            "/v1/subscriptions/crm/reset",
            json!({}),
            400,
            "invalid_request",
            Some("/start"),
        ),
    ];
    for (path, body, status, code, pointer) in cases {
        let problem = server
            .post(path, body.to_string())
            .await
            .problem(status, code);
        if let Some(pointer) = pointer {
            assert_eq!(problem["pointer"], pointer, "{problem}");
        }
    }
    let many: Vec<String> = (1..=1001).map(|number| format!("1-{number}-1")).collect();
    let body = json!({ "tokens": many }).to_string();
    let answer = server.post("/v1/subscriptions/crm/ack", body).await;
    answer.problem(413, "limit_exceeded");
}

#[tokio::test]
async fn readers_consume_and_administrators_manage() {
    let server = Harness::start().await;
    create(&server, &json!({"name": "crm"})).await;
    let read = format!("Bearer {}", server.key(&[Scope::Read]).await);
    let headers = [
        ("authorization", read.as_str()),
        ("content-type", "application/json"),
    ];
    let fetch = "/v1/subscriptions/crm/fetch";
    assert_eq!(server.send("POST", fetch, &headers, "{}").await.status, 200);
    for (method, path) in [
        ("POST", PATH),
        ("DELETE", "/v1/subscriptions/crm"),
        ("POST", "/v1/subscriptions/crm/pause"),
        ("POST", "/v1/subscriptions/crm/parked/redrive"),
    ] {
        server
            .send(method, path, &headers, "{}")
            .await
            .problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_web_socket_consumes_and_gives_back_what_it_has() {
    let server = Harness::start().await;
    create(&server, &json!({"name": "crm"})).await;
    let mut ws = Ws::admin(&server).await;
    ws.say(&json!({"type": "subscribe", "subscriptionId": "s", "durable": "crm", "options": {"bufferSize": 2}}))
        .await;
    let confirmed = ws.next_of("subscription_confirmed").await;
    assert_eq!(confirmed["data"]["durable"], "crm");
    server.fill(3).await;
    for number in 0..2 {
        let event = ws.next_of("event").await;
        assert_eq!(
            (&event["attempt"], &event["data"]["payload"]["n"]),
            (&json!(1), &json!(number))
        );
        let ack = json!({"type": "ack", "subscriptionId": "s", "tokens": [event["token"]]});
        ws.say(&ack).await;
        assert_eq!(
            ws.next_of("settled").await["data"]["results"][0]["result"],
            "done"
        );
    }
    let event = ws.next_of("event").await;
    ws.say(&json!({"type": "extend", "subscriptionId": "s", "tokens": [event["token"]], "extendMs": 60_000}))
        .await;
    assert_eq!(
        ws.next_of("extended").await["data"]["results"][0]["result"],
        "extended"
    );
    ws.say(&json!({"type": "nack", "subscriptionId": "s", "tokens": [event["token"]], "delayMs": 0, "cause": "down"}))
        .await;
    assert_eq!(
        ws.next_of("settled").await["data"]["results"][0]["result"],
        "waiting"
    );
    let again = ws.next_of("event").await;
    assert_eq!(
        (&again["attempt"], &again["data"]),
        (&json!(2), &event["data"])
    );
    // The connection breaks: another consumer need not wait for the deadline.
    drop(ws);
    let rest = fetch(&server, &json!({"waitMs": 20_000})).await;
    assert_eq!((rest.events.len(), rest.events[0].attempt), (1, 3));
}

#[tokio::test]
async fn a_web_socket_is_told_what_it_cannot_consume() {
    let server = Harness::start().await;
    create(&server, &json!({"name": "crm"})).await;
    let mut ws = Ws::admin(&server).await;
    // An administrator sees the engine's own events too; here they would stand between the answers.
    ws.say(&json!({"type": "subscribe", "subscriptionId": "live", "filter": {"eventTypes": ["no.such"]}}))
        .await;
    ws.next_of("subscription_confirmed").await;
    ws.next_of("caught_up").await;
    let durable = |more: Value| {
        let mut message = json!({"type": "subscribe", "subscriptionId": "s", "durable": "crm"});
        message
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        message
    };
    for (message, code) in [
        (durable(json!({"durable": "no"})), "not_found"),
        (durable(json!({"filter": {}})), "invalid_request"),
        (
            durable(json!({"options": {"historyLimit": 1}})),
            "invalid_request",
        ),
        (
            durable(json!({"subscriptionId": "live"})),
            "invalid_request",
        ),
        (
            json!({"type": "ack", "subscriptionId": "live", "tokens": ["1-2-3"]}),
            "not_found",
        ),
        (
            json!({"type": "nack", "subscriptionId": "s"}),
            "invalid_request",
        ),
        (
            json!({"type": "extend", "tokens": ["1-2-3"]}),
            "invalid_request",
        ),
        (
            json!({"type": "extend", "subscriptionId": "no", "tokens": ["1-2-3"]}),
            "not_found",
        ),
        (
            json!({"type": "ack", "subscriptionId": "live", "tokens": [], "position": 1}),
            "invalid_request",
        ),
    ] {
        ws.say(&message).await;
        assert_eq!(ws.next_of("error").await["data"]["code"], code, "{message}");
    }
    ws.say(&durable(json!({}))).await;
    ws.next_of("subscription_confirmed").await;
    assert_eq!(
        server
            .admin("DELETE", "/v1/subscriptions/crm", &[], "")
            .await
            .status,
        200
    );
    assert_eq!(
        ws.next_of("subscription_closed").await["data"]["code"],
        "not_found"
    );
}
