//! Webhooks verified with the public libraries that receivers use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use factum_testkit::servers::{Libraries, Library};
use serde_json::json;

use crate::receiver::{Answer, Receiver, Request};
use crate::support::{deliver, open};
use crate::webhook::SECRET;

const PYTHON: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
given = json.load(sys.stdin)
event = Webhook(given["secret"]).verify(given["body"], given["headers"])
assert event["payload"]["name"] == "Ann Ä"
try:
    Webhook(given["secret"]).verify(given["body"] + " ", given["headers"])
    print("accepts what was changed")
except WebhookVerificationError:
    print("verified")
"#;

const NODE: &str = r#"
const { Webhook } = require("standardwebhooks");
const { createPublicKey, verify } = require("crypto");
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const event = new Webhook(given.secret).verify(given.body, given.headers);
if (event.payload.name !== "Ann Ä") throw new Error("another event");
// The library knows v1 only; v1a is checked with what the runtime brings.
const signature = given.headers["webhook-signature"].split(" ").find(s => s.startsWith("v1a,"));
const content = given.headers["webhook-id"] + "." + given.headers["webhook-timestamp"] + "." + given.body;
const prefix = Buffer.from("302a300506032b6570032100", "hex");
const key = createPublicKey({ key: Buffer.concat([prefix, Buffer.from(given.public, "base64")]), format: "der", type: "spki" });
if (!verify(null, Buffer.from(content), key, Buffer.from(signature.slice(4), "base64"))) throw new Error("v1a");
let refused = false;
try { new Webhook(given.secret).verify(given.body + " ", given.headers); } catch { refused = true; }
console.log(refused ? "verified" : "accepts what was changed");
"#;

/// Delivers an event that is signed with two HMAC secrets, as in a rotation, and with Ed25519.
async fn received() -> (Request, String) {
    let receiver = Receiver::start(vec![Answer::status("200 OK")]).await;
    let seed = [9; 32];
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
    let definition = json!({
        "type": "webhook",
        "url": receiver.url(),
        "secrets": [
            format!("whsec_{}", STANDARD.encode([3; 32])),
            SECRET,
            format!("whsk_{}", STANDARD.encode(seed)),
        ],
    });
    deliver(&*open(&definition), 1).await.unwrap();
    (receiver.requests().remove(0), STANDARD.encode(public))
}

async fn check(library: Library, program: &str) {
    let Some(library) = Libraries::with(library) else {
        println!("skipped: {library:?} cannot be installed");
        return;
    };
    let (request, public) = received().await;
    // Receivers that know the old secret and those that know the new one both accept.
    for secret in [
        SECRET.to_owned(),
        format!("whsec_{}", STANDARD.encode([3; 32])),
    ] {
        let given = json!({
            "secret": secret,
            "public": public,
            "headers": request.headers,
            "body": request.body,
        });
        let said = library.run(program, &given.to_string());
        assert_eq!(said.as_deref().map(str::trim), Ok("verified"));
    }
}

#[tokio::test]
async fn the_library_of_python_verifies_webhooks() {
    check(Library::Python("standardwebhooks==1.1.0"), PYTHON).await;
}

#[tokio::test]
async fn the_library_of_javascript_verifies_webhooks() {
    check(Library::Node("standardwebhooks@1.1.1"), NODE).await;
}
