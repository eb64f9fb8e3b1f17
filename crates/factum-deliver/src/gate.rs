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
/// How much earlier than at the limit of the engine every attempt is over, so that what became of
/// it is said here and known to the breakers. Less where the limit is short.
const MARGIN: Duration = Duration::from_secs(1);
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
    room_wait_max: Duration,
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
        // An attempt has all the time that it was promised, so less is left to wait for room where
        // that is much.
        let left = time_max(&outside.limits).saturating_sub(sparing.timeout);
        Ok(Self {
            sparing,
            room_wait_max: sparing.timeout.min(left),
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

    /// Returns how long an attempt may take.
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

    /// Makes an attempt once there is room, if the breakers let it. Waiting for room and the attempt
    /// together are over before the engine would end them.
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
        let entered = tokio::time::timeout(self.room_wait_max, endpoint.room.enter());
        let Ok(Some(_place)) = entered.await else {
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

/// Returns how long it may take to wait for room and to make an attempt.
fn time_max(limits: &DeliverLimits) -> Duration {
    let limit = limits.timeout_max;
    limit.saturating_sub(MARGIN.min(limit / 10))
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
        timeout: timeout.min(time_max(limits)),
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
mod tests;
