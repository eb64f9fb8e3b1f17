//! What stands before every target: a bound on attempts at once, a breaker, a time limit.

use std::time::Duration;

use factum_engine::{DeliverError, Delivered, ErrorClass, InvalidTarget, Readiness, TargetState};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::breaker::{Breaker, BreakerOptions};
use crate::outside::DeliverLimits;

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
#[derive(Debug)]
pub(crate) struct Gate {
    room: Semaphore,
    in_flight_max: usize,
    breaker: Breaker,
    /// How long an attempt may take, and how long one may wait for room.
    timeout: Duration,
}

impl Gate {
    /// Makes a gate; the pointers of faults begin at `/limits`.
    pub(crate) fn new(
        definition: &GateDefinition,
        limits: &DeliverLimits,
    ) -> Result<Self, InvalidTarget> {
        Self::checked(definition, limits).map_err(|fault| fault.under("/limits"))
    }

    fn checked(definition: &GateDefinition, limits: &DeliverLimits) -> Result<Self, InvalidTarget> {
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
        let breaker = match &definition.breaker {
            Some(breaker) => breaker.options()?,
            None => BreakerOptions::default(),
        };
        Ok(Self {
            room: Semaphore::new(in_flight_max),
            in_flight_max,
            breaker: Breaker::new(breaker),
            timeout,
        })
    }

    pub(crate) const fn in_flight_max(&self) -> usize {
        self.in_flight_max
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Says whether there is any use in attempts now.
    pub(crate) fn readiness(&self) -> Readiness {
        self.breaker.readiness()
    }

    pub(crate) fn state(&self, kind: &'static str) -> TargetState {
        TargetState {
            kind,
            breaker: self.breaker.state(),
            in_flight: self.in_flight_max - self.room.available_permits(),
            in_flight_max: self.in_flight_max,
        }
    }

    /// Makes an attempt once there is room, if the breaker lets it.
    pub(crate) async fn pass(
        &self,
        attempt: impl Future<Output = Result<Delivered, DeliverError>>,
    ) -> Result<Delivered, DeliverError> {
        // Asked before waiting: what will not be let through need not wait.
        let open = |after: Duration| {
            DeliverError::passing(
                ErrorClass::BreakerOpen,
                "the target failed too often and is left alone",
            )
            .after(after)
        };
        let Ok(Ok(_room)) = tokio::time::timeout(self.timeout, self.room.acquire()).await else {
            let message = format!("{} attempts are under way already", self.in_flight_max);
            return Err(DeliverError::passing(ErrorClass::Busy, message).after(BUSY_AFTER));
        };
        let leave = self.breaker.enter().map_err(open)?;
        let outcome = match tokio::time::timeout(self.timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DeliverError::passing(
                ErrorClass::Timeout,
                "no answer in time",
            )),
        };
        match &outcome {
            Ok(_) => leave.succeeded(),
            Err(error) if is_unwell(error) => leave.failed(),
            // A target that refuses an event is up.
            Err(error) if error.status.is_some() => leave.succeeded(),
            Err(_) => drop(leave),
        }
        outcome
    }
}

/// Tells whether a failure says that the target is unwell.
fn is_unwell(error: &DeliverError) -> bool {
    let by_status = error
        .status
        .is_some_and(|status| status >= 500 || status == 429);
    by_status || error.class.blames_the_target()
}

#[cfg(test)]
mod tests {
    use factum_engine::BreakerState;

    use super::*;

    fn gate(json: &str) -> Result<Gate, InvalidTarget> {
        let definition = serde_json::from_str(json).unwrap();
        Gate::new(&definition, &DeliverLimits::default())
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
