//! Rate limits: so many in any while of a length.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::rules::RateLimit;

/// Lets through so many in any while of a length.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    passed: Mutex<VecDeque<Instant>>,
}

impl Limiter {
    pub(super) const fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            passed: Mutex::new(VecDeque::new()),
        }
    }

    /// Lets one through, or says how long to wait before asking again.
    pub(super) fn pass(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let window = self.limit.time_window;
        while passed
            .front()
            .is_some_and(|at| now.duration_since(*at) >= window)
        {
            passed.pop_front();
        }
        let max = self.limit.max_events as usize;
        match passed.front() {
            Some(oldest) if passed.len() >= max => {
                Err((*oldest + window).saturating_duration_since(now))
            }
            Some(_) | None => {
                passed.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_window_sees_more_than_the_limit() {
        let limiter = Limiter::new(RateLimit {
            max_events: 2,
            time_window: Duration::from_secs(10),
        });
        assert_eq!(limiter.pass(), Ok(()));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(limiter.pass(), Ok(()));
        assert_eq!(limiter.pass(), Err(Duration::from_secs(6)));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(limiter.pass(), Ok(()));
        assert_eq!(limiter.pass(), Err(Duration::from_secs(4)));
    }
}
