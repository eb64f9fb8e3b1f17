//! Secrets of many kinds go in, and are nowhere afterwards.

use std::path::{Path, PathBuf};

use memchr::memmem;
use serde_json::{Value, json};

use crate::harness::{Node, command, emit, node};

/// A secret of every kind, none of them real, in a text as an agent has it.
const SECRETS: &[(&str, &str, &str)] = &[
    (
        "AWS access key",
        "AKIAIOSFODNN7EXAMPLE",
        "aws s3 ls --profile {}",
    ),
    (
        "AWS secret key",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        "export AWS_SECRET_ACCESS_KEY={}",
    ),
    (
        "GitHub token",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "git push https://x:{}@github.example/a",
    ),
    (
        "GitLab token",
        "glpat-abcDEF123456ghiJKL78",
        "curl -H 'PRIVATE-TOKEN: {}' https://gitlab.example",
    ),
    (
        "Slack token",
        "xoxb-2415-987654321-AbCdEfGhIjKl",
        "post with {}",
    ),
    (
        "Stripe key",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "charge with {}",
    ),
    (
        "OpenAI key",
        "sk-proj-AbCdEfGhIjKlMnOpQrStUvWx",
        "ask with {}",
    ),
    (
        "Anthropic key",
        "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv",
        "ask with {}",
    ),
    (
        "Google key",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "https://maps.example/?key={}",
    ),
    (
        "npm token",
        "npm_abcdefghijklmnopqrstuvwxyz0123456789",
        "//registry.example/:_authToken={}",
    ),
    (
        "JWT",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "session {} ended",
    ),
    (
        "bearer token",
        "mF_9.B5f-4.1JqM.zzzz",
        "curl -H 'Authorization: Bearer {}' https://a.example",
    ),
    (
        "basic credentials",
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ",
        "curl -H 'Authorization: Basic {}' https://a.example",
    ),
    (
        "password in a URL",
        "url-hunter2-secret",
        "git clone https://ann:{}@git.example/x.git",
    ),
    (
        "connection string",
        "conn-hunter2-secret",
        "Server=db;User Id=app;Password={};Encrypt=true",
    ),
    (
        "database URL",
        "pg-hunter2-secret",
        "psql postgresql://app:{}@db.example/shop",
    ),
    (
        "storage account key",
        "AccountKeyHunter2Secret",
        "DefaultEndpointsProtocol=https;AccountKey={};Suffix=x",
    ),
    (
        "environment",
        "env-hunter2-secret",
        "DB_PASSWORD='{}' ./run",
    ),
    (
        "flag",
        "flag-hunter2-secret",
        "deploy --api-key {} --dry-run",
    ),
    (
        "mysql flag",
        "mysql-hunter2-secret",
        "mysql -u root -p{} shop",
    ),
    (
        "curl user",
        "curl-hunter2-secret",
        "curl -u ann:{} https://a.example",
    ),
    (
        "JSON in a text",
        "json-hunter2-secret",
        "curl -d '{\"password\":\"{}\"}' https://a.example",
    ),
    (
        "cookie",
        "cookie31d4d96e407aad42",
        "Cookie: sid={}; theme=dark",
    ),
    (
        "private key",
        "MIIEowIBAAKCAQEAv0q3Zt9w",
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    ),
    (
        "Factum key",
        "fct_a1b2c3d4_0123456789abcdef0123",
        "factum tail --key {}",
    ),
];

/// Secrets that only the name of their member tells.
const NAMED: &[(&str, &str)] = &[
    ("password", "member-hunter2-a"),
    ("dbPassword", "member-hunter2-b"),
    ("api_key", "member-hunter2-c"),
    ("clientSecret", "member-hunter2-d"),
    ("Set-Cookie", "member-hunter2-e"),
    ("AUTH_TOKEN", "member-hunter2-f"),
];

fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn assert_nowhere(directory: &Path) {
    let secrets = SECRETS.iter().map(|(_, secret, _)| *secret);
    let secrets: Vec<&str> = secrets
        .chain(NAMED.iter().map(|(_, secret)| *secret))
        .collect();
    let files = all_files(directory);
    let mut found_what_is_kept = false;
    for path in &files {
        let bytes = std::fs::read(path).unwrap();
        found_what_is_kept |= memmem::find(&bytes, b"stays-where-it-is").is_some();
        for secret in &secrets {
            let found = memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret} in {}", path.display());
        }
    }
    assert!(found_what_is_kept, "the search finds what is there");
}

async fn put_everywhere(node: &Node, id: &str, text: &str) {
    let details = json!({
        "description": text,
        "parameters": { "tool_name": "shell", "argv": ["sh", "-c", text], "note": "stays-where-it-is" },
        "result": { "success": true, "out": text, text: 1 },
        "tags": [text],
        "context_data": [[text]],
    });
    node.sessions
        .log_command(command(id, text, &details))
        .await
        .unwrap();
    let data = json!({ "commit_hash": "9f3c2ab", "message": text, "more": { "deep": [text] } });
    let mut input = emit(id, "commit_created", &data);
    let metadata = json!({ "remark": text });
    input.metadata = Some(serde_json::from_value(metadata).unwrap());
    node.sessions.emit_event(input).await.unwrap();
    let work = json!({ "environment": { "LINE": text }, "files_modified": [text] });
    let checkpoint = json!({
        "instance_id": id, "checkpoint_type": "manual", "work_state": work, "note": text,
    });
    let input = serde_json::from_value(checkpoint).unwrap();
    node.sessions.create_checkpoint(input).await.unwrap();
    let heartbeat = json!({ "instance_id": id, "context_percent": 1, "current_epic": text });
    let input = serde_json::from_value(heartbeat).unwrap();
    node.sessions.heartbeat(input).await.unwrap();
    let registration = json!({
        "project": "shop", "instance_type": "PS",
        "initial_context": { "host": text, "external_session_id": text, "x": text },
    });
    let input = serde_json::from_value(registration).unwrap();
    let other = node
        .sessions
        .register_instance(input)
        .await
        .unwrap()
        .instance_id;
    let close = json!({ "instance_id": other, "reason": text });
    let input = serde_json::from_value(close).unwrap();
    node.sessions.close_instance(input).await.unwrap();
}

#[tokio::test]
async fn no_secret_reaches_the_disk() {
    let (node, directory) = node();
    let id = node.register("shop").await;
    assert!(SECRETS.len() >= 20);
    for (_, secret, text) in SECRETS {
        put_everywhere(&node, &id, &text.replace("{}", secret)).await;
    }
    for (name, secret) in NAMED {
        let value: Value = json!({ *name: secret, "list": [{ *name: { "deep": secret } }] });
        let details = json!({
            "description": "x", "parameters": value, "result": value, "context_data": value,
        });
        node.sessions
            .log_command(command(&id, "x", &details))
            .await
            .unwrap();
        let data = json!({ "commit_hash": "c", "message": "m", "more": value });
        node.emit(&id, "commit_created", data).await.unwrap();
        node.checkpoint(&id, Some(value)).await;
    }
    node.advance(130);
    let resumed = json!({ "instance_id_hint": id, "resumed_by": "password=member-hunter2-a" });
    let input = serde_json::from_value(resumed).unwrap();
    let answer = node.sessions.resume_instance(input).await.unwrap();
    let answer = serde_json::to_string(&answer).unwrap();
    for (kind, secret, _) in SECRETS {
        assert!(!answer.contains(secret), "{kind}");
    }
    assert!(node.sessions.metrics().redacted_total > 20);
    assert_nowhere(directory.path());
    node.stop().await;
    assert_nowhere(directory.path());
}

#[tokio::test]
async fn what_is_refused_repeats_no_secret() {
    let (node, _directory) = node();
    let id = node.register("shop").await;
    let secret = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv";
    let errors = [
        node.emit(&id, "commit_created", json!({ "message": secret }))
            .await
            .unwrap_err(),
        node.emit(
            &id,
            "pr_created",
            json!({ "pr_url": secret, "pr_number": secret, "title": "x" }),
        )
        .await
        .unwrap_err(),
    ];
    for error in errors {
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}
