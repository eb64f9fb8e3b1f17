//! Numbers of JSON texts, compared exactly.
//!
//! A number is its sign, its digits and the place of its decimal point. Nothing goes through a
//! double, and nothing is as long as an exponent says: `1e999999999` has one digit.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The largest exponent that is told apart; what is beyond counts as this one.
const EXPONENT_MAX: i64 = 1_000_000_000_000_000_000;

/// A number as it stands in a JSON text, without copying its digits.
///
/// Its value is `0.d₁d₂d₃… × 10^point`, where the first and the last digit are not zero; zero has
/// no digits, no sign and the point 0. So equal numbers have equal parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberRef<'a> {
    negative: bool,
    point: i64,
    head: &'a [u8],
    tail: &'a [u8],
}

impl<'a> NumberRef<'a> {
    /// Reads a number that has been checked to be one.
    pub(crate) fn read(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some(_) | None => (false, bytes),
        };
        let mark = bytes.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = match mark {
            Some(mark) => {
                let (mantissa, rest) = bytes.split_at(mark);
                (mantissa, exponent(rest.get(1..).unwrap_or_default()))
            }
            None => (bytes, 0),
        };
        let dot = mantissa.iter().position(|&byte| byte == b'.');
        let (whole, fraction) = match dot {
            Some(dot) => {
                let (whole, rest) = mantissa.split_at(dot);
                (whole, rest.get(1..).unwrap_or_default())
            }
            None => (mantissa, [].as_slice()),
        };
        Self::of_parts(negative, whole, fraction, exponent)
    }

    fn of_parts(negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64) -> Self {
        let head = trim_start(whole);
        let mut tail = trim_end(fraction);
        let (head, point) = if head.is_empty() {
            let trimmed = trim_start(tail);
            let n_zeros = tail.len() - trimmed.len();
            tail = trimmed;
            (head, exponent.saturating_sub_unsigned(n_zeros as u64))
        } else {
            let point = exponent.saturating_add_unsigned(head.len() as u64);
            let head = if tail.is_empty() {
                trim_end(head)
            } else {
                head
            };
            (head, point)
        };
        let is_zero = head.is_empty() && tail.is_empty();
        Self {
            negative: negative && !is_zero,
            point: if is_zero { 0 } else { point },
            head,
            tail,
        }
    }

    fn digits(self) -> impl Iterator<Item = u8> {
        self.head.iter().chain(self.tail).copied()
    }

    /// Tells how many bytes [`Self::write_canonical`] writes.
    pub(crate) const fn canonical_bytes(self) -> usize {
        9 + self.head.len() + self.tail.len()
    }

    /// Writes the parts: a byte for the sign (1 if negative), the point as eight bytes, little
    /// end first, and the digits in ASCII. Equal numbers, and only those, have equal bytes.
    pub(crate) fn write_canonical(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.negative));
        bytes.extend_from_slice(&self.point.to_le_bytes());
        bytes.extend_from_slice(self.head);
        bytes.extend_from_slice(self.tail);
    }

    /// Returns the number with digits of its own.
    pub(crate) fn to_decimal(self) -> Decimal {
        Decimal {
            negative: self.negative,
            point: self.point,
            digits: self.digits().collect(),
        }
    }

    const fn is_zero(self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// -1, 0 or 1.
    const fn sign(self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for NumberRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let magnitude = || {
            let points = self.point.cmp(&other.point);
            points.then_with(|| self.digits().cmp(other.digits()))
        };
        match self.sign().cmp(&other.sign()) {
            Ordering::Equal if self.negative => magnitude().reverse(),
            Ordering::Equal => magnitude(),
            unlike => unlike,
        }
    }
}

impl PartialOrd for NumberRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for NumberRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for NumberRef<'_> {}

fn trim_start(digits: &[u8]) -> &[u8] {
    let n_zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.get(n_zeros..).unwrap_or_default()
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let last = digits.iter().rposition(|&digit| digit != b'0');
    digits
        .get(..last.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        Some(_) | None => (false, text),
    };
    let mut value = 0_i64;
    for digit in digits {
        value = value
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')))
            .min(EXPONENT_MAX);
        if value == EXPONENT_MAX {
            break;
        }
    }
    if negative { -value } else { value }
}

/// An exact decimal number. `1`, `1.0` and `10e-1` are the same; exponents beyond ±10¹⁸ count as
/// that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    point: i64,
    digits: Box<[u8]>,
}

impl Decimal {
    pub(crate) const fn as_number(&self) -> NumberRef<'_> {
        NumberRef {
            negative: self.negative,
            point: self.point,
            head: &self.digits,
            tail: &[],
        }
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        NumberRef::read(&number.to_string()).to_decimal()
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_number().cmp(&other.as_number())
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A text is not a number by the grammar of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number")]
pub struct NotANumber;

impl FromStr for Decimal {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        if is_number(text.as_bytes()) {
            Ok(NumberRef::read(text).to_decimal())
        } else {
            Err(NotANumber)
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let n_digits = digits(rest);
    if n_digits == 0 || (n_digits > 1 && rest.starts_with(b"0")) {
        return false;
    }
    rest = rest.get(n_digits..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let n_digits = digits(fraction);
        if n_digits == 0 {
            return false;
        }
        rest = fraction.get(n_digits..).unwrap_or_default();
    }
    if let Some((b'e' | b'E', exponent)) = rest.split_first() {
        let exponent = match exponent.split_first() {
            Some((b'+' | b'-', digits)) => digits,
            Some(_) | None => exponent,
        };
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many zeros are written out before an exponent is.
        const ZEROS_MAX: i64 = 20;
        let digits = str::from_utf8(&self.digits).unwrap_or_default();
        if digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let n_digits = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let (first, rest) = digits.split_at(1);
        match self.point {
            point if (1..n_digits).contains(&point) => {
                let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
                write!(f, "{whole}.{fraction}")
            }
            point if (n_digits..=n_digits + ZEROS_MAX).contains(&point) => {
                let zeros = usize::try_from(point - n_digits).unwrap_or(0);
                write!(f, "{digits}{:0<zeros$}", "")
            }
            point if (-ZEROS_MAX..=0).contains(&point) => {
                let zeros = usize::try_from(-point).unwrap_or(0);
                write!(f, "0.{:0<zeros$}{digits}", "")
            }
            point if rest.is_empty() => write!(f, "{first}e{}", point - 1),
            point => write!(f, "{first}.{rest}e{}", point - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        for same in [
            &["1", "1.0", "1e0", "10e-1", "0.1E+1", "0.01e2", "100e-2"][..],
            &["0", "-0", "0.000", "0e999999999999999999999", "-0.0e-5"],
            &["-12.50", "-1250e-2", "-0.125e2"],
            &["9007199254740993", "9007199254740993.0"],
            &["1e999999999999999999999", "1e888888888888888888888"],
        ] {
            for text in same {
                assert_eq!(decimal(text), decimal(same[0]), "{text}");
                assert!(decimal(text).cmp(&decimal(same[0])).is_eq(), "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_ordered_exactly() {
        let ordered = [
            "-1e999999999",
            "-10.1",
            "-10",
            "-9.99",
            "-1e-400",
            "0",
            "1e-999999999",
            "0.3",
            "0.30000000000000004",
            "1",
            "1.5",
            "9007199254740992",
            "9007199254740993",
            "1e16",
            "18446744073709551615",
            "1e309",
            "1e310",
        ];
        for (index, small) in ordered.iter().enumerate() {
            for large in &ordered[index + 1..] {
                assert!(decimal(small) < decimal(large), "{small} < {large}");
            }
        }
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for wrong in [
            "", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x1", "1 ", "NaN", "1.e1",
        ] {
            assert_eq!(wrong.parse::<Decimal>(), Err(NotANumber), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back_is_the_same(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?(e[+-]?[0-9]{1,4})?") {
            let number = decimal(&text);
            prop_assert_eq!(decimal(&number.to_string()), number);
        }

        #[test]
        fn agrees_with_integers(left in any::<i64>(), right in any::<i64>(), zeros in 0_usize..5) {
            let scaled = decimal(&format!("{right}{:0<zeros$}e-{zeros}", ""));
            prop_assert_eq!(decimal(&left.to_string()).cmp(&scaled), left.cmp(&right));
        }
    }
}
