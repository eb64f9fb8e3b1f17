//! When something fires again and again: a pattern of cron in a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use factum_model::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::error::ScheduleError;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 200;

/// What happens with the firings that were missed while no node ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Each fires, late, in order.
    #[default]
    All,
    /// Only the last one fires.
    Latest,
}

impl Missed {
    /// Returns the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
        }
    }

    /// Returns what a stable name stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::All, Self::Latest]
            .into_iter()
            .find(|missed| missed.as_str() == name)
    }
}

/// A pattern of cron in a time zone.
///
/// Where clocks are set forward, what falls into the hour that is left out fires when it is over;
/// where they are set back, a fixed time fires once, in the first of the two hours.
#[derive(Debug, Clone)]
pub struct Calendar {
    pattern: String,
    zone_name: String,
    cron: Cron,
    zone: TimeZone,
    missed: Missed,
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.zone_name, self.missed)
            == (&other.pattern, &other.zone_name, other.missed)
    }
}

impl Eq for Calendar {}

impl Calendar {
    /// Reads a pattern of five fields, or of six with seconds first, and the IANA name of a time
    /// zone.
    ///
    /// # Errors
    /// [`ScheduleError::Pattern`] and [`ScheduleError::Zone`].
    pub fn new(pattern: &str, zone: &str, missed: Missed) -> Result<Self, ScheduleError> {
        let invalid = |reason: String| ScheduleError::Pattern {
            pattern: pattern.chars().take(PATTERN_BYTES_MAX).collect(),
            reason,
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            let reason = format!("it has more than {PATTERN_BYTES_MAX} bytes");
            return Err(invalid(reason));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(pattern)
            .map_err(|error| invalid(error.to_string()))?;
        let zone_name = zone;
        let zone = TimeZone::get(zone).map_err(|_| ScheduleError::Zone {
            zone: zone.chars().take(64).collect(),
        })?;
        Ok(Self {
            pattern: pattern.to_owned(),
            zone_name: zone_name.to_owned(),
            cron,
            zone,
            missed,
        })
    }

    /// Returns the pattern.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Returns the name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// Returns what happens with missed firings.
    #[must_use]
    pub const fn missed(&self) -> Missed {
        self.missed
    }

    /// Returns the first instant of the pattern after this one, or `None` if there is none.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self
            .cron
            .find_next_occurrence(&self.zoned(after)?, false)
            .ok()?;
        let next = instant(&next)?;
        // Whatever a library thinks of, time goes on.
        (next > after).then_some(next)
    }

    /// Returns the instant that follows one that fired, seen from now.
    pub(super) fn following(&self, fired: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let next = self.next(fired)?;
        match self.missed {
            Missed::All => Some(next),
            Missed::Latest if next >= now => Some(next),
            Missed::Latest => {
                let last = self.cron.find_previous_occurrence(&self.zoned(now)?, true);
                let last = last.ok().as_ref().and_then(instant);
                Some(last.filter(|last| *last > next).unwrap_or(next))
            }
        }
    }

    fn zoned(&self, at: Timestamp) -> Option<Zoned> {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

fn instant(zoned: &Zoned) -> Option<Timestamp> {
    Timestamp::from_micros(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check(pattern: &str, zone: &str, after: &str, expected: &[&str]) {
        let calendar = Calendar::new(pattern, zone, Missed::All).unwrap();
        let mut now = at(after);
        for expected in expected {
            now = calendar.next(now).unwrap();
            assert_eq!(now, at(expected), "{pattern} in {zone}");
        }
    }

    #[test]
    fn a_pattern_is_of_its_time_zone() {
        check(
            "30 9 * * MON-FRI",
            "Europe/Vienna",
            "2026-11-20T12:00:00Z",
            &["2026-11-23T08:30:00Z", "2026-11-24T08:30:00Z"],
        );
        check(
            "*/20 * * * * *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"],
        );
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2028-02-29T00:00:00Z"],
        );
    }

    #[test]
    fn a_fixed_time_fires_once_a_day_when_clocks_change() {
        // 2:30 is not there on 29 March 2026, and twice on 25 October.
        check(
            "30 2 * * *",
            "Europe/Vienna",
            "2026-03-28T00:00:00Z",
            &[
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z",
            ],
        );
        check(
            "30 2 * * *",
            "Europe/Vienna",
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        );
    }

    #[test]
    fn what_was_missed_fires_all_or_the_latest() {
        let missed = |missed| {
            let calendar = Calendar::new("0 * * * *", "UTC", missed).unwrap();
            let (fired, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T05:30:00Z"));
            calendar.following(fired, now).unwrap()
        };
        assert_eq!(missed(Missed::All), at("2026-01-01T02:00:00Z"));
        assert_eq!(missed(Missed::Latest), at("2026-01-01T05:00:00Z"));
        let calendar = Calendar::new("0 * * * *", "UTC", Missed::Latest).unwrap();
        let (fired, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T01:30:00Z"));
        assert_eq!(
            calendar.following(fired, now),
            Some(at("2026-01-01T02:00:00Z"))
        );
    }

    #[test]
    fn other_patterns_and_zones_are_refused() {
        for pattern in ["", "* * * *", "61 * * * *", "a b c d e", &"* ".repeat(200)] {
            let error = Calendar::new(pattern, "UTC", Missed::All).unwrap_err();
            assert!(matches!(error, ScheduleError::Pattern { .. }), "{pattern}");
        }
        for zone in ["", "Europe/Nowhere", "../etc/passwd"] {
            let error = Calendar::new("* * * * *", zone, Missed::All).unwrap_err();
            assert!(matches!(error, ScheduleError::Zone { .. }), "{zone}");
        }
        let never = Calendar::new("0 0 30 2 *", "UTC", Missed::All);
        assert!(never.is_err() || never.unwrap().next(at("2026-01-01T00:00:00Z")).is_none());
    }
}
