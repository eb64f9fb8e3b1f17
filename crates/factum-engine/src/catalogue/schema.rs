//! The part of JSON Schema that the catalogue is written in, and the check of a payload.
//!
//! The shipped schemas keep to types, required members, bounds and choices of one level. All
//! that is checked against the text of the payload, without taking it apart into values.

use std::fmt;

use factum_model::{JsonObject, members};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// A field of a payload breaks the schema of its type. It never repeats the value.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{field} {rule}")]
pub struct FieldFault {
    /// The name of the field.
    pub field: String,
    /// The rule that is broken.
    pub rule: FieldRule,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldRule {
    /// It is required and not there.
    Missing,
    /// It must be of one of these types.
    Type {
        /// The types in words: `a string`, `an integer or a boolean`.
        expected: String,
    },
    /// It must not be an empty text.
    Empty,
    /// It must be at least this.
    Minimum(f64),
    /// It must be at most this.
    Maximum(f64),
    /// It must be one of these.
    Choice(Vec<String>),
}

impl fmt::Display for FieldRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is required"),
            Self::Type { expected } => write!(f, "must be {expected}"),
            Self::Empty => f.write_str("must not be empty"),
            Self::Minimum(bound) => write!(f, "must be at least {bound}"),
            Self::Maximum(bound) => write!(f, "must be at most {bound}"),
            Self::Choice(choices) => write!(f, "must be one of {}", choices.join(", ")),
        }
    }
}

/// A schema says something that this checker does not know, so it would not be checked.
#[derive(Debug, Error)]
#[error("the schema cannot be checked")]
pub(super) struct UnknownSchema(#[from] serde_json::Error);

/// The schema of a payload.
#[derive(Debug)]
pub(super) struct ObjectSchema {
    pub(super) required: Vec<String>,
    /// In the order of the file.
    pub(super) fields: Vec<(String, FieldSchema)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
    Null,
}

impl Kind {
    const fn in_words(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Null => "null",
        }
    }

    fn is_of(self, value: &str) -> bool {
        match (self, value.as_bytes().first()) {
            (Self::String, Some(b'"'))
            | (Self::Boolean, Some(b't' | b'f'))
            | (Self::Object, Some(b'{'))
            | (Self::Array, Some(b'['))
            | (Self::Null, Some(b'n'))
            | (Self::Number, Some(b'-' | b'0'..=b'9')) => true,
            (Self::Integer, Some(b'-' | b'0'..=b'9')) => {
                // As in JSON Schema, 1.0 is an integer.
                value
                    .parse::<f64>()
                    .is_ok_and(|number| number.fract() == 0.0)
            }
            _ => false,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Kinds {
    One(Kind),
    Several(Vec<Kind>),
}

impl Kinds {
    fn as_slice(&self) -> &[Kind] {
        match self {
            Self::One(kind) => std::slice::from_ref(kind),
            Self::Several(kinds) => kinds,
        }
    }
}

/// What is said of one field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FieldSchema {
    r#type: Option<Kinds>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    #[serde(default)]
    min_length: usize,
    minimum: Option<f64>,
    maximum: Option<f64>,
    #[serde(default)]
    r#enum: Vec<String>,
    items: Option<ItemSchema>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemSchema {
    r#type: Kind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    #[serde(rename = "$schema")]
    _dialect: String,
    #[serde(rename = "type")]
    _type: ObjectKind,
    required: Vec<String>,
    #[serde(borrow)]
    properties: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ObjectKind {
    Object,
}

impl ObjectSchema {
    pub(super) fn read(text: &str) -> Result<Self, UnknownSchema> {
        let file: File<'_> = serde_json::from_str(text)?;
        let fields = members(file.properties.get())
            .map(|(name, text)| Ok((name.into_owned(), serde_json::from_str(text)?)));
        Ok(Self {
            required: file.required,
            fields: fields.collect::<Result<_, serde_json::Error>>()?,
        })
    }

    pub(super) fn check(&self, payload: &JsonObject) -> Result<(), FieldFault> {
        let given: Vec<_> = members(payload.as_str()).collect();
        for name in &self.required {
            if !given.iter().any(|(known, _)| known == name) {
                return Err(FieldFault {
                    field: name.clone(),
                    rule: FieldRule::Missing,
                });
            }
        }
        for (name, value) in given {
            let known = self.fields.iter().find(|(known, _)| *known == name);
            if let Some((name, schema)) = known {
                schema.check(value).map_err(|rule| FieldFault {
                    field: name.clone(),
                    rule,
                })?;
            }
        }
        Ok(())
    }
}

impl FieldSchema {
    fn check(&self, value: &str) -> Result<(), FieldRule> {
        if let Some(kinds) = &self.r#type
            && !kinds.as_slice().iter().any(|kind| kind.is_of(value))
        {
            let words: Vec<_> = kinds
                .as_slice()
                .iter()
                .map(|kind| kind.in_words())
                .collect();
            return Err(FieldRule::Type {
                expected: words.join(" or "),
            });
        }
        match value.as_bytes().first() {
            Some(b'"') => self.check_text(value),
            Some(b'-' | b'0'..=b'9') => self.check_number(value),
            Some(b'[') => self.check_items(value),
            _ => Ok(()),
        }
    }

    fn check_text(&self, value: &str) -> Result<(), FieldRule> {
        // No schema asks for more than one character, so quotes and all are enough to tell.
        if self.min_length > 0 && value == "\"\"" {
            return Err(FieldRule::Empty);
        }
        if self.r#enum.is_empty() {
            return Ok(());
        }
        let text: String = serde_json::from_str(value).unwrap_or_default();
        if self.r#enum.contains(&text) {
            return Ok(());
        }
        Err(FieldRule::Choice(self.r#enum.clone()))
    }

    fn check_number(&self, value: &str) -> Result<(), FieldRule> {
        let number: f64 = value.parse().unwrap_or(f64::NAN);
        match (self.minimum, self.maximum) {
            (Some(bound), _) if number < bound => Err(FieldRule::Minimum(bound)),
            (_, Some(bound)) if number > bound => Err(FieldRule::Maximum(bound)),
            _ => Ok(()),
        }
    }

    fn check_items(&self, value: &str) -> Result<(), FieldRule> {
        let Some(items) = &self.items else {
            return Ok(());
        };
        let given: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
        if given.iter().all(|item| items.r#type.is_of(item.get())) {
            return Ok(());
        }
        Err(FieldRule::Type {
            expected: format!("an array, each item {}", items.r#type.in_words()),
        })
    }
}
