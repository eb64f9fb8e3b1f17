//! The fields of a JSON object of which all names are known, taken apart without copying.
//!
//! Values are kept as the text they came in, so that payloads stay byte for byte and every other
//! value is read once, by whoever knows what it must be.

use std::borrow::Cow;
use std::fmt;

use factum_model::{ErrorCode, LimitExceeded, Timestamp};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::input::{InputError, InputFault, Path, excerpt};
use crate::nearest::nearest;

/// What an object is for and which fields it has.
pub(crate) struct Shape<const N: usize> {
    /// The object in words, for messages.
    pub(crate) of: &'static str,
    /// The code of every fault in it.
    pub(crate) code: ErrorCode,
    /// Its fields.
    pub(crate) names: [&'static str; N],
}

/// The fields of one object; those with the value `null` count as absent.
pub(crate) struct Fields<'a, 'p, const N: usize> {
    shape: &'static Shape<N>,
    path: &'p Path<'p>,
    values: [Option<&'a RawValue>; N],
}

impl<'a, 'p, const N: usize> Fields<'a, 'p, N> {
    /// Takes an object apart.
    pub(crate) fn read(
        text: &'a str,
        shape: &'static Shape<N>,
        path: &'p Path<'p>,
    ) -> Result<Self, InputError> {
        let first = text.trim_start_matches([' ', '\t', '\r', '\n']);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let found = ObjectSeed(&shape.names)
            .deserialize(&mut deserializer)
            .and_then(|found| deserializer.end().map(|()| found));
        let found = match found {
            Ok(found) => found,
            // What is JSON but no object deserves a better answer than what the parser says.
            Err(_)
                if !first.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() =>
            {
                let found = excerpt(first);
                let expected = "an object";
                return Err(path.error(shape.code, InputFault::Kind { expected, found }));
            }
            Err(error) => {
                let reason = error.to_string();
                let code = ErrorCode::InvalidRequest;
                return Err(path.error(code, InputFault::Syntax { reason }));
            }
        };
        match found.fault {
            None => Ok(Self {
                shape,
                path,
                values: found.values,
            }),
            Some(NameFault::Unknown(field)) => {
                let fault = InputFault::UnknownField {
                    nearest: nearest(&field, &shape.names),
                    of: shape.of,
                    field: excerpt(&field),
                };
                Err(path.key(&field).error(shape.code, fault))
            }
            Some(NameFault::Duplicate(field)) => Err(path
                .key(field)
                .error(shape.code, InputFault::DuplicateField { field })),
        }
    }

    /// Returns a field, or `None` where it is absent or null.
    pub(crate) fn get(&self, name: &'static str) -> Option<Field<'a, 'p>> {
        self.given(name).filter(|field| field.text != "null")
    }

    /// Returns a field, or `None` where it is absent. For lists, which have a way of their own of
    /// being empty.
    pub(crate) fn given(&self, name: &'static str) -> Option<Field<'a, 'p>> {
        let index = self.shape.names.iter().position(|known| *known == name)?;
        let value = self.values.get(index).copied().flatten()?;
        Some(Field {
            name,
            text: value.get(),
            parent: self.path,
            code: self.shape.code,
        })
    }

    /// Returns a field that must be there.
    pub(crate) fn require(&self, name: &'static str) -> Result<Field<'a, 'p>, InputError> {
        self.get(name).ok_or_else(|| self.missing(name))
    }

    /// Says that a field is missing.
    pub(crate) fn missing(&self, name: &'static str) -> InputError {
        let of = self.shape.of;
        let fault = InputFault::MissingField { field: name, of };
        self.path.key(name).error(self.shape.code, fault)
    }
}

/// One field of an object.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a, 'p> {
    pub(crate) name: &'static str,
    /// The value as it came.
    pub(crate) text: &'a str,
    pub(crate) parent: &'p Path<'p>,
    pub(crate) code: ErrorCode,
}

impl<'a> Field<'a, '_> {
    /// Says what is wrong with the value.
    pub(crate) fn error(&self, fault: impl Into<InputFault>) -> InputError {
        self.parent.key(self.name).error(self.code, fault.into())
    }

    fn kind(&self, expected: &'static str) -> InputError {
        let found = excerpt(self.text);
        self.error(InputFault::Kind { expected, found })
    }

    /// Says that the value is not what it should be.
    pub(crate) fn not(&self, expected: &'static str) -> InputError {
        let found = excerpt(self.text);
        self.error(InputFault::Value { expected, found })
    }

    /// Reads a text.
    pub(crate) fn string(&self) -> Result<Cow<'a, str>, InputError> {
        decode(self.text).ok_or_else(|| self.kind("a text"))
    }

    /// Reads what can be made of a text.
    pub(crate) fn parse<T, E: Into<InputFault>>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, InputError> {
        parse(&self.string()?).map_err(|error| self.error(error))
    }

    /// Reads what can be made of a text, where the reason why not is known beforehand.
    pub(crate) fn parse_as<T: std::str::FromStr>(
        &self,
        expected: &'static str,
    ) -> Result<T, InputError> {
        self.string()?.parse().map_err(|_| self.not(expected))
    }

    /// Reads an instant.
    pub(crate) fn timestamp(&self) -> Result<Timestamp, InputError> {
        self.parse_as("an RFC 3339 date and time with a zone, such as 2026-03-01T09:30:00Z")
    }

    /// Reads a whole number.
    pub(crate) fn integer(&self, expected: &'static str) -> Result<u64, InputError> {
        let is_number = self
            .text
            .starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if !is_number {
            return Err(self.kind(expected));
        }
        let whole = self
            .text
            .split_once('.')
            .map_or(self.text, |(whole, fraction)| {
                // 3.0 is a whole number too, by the meaning of JSON.
                if fraction.bytes().all(|digit| digit == b'0') {
                    whole
                } else {
                    self.text
                }
            });
        // Clients in many languages have signed numbers; so far no place is beyond theirs.
        let number = serde_json::from_str(whole).ok();
        number
            .filter(|number| i64::try_from(*number).is_ok())
            .ok_or_else(|| self.not(expected))
    }

    /// Reads a list of at most `limit` elements, which are still text.
    pub(crate) fn list(&self, limit: usize) -> Result<Vec<&'a str>, InputError> {
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let (values, actual) = ListSeed(limit)
            .deserialize(&mut deserializer)
            .map_err(|_| self.kind("an array"))?;
        if actual > limit {
            let what = "number of elements";
            return Err(self.error(LimitExceeded {
                what,
                limit,
                actual,
            }));
        }
        Ok(values)
    }

    /// Reads a list of what can be made of texts.
    pub(crate) fn strings<T>(
        &self,
        limit: usize,
        parse: impl Fn(&str) -> Result<T, InputFault>,
    ) -> Result<Vec<T>, InputError> {
        let path = self.parent.key(self.name);
        let element = |(index, text): (usize, &str)| {
            let path = path.index(index);
            let Some(value) = decode(text) else {
                let (expected, found) = ("a text", excerpt(text));
                return Err(path.error(self.code, InputFault::Kind { expected, found }));
            };
            parse(&value).map_err(|fault| path.error(self.code, fault))
        };
        self.list(limit)?
            .into_iter()
            .enumerate()
            .map(element)
            .collect()
    }
}

/// Returns the text that a JSON string stands for.
pub(crate) fn decode(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) && !inner.bytes().any(|byte| byte < 0x20) {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

enum NameFault {
    Unknown(String),
    Duplicate(&'static str),
}

struct Found<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
    /// The first name that is wrong; the syntax of what follows is still checked.
    fault: Option<NameFault>,
}

struct ObjectSeed<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for ObjectSeed<N> {
    type Value = Found<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for ObjectSeed<N> {
    type Value = Found<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found {
            values: [None; N],
            fault: None,
        };
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let index = self.0.iter().position(|name| *name == key);
            let slot = index.and_then(|index| found.values.get_mut(index).zip(self.0.get(index)));
            match slot {
                Some((slot @ None, _)) => *slot = Some(map.next_value()?),
                Some((Some(_), name)) => {
                    map.next_value::<IgnoredAny>()?;
                    found.fault.get_or_insert(NameFault::Duplicate(name));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    found
                        .fault
                        .get_or_insert_with(|| NameFault::Unknown(key.into_owned()));
                }
            }
        }
        Ok(found)
    }
}

/// Reads a key without copying it where it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Collects at most so many elements and counts the rest.
struct ListSeed(usize);

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = (Vec<&'de str>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = (Vec<&'de str>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while values.len() < self.0 {
            match list.next_element::<&RawValue>()? {
                Some(value) => values.push(value.get()),
                None => {
                    let actual = values.len();
                    return Ok((values, actual));
                }
            }
        }
        let mut actual = values.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            actual += 1;
        }
        Ok((values, actual))
    }
}
