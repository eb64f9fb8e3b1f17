//! Secrets of rules that are sealed anew.

use factum_engine::RuleError;

use super::harness::{World, rule};

fn sealed_as(id: &str, secret: &str) -> String {
    let whole = rule(id, "");
    assert!(whole.contains("s3cret"));
    whole.replace("s3cret", secret)
}

#[tokio::test(start_paused = true)]
async fn secrets_under_an_earlier_key_are_sealed_anew_and_nothing_else_changes() {
    let world = World::new();
    let rules = world.rules().await;
    for (id, secret) in [("a", "old"), ("b", "new"), ("c", "lost"), ("d", "old")] {
        rules.create(&sealed_as(id, secret), "ann").await.unwrap();
    }
    let before = rules.get("a").unwrap();
    let sealed = rules.sealed().await.unwrap();
    assert_eq!((sealed.n_current, sealed.earlier.len()), (1, 2));
    assert_eq!(sealed.unreadable[0].0, "c");
    // A rule that another node has changed meanwhile is sealed as it is by now.
    let other = world.rules().await;
    other
        .replace("d", &sealed_as("d", "old"), "bob")
        .await
        .unwrap();
    // What cannot be opened is told of when everything else is done.
    let error = rules.reseal("ann").await.unwrap_err();
    let RuleError::Invalid(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.pointer, "/c/targets/0/to/secret");
    rules.delete("c", "ann").await.unwrap();
    let sealed = rules.sealed().await.unwrap();
    assert_eq!((sealed.n_current, sealed.earlier.len()), (3, 0));
    assert_eq!(rules.reseal("ann").await.unwrap(), 0);
    let after = rules.get("a").unwrap();
    assert!(after.targets[0].definition.contains(r#""secret":"new""#));
    assert_eq!(after.targets[0].since, before.targets[0].since);
    assert_eq!(after.conditions_text, before.conditions_text);
    assert_eq!(rules.show(&after).unwrap(), rules.show(&before).unwrap());
}
