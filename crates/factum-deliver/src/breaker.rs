//! The circuit breaker: leaves a target alone for a while after it failed again and again.
//!
//! ```text
//!            failures_max failures in a row                   open_for is over
//!  closed ────────────────────────────────► open ────────────────────────────► half open
//!    ▲                                        ▲                                  │   │
//!    │                                        └──────────── a probe fails ───────┘   │
//!    └──────────────────────────────────────────────────── a probe succeeds ─────────┘
//! ```

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use factum_engine::{BreakerState, Readiness};
use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// After how many failures in a row it opens.
    pub failures_max: u32,
    /// How long it stays open before a probe is let through; doubled each time that the probe
    /// fails.
    pub open_for: Duration,
    /// The longest that it stays open.
    pub open_for_max: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures_max: 10,
            open_for: Duration::from_secs(5),
            open_for_max: Duration::from_mins(1),
        }
    }
}

/// How often to ask how a probe went.
const PROBE_LOOK: Duration = Duration::from_millis(100);

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    options: Mutex<BreakerOptions>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
enum Inner {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        open_for: Duration,
    },
    /// One probe is under way.
    Probing {
        open_for: Duration,
    },
}

/// The leave to make one attempt. Dropped without a word, it says nothing about the target.
#[derive(Debug)]
pub struct Leave<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    is_settled: bool,
}

impl Breaker {
    /// Makes a closed breaker.
    #[must_use]
    pub const fn new(options: BreakerOptions) -> Self {
        Self {
            options: Mutex::new(options),
            inner: Mutex::new(Inner::Closed { failures: 0 }),
        }
    }

    /// Changes when it opens from now on. One that is open stays so for as long as it was to.
    pub(crate) fn change(&self, options: BreakerOptions) {
        *self.options() = options;
    }

    fn options(&self) -> std::sync::MutexGuard<'_, BreakerOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for leave to make an attempt.
    ///
    /// # Errors
    /// How long to wait before it makes sense to ask again.
    pub fn enter(&self) -> Result<Leave<'_>, Duration> {
        let now = Instant::now();
        let mut inner = self.lock();
        let is_probe = match *inner {
            Inner::Closed { .. } => false,
            Inner::Open { until, open_for } if until <= now => {
                *inner = Inner::Probing { open_for };
                true
            }
            Inner::Open { until, .. } => return Err(until - now),
            // The probe will be over when it is; nobody knows when.
            Inner::Probing { open_for } => return Err(open_for / 4),
        };
        Ok(Leave {
            breaker: self,
            is_probe,
            is_settled: false,
        })
    }

    /// Says whether attempts would be let through, and when to ask again otherwise.
    pub fn readiness(&self) -> Readiness {
        let now = Instant::now();
        match *self.lock() {
            Inner::Closed { .. } => Readiness::Ready,
            Inner::Open { until, .. } if until <= now => Readiness::One,
            Inner::Open { until, .. } => Readiness::NotFor(until - now),
            Inner::Probing { .. } => Readiness::NotFor(PROBE_LOOK),
        }
    }

    /// Says whether attempts are let through.
    pub fn state(&self) -> BreakerState {
        match *self.lock() {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { until, .. } if Instant::now() < until => BreakerState::Open,
            Inner::Open { .. } | Inner::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The target did what it should.
    pub fn succeeded(mut self) {
        self.is_settled = true;
        let mut inner = self.breaker.lock();
        // An attempt that was begun before the breaker opened does not close it.
        if self.is_probe || matches!(*inner, Inner::Closed { .. }) {
            *inner = Inner::Closed { failures: 0 };
        }
    }

    /// The target failed.
    pub fn failed(mut self) {
        self.is_settled = true;
        let options = *self.breaker.options();
        let mut inner = self.breaker.lock();
        let open_for = match *inner {
            Inner::Closed { failures } if failures + 1 < options.failures_max => {
                *inner = Inner::Closed {
                    failures: failures + 1,
                };
                return;
            }
            Inner::Closed { .. } => options.open_for,
            Inner::Probing { open_for } if self.is_probe => {
                (open_for * 2).min(options.open_for_max)
            }
            Inner::Open { .. } | Inner::Probing { .. } => return,
        };
        *inner = Inner::Open {
            until: Instant::now() + open_for,
            open_for,
        };
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled {
            let mut inner = self.breaker.lock();
            if let Inner::Probing { open_for } = *inner {
                // The next attempt is the probe.
                *inner = Inner::Open {
                    until: Instant::now(),
                    open_for,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions {
            failures_max: 3,
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(15),
        })
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.enter().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.enter().unwrap().succeeded();
        fail(&breaker, 2);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(10));
        let wait = Duration::from_secs(10);
        assert_eq!(breaker.readiness(), Readiness::NotFor(wait));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_decides() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.readiness(), Readiness::One);
        let probe = breaker.enter().unwrap();
        assert!(matches!(breaker.readiness(), Readiness::NotFor(_)));
        assert!(breaker.enter().is_err());
        probe.failed();
        // Twice as long as before, but no longer than the longest.
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(15));
        tokio::time::advance(Duration::from_secs(15)).await;
        breaker.enter().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_is_followed_by_another() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(breaker.enter().unwrap());
        breaker.enter().unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_from_before_it_opened_do_not_close_it() {
        let breaker = breaker();
        let early = breaker.enter().unwrap();
        let late = breaker.enter().unwrap();
        fail(&breaker, 3);
        early.succeeded();
        late.failed();
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
