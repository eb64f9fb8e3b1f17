//! The keys of an event's metadata that the store itself understands.

use std::borrow::Cow;

use thiserror::Error;

use crate::json::{JsonObject, members};

/// The metadata keys that filters can ask for, taken out of the metadata text.
///
/// Further keys are kept in the text and ignored here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownMetadata<'a> {
    /// Who caused the event.
    pub user_id: Option<Cow<'a, str>>,
    /// Words that classify the event.
    pub tags: Vec<Cow<'a, str>>,
}

/// A known metadata key has a value of the wrong kind or size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("metadata {pointer} must be {expected}")]
pub struct InvalidMetadata {
    /// The place in the metadata, as a JSON pointer.
    pub pointer: String,
    /// What the value must be, in words.
    pub expected: &'static str,
}

/// The largest number of tags on one event.
const TAGS_MAX: usize = 64;
/// The largest number of characters of a tag or another known text.
const TEXT_MAX: usize = 255;

impl<'a> KnownMetadata<'a> {
    /// Reads the known keys.
    ///
    /// # Errors
    /// [`InvalidMetadata`] when a known key has a value of another kind: `userId`, `sessionId`,
    /// `sourceSystem`, `sourceVersion`, `traceId`, `spanId` and `routingKey` are texts of at
    /// most 255 characters, `tags` an array of at most 64 such texts. `null` counts as absent.
    pub fn read(metadata: &'a JsonObject) -> Result<Self, InvalidMetadata> {
        let mut known = Self::default();
        for (key, value) in members(metadata.as_str()) {
            match &*key {
                "userId" => known.user_id = text(&key, value)?,
                "sessionId" | "sourceSystem" | "sourceVersion" | "traceId" | "spanId"
                | "routingKey" => {
                    text(&key, value)?;
                }
                "tags" => known.tags = tags(value)?,
                _ => {}
            }
        }
        Ok(known)
    }

    /// Reads the known keys of metadata that was checked when it was appended; a key with a
    /// value of the wrong kind counts as absent.
    #[must_use]
    pub fn read_stored(metadata: &'a str) -> Self {
        let mut known = Self::default();
        for (key, value) in members(metadata) {
            match &*key {
                "userId" => known.user_id = text(&key, value).unwrap_or_default(),
                "tags" => known.tags = tags(value).unwrap_or_default(),
                _ => {}
            }
        }
        known
    }
}

fn text<'a>(key: &str, value: &'a str) -> Result<Option<Cow<'a, str>>, InvalidMetadata> {
    if value == "null" {
        return Ok(None);
    }
    string(value).map(Some).ok_or_else(|| InvalidMetadata {
        pointer: format!("/{key}"),
        expected: "a text of at most 255 characters",
    })
}

fn tags(value: &str) -> Result<Vec<Cow<'_, str>>, InvalidMetadata> {
    let invalid = |pointer: String| InvalidMetadata {
        pointer,
        expected: "an array of at most 64 texts of 1 to 255 characters",
    };
    if value == "null" {
        return Ok(Vec::new());
    }
    let elements = crate::json::elements(value).ok_or_else(|| invalid("/tags".to_owned()))?;
    if elements.len() > TAGS_MAX {
        return Err(invalid("/tags".to_owned()));
    }
    let tag = |(index, element)| {
        string(element)
            .filter(|tag| !tag.is_empty())
            .ok_or_else(|| invalid(format!("/tags/{index}")))
    };
    elements.into_iter().enumerate().map(tag).collect()
}

fn string(value: &str) -> Option<Cow<'_, str>> {
    let text = crate::json::decode_string(value)?;
    (text.len() <= TEXT_MAX || text.chars().count() <= TEXT_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metadata: &str, expected: Result<(Option<&str>, &[&str]), &str>) {
        let metadata = JsonObject::parse(metadata).unwrap();
        let known = KnownMetadata::read(&metadata);
        let stored = KnownMetadata::read_stored(metadata.as_str());
        if let Ok(known) = &known {
            assert_eq!(known, &stored);
        }
        let actual = known.map(|known| (known.user_id.map(Cow::into_owned), known.tags));
        let expected = expected.map(|(user, tags)| {
            (
                user.map(str::to_owned),
                tags.iter().map(|&tag| Cow::Borrowed(tag)).collect(),
            )
        });
        assert_eq!(
            actual.map_err(|error| error.pointer),
            expected.map_err(str::to_owned)
        );
    }

    #[test]
    fn known_keys_are_read_and_checked() {
        check("{}", Ok((None, &[])));
        check(
            r#"{"userId":"\u0061nn","tags":["x","y"],"other":{"userId":1}}"#,
            Ok((Some("ann"), &["x", "y"])),
        );
        check(r#"{"userId":null,"tags":null}"#, Ok((None, &[])));
        check(r#"{"userId":7}"#, Err("/userId"));
        check(r#"{"tags":"x"}"#, Err("/tags"));
        check(r#"{"tags":["x",1]}"#, Err("/tags/1"));
        check(r#"{"tags":["x",""]}"#, Err("/tags/1"));
        check(r#"{"traceId":[]}"#, Err("/traceId"));
    }
}
