//! The values that conditions compare with.

use std::fmt;

use crate::decimal::{Decimal, NumberRef};

/// A JSON value without parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JsonScalar {
    /// `null`, which is a value: it is not the same as a member that is missing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, exact.
    Number(Decimal),
    /// A string.
    String(Box<str>),
}

impl From<&str> for JsonScalar {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for JsonScalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for JsonScalar {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<Decimal> for JsonScalar {
    fn from(number: Decimal) -> Self {
        Self::Number(number)
    }
}

impl JsonScalar {
    /// Returns bytes that are the same for equal values, and for no others.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Null => bytes.push(b'n'),
            Self::Bool(value) => bytes.push(if *value { b't' } else { b'f' }),
            Self::Number(number) => write_number(number.as_number(), &mut bytes),
            Self::String(text) => write_text(text, &mut bytes),
        }
        bytes
    }

    /// Returns how many bytes its text takes, a measure of its size.
    pub(crate) const fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 4,
            Self::Number(number) => number.as_number().canonical_bytes(),
            Self::String(text) => text.len(),
        }
    }
}

/// Writes the value as JSON.
impl fmt::Display for JsonScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::String(text) => write_string(f, text),
        }
    }
}

/// Writes a number as [`JsonScalar::to_bytes`] does.
pub(crate) fn write_number(number: NumberRef<'_>, bytes: &mut Vec<u8>) {
    bytes.push(b'0');
    number.write_canonical(bytes);
}

/// Writes a string as [`JsonScalar::to_bytes`] does.
pub(crate) fn write_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
}

/// Writes a string as JSON.
fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}
