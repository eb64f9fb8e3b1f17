//! What could not be delivered, and what is done about it.

use std::time::Duration;

use factum_engine::{
    DeadLetterChoice, DeadLetterFilter, DeadLetterStatus, DeliverError, Deliveries, Delivery,
    DeliveryOptions, DeliveryStatus, ErrorClass, RedriveRate,
};

use super::harness::{World, fails, rule, taken};

fn impatient(more: &str) -> String {
    rule("r", more).replace(
        r#""id":"a""#,
        r#""id":"a","retry":{"strategy":"fixed","baseDelayMs":100,"maxAttempts":3,"jitter":"none"}"#,
    )
}

async fn count(deliveries: &Deliveries, status: DeadLetterStatus) -> usize {
    let filter = DeadLetterFilter {
        status: Some(status),
        ..DeadLetterFilter::default()
    };
    let page = deliveries.dead_letters(&filter, None, 1000).await.unwrap();
    page.letters.len()
}

const ALL: DeadLetterChoice = DeadLetterChoice::Matching(DeadLetterFilter {
    rule: None,
    target: None,
    class: None,
    group: None,
    event: None,
    event_type: None,
    status: None,
});

#[tokio::test(start_paused = true)]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its beginning to its end"
)]
async fn what_has_used_up_its_attempts_is_grouped_by_what_it_died_of() {
    let world = World::new();
    world
        .rules()
        .await
        .create(&impatient(""), "ann")
        .await
        .unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        let sequence = delivery.event.sequence_number;
        match delivery.event.aggregate_id() {
            "c-1" => Err(DeliverError::passing(
                ErrorClass::Rejected,
                format!("order {sequence} is unknown"),
            )),
            "c-2" => Err(DeliverError::lasting(
                ErrorClass::Payload,
                "the template fails",
            )),
            _ => taken(),
        }
    });
    let node = world.start().await;
    world.append(&[1, 1, 1, 2, 3]).await;
    let pending = DeadLetterStatus::PendingRetry;
    world
        .until("all are settled", async || {
            count(&node.deliveries, pending).await == 4
        })
        .await;
    let groups = node
        .deliveries
        .dead_letter_groups(&DeadLetterFilter::default())
        .await
        .unwrap();
    let groups: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group.class.as_str(),
                group.message.as_str(),
                group.pending_retry,
            )
        })
        .collect();
    assert_eq!(
        groups,
        [
            ("rejected", "order # is unknown", 3),
            ("payload", "the template fails", 1)
        ]
    );
    let page = node
        .deliveries
        .dead_letters(&DeadLetterFilter::default(), None, 2)
        .await
        .unwrap();
    assert_eq!((page.letters.len(), page.next.is_some()), (2, true));
    let rest = node
        .deliveries
        .dead_letters(&DeadLetterFilter::default(), page.next, 10)
        .await
        .unwrap();
    assert_eq!(rest.letters.len(), 2);
    let letter = &rest.letters[0];
    assert_eq!(letter.delivery.attempts_made, 3);
    let again = node
        .deliveries
        .dead_letter(letter.key().unwrap())
        .await
        .unwrap();
    assert_eq!(again, *letter);
    // What cannot get better is not tried again.
    let tried = world
        .stage
        .got()
        .iter()
        .filter(|one| one.stream == "c-2")
        .count();
    assert_eq!(tried, 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told from its beginning to its end"
)]
async fn dead_letters_are_tried_again_at_a_rate() {
    let world = World::new();
    world
        .rules()
        .await
        .create(&impatient(""), "ann")
        .await
        .unwrap();
    world
        .stage
        .plays(|_: &Delivery, _| fails(ErrorClass::Connect));
    let node = world.start().await;
    let streams: Vec<u64> = (0..20).collect();
    world.append(&streams).await;
    let pending = DeadLetterStatus::PendingRetry;
    world
        .until("all are dead", async || {
            count(&node.deliveries, pending).await == 20
        })
        .await;
    world.stage.plays(
        |delivery: &Delivery, _| match delivery.event.aggregate_id() {
            "c-7" => fails(ErrorClass::Tls),
            _ => taken(),
        },
    );
    let deliveries = &node.deliveries;
    let rate = RedriveRate::per_second_of(2);
    let dry = deliveries.retry(&ALL, rate, ("ann", true)).await.unwrap();
    assert_eq!((dry.matched, dry.changed), (20, 20));
    assert_eq!(
        count(deliveries, pending).await,
        20,
        "a dry run changes nothing"
    );
    let n_before = world.stage.got().len();
    let moved = deliveries.retry(&ALL, rate, ("ann", false)).await.unwrap();
    assert_eq!(moved.changed, 20);
    let again = deliveries.retry(&ALL, rate, ("ann", false)).await.unwrap();
    assert_eq!(again.changed, 0, "they are being tried already");
    let resolved = DeadLetterStatus::Resolved;
    world
        .until("all but one are resolved", async || {
            count(deliveries, resolved).await == 19
        })
        .await;
    world
        .until("one has failed again", async || {
            count(deliveries, pending).await == 1
        })
        .await;
    let at: Vec<Duration> = world.stage.got()[n_before..]
        .iter()
        .map(|one| one.at)
        .collect();
    let took = *at.last().unwrap() - at[0];
    assert!(
        took >= Duration::from_millis(9400),
        "{took:?} for 20 at 2 a second"
    );
    let groups = deliveries
        .dead_letter_groups(&DeadLetterFilter::default())
        .await
        .unwrap();
    let failed = groups
        .iter()
        .find(|group| group.pending_retry == 1)
        .unwrap();
    assert_eq!(failed.class, "tls");
    // Every delivery has all its attempts on record.
    let letter = deliveries
        .dead_letters(
            &DeadLetterFilter {
                status: Some(resolved),
                ..DeadLetterFilter::default()
            },
            None,
            1,
        )
        .await
        .unwrap();
    assert_eq!(letter.letters[0].delivery.attempts_made, 4);
    assert_eq!(deliveries.meters().n_resolved(), 19);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn somebody_may_give_up_and_clean_up() {
    let world = World::new();
    world
        .rules()
        .await
        .create(&impatient(""), "ann")
        .await
        .unwrap();
    world
        .stage
        .plays(|_: &Delivery, _| fails(ErrorClass::Connect));
    let node = world.start().await;
    world.append(&[1, 2, 3]).await;
    let deliveries = &node.deliveries;
    let pending = DeadLetterStatus::PendingRetry;
    world
        .until("all are dead", async || {
            count(deliveries, pending).await == 3
        })
        .await;
    let page = deliveries
        .dead_letters(&DeadLetterFilter::default(), None, 2)
        .await
        .unwrap();
    let keys = page
        .letters
        .iter()
        .filter_map(|letter| letter.key())
        .collect();
    let two = DeadLetterChoice::Keys(keys);
    assert!(deliveries.give_up(&two, "", ("ann", false)).await.is_err());
    let moved = deliveries
        .give_up(&two, "the customer left", ("ann", false))
        .await
        .unwrap();
    assert_eq!(moved.changed, 2);
    let nothing = deliveries.purge(&ALL, true).await.unwrap();
    assert_eq!((nothing.matched, nothing.changed), (3, 2));
    let purged = deliveries.purge(&ALL, false).await.unwrap();
    assert_eq!(purged.changed, 2);
    assert_eq!(count(deliveries, pending).await, 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_fails_at_run_time_is_a_dead_letter_with_its_cause() {
    let world = World::new();
    let failing = impatient("").replace(
        r#"{"type":"eventType","operator":"matches","value":"case.>"}"#,
        r#"{"type":"custom","expression":"event.payload.n > 1"}"#,
    );
    world.rules().await.create(&failing, "ann").await.unwrap();
    let node = world.start().await;
    world.append_one(1, r#"{"n":2}"#).await;
    world.append_one(2, r#"{"n":"two"}"#).await;
    world.append_one(3, "{}").await;
    world.append_one(4, r#"{"n":3}"#).await;
    world
        .until("two are delivered", async || world.stage.got().len() == 2)
        .await;
    let pending = DeadLetterStatus::PendingRetry;
    world
        .until("one is dead", async || {
            count(&node.deliveries, pending).await == 1
        })
        .await;
    let page = node
        .deliveries
        .dead_letters(&DeadLetterFilter::default(), None, 1)
        .await
        .unwrap();
    let cause = &page.letters[0].cause;
    assert_eq!(cause.class, "rule");
    assert!(
        cause
            .message
            .starts_with("the condition at /conditions/0 failed:"),
        "{cause:?}"
    );
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_on_record_is_bounded() {
    let world = World::new();
    world
        .rules()
        .await
        .create(&impatient(""), "ann")
        .await
        .unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        if delivery.event.aggregate_id() == "c-0" {
            return taken();
        }
        Err(DeliverError::lasting(ErrorClass::Rejected, "no"))
    });
    let options = DeliveryOptions {
        dead_letters_max: 5,
        deliveries_max: 8,
        ..DeliveryOptions::default()
    };
    let node = world.start_with(options).await;
    let streams: Vec<u64> = (0..20).collect();
    world.append(&streams).await;
    let deliveries = &node.deliveries;
    let pending = DeadLetterStatus::PendingRetry;
    world
        .until("the oldest are given up", async || {
            count(deliveries, pending).await == 5 && deliveries.meters().n_evicted() == 14
        })
        .await;
    let page = deliveries
        .dead_letters(&DeadLetterFilter::default(), None, 10)
        .await
        .unwrap();
    assert!(
        page.letters
            .iter()
            .all(|letter| letter.delivery.position > 16)
    );
    let kept = deliveries
        .list(&factum_engine::DeliveryFilter::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(kept.deliveries.len(), 8);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_goes_on_keeps_its_record_and_with_it_its_attempts() {
    let world = World::new();
    let patient = impatient("").replace(
        r#""baseDelayMs":100,"maxAttempts":3"#,
        r#""baseDelayMs":60000,"maxAttempts":5"#,
    );
    let rules = world.rules().await;
    rules.create(&patient, "ann").await.unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        if delivery.event.aggregate_id() == "c-0" {
            return Err(DeliverError::passing(ErrorClass::Rejected, "no"));
        }
        taken()
    });
    let options = DeliveryOptions {
        deliveries_max: 8,
        ..DeliveryOptions::default()
    };
    let node = world.start_with(options).await;
    // The one that fails is the oldest; what others bring on record goes beyond what is kept.
    world.append(&[0]).await;
    for _ in 0..6 {
        world.append(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).await;
        tokio::time::sleep(Duration::from_secs(70)).await;
    }
    let letters = node
        .deliveries
        .dead_letters(&DeadLetterFilter::default(), None, 10)
        .await
        .unwrap()
        .letters;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].delivery.attempts_made, 5);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_go_on_push_none_out_that_are_done() {
    let world = World::new();
    let patient = impatient("").replace(r#""baseDelayMs":100"#, r#""baseDelayMs":600000"#);
    let rules = world.rules().await;
    rules.create(&patient, "ann").await.unwrap();
    world.stage.plays(|delivery: &Delivery, _| {
        let stream = delivery.event.aggregate_id();
        if stream.len() == "c-0".len() {
            return Err(DeliverError::passing(ErrorClass::Rejected, "no"));
        }
        taken()
    });
    let options = DeliveryOptions {
        deliveries_max: 8,
        ..DeliveryOptions::default()
    };
    let node = world.start_with(options).await;
    // Ten that wait for their retry are more than the eight that are kept of the others.
    let streams: Vec<u64> = (0..22).collect();
    world.append(&streams).await;
    tokio::time::sleep(Duration::from_mins(3)).await;
    let kept = node
        .deliveries
        .list(&factum_engine::DeliveryFilter::default(), None, 100)
        .await
        .unwrap();
    let with = |status: DeliveryStatus| {
        let found = kept.deliveries.iter();
        found.filter(|record| record.status == status).count()
    };
    assert_eq!(with(DeliveryStatus::Retrying), 10);
    assert_eq!(with(DeliveryStatus::Delivered), 8);
    node.stop().await;
}
