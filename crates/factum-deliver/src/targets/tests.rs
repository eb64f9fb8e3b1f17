use serde_json::json;

use super::*;
use crate::testing::targets;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn webhook() -> Value {
    json!({
        "type": "webhook",
        "url": "https://crm.example/hook",
        "secrets": [SECRET],
        "secretHeaders": {"Authorization": "Bearer top secret"},
    })
}

fn accept(definition: &Value, before: Option<&str>) -> Result<String, InvalidTarget> {
    targets(&[]).accept(&definition.to_string(), before)
}

#[test]
fn secrets_are_stored_sealed_and_never_shown() {
    let stored = accept(&webhook(), None).unwrap();
    let shown = targets(&[]).show(&stored).unwrap();
    let target = targets(&[]).open(&stored).unwrap();
    for text in [
        &stored,
        &shown,
        &format!("{target:?}"),
        &format!("{:?}", targets(&[])),
    ] {
        assert!(
            !text.contains("MfKQ9r8G") && !text.contains("top secret"),
            "{text}"
        );
    }
    assert!(
        stored.contains("sealed") && !shown.contains("sealed"),
        "{shown}"
    );
    assert_eq!(target.state().kind, "webhook");
}

#[test]
fn what_was_shown_can_be_sent_back_with_changes() {
    let stored = accept(&webhook(), None).unwrap();
    let mut shown: Value = serde_json::from_str(&targets(&[]).show(&stored).unwrap()).unwrap();
    shown["url"] = "https://crm.example/other".into();
    let fresh = format!("whsec_{}", "B".repeat(32));
    shown["secrets"].as_array_mut().unwrap().push(fresh.into());
    let changed = accept(&shown, Some(&stored)).unwrap();
    targets(&[]).open(&changed).unwrap();
    let (old, new): (Value, Value) = (
        serde_json::from_str(&stored).unwrap(),
        serde_json::from_str(&changed).unwrap(),
    );
    assert_eq!(old["secrets"][0], new["secrets"][0]);
    assert_eq!(new["secrets"].as_array().unwrap().len(), 2);
    // Without what was stored, the name of a secret is nothing.
    let error = accept(&shown, None).unwrap_err();
    assert_eq!(error.pointer, "/secrets/0");
}

#[test]
fn nobody_brings_what_is_sealed() {
    let stored = accept(&webhook(), None).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(accept(&stored, None).unwrap_err().pointer, "/secrets/0");
}

#[test]
fn faults_name_their_field_and_quote_no_secret() {
    let change = |field: &str, value: Value| {
        let mut definition = webhook();
        definition[field] = value;
        definition
    };
    for (definition, pointer) in [
        (json!({}), "/type"),
        (json!({"type": "fax"}), "/type"),
        (change("url", json!("http://10.0.0.1/")), "/url"),
        (change("url", json!("http://2130706433/")), "/url"),
        (change("url", json!(7)), "/url"),
        (change("secrets", json!([])), "/secrets"),
        (change("secrets", json!(["whsec_zzz"])), "/secrets/0"),
        (change("secrets", json!([["zzz"]])), "/secrets/0"),
        (
            change("secretHeaders", json!({"a/b": "zzz\n"})),
            "/secretHeaders/a~1b",
        ),
        (
            change("headers", json!({"Webhook-Id": "x"})),
            "/headers/Webhook-Id",
        ),
        (
            change("headers", json!({"AUTHORIZATION": "x"})),
            "/secretHeaders/Authorization",
        ),
        (
            change("limits", json!({"timeoutMs": 0})),
            "/limits/timeoutMs",
        ),
        (change("limits", json!({"timeout": 0})), "/limits/timeout"),
        (
            change("payload", json!({"shape": "template"})),
            "/payload/template",
        ),
        (
            change("payload", json!({"shape": "other"})),
            "/payload/shape",
        ),
        (change("caCertificates", json!("zzz")), "/caCertificates"),
    ] {
        let error = accept(&definition, None).unwrap_err();
        assert_eq!(error.pointer, pointer, "{error}");
        assert!(!format!("{error:?}").contains("zzz"), "{error:?}");
    }
}

#[test]
fn what_is_stored_under_another_key_does_not_open() {
    let stored = accept(&webhook(), None).unwrap();
    let error = crate::testing::targets_with_key(&[], 9)
        .open(&stored)
        .unwrap_err();
    assert!(error.rule.contains("cannot be opened"), "{error}");
}

#[test]
fn a_channel_is_told_from_what_is_sent_to() {
    let channel = json!({"type": "channel", "channel": "orders.north"});
    let stored = accept(&channel, None).unwrap();
    let targets = targets(&[]);
    assert_eq!(targets.channel(&stored).as_deref(), Some("orders.north"));
    assert_eq!(targets.show(&stored).unwrap(), stored);
    assert_eq!(targets.channel(&accept(&webhook(), None).unwrap()), None);
    for name in ["", "a b", "ä", &"x".repeat(129)] {
        let error = accept(&json!({"type": "channel", "channel": name}), None).unwrap_err();
        assert_eq!(error.pointer, "/channel", "{error}");
    }
}
