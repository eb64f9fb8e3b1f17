//! Secrets of many kinds, none of them real, and everywhere an agent may put one.

use serde_json::{Value, json};

use super::Call;

/// A secret of every kind, none of them real, in a text as an agent has it.
pub const SECRETS: &[(&str, &str, &str)] = &[
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
pub const NAMED_SECRETS: &[(&str, &str)] = &[
    ("password", "member-hunter2-a"),
    ("dbPassword", "member-hunter2-b"),
    ("api_key", "member-hunter2-c"),
    ("clientSecret", "member-hunter2-d"),
    ("Set-Cookie", "member-hunter2-e"),
    ("AUTH_TOKEN", "member-hunter2-f"),
];

/// A text that no rule takes out, for a search to find.
pub const KEPT: &str = "stays-where-it-is";

/// Returns the calls that put a text wherever an agent may put one. The last one registers another
/// instance.
#[must_use]
pub fn everywhere(id: &str, text: &str) -> Vec<Call> {
    let details = json!({
        "description": text,
        "parameters": { "tool_name": "shell", "argv": ["sh", "-c", text], "note": KEPT },
        "result": { "success": true, "out": text, text: 1 },
        "tags": [text],
        "context_data": [[text]],
    });
    let data = json!({ "commit_hash": "9f3c2ab", "message": text, "more": { "deep": [text] } });
    let work = json!({ "environment": { "LINE": text }, "files_modified": [text] });
    vec![
        Call::new(
            "mcp_meta_log_command",
            json!({ "instance_id": id, "action": text, "details": details }),
        ),
        Call::new(
            "mcp_meta_emit_event",
            json!({
                "instance_id": id, "event_type": "commit_created", "event_data": data,
                "metadata": { "remark": text },
            }),
        ),
        Call::new(
            "mcp_meta_create_checkpoint",
            json!({
                "instance_id": id, "checkpoint_type": "manual", "work_state": work, "note": text,
            }),
        ),
        Call::new(
            "mcp_meta_heartbeat",
            json!({ "instance_id": id, "context_percent": 1, "current_epic": text }),
        ),
        Call::new(
            "mcp_meta_register_instance",
            json!({
                "project": "shop", "instance_type": "PS",
                "initial_context": { "host": text, "external_session_id": text, "x": text },
            }),
        ),
    ]
}

/// Returns the calls that put every secret of [`NAMED_SECRETS`] under its name.
#[must_use]
pub fn named(id: &str) -> Vec<Call> {
    let put = |(name, secret): &(&str, &str)| {
        let value: Value = json!({ *name: secret, "list": [{ *name: { "deep": secret } }] });
        let details = json!({
            "description": "x", "parameters": value, "result": value, "context_data": value,
        });
        let data = json!({ "commit_hash": "c", "message": "m", "more": value });
        [
            Call::new(
                "mcp_meta_log_command",
                json!({ "instance_id": id, "action": "x", "details": details }),
            ),
            Call::emit(id, "commit_created", &data),
            Call::new(
                "mcp_meta_create_checkpoint",
                json!({ "instance_id": id, "checkpoint_type": "manual", "work_state": value }),
            ),
        ]
    };
    NAMED_SECRETS.iter().flat_map(put).collect()
}

/// Returns every text that must be nowhere.
pub fn texts() -> impl Iterator<Item = &'static str> {
    let plain = SECRETS.iter().map(|(_, secret, _)| *secret);
    plain.chain(NAMED_SECRETS.iter().map(|(_, secret)| *secret))
}
