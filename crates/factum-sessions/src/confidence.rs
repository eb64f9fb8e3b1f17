//! How much a successor can rely on what it is told.

/// A figure from 50 to 100, and why it is that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confidence {
    pub(crate) score: u8,
    pub(crate) reason: String,
}

/// Under this the successor is warned.
pub(crate) const WARN_BELOW: u8 = 80;
const LEAST: u64 = 50;

/// Works out the confidence: from the age of the checkpoint, less 5 for every half an hour since
/// the last event; never under 50.
pub(crate) fn confidence(checkpoint_seconds: Option<u64>, idle_seconds: u64) -> Confidence {
    let (base, of_checkpoint) = match checkpoint_seconds {
        None => (50, "there is no checkpoint".to_owned()),
        Some(age) => {
            let base = match age {
                0..300 => 100,
                300..3600 => 90,
                3600..86_400 => 70,
                _ => 50,
            };
            (base, format!("the checkpoint is {} old", span(age)))
        }
    };
    let half_hours = idle_seconds / 1800;
    let score = base - half_hours.saturating_mul(5).min(base - LEAST);
    let idle = span(idle_seconds);
    Confidence {
        score: u8::try_from(score).unwrap_or(100),
        reason: format!("{of_checkpoint}; the last event was {idle} ago"),
    }
}

/// Writes a span of time as people say it.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 3600;

    fn check(checkpoint_seconds: Option<u64>, idle_seconds: u64, expected: u8) {
        let found = confidence(checkpoint_seconds, idle_seconds);
        assert_eq!(found.score, expected, "{found:?}");
    }

    #[test]
    fn the_age_of_the_checkpoint_gives_the_base() {
        check(Some(0), 0, 100);
        check(Some(5 * MINUTE - 1), 0, 100);
        check(Some(5 * MINUTE), 0, 90);
        check(Some(HOUR - 1), 0, 90);
        check(Some(HOUR), 0, 70);
        check(Some(24 * HOUR - 1), 0, 70);
        check(Some(24 * HOUR), 0, 50);
        check(None, 0, 50);
    }

    #[test]
    fn every_half_an_hour_of_silence_costs_five_and_never_more_than_there_is() {
        check(Some(0), 30 * MINUTE - 1, 100);
        check(Some(0), 30 * MINUTE, 95);
        check(Some(5 * MINUTE), 60 * MINUTE, 80);
        check(Some(5 * MINUTE), 90 * MINUTE, 75);
        check(Some(HOUR), 2 * HOUR, 50);
        check(Some(0), 5 * HOUR, 50);
        check(Some(0), u64::MAX, 50);
        check(None, 10 * HOUR, 50);
    }

    #[test]
    fn the_reason_says_both_ages() {
        let found = confidence(Some(4000), 90);
        assert_eq!(
            found.reason,
            "the checkpoint is 66 min old; the last event was 90 s ago"
        );
    }
}
