//! What callers give, checked, and without its secrets, before anything is done with it.

use factum_model::{EventId, JsonObject, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::SessionError;
use crate::id::{InstanceId, excerpt};
use crate::sessions::Sessions;

/// The longest text of an input that has no bound of its own.
const TEXT_CHARS_MAX: usize = 1000;

impl Sessions {
    /// Reads the id of an instance.
    pub(crate) fn instance_id(text: &str) -> Result<InstanceId, SessionError> {
        text.parse()
    }

    /// Takes the secrets out of a text, and refuses one that is too long.
    pub(crate) fn clean_text(&self, field: &str, text: &str) -> Result<String, SessionError> {
        let n_chars = text.chars().count();
        if n_chars > TEXT_CHARS_MAX {
            let rule = format!("has {n_chars} characters, the limit is {TEXT_CHARS_MAX}");
            return Err(SessionError::invalid(field, rule));
        }
        Ok(self.clean(text))
    }

    /// Takes the secrets out of a text.
    pub(crate) fn clean(&self, text: &str) -> String {
        let cleaned = self.inner.options.redactor.text(text);
        if cleaned != text {
            self.count_redacted(1);
        }
        cleaned.into_owned()
    }

    /// Reads a JSON object under the engine's rules.
    pub(crate) fn parse_object(
        &self,
        field: &str,
        raw: &RawValue,
    ) -> Result<JsonObject, SessionError> {
        let limits = &self.inner.engine.options().limits;
        let bytes = raw.get().len();
        if bytes > limits.event_bytes_max {
            let limit = limits.event_bytes_max;
            let rule = format!("has {bytes} bytes, the limit is {limit}");
            return Err(SessionError::invalid(field, rule));
        }
        JsonObject::parse_within(raw.get().to_owned(), limits.json).map_err(|fault| {
            let below = fault.pointer.replace('/', ".");
            SessionError::invalid(format!("{field}{below}"), fault.rule.to_string())
        })
    }

    /// Takes the secrets out of a document.
    pub(crate) fn clean_object(
        &self,
        field: &str,
        object: &JsonObject,
    ) -> Result<JsonObject, SessionError> {
        let redacted = self.inner.options.redactor.document(object);
        // The fault would name the key, which has a secret in it.
        let redacted = redacted
            .map_err(|_| SessionError::invalid(field, "has keys that are secrets themselves"))?;
        self.count_redacted(redacted.n_replaced);
        Ok(redacted.document)
    }

    /// Reads a JSON object and takes the secrets out of it.
    pub(crate) fn read_object(
        &self,
        field: &str,
        raw: &RawValue,
    ) -> Result<JsonObject, SessionError> {
        let object = self.parse_object(field, raw)?;
        self.clean_object(field, &object)
    }
}

/// Reads an instant.
pub(crate) fn instant(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, SessionError> {
    let read = text.map(str::parse::<Timestamp>).transpose();
    read.map_err(|_| SessionError::invalid(field, "must be a time of RFC 3339 with a zone"))
}

/// Reads a share of the context, in per cent.
pub(crate) fn percent(field: &str, value: f64) -> Result<f64, SessionError> {
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    Err(SessionError::ContextOutOfRange {
        field: field.to_owned(),
    })
}

/// Reads how many are asked for.
pub(crate) fn limit(given: Option<u32>, default: usize, max: usize) -> Result<usize, SessionError> {
    let limit = given.map_or(default, |given| {
        usize::try_from(given).unwrap_or(usize::MAX)
    });
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(SessionError::invalid(
        "limit",
        format!("must be from 1 to {max}"),
    ))
}

/// Reads the id of an event.
pub(crate) fn event_id(text: &str) -> Result<EventId, SessionError> {
    text.parse().map_err(|_| SessionError::EventNotFound {
        given: excerpt(text),
    })
}

/// Writes an object that was made here.
pub(crate) fn object(value: &Value) -> Result<JsonObject, SessionError> {
    text_object(value.to_string())
}

/// Takes over the text of an object that was made here.
pub(crate) fn text_object(text: String) -> Result<JsonObject, SessionError> {
    // It can only break a bound on its depth, as a part of it came from outside.
    JsonObject::parse(text)
        .map_err(|fault| SessionError::invalid("event_data", fault.rule.to_string()))
}
