//! Short texts of definitions that may be templates: subjects, routing keys, keys of streams.

use factum_engine::{DeliverError, Delivery, InvalidTarget};

use crate::payload::{at_template, context, unrenderable};
use crate::template::{Escape, Template};

/// A short text: itself, or what a template makes of each event.
#[derive(Debug)]
pub(crate) enum ShortText {
    Plain(String),
    Template(Box<Template>),
}

impl ShortText {
    /// Checks a text; one with `{{` or `{%` in it is a template.
    pub(crate) fn new(field: &str, text: &str) -> Result<Self, InvalidTarget> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(Self::Plain(text.to_owned()));
        }
        match Template::compile(text, Escape::Nothing) {
            Ok(template) => Ok(Self::Template(Box::new(template))),
            Err(error) => Err(InvalidTarget {
                pointer: format!("/{field}"),
                ..at_template(error, text)
            }),
        }
    }

    /// Returns the text for a delivery, if `is_good` accepts it.
    pub(crate) fn render(
        &self,
        delivery: &Delivery,
        field: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Result<String, DeliverError> {
        let text = match self {
            Self::Plain(text) => text.clone(),
            Self::Template(template) => template
                .render(&context(delivery)?)
                .map_err(|error| unrenderable(&error))?,
        };
        if is_good(&text) {
            Ok(text)
        } else {
            let text: String = text.chars().take(100).collect();
            Err(unrenderable(&format!(
                "the {field} {text:?} cannot be used"
            )))
        }
    }
}
