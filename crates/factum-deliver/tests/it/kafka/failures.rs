//! What goes wrong with brokers, and what comes of it.

use factum_engine::ErrorClass;
use factum_testkit::servers::free_port;
use serde_json::json;

use super::broker::{Brokers, Fault, Setup};
use super::{PARTITION, definition};
use crate::brokers::with;
use crate::support::{deliver, delivery, open};

#[tokio::test]
async fn a_partition_that_moves_is_followed_at_once() {
    let setup = Setup {
        brokers: 3,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let target = open(&definition(&brokers));
    for leader in [0, 1, 2, 1] {
        brokers.lead(PARTITION, leader);
        deliver(&*target, 1).await.unwrap();
        assert_eq!(brokers.written().last().unwrap().broker, leader);
    }
    assert_eq!(
        (brokers.written().len(), brokers.asked_for_leaders()),
        (4, 4)
    );
}

#[tokio::test]
async fn a_partition_that_nobody_leads_is_waited_for() {
    let brokers = Brokers::start(Setup::default()).await;
    let target = open(&definition(&brokers));
    for fault in [6, 5, 3] {
        brokers.fail_next([Fault::Answer(fault); 2]);
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Rejected, "{error}");
        assert!(error.is_retryable(), "{error}");
        deliver(&*target, 1).await.unwrap();
    }
    brokers.lead(PARTITION, usize::MAX);
    brokers.fail_next([Fault::Answer(6)]);
    let error = deliver(&*target, 1).await.unwrap_err();
    assert!(error.message.contains("nobody leads"), "{error}");
    brokers.lead(PARTITION, 0);
    deliver(&*target, 1).await.unwrap();
}

#[tokio::test]
async fn a_leader_that_dies_is_left_for_its_successor() {
    let setup = Setup {
        brokers: 2,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    brokers.lead(PARTITION, 1);
    let target = open(&definition(&brokers));
    deliver(&*target, 1).await.unwrap();
    brokers.kill(1);
    brokers.lead(PARTITION, 0);
    let error = deliver(&*target, 2).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Connect, "{error}");
    deliver(&*target, 2).await.unwrap();
    assert_eq!(brokers.written().last().unwrap().broker, 0);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let brokers = Brokers::start(Setup::default()).await;
    let target = open(&definition(&brokers));
    for (code, class, is_retryable) in [
        (10, ErrorClass::Rejected, false),
        (18, ErrorClass::Rejected, false),
        (87, ErrorClass::Rejected, false),
        (7, ErrorClass::Timeout, true),
        (19, ErrorClass::Rejected, true),
        (29, ErrorClass::Authentication, true),
        (56, ErrorClass::Rejected, true),
        (-1, ErrorClass::Rejected, true),
        (999, ErrorClass::Rejected, true),
    ] {
        brokers.fail_next([Fault::Answer(code)]);
        let error = deliver(&*target, 1).await.unwrap_err();
        let found = (error.class, error.is_retryable());
        assert_eq!(found, (class, is_retryable), "{error}");
        assert!(error.message.contains("as the test wants"), "{error}");
    }
    assert!(brokers.written().is_empty());
    // The connection is good all the while.
    assert_eq!(brokers.connections(), 1);
    for (topic, class) in [
        ("forbidden", ErrorClass::Authentication),
        ("missing", ErrorClass::Rejected),
    ] {
        let target = open(&with(&definition(&brokers), "topic", json!(topic)));
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(
            (error.class, error.is_retryable()),
            (class, true),
            "{error}"
        );
    }
}

/// Nobody can know whether the event was written, so it is sent again, and readers see that it is
/// the same delivery.
#[tokio::test]
async fn a_lost_answer_leads_to_a_repeat_with_the_same_id() {
    let brokers = Brokers::start(Setup::default()).await;
    let target = open(&definition(&brokers));
    brokers.fail_next([Fault::CutAfterWrite]);
    let error = deliver(&*target, 1).await.unwrap_err();
    assert_eq!(
        (error.class, error.is_retryable()),
        (ErrorClass::Connect, true),
        "{error}"
    );
    deliver(&*target, 1).await.unwrap();
    let ids: Vec<_> = brokers
        .written()
        .iter()
        .map(|written| written.header("delivery").unwrap())
        .collect();
    assert_eq!(ids, vec![delivery(1).id.to_string(); 2]);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let brokers = Brokers::start(Setup::default()).await;
    let limits = json!({"timeoutMs": 300});
    let target = open(&with(&definition(&brokers), "limits", limits));
    brokers.fail_next([Fault::Silence]);
    let error = deliver(&*target, 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout, "{error}");
    // The next event has a connection of its own, so no late answer is taken for its own.
    deliver(&*target, 2).await.unwrap();
    assert_eq!((brokers.written().len(), brokers.connections()), (2, 2));
}

#[tokio::test]
async fn what_is_no_answer_is_not_believed() {
    let brokers = Brokers::start(Setup::default()).await;
    let target = open(&definition(&brokers));
    for fault in [Fault::Endless, Fault::OtherAnswer, Fault::EndlessList] {
        brokers.fail_next([fault]);
        let error = deliver(&*target, 1).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Protocol, "{fault:?}: {error}");
        assert!(error.is_retryable(), "{fault:?}: {error}");
        deliver(&*target, 1).await.unwrap();
    }
}

/// A name was copied for each partition that came with it, so an answer of one megabyte took more
/// than a thousand.
#[tokio::test]
async fn a_large_answer_takes_no_more_memory_than_it_has_bytes() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() / 1024
    };
    let setup = Setup {
        is_old: true,
        ..Setup::default()
    };
    let brokers = Brokers::start(setup).await;
    let target = open(&definition(&brokers));
    deliver(&*target, 1).await.unwrap();
    let before = peak();
    brokers.fail_next([Fault::Crowd]);
    let error = deliver(&*target, 1).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol, "{error}");
    let more = peak() - before;
    assert!(more < 64, "{more} MiB more");
}

#[tokio::test]
async fn one_server_of_the_list_is_enough() {
    let brokers = Brokers::start(Setup::default()).await;
    let servers = json!([
        format!("127.0.0.1:{}", free_port()),
        format!("127.0.0.1:{}", brokers.port(0)),
    ]);
    let target = open(&with(&definition(&brokers), "servers", servers));
    deliver(&*target, 1).await.unwrap();
    deliver(&*target, 2).await.unwrap();
    assert_eq!(brokers.written().len(), 2);
}
