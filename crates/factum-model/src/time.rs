//! Instants in UTC to the microsecond, and the clocks that give them.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use thiserror::Error;

/// An instant in UTC, to the microsecond, in the years 1 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text or number is not an instant that RFC 3339 can write.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not an RFC 3339 date and time with a zone, such as 2026-03-01T09:30:00Z")]
pub struct InvalidTimestamp {
    /// What was given, cut to 64 characters.
    pub text: String,
}

impl Timestamp {
    /// The earliest instant, 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// The latest instant, 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);
    /// The number of bytes that [`Timestamp::encode`] writes.
    pub const TEXT_BYTES: usize = 27;

    /// Returns the instant this many microseconds after 1970-01-01T00:00:00Z, or `None` outside
    /// the years 1 to 9999.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < Self::MIN.0 || micros > Self::MAX.0 {
            return None;
        }
        Some(Self(micros))
    }

    /// Returns the microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns the instant this many microseconds later, at the latest [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        Self(
            self.0
                .saturating_add(micros)
                .clamp(Self::MIN.0, Self::MAX.0),
        )
    }

    /// Writes the instant as `2026-03-01T09:30:00.000000Z` into `buffer` and returns it.
    pub fn encode(self, buffer: &mut [u8; Self::TEXT_BYTES]) -> &str {
        let days = self.0.div_euclid(MICROS_A_DAY);
        let micros = self.0.rem_euclid(MICROS_A_DAY);
        let (year, month, day) = civil_from_days(days);
        let seconds = micros / 1_000_000;
        *buffer = *b"0000-00-00T00:00:00.000000Z";
        digits(&mut buffer[0..4], year);
        digits(&mut buffer[5..7], month);
        digits(&mut buffer[8..10], day);
        digits(&mut buffer[11..13], seconds / 3600);
        digits(&mut buffer[14..16], seconds / 60 % 60);
        digits(&mut buffer[17..19], seconds % 60);
        digits(&mut buffer[20..26], micros % 1_000_000);
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

const MICROS_A_DAY: i64 = 86_400_000_000;

/// Writes `value` right-aligned into `place`, over the zeros that stand there.
fn digits(place: &mut [u8], mut value: i64) {
    for byte in place.iter_mut().rev() {
        // The remainder is below ten, so the conversion is exact.
        *byte = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

/// Returns year, month and day of a day number, after Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads RFC 3339; digits beyond the microsecond are cut, the offset is applied.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse_rfc_3339(text.as_bytes())
            .and_then(Self::from_micros)
            .ok_or_else(|| InvalidTimestamp {
                text: text.chars().take(64).collect(),
            })
    }
}

/// Reads RFC 3339 and nothing more of ISO 8601. A leap second counts as the second before it.
fn parse_rfc_3339(text: &[u8]) -> Option<i64> {
    let pattern = b"dddd-dd-ddTdd:dd:dd";
    let (head, rest) = text.split_at_checked(pattern.len())?;
    let fits = head
        .iter()
        .zip(pattern)
        .all(|(&byte, &wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            _ => byte == wanted,
        });
    if !fits {
        return None;
    }
    let [year, month, day] = [0..4, 5..7, 8..10].map(|place| number(&head[place]));
    let [hour, minute, second] = [11..13, 14..16, 17..19].map(|place| number(&head[place]));
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let (micros, zone) = fraction(rest)?;
    let offset_minutes = offset(zone)?;
    let seconds = days_from_civil(year, month, day) * 86_400
        + hour * 3600
        + (minute - offset_minutes) * 60
        + second.min(59);
    Some(seconds * 1_000_000 + micros)
}

/// Splits a fraction of a second off, in microseconds; digits beyond are cut.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', digits @ ..] = text else {
        return Some((0, text));
    };
    let n_digits = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if n_digits == 0 || n_digits > 18 {
        return None;
    }
    let mut micros = [b'0'; 6];
    let kept = n_digits.min(6);
    micros[..kept].copy_from_slice(&digits[..kept]);
    Some((number(&micros), &digits[n_digits..]))
}

/// Reads a zone as the minutes by which it is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), a, b, b':', c, d]
            if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) =>
        {
            let (hours, minutes) = (number(&[*a, *b]), number(&[*c, *d]));
            let ahead = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> i64 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the day number of a date, after Howard Hinnant's `days_from_civil`.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::TEXT_BYTES]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the present wall-clock time. It may go back.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock that all others ask"
        )]
        let now = std::time::SystemTime::now();
        let micros = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp(micros.clamp(Timestamp::MIN.0, Timestamp::MAX.0))
    }
}

/// A clock that moves only when it is told to; for tests and simulations.
#[derive(Debug)]
pub struct LogicalClock(AtomicI64);

impl LogicalClock {
    /// Makes a clock that shows `now`.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Sets the clock, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock by this many microseconds.
    pub fn advance(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for LogicalClock {
    fn now(&self) -> Timestamp {
        Timestamp(
            self.0
                .load(Ordering::SeqCst)
                .clamp(Timestamp::MIN.0, Timestamp::MAX.0),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let actual = text.parse::<Timestamp>().ok().map(|at| at.to_string());
        assert_eq!(actual.as_deref(), expected, "{text}");
    }

    #[test]
    fn rfc_3339_is_read_to_the_microsecond_in_utc() {
        check(
            "2010-10-02T07:20:39.266Z",
            Some("2010-10-02T07:20:39.266000Z"),
        );
        check(
            "2023-05-13T22:09:38.000-04:00",
            Some("2023-05-14T02:09:38.000000Z"),
        );
        check(
            "1969-12-31t23:59:59.9999999z",
            Some("1969-12-31T23:59:59.999999Z"),
        );
        check("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00.000000Z"));
        check(
            "9999-12-31T23:59:59.999999Z",
            Some("9999-12-31T23:59:59.999999Z"),
        );
        for wrong in [
            "",
            "2010-10-02",
            "2010-10-02T07:20:39",
            "2010-13-02T07:20:39Z",
            "20101002T072039Z",
            "2010-10-02T07:20:39.Z",
            "2010-10-02T07:20:39Z[UTC]",
            "0000-01-01T00:00:00Z",
            "2010-02-30T00:00:00Z",
            "2010-10-02T24:00:00Z",
            "2010-10-02T07:20:39+0400",
            "2023-02-29T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            check(wrong, None);
        }
    }

    proptest! {
        #[test]
        fn text_and_number_agree(micros in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let at = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
            if let Ok(other) = jiff::Timestamp::from_microsecond(micros) {
                prop_assert_eq!(at.to_string(), format!("{other:.6}"));
            }
        }
    }
}
