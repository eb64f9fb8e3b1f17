//! Documents are written anew without their secrets; everything else is copied as it stands.

use std::borrow::Cow;

use factum_model::members;
use serde_json::value::RawValue;

use crate::redact::{Redactor, Secrecy, mark};

/// A document that is being written.
pub(super) struct Rewriting<'a> {
    redactor: &'a Redactor,
    pub(super) text: String,
    pub(super) n_replaced: u64,
}

impl<'a> Rewriting<'a> {
    pub(super) const fn new(redactor: &'a Redactor) -> Self {
        Self {
            redactor,
            text: String::new(),
            n_replaced: 0,
        }
    }

    /// Writes a value that is secret because of where it stands, or is not. The text was checked
    /// before, so its depth is bounded.
    pub(super) fn value(&mut self, value: &str, secrecy: Secrecy) {
        let value = value.trim_ascii();
        match value.as_bytes().first() {
            Some(b'{') => self.object(value, secrecy),
            Some(b'[') => self.array(value, secrecy),
            Some(b'"') => self.string(value, secrecy),
            Some(b'-' | b'0'..=b'9') if secrecy == Secrecy::TextsAndNumbers => self.replace(),
            _ => self.text.push_str(value),
        }
    }

    fn object(&mut self, object: &str, secrecy: Secrecy) {
        self.text.push('{');
        for (index, (key, value)) in members(object).enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            let below = secrecy.max(self.redactor.secrecy(&key));
            let key = self.redactor.counted(&key, &mut self.n_replaced);
            self.quoted(&key);
            self.text.push(':');
            self.value(value, below);
        }
        self.text.push('}');
    }

    fn array(&mut self, array: &str, secrecy: Secrecy) {
        let items: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
        self.text.push('[');
        // An array of words is often a command line, where a flag names what follows it.
        let mut named = Secrecy::Open;
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(item.get(), secrecy.max(named));
            let flag = item.get().strip_prefix("\"-");
            named = flag.map_or(Secrecy::Open, |flag| {
                self.redactor.secrecy(flag.trim_matches(['-', '"']))
            });
        }
        self.text.push(']');
    }

    fn string(&mut self, string: &str, secrecy: Secrecy) {
        let text: Cow<'_, str> = serde_json::from_str::<String>(string).map_or_else(
            // It was checked before, so this is not reached; if it were, the text as it is written
            // is searched.
            |_| Cow::Borrowed(string),
            Cow::Owned,
        );
        if secrecy != Secrecy::Open && !text.is_empty() {
            self.replace();
            return;
        }
        let before = self.n_replaced;
        let cleaned = self.redactor.counted(&text, &mut self.n_replaced);
        if self.n_replaced == before {
            self.text.push_str(string);
        } else {
            self.quoted(&cleaned);
        }
    }

    fn replace(&mut self) {
        self.quoted(&mark("named_value"));
        self.n_replaced += 1;
    }

    fn quoted(&mut self, text: &str) {
        let quoted = serde_json::Value::from(text).to_string();
        self.text.push_str(&quoted);
    }
}
