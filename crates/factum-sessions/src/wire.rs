//! How instants and numbers stand in answers and in what is recorded.

use factum_model::Timestamp;
use serde::{Serialize as _, Serializer};
use serde_json::Number;

/// Returns a number without a fraction as an integer, as people write it.
pub(crate) fn number(value: f64) -> Number {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the value was found to be whole and small"
    )]
    let whole = (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64);
    match whole {
        Some(whole) => Number::from(whole),
        None => Number::from_f64(value).unwrap_or_else(|| Number::from(0)),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) fn as_number<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    number(*value).serialize(to)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(crate) fn as_text<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
pub(crate) fn as_optional_text<S: Serializer>(
    at: &Option<Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to.collect_str(at),
        None => to.serialize_none(),
    }
}

/// Returns the seconds from one instant to another; 0 where that is earlier.
pub(crate) fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    u64::try_from(micros).unwrap_or(0) / 1_000_000
}
