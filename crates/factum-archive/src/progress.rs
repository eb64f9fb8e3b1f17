//! How far a copy is, and how long it will take.

use std::time::Duration;

use factum_model::Position;
use tokio::time::Instant;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Events are copied.
    Copy,
    /// What was copied is read back and compared with the source.
    Compare,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How many events of the log are done, those of earlier runs included.
    pub n_done: u64,
    /// How many events there are to be done in all, as far as is known now.
    pub n_total: u64,
    /// How many of them were done since the stage began, and how long that took.
    pub n_events: u64,
    /// The time since the stage began.
    pub elapsed: Duration,
}

impl Progress {
    /// Returns how many events are done in a second; zero before there is anything to tell from.
    #[must_use]
    pub fn events_per_second(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        let rate = u128::from(self.n_events) * 1_000_000 / micros;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Returns how long the rest will take at this rate; `None` when that cannot be told yet.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.events_per_second();
        let n_left = self.n_total.saturating_sub(self.n_done);
        (rate > 0).then(|| Duration::from_secs(n_left.div_ceil(rate)))
    }
}

/// Counts what is done in a stage and tells whoever watches.
pub(crate) struct Meter<'a> {
    stage: Stage,
    n_before: u64,
    n_total: u64,
    started: Instant,
    tell: &'a mut (dyn FnMut(&Progress) + Send),
}

impl<'a> Meter<'a> {
    pub(crate) fn start(
        stage: Stage,
        (done, until): (Option<Position>, Option<Position>),
        tell: &'a mut (dyn FnMut(&Progress) + Send),
    ) -> Self {
        Self {
            stage,
            n_before: number(done),
            n_total: number(until),
            started: Instant::now(),
            tell,
        }
    }

    /// Says up to where everything is done.
    pub(crate) fn done(&mut self, done: Option<Position>) {
        let n_done = number(done);
        (self.tell)(&Progress {
            stage: self.stage,
            n_done,
            n_total: self.n_total.max(n_done),
            n_events: n_done.saturating_sub(self.n_before),
            elapsed: self.started.elapsed(),
        });
    }
}

fn number(position: Option<Position>) -> u64 {
    position.map_or(0, Position::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_was_done() {
        let progress = Progress {
            stage: Stage::Copy,
            n_done: 600,
            n_total: 1000,
            n_events: 100,
            elapsed: Duration::from_secs(10),
        };
        assert_eq!(progress.events_per_second(), 10);
        assert_eq!(progress.time_left(), Some(Duration::from_secs(40)));
        let nothing = Progress {
            n_events: 0,
            ..progress
        };
        assert_eq!(nothing.time_left(), None);
    }
}
