//! What a tool answers: JSON for programs, a sentence for the model.

use std::fmt::Write as _;

use serde::Serialize;

use crate::budget;
use crate::fault::Fault;

/// Adds to a text.
pub(crate) fn say(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _: std::fmt::Result = text.write_fmt(words);
}

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// A JSON object.
    pub(crate) json: Vec<u8>,
    /// What it says in short.
    pub(crate) text: String,
    /// Something was left out to stay within the budget.
    pub(crate) cut: bool,
}

impl Answer {
    pub(crate) const fn new(json: Vec<u8>, text: String) -> Self {
        Self {
            json,
            text,
            cut: false,
        }
    }

    /// Writes a value.
    pub(crate) fn of(value: &impl Serialize, text: String) -> Result<Self, Fault> {
        let json = serde_json::to_vec(value).map_err(|error| Fault::of_input(&error))?;
        Ok(Self::new(json, text))
    }

    /// Leaves out what does not fit: see [`budget::fit`].
    pub(crate) fn within(mut self, list: &'static str, bytes_max: usize) -> Self {
        if let Some(fitted) = budget::fit(&self.json, list, bytes_max) {
            self.json = fitted.json;
            self.cut = true;
            self.text.push(' ');
            self.text.push_str(&fitted.note);
        }
        self
    }

    /// Leaves out the largest members, where the whole does not fit.
    pub(crate) fn within_members(mut self, bytes_max: usize) -> Self {
        if self.json.len() <= bytes_max {
            return self;
        }
        let text = String::from_utf8(std::mem::take(&mut self.json)).unwrap_or_default();
        let (smaller, n_omitted) = budget::without_large(&text, bytes_max);
        self.json = smaller.into_bytes();
        self.cut = n_omitted > 0;
        self
    }
}
