//! Answers that stay within a number of bytes.
//!
//! Lists end earlier and say that there is more. What is too large by itself is replaced by an
//! object that says how large it is, so that the shape of the answer stays as promised.

use factum_model::members;
use serde_json::value::RawValue;

use crate::answer::say;

/// What is always kept of an element, so that one can ask for it alone.
const SMALL_BYTES: usize = 512;

/// An answer that was made smaller.
pub(crate) struct Fitted {
    pub(crate) json: Vec<u8>,
    /// What was left out, for the model.
    pub(crate) note: String,
}

/// Makes an answer fit, a JSON object with a list of this name. `None` if it does already.
pub(crate) fn fit(json: &[u8], list: &str, bytes_max: usize) -> Option<Fitted> {
    if json.len() <= bytes_max {
        return None;
    }
    let text = std::str::from_utf8(json).ok()?;
    let all: Vec<_> = members(text).collect();
    let (_, elements) = all.iter().find(|(key, _)| key == list)?;
    let elements: Vec<&RawValue> = serde_json::from_str(elements).ok()?;
    let beside = json
        .len()
        .saturating_sub(elements.iter().map(|element| element.get().len() + 1).sum());
    let mut left = bytes_max.saturating_sub(beside);
    let mut kept: Vec<String> = Vec::new();
    let mut n_omitted = 0_usize;
    for element in &elements {
        let element = element.get();
        if element.len() < left {
            left -= element.len() + 1;
            kept.push(element.to_owned());
            continue;
        }
        if kept.is_empty() {
            // One at least, or asking on would never come further.
            let (smaller, omitted) = without_large(element, left.max(SMALL_BYTES));
            n_omitted += omitted;
            kept.push(smaller);
        }
        break;
    }
    let n_left_out = elements.len() - kept.len();
    let mut out = String::with_capacity(bytes_max);
    for (key, value) in &all {
        let replaced = match key.as_ref() {
            key if key == list => format!("[{}]", kept.join(",")),
            "has_more" | "hasMore" if n_left_out > 0 => "true".to_owned(),
            "complete" if n_left_out > 0 => "false".to_owned(),
            _ => (*value).to_owned(),
        };
        out.push(if out.is_empty() { '{' } else { ',' });
        out.push_str(&serde_json::to_string(key.as_ref()).unwrap_or_default());
        out.push(':');
        out.push_str(&replaced);
    }
    out.push('}');
    Some(Fitted {
        note: note(list, n_left_out, n_omitted),
        json: out.into_bytes(),
    })
}

fn note(list: &str, n_left_out: usize, n_omitted: usize) -> String {
    let mut note = "The answer was cut to stay within its budget:".to_owned();
    if n_left_out > 0 {
        say(
            &mut note,
            format_args!(" {n_left_out} of the {list} are left out, ask on for them."),
        );
    }
    if n_omitted > 0 {
        note.push_str(" What was too large says its size as omittedBytes.");
    }
    note
}

/// Replaces the largest members of an object until it fits, or nothing large is left. Returns how
/// many were replaced.
pub(crate) fn without_large(object: &str, bytes_max: usize) -> (String, usize) {
    let mut all: Vec<(String, String)> = members(object)
        .map(|(key, value)| (key.into_owned(), value.to_owned()))
        .collect();
    let mut n_omitted = 0;
    let size = |all: &[(String, String)]| -> usize {
        all.iter()
            .map(|(key, value)| key.len() + value.len() + 4)
            .sum()
    };
    while size(&all) > bytes_max {
        let largest = all.iter_mut().max_by_key(|(_, value)| value.len());
        let Some((_, value)) = largest.filter(|(_, value)| value.len() > 64) else {
            break;
        };
        *value = omitted(value);
        n_omitted += 1;
    }
    let written: Vec<String> = all
        .into_iter()
        .map(|(key, value)| {
            let key = serde_json::to_string(&key).unwrap_or_default();
            format!("{key}:{value}")
        })
        .collect();
    (format!("{{{}}}", written.join(",")), n_omitted)
}

/// Says in the shape of a value how large it was.
fn omitted(value: &str) -> String {
    let n_bytes = value.len();
    match value.as_bytes().first() {
        Some(b'"') => format!("\"(omitted: {n_bytes} bytes)\""),
        Some(b'[') => "[]".to_owned(),
        Some(_) | None => format!("{{\"omittedBytes\":{n_bytes}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, bytes_max: usize, expected: Option<&str>) {
        let fitted = fit(json.as_bytes(), "events", bytes_max);
        let text = fitted.map(|fitted| String::from_utf8(fitted.json).unwrap());
        assert_eq!(text.as_deref(), expected);
    }

    #[test]
    fn lists_end_earlier_and_say_that_there_is_more() {
        let json = r#"{"events":[{"a":1.50},{"a":2}],"has_more":false,"total_count":2}"#;
        check(json, 100, None);
        let expected = r#"{"events":[{"a":1.50}],"has_more":true,"total_count":2}"#;
        check(json, 60, Some(expected));
    }

    #[test]
    fn one_element_is_kept_without_what_is_large() {
        let large = "x".repeat(5000);
        let json = format!(
            r#"{{"events":[{{"id":"e","payload":{{"text":"{large}"}}}}],"hasMore":false}}"#
        );
        let expected = r#"{"events":[{"id":"e","payload":{"omittedBytes":5011}}],"hasMore":false}"#;
        check(&json, 600, Some(expected));
    }
}
