//! What stands before every target: a bound on attempts at once, a breaker, a time limit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use factum_engine::{
    BreakerState, DeliverError, Delivered, ErrorClass, InvalidTarget, Readiness, TargetState,
};
use serde::{Deserialize, Serialize};

use crate::breaker::{Breaker, BreakerOptions};
use crate::endpoint::{EndpointName, Endpoints, Member, Sparing};
use crate::outside::{DeliverLimits, Outside};

/// How long an attempt may take where a definition does not say.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How many attempts may be under way where a definition does not say.
const CONCURRENCY: usize = 8;
/// How long to wait with what found no room.
const BUSY_AFTER: Duration = Duration::from_millis(500);

/// The part of a definition that says how a target is spared.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GateDefinition {
    /// How long an attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    /// How many attempts may be under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerDefinition>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BreakerDefinition {
    /// After how many failures in a row the breaker opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_max_ms: Option<u64>,
}

impl BreakerDefinition {
    fn options(&self) -> Result<BreakerOptions, InvalidTarget> {
        let defaults = BreakerOptions::default();
        let millis = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        let options = BreakerOptions {
            failures_max: self.failures_max.unwrap_or(defaults.failures_max),
            open_for: millis(self.open_ms, defaults.open_for),
            open_for_max: millis(self.open_max_ms, defaults.open_for_max),
        };
        let fault = |pointer, rule| Err(InvalidTarget::at(pointer, rule));
        if options.failures_max == 0 {
            return fault("/breaker/failuresMax", "must be at least 1");
        }
        if options.open_for.is_zero() || options.open_for > Duration::from_hours(1) {
            return fault("/breaker/openMs", "must be 1 millisecond to 1 hour");
        }
        if options.open_for_max < options.open_for
            || options.open_for_max > Duration::from_hours(24)
        {
            return fault("/breaker/openMaxMs", "must be openMs to 24 hours");
        }
        Ok(options)
    }
}

/// Lets attempts through to a target, or does not.
///
/// Room and one breaker belong to the endpoint, which other targets may lead to as well. Another
/// breaker belongs to the target alone, for what only it can be blamed for.
#[derive(Debug)]
pub(crate) struct Gate {
    sparing: Sparing,
    breaker: Breaker,
    in_flight: AtomicUsize,
    /// Tells which statuses say that the endpoint is unwell.
    is_unwell: fn(u16) -> bool,
    name: EndpointName,
    endpoints: Endpoints,
    /// Made when it is first needed: a definition that is only looked at leads nowhere.
    member: OnceLock<Member>,
}

impl Gate {
    /// Makes the gate of a target that leads to an endpoint; the pointers of faults begin at
    /// `/limits`.
    pub(crate) fn new(
        definition: &GateDefinition,
        outside: &Outside,
        name: EndpointName,
    ) -> Result<Self, InvalidTarget> {
        let sparing = sparing(definition, &outside.limits);
        let sparing = sparing.map_err(|fault| fault.under("/limits"))?;
        Ok(Self {
            sparing,
            breaker: Breaker::new(sparing.breaker),
            in_flight: AtomicUsize::new(0),
            is_unwell: |status| status >= 500 || status == 429,
            name,
            endpoints: outside.endpoints.clone(),
            member: OnceLock::new(),
        })
    }

    /// Has other statuses than those of HTTP say that the endpoint is unwell.
    pub(crate) fn with_unwell(self, is_unwell: fn(u16) -> bool) -> Self {
        Self { is_unwell, ..self }
    }

    pub(crate) const fn in_flight_max(&self) -> usize {
        self.sparing.in_flight_max
    }

    /// Returns how long an attempt may take, and how long one may wait for room.
    pub(crate) const fn timeout(&self) -> Duration {
        self.sparing.timeout
    }

    fn member(&self) -> &Member {
        self.member
            .get_or_init(|| self.endpoints.join(&self.name, self.sparing))
    }

    /// Says whether there is any use in attempts now.
    pub(crate) fn readiness(&self) -> Readiness {
        let shared = self.member().endpoint.breaker.readiness();
        match (shared, self.breaker.readiness()) {
            (Readiness::NotFor(one), Readiness::NotFor(other)) => Readiness::NotFor(one.max(other)),
            (Readiness::NotFor(wait), Readiness::Ready | Readiness::One)
            | (Readiness::Ready | Readiness::One, Readiness::NotFor(wait)) => {
                Readiness::NotFor(wait)
            }
            (Readiness::One, Readiness::Ready | Readiness::One)
            | (Readiness::Ready, Readiness::One) => Readiness::One,
            (Readiness::Ready, Readiness::Ready) => Readiness::Ready,
        }
    }

    pub(crate) fn state(&self, kind: &'static str) -> TargetState {
        let endpoint = self.member.get().map(Member::state);
        let shared = endpoint.as_ref().map(|endpoint| endpoint.breaker);
        let breaker = match (self.breaker.state(), shared) {
            (BreakerState::Open, _) | (_, Some(BreakerState::Open)) => BreakerState::Open,
            (BreakerState::HalfOpen, _) | (_, Some(BreakerState::HalfOpen)) => {
                BreakerState::HalfOpen
            }
            (BreakerState::Closed, Some(BreakerState::Closed) | None) => BreakerState::Closed,
        };
        TargetState {
            kind,
            breaker,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            in_flight_max: self.sparing.in_flight_max,
            endpoint,
        }
    }

    /// Makes an attempt once there is room, if the breakers let it.
    pub(crate) async fn pass(
        &self,
        attempt: impl Future<Output = Result<Delivered, DeliverError>>,
    ) -> Result<Delivered, DeliverError> {
        self.pass_noting(&Heard::default(), attempt).await
    }

    /// Makes an attempt as `pass` does; the attempt notes when silence is no longer the fault of the
    /// endpoint.
    pub(crate) async fn pass_noting(
        &self,
        heard: &Heard,
        attempt: impl Future<Output = Result<Delivered, DeliverError>>,
    ) -> Result<Delivered, DeliverError> {
        let endpoint = &self.member().endpoint;
        let timeout = self.sparing.timeout;
        let Ok(Some(_place)) = tokio::time::timeout(timeout, endpoint.room.enter()).await else {
            let message = format!("{} attempts are under way already", endpoint.room.max());
            return Err(DeliverError::passing(ErrorClass::Busy, message).after(BUSY_AFTER));
        };
        let open = |what: &str, after: Duration| {
            let message = format!("the {what} failed too often and is left alone");
            DeliverError::passing(ErrorClass::BreakerOpen, message).after(after)
        };
        let shared = endpoint.breaker.enter();
        let shared = shared.map_err(|after| open("endpoint", after))?;
        let own = self.breaker.enter();
        let own = own.map_err(|after| open("target", after))?;
        let _counted = Counted::one(&self.in_flight);
        let outcome = match tokio::time::timeout(timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DeliverError::passing(
                ErrorClass::Timeout,
                "no answer in time",
            )),
        };
        let is_shared = endpoint.is_longest(timeout) && !heard.is_noted();
        match blame(&outcome, is_shared, self.is_unwell) {
            Blame::Endpoint => shared.failed(),
            // Somebody who is turned away says nothing of how others fare.
            Blame::Target => own.failed(),
            Blame::Nobody => {
                shared.succeeded();
                own.succeeded();
            }
            Blame::Unknown => {}
        }
        outcome
    }
}

/// That the endpoint was heard of in an attempt: it is there, and knows who asks. If it says nothing
/// to what it is asked then, that may be for want of a right, and is between it and this target.
#[derive(Debug, Default)]
pub(crate) struct Heard(AtomicBool);

impl Heard {
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts an attempt while it is there.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn one(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn sparing(definition: &GateDefinition, limits: &DeliverLimits) -> Result<Sparing, InvalidTarget> {
    let timeout = definition.timeout_ms.map(Duration::from_millis);
    let timeout = timeout.unwrap_or_else(|| TIMEOUT.min(limits.timeout_max));
    if timeout.is_zero() || timeout > limits.timeout_max {
        let max = limits.timeout_max.as_millis();
        let rule = format!("must be 1 to {max} milliseconds");
        return Err(InvalidTarget::at("/timeoutMs", rule));
    }
    let max = limits.concurrency_max;
    let in_flight_max = definition
        .concurrency
        .unwrap_or_else(|| CONCURRENCY.min(max));
    if in_flight_max == 0 || in_flight_max > max {
        let rule = format!("must be 1 to {max}");
        return Err(InvalidTarget::at("/concurrency", rule));
    }
    Ok(Sparing {
        in_flight_max,
        timeout,
        breaker: match &definition.breaker {
            Some(breaker) => breaker.options()?,
            None => BreakerOptions::default(),
        },
    })
}

/// Whom an outcome speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The endpoint, whoever asks.
    Endpoint,
    /// What only this target brings: credentials, authorities that it trusts, too little time.
    Target,
    /// It did what it should; refusing an event is that too.
    Nobody,
    /// It says nothing either way.
    Unknown,
}

/// `is_shared` says whether others would have waited in vain as well.
fn blame(
    outcome: &Result<Delivered, DeliverError>,
    is_shared: bool,
    is_unwell: fn(u16) -> bool,
) -> Blame {
    let Err(error) = outcome else {
        return Blame::Nobody;
    };
    match error.class {
        ErrorClass::Authentication | ErrorClass::Tls | ErrorClass::Gone => Blame::Target,
        ErrorClass::Timeout if !is_shared => Blame::Target,
        ErrorClass::Timeout | ErrorClass::Resolve | ErrorClass::Connect | ErrorClass::Protocol => {
            Blame::Endpoint
        }
        ErrorClass::Policy
        | ErrorClass::Rejected
        | ErrorClass::Payload
        | ErrorClass::Busy
        | ErrorClass::BreakerOpen => match error.status {
            Some(status) if is_unwell(status) => Blame::Endpoint,
            Some(_) => Blame::Nobody,
            None => Blame::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
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
}
