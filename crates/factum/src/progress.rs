//! Progress of long work, on standard error, for people who watch.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::machine::{now, per_second};
use crate::output::{Audience, grouped};

/// A bar with a rate and the time left, where a person watches; nothing otherwise.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Begins. `n_total` bytes are to be done, where that is known.
    pub(crate) fn of_bytes(audience: Audience, n_total: Option<u64>) -> Self {
        let watched = audience == Audience::People && io::stderr().is_terminal();
        let target = if watched {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(n_total, target);
        let template = match n_total {
            Some(_) => "{wide_bar} {percent} % {msg} ({eta} left)",
            None => "{spinner} {msg} ({elapsed})",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            started: now(),
        }
    }

    /// Shows how far the work is.
    pub(crate) fn show(&self, n_bytes: u64, n_events: u64) {
        self.bar.set_position(n_bytes);
        self.bar.set_message(self.rate(n_events));
    }

    /// Shows a message in place of events and their rate.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Tells whether a person watches.
    pub(crate) fn is_watched(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Writes a note above the bar.
    pub(crate) fn note(&self, text: &str) {
        if self.bar.is_hidden() {
            crate::output::note(text);
        } else {
            self.bar.println(text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) -> Duration {
        self.bar.finish_and_clear();
        self.started.elapsed()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are positive and far below 2^53"
    )]
    fn rate(&self, n_events: u64) -> String {
        let rate = per_second(n_events, self.started.elapsed()) as u64;
        format!("{} events, {}/s", grouped(n_events), grouped(rate))
    }
}

/// Waits between attempts: from a quarter of a second up to ten seconds, then gives up.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    n_failures: u32,
}

const FAILURES_MAX: u32 = 8;

impl Patience {
    /// Starts anew, since there was progress.
    pub(crate) const fn restore(&mut self) {
        self.n_failures = 0;
    }

    /// Returns how long to wait before the next attempt, or `None` to give up.
    pub(crate) fn next_wait(&mut self) -> Option<Duration> {
        self.n_failures += 1;
        let wait = Duration::from_millis(250) * 2_u32.saturating_pow(self.n_failures - 1);
        (self.n_failures <= FAILURES_MAX).then_some(wait.min(Duration::from_secs(10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let mut patience = Patience::default();
        let waits: Vec<_> = std::iter::from_fn(|| patience.next_wait()).collect();
        assert_eq!(waits.len(), FAILURES_MAX as usize);
        assert_eq!(waits[0], Duration::from_millis(250));
        assert_eq!(waits[7], Duration::from_secs(10));
        patience.restore();
        assert!(patience.next_wait().is_some());
    }
}
