//! Targets of several rules that lead to the same place.

use std::sync::Arc;

use factum_deliver::{BuiltInTargets, SystemResolver};
use factum_engine::{BreakerState, Deliver, ErrorClass, Targets as _};
use serde_json::{Value, json};

use crate::receiver::{Answer, Receiver};
use crate::support::{deliver, targets_with};
use crate::webhook::SECRET;

/// The targets of one node.
fn node() -> BuiltInTargets {
    targets_with(&["127.0.0.1"], Arc::new(SystemResolver))
}

fn open(node: &BuiltInTargets, url: &str, limits: Value) -> Arc<dyn Deliver> {
    let mut definition = json!({"type": "webhook", "url": url, "secrets": [SECRET]});
    definition["limits"] = limits;
    let stored = node.accept(&definition.to_string(), None).unwrap();
    node.open(&stored).unwrap()
}

async fn tries(target: &dyn Deliver, times: u64) -> Vec<ErrorClass> {
    let mut classes = Vec::new();
    for number in 0..times {
        classes.extend(deliver(target, number).await.err().map(|error| error.class));
    }
    classes
}

#[tokio::test]
async fn two_rules_meet_a_receiver_with_the_bound_of_one() {
    let receiver = Receiver::start(vec![Answer::Hangs]).await;
    let (node, url) = (node(), receiver.url());
    let one = open(&node, &url, json!({"concurrency": 3, "timeoutMs": 500}));
    // Another query is the same endpoint, and a definition that is replaced leads nowhere.
    let other = open(
        &node,
        &format!("{url}&rule=other"),
        json!({"concurrency": 2, "timeoutMs": 500}),
    );
    drop(open(&node, &url, json!({"concurrency": 1})));
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..8 {
        let target = Arc::clone(if number % 2 == 0 { &one } else { &other });
        attempts.spawn(async move { drop(deliver(&*target, number).await) });
    }
    while receiver.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    let endpoint = one.state().endpoint.unwrap();
    assert_eq!((endpoint.in_flight, endpoint.in_flight_max), (2, 2));
    assert_eq!(endpoint.n_targets, 2);
    assert!(!endpoint.name.contains("hook"), "{}", endpoint.name);
    assert_eq!(receiver.requests().len(), 2);
    assert_eq!(other.state().endpoint, Some(endpoint));
    attempts.abort_all();
    while attempts.join_next().await.is_some() {}
    assert_eq!(one.state().endpoint.unwrap().in_flight, 0);
    drop(other);
    let endpoint = one.state().endpoint.unwrap();
    assert_eq!((endpoint.in_flight_max, endpoint.n_targets), (3, 1));
}

#[tokio::test]
async fn a_receiver_that_fails_for_one_rule_is_left_alone_by_both() {
    let receiver = Receiver::start(vec![Answer::status("503 Service Unavailable")]).await;
    let node = node();
    let breaker = json!({"breaker": {"failuresMax": 4}});
    let one = open(&node, &receiver.url(), breaker.clone());
    let other = open(&node, &receiver.url(), breaker);
    assert_eq!(tries(&*other, 1).await, [ErrorClass::Rejected]);
    assert_eq!(tries(&*one, 3).await, [ErrorClass::Rejected; 3]);
    assert_eq!(tries(&*other, 2).await, [ErrorClass::BreakerOpen; 2]);
    assert_eq!(other.state().breaker, BreakerState::Open);
    assert_eq!(receiver.requests().len(), 4);
}

#[tokio::test]
async fn wrong_credentials_of_one_rule_close_the_way_for_no_other() {
    let mut answers = vec![Answer::status("401 Unauthorized"); 3];
    answers.push(Answer::status("200 OK"));
    let receiver = Receiver::start(answers).await;
    let node = node();
    let breaker = json!({"breaker": {"failuresMax": 3}});
    let wrong = open(&node, &receiver.url(), breaker.clone());
    let right = open(&node, &receiver.url(), breaker);
    assert_eq!(tries(&*wrong, 3).await, [ErrorClass::Authentication; 3]);
    assert_eq!(tries(&*wrong, 2).await, [ErrorClass::BreakerOpen; 2]);
    assert_eq!(tries(&*right, 2).await, []);
    let shared = right.state().endpoint.unwrap();
    assert_eq!(shared.breaker, BreakerState::Closed);
    assert_eq!(right.state().breaker, BreakerState::Closed);
    assert_eq!(wrong.state().breaker, BreakerState::Open);
}
