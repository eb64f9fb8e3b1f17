//! Which form of events a client wants.

use axum::http::{HeaderMap, header};
use factum_model::ErrorCode;

use crate::error::ApiError;

/// The forms in which events are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A page, or one event, as JSON.
    Json,
    /// An event a line.
    Lines,
    /// CloudEvents, structured.
    CloudEvents,
}

/// Finds the form that the client likes best; of those it likes equally, the first it names.
///
/// # Errors
/// `not_acceptable` when it wants none of ours.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    let mut best: Option<(u16, Form)> = None;
    let mut any = false;
    for value in headers.get_all(header::ACCEPT) {
        for part in value.to_str().unwrap_or_default().split(',') {
            any = true;
            let mut parameters = part.split(';');
            let name = parameters.next().unwrap_or_default().trim();
            let quality = quality(parameters);
            let Some(form) = form_of(name) else {
                continue;
            };
            if quality > 0 && best.is_none_or(|(best, _)| best < quality) {
                best = Some((quality, form));
            }
        }
    }
    match best {
        Some((_, form)) => Ok(form),
        None if !any => Ok(Form::Json),
        None => Err(ApiError::new(
            ErrorCode::NotAcceptable,
            "events come as application/json, application/x-ndjson or application/cloudevents+json",
        )),
    }
}

fn form_of(name: &str) -> Option<Form> {
    match name.to_ascii_lowercase().as_str() {
        "application/json" | "application/*" | "*/*" => Some(Form::Json),
        "application/x-ndjson" => Some(Form::Lines),
        "application/cloudevents+json" | "application/cloudevents-batch+json" => {
            Some(Form::CloudEvents)
        }
        _ => None,
    }
}

/// Reads a quality as thousandths; what is not one counts as the best.
fn quality<'a>(parameters: impl Iterator<Item = &'a str>) -> u16 {
    for parameter in parameters {
        if let Some(text) = parameter.trim().strip_prefix("q=") {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
            let thousandths = digits.parse().unwrap_or(1000_u16);
            return if whole == "0" { thousandths } else { 1000 };
        }
    }
    1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<Form>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(form(&headers).ok(), expected, "{accept}");
    }

    #[test]
    fn the_best_liked_form_is_given() {
        check("*/*", Some(Form::Json));
        check("application/x-ndjson", Some(Form::Lines));
        check("application/x-ndjson, */*", Some(Form::Lines));
        check(
            "application/json;q=0.5, application/x-ndjson;q=0.9",
            Some(Form::Lines),
        );
        check(
            "text/html, application/cloudevents+json",
            Some(Form::CloudEvents),
        );
        check("application/json;q=0", None);
        check("text/html", None);
        assert_eq!(form(&HeaderMap::new()).ok(), Some(Form::Json));
    }
}
