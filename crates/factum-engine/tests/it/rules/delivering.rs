//! What rules send: everything, in order, through failures and restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use factum_engine::{
    Again, DeliverError, Delivery, DeliveryFilter, DeliveryStatus, ErrorClass, TargetReport,
};
use factum_store::RecordScan;
use factum_testkit::Random;

use super::harness::{Got, Running, World, fails, in_order, rule, taken};

fn delivered(got: &[Got], failed: impl Fn(&Got) -> bool) -> BTreeSet<(String, u64)> {
    let good = got.iter().filter(|one| !failed(one));
    good.map(|one| (one.stream.clone(), one.sequence)).collect()
}

/// Fails three of ten attempts, the same ones for the same delivery and attempt.
fn is_unlucky(id: &str, attempt: u32) -> bool {
    let sum: u32 = id.bytes().map(u32::from).sum::<u32>() + attempt * 7;
    sum % 10 < 3
}

#[tokio::test(start_paused = true)]
async fn everything_arrives_in_order_although_a_third_fails() {
    let world = World::new();
    world
        .rules()
        .await
        .create(&rule("r", ""), "ann")
        .await
        .unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        if is_unlucky(&delivery.id.to_string(), delivery.attempt.get()) {
            return fails(ErrorClass::Rejected);
        }
        taken()
    });
    let node = world.start().await;
    let streams: Vec<u64> = (0..300).map(|n| n % 7).collect();
    world.append(&streams).await;
    let complete = async || {
        let got = world.stage.got();
        delivered(&got, |one| is_unlucky(&one.id, one.attempt)).len() == 300
    };
    world.until("everything is delivered", complete).await;
    let got = world.stage.got();
    let places = in_order(&got);
    assert_eq!(places.len(), 7);
    // Each delivery was made once, as the answer was heard.
    let good = got.iter().filter(|one| !is_unlucky(&one.id, one.attempt));
    assert_eq!(good.count(), 300);
    let meters = &node.deliveries.meters().targets()[0].1;
    assert_eq!(meters.n_delivered(), 300);
    let n_failed = got.len() - 300;
    assert_eq!(
        meters.n_failed().get("rejected").copied(),
        Some(n_failed as u64)
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_at_any_moment_loses_nothing() {
    let world = World::new();
    let mut random = Random::seeded(11);
    world
        .rules()
        .await
        .create(&rule("r", ""), "ann")
        .await
        .unwrap();
    world.stage.takes(Duration::from_millis(40));
    world.stage.plays(|delivery: &Delivery, _| {
        if is_unlucky(&delivery.id.to_string(), delivery.attempt.get()) {
            return fails(ErrorClass::Timeout);
        }
        taken()
    });
    let mut current = world.reopened();
    let mut node = current.start().await;
    let mut n_kills = 0;
    for round in 0..12 {
        let streams: Vec<u64> = (0..20).map(|_| random.below(5)).collect();
        current.append(&streams).await;
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        if round % 2 == 0 {
            node.kill().await;
        } else {
            node.stop().await;
        }
        n_kills += 1;
        current = current.reopened();
        node = current.start().await;
    }
    let complete = async || {
        let got = world.stage.got();
        delivered(&got, |one| is_unlucky(&one.id, one.attempt)).len() == 240
    };
    world.until("everything is delivered", complete).await;
    let got = world.stage.got();
    in_order(&got);
    let good = got.iter().filter(|one| !is_unlucky(&one.id, one.attempt));
    let repeats = good.count() - 240;
    // What was under way when the node died may come again, and nothing else.
    assert!(repeats <= n_kills * 4, "{repeats} repeats");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn retries_wait_as_the_policy_says_and_the_target_asks() {
    let world = World::new();
    let text = rule("r", "").replace(
        r#""id":"a""#,
        r#""id":"a","retry":{"strategy":"linear","baseDelayMs":2000,"maxDelayMs":60000,"maxAttempts":6,"jitter":"none"}"#,
    );
    world.rules().await.create(&text, "ann").await.unwrap();
    world
        .stage
        .plays(|delivery: &Delivery, _| match delivery.attempt.get() {
            1 | 3 => fails(ErrorClass::Connect),
            2 => Err(DeliverError::passing(ErrorClass::Rejected, "slow down")
                .after(Duration::from_secs(30))),
            4 => Err(DeliverError::passing(ErrorClass::Rejected, "go away")
                .after(Duration::from_hours(9))),
            _ => taken(),
        });
    let node = world.start().await;
    world.append(&[1]).await;
    world
        .until("it is delivered", async || world.stage.got().len() == 5)
        .await;
    let got = world.stage.got();
    let waits: Vec<u64> = got
        .windows(2)
        .map(|two| (two[1].at - two[0].at).as_secs())
        .collect();
    assert_eq!(waits, [2, 30, 6, 60]);
    world
        .until("it is recorded", async || {
            let filter = DeliveryFilter {
                status: Some(DeliveryStatus::Delivered),
                ..DeliveryFilter::default()
            };
            let page = node.deliveries.list(&filter, None, 10).await.unwrap();
            page.deliveries.first().is_some_and(|record| {
                let classes: Vec<_> = record
                    .attempts
                    .iter()
                    .map(|attempt| attempt.error_class.as_deref().unwrap_or("-"))
                    .collect();
                record.attempts_made == 5
                    && classes == ["connect", "rejected", "connect", "rejected", "-"]
            })
        })
        .await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_tried_uses_up_no_attempt() {
    let world = World::new();
    let text = rule("r", "").replace(r#""id":"a""#, r#""id":"a","retry":{"maxAttempts":1}"#);
    world.rules().await.create(&text, "ann").await.unwrap();
    world.stage.plays(|_: &Delivery, index| {
        if index < 20 {
            return fails(ErrorClass::BreakerOpen);
        }
        taken()
    });
    let node = world.start().await;
    world.append(&[1]).await;
    world
        .until("it is delivered", async || world.stage.got().len() == 21)
        .await;
    assert!(world.stage.got().iter().all(|one| one.attempt == 1));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_holds_up_no_other() {
    let world = World::new();
    let rules = world.rules().await;
    rules.create(&rule("down", ""), "ann").await.unwrap();
    rules.create(&rule("up", ""), "ann").await.unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        if delivery.rule == "down" {
            return fails(ErrorClass::Connect);
        }
        taken()
    });
    let node = world.start().await;
    world.append(&[1; 50]).await;
    let of = |name: &'static str| {
        let got = world.stage.got().into_iter();
        got.filter(move |one| one.target == name)
    };
    world
        .until("the other has all", async || of("up/a").count() == 50)
        .await;
    // Under strict order only the first event of the stream was tried where the target is down.
    assert!(of("down/a").all(|one| one.sequence == 1));
    world.stage.plays(|_: &Delivery, _| taken());
    world
        .until("it has all as well", async || {
            of("down/a")
                .map(|one| one.sequence)
                .collect::<BTreeSet<_>>()
                .len()
                == 50
        })
        .await;
    in_order(&world.stage.got());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_holds_in_every_window() {
    let world = World::new();
    let limited = rule("r", r#","rateLimit":{"maxEvents":5,"timeWindowMs":10000}"#);
    world.rules().await.create(&limited, "ann").await.unwrap();
    let node = world.start().await;
    let streams: Vec<u64> = (0..30).collect();
    world.append(&streams).await;
    world
        .until("all are delivered", async || world.stage.got().len() == 30)
        .await;
    let at: Vec<Duration> = world.stage.got().iter().map(|one| one.at).collect();
    for some in at.windows(6) {
        assert!(some[5] - some[0] >= Duration::from_millis(9990), "{some:?}");
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rules_change_while_they_run() {
    let world = World::new();
    let node = world.start().await;
    let rules = node.deliveries.rules();
    world.append(&[1]).await;
    rules.create(&rule("late", ""), "ann").await.unwrap();
    let from_start = rule("early", r#","start":{"from":"beginning"}"#);
    rules.create(&from_start, "ann").await.unwrap();
    let n_of = |name: &str| {
        let got = world.stage.got();
        got.iter().filter(|one| one.target == name).count()
    };
    world
        .until("the log is sent", async || n_of("early/a") == 1)
        .await;
    world.append(&[1]).await;
    world
        .until("both have it", async || {
            n_of("early/a") == 2 && n_of("late/a") == 1
        })
        .await;
    rules.switch("late", false, ("ann", None)).await.unwrap();
    world
        .until("it has stopped", async || {
            node.deliveries.targets().await.unwrap().len() == 1
        })
        .await;
    world.append(&[1, 2]).await;
    world
        .until("the other goes on", async || n_of("early/a") == 4)
        .await;
    assert_eq!(n_of("late/a"), 1);
    // What came while it was off waits.
    rules.switch("late", true, ("ann", None)).await.unwrap();
    world
        .until("it catches up", async || n_of("late/a") == 3)
        .await;
    rules.delete("late", "ann").await.unwrap();
    world.append(&[3]).await;
    world
        .until("the other has it", async || n_of("early/a") == 5)
        .await;
    assert_eq!(n_of("late/a"), 3);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_wants_nothing_more_is_switched_off() {
    let world = World::new();
    let rules_of_it = world.rules().await;
    rules_of_it.create(&rule("r", ""), "ann").await.unwrap();
    world.stage.plays(|_: &Delivery, _| {
        Err(DeliverError::new(
            ErrorClass::Gone,
            Again::DisableTarget,
            "status 410",
        ))
    });
    let node = world.start().await;
    world.append(&[1, 2]).await;
    let rules = node.deliveries.rules().clone();
    world
        .until("it is switched off", async || {
            let rule = rules.get("r").unwrap();
            !rule.targets[0].enabled && rule.changed_by == "factum"
        })
        .await;
    world.stage.plays(|_: &Delivery, _| taken());
    let n_before = world.stage.got().len();
    let rule = rules.get("r").unwrap();
    let again = rules
        .show(&rule)
        .unwrap()
        .replace(r#""enabled":false"#, r#""enabled":true"#);
    rules.replace("r", &again, "ann").await.unwrap();
    world
        .until("nothing was lost", async || {
            let got = world.stage.got();
            let streams: BTreeSet<_> = got
                .iter()
                .skip(n_before)
                .map(|one| one.stream.clone())
                .collect();
            streams.len() == 2
        })
        .await;
    node.stop().await;
}

pub(super) async fn n_checkpoints(world: &World) -> usize {
    let kind = "subscription.checkpoint".parse().unwrap();
    let page = world.engine.state().unwrap().scan(RecordScan::all(kind));
    page.await.unwrap().records.len()
}

/// Returns how many events wait in the bookkeeping for any target.
async fn n_queued(world: &World, node: &Running) -> u64 {
    let reports = node.deliveries.targets().await.unwrap();
    assert_eq!(n_checkpoints(world).await, reports.len());
    let left = |report: &TargetReport| report.feed.n_ready + report.feed.n_waiting;
    reports.iter().map(left).sum()
}

#[tokio::test(start_paused = true)]
async fn what_a_rule_has_left_that_was_deleted_while_nobody_ran_is_swept() {
    let world = World::new();
    let rules = world.rules().await;
    for id in ["kept", "gone", "off"] {
        rules.create(&rule(id, ""), "ann").await.unwrap();
    }
    world
        .stage
        .plays(|_: &Delivery, _| fails(ErrorClass::Rejected));
    let node = world.start().await;
    world.append(&[1, 2, 3]).await;
    let tried = async || world.stage.got().len() >= 9;
    world.until("all were tried", tried).await;
    assert_eq!(n_queued(&world, &node).await, 9);
    node.kill().await;
    // One is deleted while nobody runs, another one is only switched off: that one goes on later.
    rules.delete("gone", "ann").await.unwrap();
    rules.switch("off", false, ("ann", None)).await.unwrap();
    let world = world.reopened();
    let node = world.start().await;
    let swept = async || n_checkpoints(&world).await == 2;
    world.until("what is gone is swept", swept).await;
    // A rule that is off has nothing at work here; deleted now, it leaves nothing either.
    let rules = node.deliveries.rules().clone();
    rules.delete("off", "ann").await.unwrap();
    let swept = async || n_checkpoints(&world).await == 1;
    world.until("what is gone is swept", swept).await;
    assert_eq!(n_queued(&world, &node).await, 3);
    world.stage.plays(|_: &Delivery, _| taken());
    let done = async || n_queued(&world, &node).await == 0;
    world.until("the other rule goes on", done).await;
    node.stop().await;
}
