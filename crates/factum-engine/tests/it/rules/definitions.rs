//! Definitions: what is refused and where, and what becomes of what is not.

use factum_engine::{DryRun, RuleError};
use factum_query::Explanation;

use super::harness::{World, rule};

fn with(replaced: &str, by: &str) -> String {
    let whole = rule("r", "");
    assert!(whole.contains(replaced), "{replaced}");
    whole.replace(replaced, by)
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its beginning to its end"
)]
async fn a_fault_is_told_with_its_place() {
    let world = World::new();
    let rules = world.rules().await;
    let condition = r#"{"type":"eventType","operator":"matches","value":"case.>"}"#;
    let cases = [
        ("{".to_owned(), "", "expected a key"),
        (with(r#""name":"r","#, ""), "", "missing field `name`"),
        (
            with(r#""name":"r""#, r#""name":"""#),
            "/name",
            "1 to 100 characters",
        ),
        (rule("r", r#","colour":1"#), "/colour", "unknown field"),
        (
            rule("r", r#","rateLimit":{"maxEvents":0,"timeWindowMs":5}"#),
            "/rateLimit/maxEvents",
            "at least 1",
        ),
        (
            rule("r", r#","start":{"from":"after"}"#),
            "/start/position",
            "from",
        ),
        (rule("a b", ""), "/id", "letters, digits"),
        (
            with(r#""id":"a""#, r#""id":"a","retry":{"maxAttempts":0}"#),
            "/targets/0/retry/maxAttempts",
            "1 to 1000",
        ),
        (
            with(r#""id":"a""#, r#""id":"a","retry":{"strategy":"none"}"#),
            "/targets/0/retry/strategy",
            "unknown variant",
        ),
        (
            with(r#""type":"fake""#, r#""type":"pigeon""#),
            "/targets/0/to/type",
            "must be fake",
        ),
        (
            with("case.>", "case..x"),
            "/conditions/0/value",
            "segment is empty",
        ),
        (
            with(r#""matches""#, r#""equals""#),
            "/conditions/0/value",
            "patterns stand with",
        ),
        (
            with(r#""matches""#, r#""like""#),
            "/conditions/0/operator",
            "must be equals, matches",
        ),
        (
            with(r#""eventType""#, r#""colour""#),
            "/conditions/0/type",
            "must be eventType",
        ),
        (
            with(
                condition,
                r#"{"type":"payload","operator":"equals","field":"x","value":1}"#,
            ),
            "/conditions/0/field",
            "JSONPath",
        ),
        (
            with(
                condition,
                r#"{"type":"payload","operator":"gt","field":"$.x","value":true}"#,
            ),
            "/conditions/0/value",
            "number or a text",
        ),
        (
            with(
                condition,
                r#"{"type":"payload","operator":"regex","field":"$.x","value":"("}"#,
            ),
            "/conditions/0/value",
            "regular expression",
        ),
        (
            with(condition, r#"{"any":[{"all":[{"not":{"any":[]}}]}]}"#),
            "/conditions/0/any/0/all/0/not",
            "nested deeper",
        ),
        (
            with(condition, r#"{"all":[],"any":[]}"#),
            "/conditions/0/any",
            "cannot stand beside",
        ),
        (
            with(
                condition,
                r#"{"type":"custom","expression":"event.type == 'x' && \n nope"}"#,
            ),
            "/conditions/0/expression",
            "\"nope\"",
        ),
        (
            with(condition, r#"{"type":"custom","expression":"1 +"}"#),
            "/conditions/0/expression",
            "",
        ),
    ];
    for (text, pointer, part) in cases {
        let error = rules.create(&text, "ann").await.unwrap_err();
        let RuleError::Invalid(invalid) = error else {
            panic!("{text}: {error:?}");
        };
        assert_eq!(invalid.pointer, pointer, "{text}: {invalid}");
        assert!(invalid.rule.contains(part), "{text}: {invalid}");
    }
    let bad = with(
        condition,
        r#"{"type":"custom","expression":"event.type == 'x' && \n nope"}"#,
    );
    let RuleError::Invalid(invalid) = rules.create(&bad, "ann").await.unwrap_err() else {
        panic!("it is invalid");
    };
    let place = invalid.place.unwrap();
    assert_eq!((place.line, place.column), (2, Some(2)));
    assert!(rules.list().is_empty());
    assert_eq!(world.engine.head(), None, "nothing was recorded");
}

#[tokio::test(start_paused = true)]
async fn changes_are_events_that_every_node_follows() {
    let world = World::new();
    let rules = world.rules().await;
    let made = rules
        .create(&rule("r", r#","priority":5"#), "ann")
        .await
        .unwrap();
    assert_eq!(
        (made.priority, made.enabled, made.changed_by.as_str()),
        (5, true, "ann")
    );
    let again = rules.create(&rule("r", ""), "ann").await.unwrap_err();
    assert!(matches!(again, RuleError::Exists { .. }));
    let shown = rules.show(&made).unwrap();
    assert!(!shown.contains("s3cret"), "{shown}");
    // What was shown and comes back keeps its secret.
    let replaced = rules.replace("r", &shown, "bob").await.unwrap();
    assert!(replaced.targets[0].definition.contains("s3cret"));
    assert_eq!(replaced.targets[0].since, made.targets[0].since);
    assert_eq!(replaced.created_at, made.created_at);
    let off = rules.switch("r", false, ("ann", None)).await.unwrap();
    assert!(!off.enabled);
    let other = world.reopened().rules().await;
    assert_eq!(*other.get("r").unwrap(), *off);
    // Another node is faster: the slower one is told, and knows better once it has followed.
    other.switch("r", true, ("eve", None)).await.unwrap();
    let late = rules.delete("r", "ann").await.unwrap_err();
    assert!(matches!(late, RuleError::Changed { .. }), "{late:?}");
    let third = world.reopened().rules().await;
    third.delete("r", "ann").await.unwrap();
    assert!(third.list().is_empty());
    let missing = third.get("r").unwrap_err();
    assert!(matches!(missing, RuleError::NotFound { .. }));
    // Made again it begins anew.
    let anew = third.create(&rule("r", ""), "ann").await.unwrap();
    assert!(anew.targets[0].since > made.targets[0].since);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_decided() {
    let world = World::new();
    let rules = world.rules().await;
    let text = rule("r", "").replace(
        r#"[{"type":"eventType","operator":"matches","value":"case.>"}]"#,
        r#"[{"type":"eventType","operator":"matches","value":"case.>"},
            {"any":[{"type":"payload","operator":"gte","field":"$.n","value":2},
                    {"type":"routingKey","operator":"equals","value":"urgent"}]},
            {"type":"custom","expression":"event.payload.m != 3"}]"#,
    );
    rules.create(&text, "ann").await.unwrap();
    for payload in [
        r#"{"n":1}"#,
        r#"{"n":2}"#,
        r#"{"n":2.0,"m":1}"#,
        r#"{"n":3,"m":3}"#,
        r#"{"n":3,"m":{}}"#,
    ] {
        world.append_one(1, payload).await;
    }
    let tested = rules.dry_run_of("r", &DryRun::Last(5)).await.unwrap();
    let said: Vec<String> = tested
        .iter()
        .map(|event| match &event.outcomes[0].explanation {
            Explanation::Matched => "matched".to_owned(),
            Explanation::NotMatched(reason) => {
                format!("{} {:?}", reason.pointer, reason.missing.as_deref())
            }
            Explanation::Failed { pointer, .. } => format!("{pointer} failed"),
        })
        .collect();
    assert_eq!(
        said,
        ["/1 None", "/2 Some(\"m\")", "matched", "/2 None", "matched"]
    );
    let unrecorded = rules
        .dry_run_definition(&rule("x", ""), &DryRun::Last(1))
        .await
        .unwrap();
    assert_eq!(unrecorded[0].outcomes[0].explanation, Explanation::Matched);
    assert!(rules.get("x").is_err());
    // Of an event that a rule does not ask for, its expressions are not asked: this one would fail.
    let other = rule("other", "").replace(
        r#"[{"type":"eventType","operator":"matches","value":"case.>"}]"#,
        r#"[{"type":"custom","expression":"event.payload.n > 'x'"},
            {"type":"eventType","operator":"equals","value":"form.opened"}]"#,
    );
    rules.create(&other, "ann").await.unwrap();
    let tested = rules.dry_run(&DryRun::Last(1)).await.unwrap();
    let outcome = tested[0].outcomes.iter();
    let mut outcome = outcome.filter(|outcome| outcome.rule.as_deref() == Some("other"));
    let Explanation::NotMatched(reason) = &outcome.next().unwrap().explanation else {
        panic!("{tested:?}");
    };
    assert_eq!(reason.pointer, "/1");
}
