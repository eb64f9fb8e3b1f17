//! What is wrong with a request, and where.

use std::fmt;

use factum_model::{ErrorCode, InvalidName, JsonFault, JsonRule, LimitExceeded};
use factum_query::{InvalidFilter, TextFormError};
use thiserror::Error;

/// Where in a request something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the body, as a JSON pointer (RFC 6901); empty for the whole body.
    Pointer(String),
    /// In the query string, by the name of the parameter.
    Parameter(String),
}

/// A request breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct InputError {
    /// The stable code.
    pub code: ErrorCode,
    /// Where.
    pub place: Place,
    /// The rule, and what was found.
    pub fault: InputFault,
}

/// The rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InputFault {
    /// The text is not UTF-8.
    #[error("the text is not UTF-8: byte {at} is wrong")]
    NotUtf8 {
        /// Where the first wrong byte stands.
        at: usize,
    },
    /// The text is not JSON.
    #[error("not JSON: {reason}")]
    Syntax {
        /// What the reader says, with line and column.
        reason: String,
    },
    /// A value is of the wrong kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What would have been right.
        expected: &'static str,
        /// The value, cut.
        found: String,
    },
    /// A field is not known.
    #[error("unknown field {field:?} of {of}{}", did_you_mean(*.nearest))]
    UnknownField {
        /// The field, cut.
        field: String,
        /// What it was given for.
        of: &'static str,
        /// The field that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A field stands twice.
    #[error("field {field:?} stands twice")]
    DuplicateField {
        /// The field.
        field: &'static str,
    },
    /// A field is missing.
    #[error("field {field:?} of {of} is missing")]
    MissingField {
        /// The field.
        field: &'static str,
        /// What it is missing of.
        of: &'static str,
    },
    /// A name breaks the rules of its kind.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A value breaks a rule.
    #[error("{found} is not {expected}")]
    Value {
        /// What would have been right.
        expected: &'static str,
        /// The value, cut.
        found: String,
    },
    /// A JSON object that is kept as it is breaks a rule.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// A filter as people write it is not one.
    #[error(transparent)]
    Text(#[from] TextFormError),
    /// A filter breaks a rule.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// There is more than a limit allows.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// An expectation stands where it means nothing.
    #[error("expectedVersion {rule}")]
    Expectation {
        /// Where it may stand.
        rule: &'static str,
    },
}

impl InputError {
    /// Says what is wrong with the whole body.
    #[must_use]
    pub const fn of_body(code: ErrorCode, fault: InputFault) -> Self {
        Self {
            code,
            place: Place::Pointer(String::new()),
            fault,
        }
    }

    /// Says what is wrong with a query parameter.
    #[must_use]
    pub fn of_parameter(name: &str, fault: InputFault) -> Self {
        let code = match &fault {
            InputFault::Limit(_) => ErrorCode::LimitExceeded,
            InputFault::Filter(_) => ErrorCode::InvalidFilter,
            _ => ErrorCode::InvalidRequest,
        };
        Self {
            code,
            place: Place::Parameter(name.chars().take(64).collect()),
            fault,
        }
    }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!(", did you mean {nearest:?}?")
    })
}

/// The way from the body to a value, built up on the stack and written out only for an error.
#[derive(Clone, Copy)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Self>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy)]
enum Segment<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(crate) const ROOT: Self = Self {
        parent: None,
        segment: Segment::Root,
    };

    pub(crate) const fn key(&'p self, key: &'p str) -> Self {
        Self {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    pub(crate) const fn index(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }

    /// Says what is wrong here.
    pub(crate) fn error(&self, code: ErrorCode, fault: InputFault) -> InputError {
        let mut pointer = self.to_string();
        let code = match &fault {
            InputFault::Limit(_) => ErrorCode::LimitExceeded,
            InputFault::Json(json) => {
                pointer.push_str(&json.pointer);
                match json.rule {
                    JsonRule::Depth { .. } => ErrorCode::LimitExceeded,
                    JsonRule::Syntax { .. }
                    | JsonRule::Object
                    | JsonRule::DuplicateKey { .. }
                    | JsonRule::NulCharacter
                    | JsonRule::LoneSurrogate => code,
                }
            }
            _ => code,
        };
        InputError {
            code,
            place: Place::Pointer(pointer),
            fault,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Index(index) => write!(f, "/{index}"),
        }
    }
}

/// Cuts a value for an error message.
pub(crate) fn excerpt(value: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut cut: String = value.chars().take(CHARS_MAX).collect();
    if cut.len() < value.len() {
        cut.push('…');
    }
    cut
}
