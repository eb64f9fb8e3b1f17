//! How many messages a client may send.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of permits that fills at a steady rate.
#[derive(Debug)]
pub(crate) struct MessageLimiter {
    interval: Duration,
    burst: Duration,
    /// When the bucket will be full again; each message moves it on by one interval.
    full_at: Instant,
}

impl MessageLimiter {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            burst: interval * burst.max(1),
            full_at: Instant::now(),
        }
    }

    /// Takes a permit; `false` when there is none.
    pub(crate) fn admit(&mut self) -> bool {
        let now = Instant::now();
        let next = self.full_at.max(now) + self.interval;
        let admitted = next.duration_since(now) <= self.burst;
        if admitted {
            self.full_at = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_admitted_and_then_the_rate() {
        let mut limiter = MessageLimiter::new(10, 3);
        let admitted = (0..5).filter(|_| limiter.admit()).count();
        assert_eq!(admitted, 3);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(limiter.admit() && !limiter.admit());
        tokio::time::advance(Duration::from_secs(60)).await;
        let admitted = (0..9).filter(|_| limiter.admit()).count();
        assert_eq!(admitted, 3);
    }
}
