//! Queries with totals and explanations, counts, causes and conversations.

use factum_api::{CausalTreeDto, ConversationDto, CountsDto, EventPageDto};
use serde_json::{Value, json};

use crate::harness::Harness;

const QUERY: &str = "/v1/events/query";
const COUNTS: &str = "/v1/events/counts";

async fn append(server: &Harness, events: Value) -> Vec<String> {
    let body = json!({ "events": events }).to_string();
    let answer = server.post("/v1/events", body).await;
    let receipts = answer.json();
    let events = receipts["events"].as_array().unwrap();
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    events.iter().map(id).collect()
}

fn submission(number: u64, country: &str, user: &str) -> Value {
    json!({
        "type": if number.is_multiple_of(2) { "submission.created" } else { "submission.approved" },
        "aggregateType": "submission",
        "aggregateId": format!("s-{number}"),
        "timestamp": format!("2026-03-{:02}T{:02}:00:00Z", 1 + number % 28, number % 24),
        "metadata": { "userId": user, "tags": [format!("region:{country}")] },
        "payload": { "country": country, "amount": number * 1000, "note": format!("credit check {number}") },
    })
}

async fn filled() -> Harness {
    let server = Harness::start().await;
    let events: Vec<Value> = (0..60)
        .map(|number| {
            let country = ["DE", "FR", "NL"][usize::try_from(number % 3).unwrap()];
            let user = ["ann", "bob"][usize::try_from(number / 30).unwrap()];
            submission(number, country, user)
        })
        .collect();
    append(&server, Value::Array(events)).await;
    server
}

#[tokio::test]
async fn a_query_says_how_many_match_and_how_it_knows() {
    let server = filled().await;
    let mut query = json!({
        "payloadQuery": [
            {"path": "$.country", "operator": "equals", "value": "DE"},
            {"path": "$.amount", "operator": "gt", "value": 10_000},
        ],
        "userId": "ann",
        "timestampRange": {"from": "2026-03-01T00:00:00Z", "to": "2026-04-01T00:00:00Z"},
        "sort": "desc",
        "limit": 3,
        "totalCount": true,
        "explain": true,
    });
    let mut found = Vec::new();
    loop {
        let answer = server.post(QUERY, query.to_string()).await;
        let page: EventPageDto = answer.shaped();
        assert_eq!(
            (page.total_count, page.total_count_complete),
            (Some(6), Some(true))
        );
        let explain = page.explain.unwrap();
        assert!(!explain.decided_by_index);
        assert!(explain.undecided.is_some());
        found.extend(
            page.events
                .iter()
                .map(|event| event.payload["amount"].as_u64().unwrap()),
        );
        if !page.has_more {
            break;
        }
        // What is appended behind the page does not disturb the pages that follow.
        append(&server, json!([submission(3, "FR", "bob")])).await;
        query["cursor"] = json!(page.cursor);
    }
    assert_eq!(found, [27_000, 24_000, 21_000, 18_000, 15_000, 12_000]);
}

#[tokio::test]
async fn totals_and_explanations_have_one_form() {
    let server = filled().await;
    let lines = [("accept", "application/x-ndjson")];
    for asked in ["totalCount", "explain"] {
        let body = json!({ asked: true }).to_string();
        let answer = server.admin("POST", QUERY, &lines, body).await;
        answer.problem(406, "not_acceptable");
    }
}

#[tokio::test]
async fn events_are_counted_by_what_is_asked() {
    let server = filled().await;
    let cases = [
        (
            "eventType",
            json!([["submission.approved", 30], ["submission.created", 30]]),
        ),
        ("aggregateType", json!([["submission", 60]])),
        ("user", json!([["ann", 30], ["bob", 30]])),
        (
            "tag",
            json!([["region:DE", 20], ["region:FR", 20], ["region:NL", 20]]),
        ),
    ];
    for (by, expected) in cases {
        let answer = server
            .post(
                COUNTS,
                json!({ "by": by, "aggregateTypes": ["submission"] }).to_string(),
            )
            .await;
        let counts: CountsDto = answer.shaped();
        let groups = counts.groups.unwrap();
        let groups: Vec<Value> = groups
            .iter()
            .map(|group| json!([group.key, group.count]))
            .collect();
        assert_eq!(json!(groups), expected, "{by}");
        assert_eq!((counts.total, counts.complete), (60, true));
    }
    let by_day = json!({ "by": "day", "limit": 2, "text": "credit" }).to_string();
    let counts: CountsDto = server.post(COUNTS, by_day).await.shaped();
    assert_eq!((counts.total, counts.group_count), (60, Some(28)));
    let days: Vec<String> = counts
        .groups
        .unwrap()
        .into_iter()
        .map(|group| group.key)
        .collect();
    assert_eq!(days.len(), 2);
    assert!(days.is_sorted() && days[0].starts_with("2026-03-"));
    let streams = json!({ "by": "stream", "eventTypes": ["*.created"] }).to_string();
    let counts: CountsDto = server.post(COUNTS, streams).await.shaped();
    assert_eq!(counts.group_count, Some(30));
    let none: CountsDto = server
        .post(COUNTS, json!({"userId": "eve"}).to_string())
        .await
        .shaped();
    assert_eq!(
        (none.total, none.groups, none.first_position),
        (0, None, None)
    );
}

#[tokio::test]
async fn a_count_by_something_else_is_refused_with_what_there_is() {
    let server = Harness::start().await;
    let problem = server
        .post(COUNTS, json!({ "by": "moon" }).to_string())
        .await
        .problem(400, "invalid_request");
    assert_eq!(problem["pointer"], "/by");
    let problem = server
        .post(COUNTS, json!({ "filtre": {} }).to_string())
        .await
        .problem(400, "invalid_request");
    assert!(
        problem["detail"].as_str().unwrap().contains("filter"),
        "{problem}"
    );
}

fn caused(number: u64, cause: Option<&str>) -> Value {
    let mut event = submission(number, "DE", "ann");
    event["correlationId"] = json!("case-1");
    if let Some(cause) = cause {
        event["causationId"] = json!(cause);
    }
    event
}

#[tokio::test]
async fn causes_and_effects_form_a_tree() {
    let server = Harness::start().await;
    let root = append(&server, json!([caused(1, None)])).await.remove(0);
    let middle = append(
        &server,
        json!([caused(2, Some(&root)), caused(3, Some(&root))]),
    )
    .await;
    let leaves = append(
        &server,
        json!([caused(4, Some(&middle[0])), caused(5, Some(&middle[0]))]),
    )
    .await;
    let tree: CausalTreeDto = server
        .get(&format!("/v1/events/{}/tree", middle[0]))
        .await
        .shaped();
    let ids: Vec<_> = tree
        .ancestors
        .iter()
        .map(|event| event.id.clone())
        .collect();
    assert_eq!(ids, [root.as_str()]);
    let nodes: Vec<_> = tree
        .tree
        .iter()
        .map(|node| (node.depth, node.event.id.as_str()))
        .collect();
    assert_eq!(
        nodes,
        [(0, &*middle[0]), (1, &*leaves[0]), (1, &*leaves[1])]
    );
    assert!(tree.complete && tree.missing_cause.is_none());
    let cut: CausalTreeDto = server
        .get(&format!("/v1/events/{root}/tree?limit=2"))
        .await
        .shaped();
    assert_eq!((cut.tree.len(), cut.complete), (3, false));
    let all: ConversationDto = server.get("/v1/correlations/case-1").await.shaped();
    let depths: Vec<_> = all.tree.iter().map(|node| node.depth).collect();
    assert_eq!((depths, all.complete), (vec![0, 1, 2, 2, 1], true));
    let none: ConversationDto = server.get("/v1/correlations/nobody").await.shaped();
    assert_eq!((none.tree, none.complete), (vec![], true));
    server
        .get("/v1/events/00000000-0000-4000-8000-000000000000/tree")
        .await
        .problem(404, "not_found");
    server
        .get("/v1/events/7/tree")
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn hostile_queries_are_answered_or_refused_in_time() {
    let server = filled().await;
    let mut deep = json!({"path": "$.country", "operator": "exists"});
    for _ in 0..100 {
        deep = json!({ "not": deep });
    }
    let many: Vec<u32> = (0..100_000).collect();
    let refused = [
        json!({ "payloadQuery": deep }),
        json!({"payloadQuery": {"path": "$.a", "operator": "in", "value": many}}),
        json!({"payloadQuery": {"path": format!("${}", ".a".repeat(5000)), "operator": "exists"}}),
        json!({"payloadQuery": {"path": "$.a", "operator": "regex", "value": "(a{1000}){1000}"}}),
        json!({"payloadQuery": {"path": "$.a", "operator": "regex", "value": "("}}),
        json!({"payloadQuery": {"path": "$[", "operator": "exists"}}),
        json!({"text": ""}),
    ];
    for query in refused {
        let answer = server.post(QUERY, query.to_string()).await;
        assert!(
            answer.status.is_client_error(),
            "{} {:?}",
            answer.status,
            answer.body
        );
    }
    let answered = [
        json!({"payloadQuery": {"path": "$.note", "operator": "regex", "value": "(c+)+(r+)+$"}, "totalCount": true}),
        json!({"payloadQuery": {"path": "$..*", "operator": "exists"}, "totalCount": true}),
        json!({"not": {"text": "credit check"}, "totalCount": true}),
        json!({"payloadQuery": {"path": "$.amount", "operator": "lt", "value": 1e308}, "totalCount": true}),
    ];
    for query in answered {
        let answer = server.post(QUERY, query.to_string()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let page: EventPageDto = answer.shaped();
        assert_eq!(page.total_count_complete, Some(true));
    }
}

#[tokio::test]
async fn a_filter_as_people_write_it_stands_in_the_query_string() {
    let server = filled().await;
    let found = server
        .get("/v1/events?q=payload.country%3DDE+payload.amount%3E10000+user:ann&types=*.created")
        .await;
    let page: EventPageDto = found.shaped();
    let amounts: Vec<_> = page
        .events
        .iter()
        .map(|event| event.payload["amount"].clone())
        .collect();
    assert_eq!(json!(amounts), json!([12_000, 18_000, 24_000]));
    let problem = server
        .get("/v1/events?q=payload.country%3D")
        .await
        .problem(400, "invalid_request");
    assert_eq!(problem["parameter"], "q");
}
