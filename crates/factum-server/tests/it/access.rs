//! Who may call what: every endpoint of the document, with wrong credentials and with none.

use std::collections::BTreeSet;

use factum_engine::{KeyRing as _, Scope};
use serde_json::Value;

use crate::harness::{Answer, Harness};

/// Returns method, path and needed scope of every endpoint.
fn endpoints() -> Vec<(String, String, Option<String>)> {
    let document: Value = serde_json::from_str(&factum_server::Server::openapi().unwrap()).unwrap();
    let mut endpoints = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().expect("no stated scope");
            let scope = security.iter().find_map(|needed| {
                needed["key"]
                    .as_array()
                    .and_then(|scopes| scopes[0].as_str())
            });
            let path = path
                .replace("{id}", "018bcfe5-6800-7fff-bfff-ffffffffffff")
                .replace("{name}", "a")
                .replace("{type}", "a")
                .replace("{code}", "not_found");
            endpoints.push((method.to_uppercase(), path, scope.map(str::to_owned)));
        }
    }
    endpoints
}

#[tokio::test]
async fn nobody_without_a_key_is_let_in() {
    let server = Harness::start().await;
    let mut n_closed = 0;
    for (method, path, scope) in endpoints() {
        let answer = server.send(&method, &path, &[], "").await;
        match scope.as_deref() {
            None => assert_eq!(answer.status, 200, "{method} {path}"),
            // A WebSocket may show its key later; without a handshake it is no WebSocket.
            Some(_) if path == "/v1/stream" => assert_eq!(answer.status, 400),
            Some(_) => {
                n_closed += 1;
                answer.problem(401, "unauthenticated");
                assert!(answer.header("www-authenticate").starts_with("Bearer"));
            }
        }
    }
    assert!(n_closed > 15);
}

#[tokio::test]
async fn a_wrong_key_is_none_at_all() {
    let server = Harness::start().await;
    let almost = format!("{}0", &server.admin[..server.admin.len() - 1]);
    let wrong = [
        "Bearer".to_owned(),
        "Bearer x".to_owned(),
        format!("Basic {}", server.admin),
        format!("Bearer {almost}0"),
        format!("Bearer {}", "f".repeat(85)),
    ];
    for (method, path, scope) in endpoints() {
        if scope.is_none() {
            continue;
        }
        for wrong in &wrong {
            let headers = [("authorization", wrong.as_str())];
            server
                .send(&method, &path, &headers, "")
                .await
                .problem(401, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let server = Harness::start().await;
    let read = format!("Bearer {}", server.key(&[Scope::Read]).await);
    let append = format!("Bearer {}", server.key(&[Scope::Append]).await);
    for (method, path, scope) in endpoints() {
        let other = match scope.as_deref() {
            // It takes any key, and decides tool by tool.
            _ if path == "/mcp" => continue,
            None => continue,
            Some("read") => &append,
            Some(_) => &read,
        };
        let headers = [("authorization", other.as_str())];
        server
            .send(&method, &path, &headers, "")
            .await
            .problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let server = Harness::start().await;
    let made = server
        .post("/v1/keys", r#"{"name":"ci","scopes":["read"]}"#)
        .await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let bearer = format!("Bearer {}", made["secret"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(
        server.send("GET", "/v1/events", &headers, "").await.status,
        200
    );
    let principal = server
        .keys
        .authenticate(made["secret"].as_str().unwrap())
        .unwrap();
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    for query in ["?force=perhaps", "?forced=true", "?force=true&force=true"] {
        let answer = server
            .admin("DELETE", &format!("{path}{query}"), &[], "")
            .await;
        answer.problem(400, "invalid_request");
    }
    let revoked = server.admin("DELETE", &path, &[], "").await;
    assert!(revoked.json()["revokedAt"].is_string());
    principal.ended(server.engine.clock()).await;
    server
        .send("GET", "/v1/events", &headers, "")
        .await
        .problem(401, "unauthenticated");
    let list = server.get("/v1/keys").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains(made["secret"].as_str().unwrap()));
    server
        .admin("DELETE", "/v1/keys/none", &[], "")
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn the_last_admin_key_is_revoked_by_force_only() {
    let server = Harness::start().await;
    let list = server.get("/v1/keys").await.json();
    let path = format!("/v1/keys/{}", list["items"][0]["id"].as_str().unwrap());
    let refused = server.admin("DELETE", &path, &[], "").await;
    refused.problem(409, "last_admin_key");
    assert_eq!(server.get("/v1/keys").await.status, 200);
    let forced = format!("{path}?force=true");
    assert_eq!(server.admin("DELETE", &forced, &[], "").await.status, 200);
    let gone = server.get("/v1/keys").await;
    gone.problem(401, "unauthenticated");
}

/// What no endpoint is, and what one is but not with this method: for each path, all methods.
#[tokio::test]
async fn strangers_pass_the_same_door_as_all() {
    let server = Harness::start().await;
    let table = endpoints();
    let paths: BTreeSet<&str> = table.iter().map(|(_, path, _)| path.as_str()).collect();
    let marks = [("x-request-id", "mine-1")];
    let check = |answer: &Answer, status, code| {
        let problem = answer.problem(status, code);
        assert_eq!(problem["requestId"], "mine-1");
        assert_eq!(answer.header("x-request-id"), "mine-1");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").contains("'none'"));
        problem
    };
    let mut n_refused = 0;
    for path in paths {
        let known = |method: &str| table.iter().any(|(m, p, _)| p == path && m == method);
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            if known(method) {
                continue;
            }
            n_refused += 1;
            let answer = server.send(method, path, &marks, "").await;
            let problem = check(&answer, 405, "method_not_allowed");
            assert!(problem["detail"].as_str().unwrap().contains(method));
            let allow: BTreeSet<&str> = answer.header("allow").split(',').collect();
            let mut expected: BTreeSet<&str> = table
                .iter()
                .filter(|(_, p, _)| p == path)
                .map(|(method, ..)| method.as_str())
                .collect();
            if expected.contains("GET") {
                expected.insert("HEAD");
            }
            assert_eq!(allow, expected, "{method} {path}");
        }
        let stranger = format!("{path}/and/more");
        check(
            &server.send("GET", &stranger, &marks, "").await,
            404,
            "not_found",
        );
    }
    assert!(n_refused > 100);
    let metrics = server.get("/metrics").await;
    let page = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = "route=\"unmatched\",status=\"4xx\"} ";
    let line = page.lines().find(|line| line.contains(counted)).unwrap();
    let n: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(n > n_refused);
}

#[tokio::test]
async fn keys_are_read_again_at_the_next_start() {
    let server = Harness::start().await;
    let key = server.key(&[Scope::Read]).await;
    let again = factum_security::ApiKeys::open(server.engine.clone())
        .await
        .unwrap();
    assert_eq!(again.list(), server.keys.list());
    assert!(again.authenticate(&key).is_ok());
    assert!(again.ensure_admin("second").await.unwrap().is_none());
}

#[tokio::test]
async fn the_events_of_the_engine_are_for_administrators() {
    let server = Harness::start().await;
    let bearer = format!("Bearer {}", server.key(&[Scope::Read, Scope::Append]).await);
    let headers = [("authorization", bearer.as_str())];
    let mine = server.get("/v1/events").await.json();
    assert_eq!(mine["events"].as_array().unwrap().len(), 2);
    let id = mine["events"][0]["id"].as_str().unwrap();
    let stream = mine["events"][0]["aggregateId"].as_str().unwrap();
    let theirs = server.send("GET", "/v1/events", &headers, "").await.json();
    assert_eq!(theirs["events"].as_array().unwrap().len(), 0);
    for path in [
        format!("/v1/events/{id}"),
        format!("/v1/aggregates/factum/{stream}"),
        format!("/v1/aggregates/factum/{stream}/events"),
        format!("/v1/aggregates/{stream}"),
    ] {
        assert_eq!(server.get(&path).await.status, 200, "{path}");
        server
            .send("GET", &path, &headers, "")
            .await
            .problem(404, "not_found");
    }
}
