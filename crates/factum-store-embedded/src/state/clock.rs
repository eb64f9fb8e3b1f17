//! A clock that goes on when the clock of the machine is set back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use factum_model::{Clock, SystemClock, Timestamp};

/// The time of the machine, except that it never goes back: when the clock of the machine is set
/// back, this one goes on at its pace from where it was, so that what is to happen in a minute
/// happens in a minute. When the machine's is set forward, or wakes from sleep, it follows.
///
/// It forgets when the process ends.
#[derive(Debug)]
pub struct SteadyClock(Mutex<(Timestamp, Instant)>);

impl SteadyClock {
    /// Starts at the time of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new((SystemClock.now(), tick())))
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, tick) = (SystemClock.now(), tick());
        let now = advance(last.0, tick.saturating_duration_since(last.1), wall);
        *last = (now, tick);
        now
    }
}

fn tick() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a clock; what uses it gets a Clock, which tests replace"
    )]
    Instant::now()
}

/// Returns the time after a while, if the machine says that it is `wall`.
fn advance(last: Timestamp, elapsed: Duration, wall: Timestamp) -> Timestamp {
    let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
    last.saturating_add_micros(micros).max(wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_machine_is_set_back_and_follows_it_forward() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(advance(at(100), second, at(101)), at(101));
        assert_eq!(advance(at(100), second, at(50)), at(101));
        assert_eq!(advance(at(100), second, at(5000)), at(5000));
        assert_eq!(advance(Timestamp::MAX, second, at(0)), Timestamp::MAX);
    }

    #[test]
    fn readings_never_decrease() {
        let clock = SteadyClock::new();
        let readings: Vec<_> = (0..1000).map(|_| clock.now()).collect();
        assert!(readings.is_sorted());
    }
}
