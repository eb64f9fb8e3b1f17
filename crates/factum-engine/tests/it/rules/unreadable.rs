//! Rules that a node cannot read, or that are beyond the limits of its configuration: what they
//! were about to send is not lost.
//!
//! The first sweep after a start took the rules that it could not read for deleted ones, and deleted
//! their checkpoints and their waiting retries.

use std::time::Duration;

use factum_engine::{Delivery, ErrorClass, RuleLimits};
use factum_model::{Position, RecordedEvent};
use factum_query::FilterLimits;

use super::delivering::n_checkpoints;
use super::harness::{World, fails, in_order, rule, taken};

/// Longer than it takes until a node has swept more than once.
const WHILE: Duration = Duration::from_secs(30);

/// A rule whose first event was delivered, and two of which wait for a retry.
async fn under_way(definition: &str) -> World {
    let world = World::new();
    let rules = world.rules().await;
    rules.create(definition, "ann").await.unwrap();
    world.stage.plays(|_: &Delivery, index| match index {
        0 => taken(),
        _ => fails(ErrorClass::Rejected),
    });
    let node = world.start().await;
    world.append_one(1, r#"{"w":"x"}"#).await;
    let first = async || !world.stage.got().is_empty();
    world.until("the first is delivered", first).await;
    world.append_one(1, r#"{"w":"x"}"#).await;
    world.append_one(2, r#"{"w":"x"}"#).await;
    let tried = async || world.stage.got().len() >= 3;
    world.until("the others were tried", tried).await;
    node.kill().await;
    world
}

/// Checks that the rule goes on where it was: nothing is lost, nothing delivered is sent again.
async fn goes_on(world: &World) {
    world.stage.plays(|_: &Delivery, _| taken());
    let before = world.stage.got().len();
    let node = world.start().await;
    let sent = async || world.stage.got().len() >= before + 2;
    world.until("what waited is sent", sent).await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(world.stage.got().len(), before + 2);
    let mut got = world.stage.got();
    got.retain(|one| one.target == "r/a");
    let reached = in_order(&got).into_values();
    assert_eq!(reached.collect::<Vec<_>>(), [2, 1]);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_lowered_makes_no_rule_forget_where_it_was() {
    let regex = r#"{"type":"payload","operator":"regex","field":"$.w","value":"^x"}"#;
    let definition = rule("r", "");
    let definition = definition.replace(
        r#""value":"case.>"}]"#,
        &format!(r#""value":"case.>"}},{regex}]"#),
    );
    assert!(definition.contains("regex"));
    let world = under_way(&definition).await;
    let lower = RuleLimits {
        filter: FilterLimits {
            regexes_max: 0,
            ..FilterLimits::DEFAULT
        },
        predicates_max: 1,
        definition_bytes_max: 10,
        ..RuleLimits::default()
    };
    let lowered = world.reopened_within(lower);
    let node = lowered.start().await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(n_checkpoints(&lowered).await, 1);
    // It is there, and told of as one that cannot be sent to.
    assert_eq!(node.deliveries.rules().list().len(), 1);
    let broken = [("r".to_owned(), "a".to_owned())];
    assert_eq!(node.deliveries.broken(), broken);
    node.stop().await;
    goes_on(&lowered.reopened_within(RuleLimits::default())).await;
}

/// What a later release may write, and this one refuses to read.
fn with_another_field(event: &RecordedEvent) -> String {
    match event.event_type() {
        "factum.rule.created" => event.payload().replace(r#""name""#, r#""colour":1,"name""#),
        _ => event.payload().to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_a_later_release_is_left_alone() {
    let world = under_way(&rule("r", "")).await;
    let earlier = world.rewritten(with_another_field).await;
    let node = earlier.start().await;
    let rules = node.deliveries.rules().clone();
    assert!(rules.list().is_empty());
    // Nobody knows what secrets it has, so no key may be forgotten.
    assert_eq!(rules.sealed().await.unwrap().unreadable[0].0, "r");
    // Other rules work, and what they leave stays for now, too.
    rules.create(&rule("other", ""), "ann").await.unwrap();
    earlier.append_one(3, "{}").await;
    let begun = async || n_checkpoints(&earlier).await == 2;
    earlier.until("the other rule is at work", begun).await;
    rules.delete("other", "ann").await.unwrap();
    tokio::time::sleep(WHILE).await;
    assert_eq!(n_checkpoints(&earlier).await, 2);
    node.stop().await;
    goes_on(&world.reopened()).await;
    // The release that reads all rules has swept what the other rule left.
    assert_eq!(n_checkpoints(&world).await, 1);
}

/// Returns since when the rule has its target.
async fn since(world: &World) -> Position {
    let rule = world.rules().await.get("r").unwrap();
    rule.targets[0].since
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_readable_again_is_the_one_that_it_was() {
    let world = under_way(&rule("r", "")).await;
    let rules = world.rules().await;
    rules
        .replace("r", &rule("r", r#","priority":1"#), "bob")
        .await
        .unwrap();
    let was = since(&world).await;
    let earlier = world.rewritten(with_another_field).await;
    assert_eq!(since(&earlier).await, was);
    goes_on(&earlier).await;
    // Not even its targets can be told: nothing is swept.
    let darker = world.rewritten(|event| match event.event_type() {
        "factum.rule.created" => "{}".to_owned(),
        _ => event.payload().to_owned(),
    });
    let darker = darker.await;
    assert_ne!(since(&darker).await, was);
    let node = darker.start().await;
    darker.append_one(3, "{}").await;
    let begun = async || n_checkpoints(&darker).await == 2;
    darker.until("it is at work", begun).await;
    tokio::time::sleep(WHILE).await;
    assert_eq!(n_checkpoints(&darker).await, 2);
    // Deleted, it has no targets any more, whatever they were.
    node.deliveries.rules().delete("r", "ann").await.unwrap();
    let swept = async || n_checkpoints(&darker).await == 0;
    darker.until("it is swept", swept).await;
    node.stop().await;
}
