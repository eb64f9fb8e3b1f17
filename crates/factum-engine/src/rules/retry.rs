//! How often and when a failed delivery is tried again.

use std::time::Duration;

/// How the waits between attempts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStrategy {
    /// Each wait is the base delay.
    Fixed,
    /// Each wait is longer by the base delay.
    Linear,
    /// Each wait is twice the one before.
    Exponential,
}

/// Whether waits are spread, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// They are as computed.
    None,
    /// Each is anything between nothing and what was computed.
    Full,
}

/// How often and when a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How waits grow.
    pub strategy: RetryStrategy,
    /// The wait after the first attempt.
    pub base_delay: Duration,
    /// The longest wait, also where the target asks for a longer one.
    pub max_delay: Duration,
    /// How many attempts there are, the first one included; at least 1.
    pub max_attempts: u32,
    /// Whether waits are spread.
    pub jitter: Jitter,
}

impl Default for RetryPolicy {
    /// Goes on for about seven hours, so that a target may be away for six.
    fn default() -> Self {
        Self {
            strategy: RetryStrategy::Exponential,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_mins(30),
            max_attempts: 40,
            jitter: Jitter::Full,
        }
    }
}

impl RetryPolicy {
    /// Returns how long to wait after an attempt, the first of which is 1; `None` when it was the
    /// last.
    ///
    /// `asked` is what the target itself asked to wait: it is honoured up to the longest wait, and
    /// is never shortened by jitter. `spread` is any number that differs between deliveries and
    /// attempts; the same gives the same wait.
    #[must_use]
    pub fn wait(&self, attempt: u32, asked: Option<Duration>, spread: u64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let computed = match self.strategy {
            RetryStrategy::Fixed => self.base_delay,
            RetryStrategy::Linear => self.base_delay.saturating_mul(attempt),
            RetryStrategy::Exponential => {
                let doublings = attempt.saturating_sub(1).min(31);
                self.base_delay.saturating_mul(1 << doublings)
            }
        };
        let computed = computed.min(self.max_delay);
        let own = match self.jitter {
            Jitter::None => computed,
            Jitter::Full => part(computed, spread),
        };
        Some(asked.map_or(own, |asked| asked.min(self.max_delay).max(own)))
    }
}

/// Returns a part of a duration, evenly spread over all of it.
fn part(whole: Duration, spread: u64) -> Duration {
    let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
    let part = (u128::from(micros) * u128::from(spread)) >> 64;
    Duration::from_micros(u64::try_from(part).unwrap_or(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(strategy: RetryStrategy) -> RetryPolicy {
        RetryPolicy {
            strategy,
            base_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(30),
            max_attempts: 7,
            jitter: Jitter::None,
        }
    }

    fn waits(policy: RetryPolicy) -> Vec<u64> {
        (1..)
            .map_while(|attempt| policy.wait(attempt, None, 0))
            .map(|wait| wait.as_secs())
            .collect()
    }

    #[test]
    fn waits_grow_as_the_strategy_says() {
        assert_eq!(waits(policy(RetryStrategy::Fixed)), [2, 2, 2, 2, 2, 2]);
        assert_eq!(waits(policy(RetryStrategy::Linear)), [2, 4, 6, 8, 10, 12]);
        assert_eq!(
            waits(policy(RetryStrategy::Exponential)),
            [2, 4, 8, 16, 30, 30]
        );
        let most = RetryPolicy {
            max_attempts: u32::MAX,
            ..policy(RetryStrategy::Exponential)
        };
        let late = most.wait(u32::MAX - 1, None, 0);
        assert_eq!(late, Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_a_target_asks_for_is_honoured_within_bounds() {
        let fixed = policy(RetryStrategy::Fixed);
        let asked = |seconds| fixed.wait(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(1), Some(Duration::from_secs(2)));
        assert_eq!(asked(20), Some(Duration::from_secs(20)));
        assert_eq!(asked(9_999_999), Some(Duration::from_secs(30)));
        assert_eq!(fixed.wait(7, Some(Duration::ZERO), 0), None);
    }

    #[test]
    fn jitter_spreads_over_the_whole_wait() {
        let full = RetryPolicy {
            jitter: Jitter::Full,
            ..policy(RetryStrategy::Fixed)
        };
        let wait = |spread| full.wait(1, None, spread).unwrap();
        assert_eq!(wait(0), Duration::ZERO);
        assert_eq!(wait(1 << 63), Duration::from_secs(1));
        assert!(wait(u64::MAX) < Duration::from_secs(2));
        assert!(wait(u64::MAX) > Duration::from_millis(1999));
    }

    #[test]
    fn the_default_lasts_for_six_hours() {
        let policy = RetryPolicy::default();
        let half = 1 << 63;
        let total: Duration = (1..)
            .map_while(|attempt| policy.wait(attempt, None, half))
            .sum();
        assert!(total > Duration::from_hours(6), "{total:?}");
    }
}
