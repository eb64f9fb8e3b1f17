//! Tells people how far a migration is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use factum_archive::{Progress as Step, Stage};

use crate::machine::now;
use crate::output::{Audience, grouped, note};
use crate::progress::Progress;

/// How often a line is written where nobody watches a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar where a person watches, a line from time to time otherwise, and nothing for programs.
#[derive(Debug)]
pub(crate) struct Watcher {
    audience: Audience,
    bar: Progress,
    last_line: Mutex<Instant>,
}

impl Watcher {
    pub(crate) fn new(audience: Audience) -> Self {
        Self {
            audience,
            bar: Progress::of_bytes(audience, None),
            last_line: Mutex::new(now()),
        }
    }

    /// Shows a step.
    pub(crate) fn show(&self, step: &Step) {
        if self.bar.is_watched() {
            return self.bar.say(in_words(step));
        }
        let mut last = self
            .last_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = now();
            self.note(&in_words(step));
        }
    }

    /// Writes a line for people.
    pub(crate) fn note(&self, text: &str) {
        if self.audience == Audience::Programs {
            return;
        }
        if self.bar.is_watched() {
            self.bar.note(text);
        } else {
            note(text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) -> Duration {
        self.bar.done()
    }
}

fn in_words(step: &Step) -> String {
    let verb = match step.stage {
        Stage::Copy => "copying",
        Stage::Compare => "comparing",
    };
    let percent = step.n_done * 100 / step.n_total.max(1);
    let left = step.time_left().map_or_else(String::new, |left| {
        format!(", {} s left", grouped(left.as_secs()))
    });
    format!(
        "{verb}: {} of {} events, {percent} %, {}/s{left}",
        grouped(step.n_done),
        grouped(step.n_total),
        grouped(step.events_per_second())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_with_rate_and_time_left() {
        let step = Step {
            stage: Stage::Copy,
            n_done: 1500,
            n_total: 6000,
            n_events: 1000,
            elapsed: Duration::from_secs(2),
        };
        let told = "copying: 1,500 of 6,000 events, 25 %, 500/s, 9 s left";
        assert_eq!(in_words(&step), told);
    }
}
