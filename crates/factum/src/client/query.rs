//! Paths and query strings.

use std::fmt::Write as _;

/// A query string in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(String);

impl Query {
    /// Adds a parameter.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        encode_into(value, &mut self.0, b",:*");
    }

    /// Adds a parameter, where there is a value.
    pub(crate) fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Adds a list, where it has items.
    pub(crate) fn add_list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.add(name, &values.join(","));
        }
    }

    /// Returns the query string with its question mark, or nothing.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns text as one segment of a path.
pub(crate) fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    encode_into(text, &mut encoded, b":@~");
    encoded
}

fn encode_into(text: &str, encoded: &mut String, also_plain: &[u8]) {
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.')
            || also_plain.contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_url_is_encoded() {
        assert_eq!(encode_segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
        let mut query = Query::default();
        query.add("types", "form.*,x.>");
        query.add_some("userId", Some("a&b=c+d"));
        query.add_some("after", None);
        query.add_list("tags", &[]);
        assert_eq!(query.as_str(), "?types=form.*,x.%3E&userId=a%26b%3Dc%2Bd");
    }
}
