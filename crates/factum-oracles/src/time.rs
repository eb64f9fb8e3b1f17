//! Timestamps, against `jiff`.

use factum_model::Timestamp;

pub(crate) const SEEDS: &[&str] = &[
    "2026-11-21T08:35:17Z",
    "2026-11-21t08:35:17.123456789z",
    "1969-12-31T23:59:59.999999-23:59",
    "2024-02-29T24:00:00+00:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
];

/// A text that is a time for us is the same time for `jiff`, cut to the microsecond, and comes
/// back from our own writing.
///
/// # Panics
/// When it is not.
pub fn time(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(ours) = text.parse::<Timestamp>() else {
        return;
    };
    let written = ours.encode(&mut [0; Timestamp::TEXT_BYTES]).to_owned();
    assert_eq!(written.parse(), Ok(ours), "{text:?}");
    assert_eq!(Timestamp::from_micros(ours.as_micros()), Some(ours));
    let bounds = jiff::Timestamp::MIN.as_microsecond()..=jiff::Timestamp::MAX.as_microsecond();
    let theirs: jiff::Timestamp = match to_the_nanosecond(text).parse() {
        Ok(theirs) => theirs,
        // The last hours of the year 9999 are too late for it.
        Err(_) if !bounds.contains(&ours.as_micros()) => return,
        Err(error) => panic!("{text:?} is {written} for us, and for jiff {error}"),
    };
    // Both cut towards the past.
    let nanos = theirs.as_nanosecond();
    assert_eq!(nanos.div_euclid(1000), ours.as_micros().into(), "{text:?}");
}

/// RFC 3339 allows any number of digits, `jiff` nine.
fn to_the_nanosecond(text: &str) -> String {
    let Some((seconds, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, zone) = rest.split_at(n_digits);
    format!("{seconds}.{}{zone}", digits.get(..9).unwrap_or(digits))
}
