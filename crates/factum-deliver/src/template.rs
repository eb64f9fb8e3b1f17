//! Templates for bodies and subjects: Jinja expressions over one event, bounded in every way.
//!
//! Neither a template nor an event can make rendering take long or much memory. Steps and output
//! are counted; a template cannot keep values (`set`, `macro`), include others, or multiply texts
//! (`*`), so that no value grows beyond a small multiple of the event; filters that make texts
//! are bounded like the output. That is what [`rules`] checks before anything is compiled.

mod filters;
mod rules;

use std::io;

use factum_engine::Place;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use thiserror::Error as ThisError;

/// The most bytes that the source of a template may have.
pub(crate) const SOURCE_BYTES_MAX: usize = 16 * 1024;
/// The most bytes that a template may render.
pub(crate) const OUTPUT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most steps that rendering may take.
const STEPS_MAX: u64 = 200_000;
/// How deep expressions and loops may be nested.
const DEPTH_MAX: usize = 32;
/// The name under which the only template is kept.
const NAME: &str = "template";

/// What becomes of characters that have a meaning in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// They stay.
    Nothing,
    /// They are written as HTML.
    Html,
}

/// A template that was compiled.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
}

/// The source of a template breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("{rule}")]
pub(crate) struct InvalidTemplate {
    pub(crate) rule: String,
    pub(crate) place: Option<Place>,
}

/// A template cannot be rendered for an event.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("the template cannot be rendered{}: {reason}", in_line(*line))]
pub(crate) struct RenderError {
    reason: String,
    line: Option<usize>,
}

fn in_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

impl Template {
    /// Compiles a template.
    pub(crate) fn compile(source: &str, escape: Escape) -> Result<Self, InvalidTemplate> {
        rules::check(source)?;
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_recursion_limit(DEPTH_MAX);
        environment.set_auto_escape_callback(move |_| match escape {
            Escape::Nothing => AutoEscape::None,
            Escape::Html => AutoEscape::Html,
        });
        filters::add(&mut environment);
        // The place of a fault is known in debug mode only, which keeps values while rendering.
        environment.set_debug(true);
        let compiled = environment.add_template_owned(NAME, source.to_owned());
        compiled.map_err(|error| invalid(source, &error))?;
        environment.set_debug(false);
        Ok(Self { environment })
    }

    /// Renders the template with the fields of a JSON object as its variables.
    pub(crate) fn render(&self, context: &serde_json::Value) -> Result<String, RenderError> {
        let mut output = Bounded::default();
        let template = self.environment.get_template(NAME);
        let rendered = template
            .and_then(|template| {
                template
                    .render_captured_to(Serde(context), &mut output)
                    .map(drop)
            })
            .map_err(|error| failed(&error));
        if output.is_full {
            return Err(RenderError {
                reason: format!("the output exceeds the limit of {OUTPUT_BYTES_MAX} bytes"),
                line: None,
            });
        }
        rendered?;
        String::from_utf8(output.bytes).map_err(|error| RenderError {
            reason: error.to_string(),
            line: None,
        })
    }
}

fn invalid(source: &str, error: &Error) -> InvalidTemplate {
    let place = match error.range() {
        Some(range) => Some(rules::place(source, range.start)),
        None => error.line().map(|line| Place {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: None,
        }),
    };
    let reason = error.detail().unwrap_or("it is no template").to_owned();
    InvalidTemplate {
        rule: format!("does not compile: {reason}"),
        place,
    }
}

fn failed(error: &Error) -> RenderError {
    let reason = match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes more than {STEPS_MAX} steps"),
        ErrorKind::UndefinedError => "a field is used that the event does not have".to_owned(),
        // What else is said may quote the event, which belongs neither into logs nor into groups
        // of failures, so it is cut short.
        kind => {
            let detail: String = error
                .detail()
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect();
            format!("{kind}: {detail}")
        }
    };
    RenderError {
        reason,
        line: error.line(),
    }
}

/// Output that ends at the limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
