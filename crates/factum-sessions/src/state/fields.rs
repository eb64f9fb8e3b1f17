//! The fields of a payload, read as far as they are asked for.

use std::borrow::Cow;

use factum_model::members;

/// The longest text that a state takes over.
const TEXT_CHARS_MAX: usize = 500;

/// The fields of a payload. What is of another type than is asked for is not there.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Fields<'a> {
    pub(crate) fn of(payload: &'a str) -> Self {
        Self(members(payload).collect())
    }

    /// Returns the text of a field as JSON.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let field = self.0.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| *value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.text_within(name, TEXT_CHARS_MAX)
    }

    /// Returns a text, cut to so many characters.
    pub(crate) fn text_within(&self, name: &str, chars_max: usize) -> Option<String> {
        let mut text: String = serde_json::from_str(self.raw(name)?).ok()?;
        if let Some((end, _)) = text.char_indices().nth(chars_max) {
            text.truncate(end);
            text.push('…');
        }
        Some(text)
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        serde_json::from_str(self.raw(name)?).ok()
    }
}
