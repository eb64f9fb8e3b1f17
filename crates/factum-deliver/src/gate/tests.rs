use tokio::time::Instant;

use super::*;
use crate::testing::outside;

fn gate_at(json: &str, outside: &Outside, path: &str) -> Result<Gate, InvalidTarget> {
    let definition = serde_json::from_str(json).unwrap();
    let name = EndpointName {
        shown: "https://crm.example:443".to_owned(),
        rest: path.to_owned(),
    };
    Gate::new(&definition, outside, name)
}

fn gate(json: &str) -> Result<Gate, InvalidTarget> {
    gate_at(json, &outside(), "/")
}

async fn fail(gate: &Gate, class: ErrorClass, code: Option<u16>, times: u32) {
    for _ in 0..times {
        let error = DeliverError {
            status: code,
            ..DeliverError::passing(class, "no")
        };
        drop(gate.pass(async { Err(error) }).await);
    }
}

async fn works(gate: &Gate) -> bool {
    gate.pass(async { Ok(Delivered::default()) }).await.is_ok()
}

fn status(status: u16) -> Result<Delivered, DeliverError> {
    Err(DeliverError {
        status: Some(status),
        ..DeliverError::passing(ErrorClass::Rejected, "no")
    })
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_ended_and_counts() {
    let gate = gate(r#"{"breaker": {"failuresMax": 2}}"#).unwrap();
    for _ in 0..2 {
        let error = gate.pass(std::future::pending()).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout);
    }
    let error = gate
        .pass(async { Ok(Delivered::default()) })
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::BreakerOpen);
    assert_eq!(gate.state("x").breaker, BreakerState::Open);
    assert!(!error.class.was_attempted());
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_are_under_way_than_may_be() {
    let gate = gate(r#"{"concurrency": 1, "timeoutMs": 5000}"#).unwrap();
    let at = |second| {
        let gate = &gate;
        async move {
            tokio::time::sleep(Duration::from_secs(second)).await;
            gate.pass(std::future::pending()).await.unwrap_err().class
        }
    };
    let look = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        (gate.state("x").in_flight, gate.state("x").in_flight_max)
    };
    let (first, second, third, seen) = tokio::join!(at(0), at(1), at(2), look);
    // The second found room when the first was over; the third waited as long as it may.
    assert_eq!(
        (first, second, third),
        (ErrorClass::Timeout, ErrorClass::Timeout, ErrorClass::Busy)
    );
    assert_eq!(seen, (1, 1));
    assert_eq!(gate.state("x").in_flight, 0);
}

/// Who had waited long for room was cut off by the engine in the middle of an attempt, of which
/// no breaker heard.
#[tokio::test(start_paused = true)]
async fn every_attempt_has_its_time_and_ends_before_the_engine_ends_it() {
    for millis in [1, 1000, 29_500, 30_000, 40_000, 59_500, 60_000] {
        let outside = outside();
        let limit = outside.limits.timeout_max;
        let json = format!(
            r#"{{"concurrency": 1, "timeoutMs": {millis}, "breaker": {{"failuresMax": 3}}}}"#
        );
        let gate = gate_at(&json, &outside, "/").unwrap();
        let once = |after| {
            let gate = &gate;
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                let begun = OnceLock::new();
                let attempt = async {
                    begun.get_or_init(Instant::now);
                    std::future::pending().await
                };
                let ended = tokio::time::timeout(limit, gate.pass(attempt)).await;
                let class = ended.expect("the gate is first").unwrap_err().class;
                (class, begun.get().map(Instant::elapsed))
            }
        };
        // One after the other, each when the one before has a while to go.
        let late = millis * 3 / 4;
        let (one, two, three) = tokio::join!(once(0), once(late), once(late * 2));
        let mut n_timeouts = 0;
        for (class, took) in [one, two, three] {
            if let Some(took) = took {
                let promised = Duration::from_millis(millis).min(Duration::from_secs(59));
                assert!(took >= promised, "{millis}: {took:?}");
                assert_eq!(class, ErrorClass::Timeout, "{millis}");
                n_timeouts += 1;
            } else {
                assert_eq!(class, ErrorClass::Busy, "{millis}");
            }
        }
        // The breaker heard of each.
        fail(&gate, ErrorClass::Connect, None, 3 - n_timeouts).await;
        assert!(!works(&gate).await, "{millis}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusing_an_event_is_not_being_unwell() {
    let gate = gate(r#"{"breaker": {"failuresMax": 2}}"#).unwrap();
    for code in [400, 404, 500, 422, 503, 400] {
        drop(gate.pass(async { status(code) }).await);
    }
    assert_eq!(gate.state("x").breaker, BreakerState::Closed);
    drop(gate.pass(async { status(500) }).await);
    drop(gate.pass(async { status(429) }).await);
    assert_eq!(gate.state("x").breaker, BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_one_target_opens_is_open_for_the_other() {
    for (class, code) in [
        (ErrorClass::Rejected, Some(503)),
        (ErrorClass::Rejected, Some(429)),
        (ErrorClass::Connect, None),
        (ErrorClass::Resolve, None),
        (ErrorClass::Timeout, None),
        (ErrorClass::Protocol, None),
    ] {
        let outside = outside();
        let one = gate_at("{}", &outside, "/a").unwrap();
        let other = gate_at("{}", &outside, "/a").unwrap();
        let elsewhere = gate_at("{}", &outside, "/b").unwrap();
        // Both count together.
        fail(&one, class, code, 5).await;
        assert!(works(&elsewhere).await);
        fail(&other, class, code, 5).await;
        assert_eq!(
            (
                works(&one).await,
                works(&other).await,
                works(&elsewhere).await
            ),
            (false, false, true),
            "{class:?}"
        );
        assert!(matches!(other.readiness(), Readiness::NotFor(_)));
        assert_eq!(other.state("x").breaker, BreakerState::Open);
        assert_eq!(elsewhere.state("x").breaker, BreakerState::Closed);
        // One probe for both, and its success is that of both.
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(one.readiness(), Readiness::One);
        assert!(works(&other).await && works(&one).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_target_alone_is_to_blame_for_closes_no_way_for_another() {
    for (class, code) in [
        (ErrorClass::Authentication, Some(401)),
        (ErrorClass::Authentication, Some(403)),
        (ErrorClass::Authentication, None),
        (ErrorClass::Tls, None),
        (ErrorClass::Gone, Some(410)),
    ] {
        let outside = outside();
        let wrong = gate_at("{}", &outside, "/a").unwrap();
        let right = gate_at("{}", &outside, "/a").unwrap();
        fail(&wrong, class, code, 20).await;
        assert!(!works(&wrong).await, "{class:?}");
        assert!(works(&right).await, "{class:?}");
        assert_eq!(wrong.state("x").breaker, BreakerState::Open);
        let shared = wrong.state("x").endpoint.unwrap();
        assert_eq!(
            (shared.breaker, shared.n_targets),
            (BreakerState::Closed, 2)
        );
    }
}

/// Otherwise who gives a receiver a millisecond could close the way for all.
#[tokio::test(start_paused = true)]
async fn too_little_time_is_no_fault_of_the_endpoint() {
    let outside = outside();
    let hasty = gate_at(r#"{"timeoutMs": 1}"#, &outside, "/a").unwrap();
    let patient = gate_at("{}", &outside, "/a").unwrap();
    assert!(works(&patient).await);
    for _ in 0..20 {
        drop(hasty.pass(std::future::pending()).await);
    }
    assert!(works(&patient).await && !works(&hasty).await);
    // What takes longer than anybody waits is.
    for _ in 0..10 {
        drop(patient.pass(std::future::pending()).await);
    }
    assert!(!works(&patient).await);
}

#[tokio::test(start_paused = true)]
async fn silence_of_who_was_heard_is_no_fault_of_the_endpoint() {
    let outside = outside();
    let one = gate_at("{}", &outside, "/a").unwrap();
    let other = gate_at("{}", &outside, "/a").unwrap();
    for _ in 0..20 {
        let heard = Heard::default();
        let attempt = async {
            heard.note();
            std::future::pending().await
        };
        drop(one.pass_noting(&heard, attempt).await);
    }
    assert!(works(&other).await && !works(&one).await);
}

#[tokio::test(start_paused = true)]
async fn the_kind_says_which_statuses_are_those_of_the_unwell() {
    for (code, is_unwell) in [(421, true), (550, false), (451, false)] {
        let gate = gate("{}").unwrap().with_unwell(|status| status == 421);
        fail(&gate, ErrorClass::Rejected, Some(code), 20).await;
        assert_eq!(works(&gate).await, !is_unwell, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_credentials_does_not_hide_that_an_endpoint_is_unwell() {
    let outside = outside();
    let wrong = gate_at(r#"{"breaker": {"failuresMax": 1000}}"#, &outside, "/a").unwrap();
    let right = gate_at("{}", &outside, "/a").unwrap();
    for _ in 0..10 {
        fail(&wrong, ErrorClass::Authentication, Some(401), 1).await;
        fail(&right, ErrorClass::Rejected, Some(500), 1).await;
    }
    assert!(!works(&right).await);
}

#[tokio::test(start_paused = true)]
async fn targets_of_one_endpoint_share_the_room_of_the_smaller() {
    let outside = outside();
    let small = r#"{"concurrency": 2, "timeoutMs": 60000}"#;
    let small = gate_at(small, &outside, "/a").unwrap();
    let large = gate_at(r#"{"concurrency": 5, "timeoutMs": 1000}"#, &outside, "/a").unwrap();
    let elsewhere = gate_at("{}", &outside, "/b").unwrap();
    let (small, large) = (&small, &large);
    let look = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let refused = large.pass(std::future::pending()).await.unwrap_err().class;
        let other = works(&elsewhere).await;
        let endpoint = large.state("x").endpoint.unwrap();
        let seen = (endpoint.in_flight, endpoint.in_flight_max);
        (refused, other, seen, large.state("x").in_flight)
    };
    let hang = || small.pass(std::future::pending());
    let (_, _, seen) = tokio::join!(hang(), hang(), look);
    // What found no room was not tried, and was not counted as a failure.
    assert_eq!(seen, (ErrorClass::Busy, true, (2, 2), 0));
    assert_eq!(large.state("x").breaker, BreakerState::Closed);
}

#[test]
fn a_definition_that_is_only_looked_at_leads_nowhere() {
    let outside = outside();
    let gate = gate_at(r#"{"concurrency": 1}"#, &outside, "/a").unwrap();
    assert_eq!(gate.state("x").endpoint, None);
    let other = gate_at("{}", &outside, "/a").unwrap();
    assert_eq!(other.readiness(), Readiness::Ready);
    let endpoint = other.state("x").endpoint.unwrap();
    assert_eq!((endpoint.in_flight_max, endpoint.n_targets), (8, 1));
    assert_eq!(endpoint.name, "https://crm.example:443");
}

#[test]
fn faults_name_their_field() {
    for (json, pointer) in [
        (r#"{"timeoutMs": 0}"#, "/limits/timeoutMs"),
        (r#"{"timeoutMs": 60001}"#, "/limits/timeoutMs"),
        (r#"{"concurrency": 0}"#, "/limits/concurrency"),
        (r#"{"concurrency": 1000}"#, "/limits/concurrency"),
        (
            r#"{"breaker": {"failuresMax": 0}}"#,
            "/limits/breaker/failuresMax",
        ),
        (r#"{"breaker": {"openMs": 0}}"#, "/limits/breaker/openMs"),
        (
            r#"{"breaker": {"openMs": 9, "openMaxMs": 8}}"#,
            "/limits/breaker/openMaxMs",
        ),
    ] {
        assert_eq!(gate(json).unwrap_err().pointer, pointer, "{json}");
    }
}
