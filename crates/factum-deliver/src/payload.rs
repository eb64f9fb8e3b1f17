//! What is sent for an event: the event itself, a CloudEvent, or what a template makes of it.

use std::fmt::Write as _;

use bytes::Bytes;
use factum_api::{Layout, write_cloud_event, write_event};
use factum_engine::{DeliverError, Delivery, ErrorClass, InvalidTarget};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::template::{Escape, InvalidTemplate, Template};

const JSON: &str = "application/json";
/// The most bytes of metadata that go along as an attribute.
const METADATA_BYTES_MAX: usize = 4096;
const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";

/// The shape of what is sent, as a definition says it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PayloadDefinition {
    #[serde(default)]
    pub(crate) shape: ShapeName,
    /// The template, for the shape of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
    /// What a template renders; JSON where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ShapeName {
    #[default]
    Event,
    CloudEvents,
    CloudEventsBinary,
    Template,
}

/// A shape that was checked.
#[derive(Debug)]
pub(crate) enum Payload {
    Event,
    CloudEvents,
    CloudEventsBinary,
    Template {
        template: Box<Template>,
        content_type: String,
    },
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) body: Bytes,
    pub(crate) content_type: String,
    /// The attributes of a CloudEvent in binary form, without the prefix that the protocol gives
    /// them. Where a protocol takes no text of any kind, [`header_value`] encodes them.
    pub(crate) attributes: Vec<(&'static str, String)>,
}

impl Payload {
    /// Checks a definition.
    pub(crate) fn new(definition: &PayloadDefinition) -> Result<Self, InvalidTarget> {
        let is_template = definition.shape == ShapeName::Template;
        if !is_template && definition.template.is_some() {
            return Err(InvalidTarget::at(
                "/template",
                "stands with the shape template only",
            ));
        }
        if !is_template && definition.content_type.is_some() {
            let rule = "stands with the shape template only";
            return Err(InvalidTarget::at("/contentType", rule));
        }
        Ok(match definition.shape {
            ShapeName::Event => Self::Event,
            ShapeName::CloudEvents => Self::CloudEvents,
            ShapeName::CloudEventsBinary => Self::CloudEventsBinary,
            ShapeName::Template => Self::template(definition)?,
        })
    }

    fn template(definition: &PayloadDefinition) -> Result<Self, InvalidTarget> {
        let content_type = definition.content_type.clone();
        let content_type = content_type.unwrap_or_else(|| JSON.to_owned());
        let is_plain = content_type
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte));
        if content_type.len() > 200 || !content_type.contains('/') || !is_plain {
            let rule = "must be a media type of at most 200 ASCII characters";
            return Err(InvalidTarget::at("/contentType", rule));
        }
        let source = definition.template.as_deref();
        let source = source.ok_or_else(|| InvalidTarget::at("/template", "is missing"))?;
        let escape = if content_type.starts_with("text/html") {
            Escape::Html
        } else {
            Escape::Nothing
        };
        let template =
            Template::compile(source, escape).map_err(|error| at_template(error, source));
        Ok(Self::Template {
            template: Box::new(template?),
            content_type,
        })
    }

    /// Makes what is sent for a delivery.
    pub(crate) fn render(&self, delivery: &Delivery) -> Result<Rendered, DeliverError> {
        let event = &delivery.event;
        let mut body = Vec::new();
        let mut attributes = Vec::new();
        let content_type = match self {
            Self::Event => {
                write_event(&mut body, event, Layout::Verbatim);
                JSON.to_owned()
            }
            Self::CloudEvents => {
                write_cloud_event(&mut body, event);
                CLOUD_EVENT.to_owned()
            }
            Self::CloudEventsBinary => {
                body.extend_from_slice(event.payload().as_bytes());
                attributes = attributes_of(delivery)?;
                JSON.to_owned()
            }
            Self::Template {
                template,
                content_type,
            } => {
                let text = template
                    .render(&context(delivery)?)
                    .map_err(|error| unrenderable(&error))?;
                let is_json = content_type.starts_with(JSON);
                if is_json && serde_json::from_str::<IgnoredAny>(&text).is_err() {
                    return Err(unrenderable(&"the template renders what is no JSON"));
                }
                body = text.into_bytes();
                content_type.clone()
            }
        };
        Ok(Rendered {
            body: body.into(),
            content_type,
            attributes,
        })
    }
}

/// Returns the fault of a template, with the line that it is in.
pub(crate) fn at_template(error: InvalidTemplate, source: &str) -> InvalidTarget {
    let line = error.place.map_or(0, |place| place.line.saturating_sub(1));
    let line = source.lines().nth(line as usize).unwrap_or_default();
    InvalidTarget {
        place: error.place,
        ..InvalidTarget::at("/template", error.rule).with_value(line)
    }
}

/// Returns what templates see: the fields of the event, and those of the delivery.
pub(crate) fn context(delivery: &Delivery) -> Result<Value, DeliverError> {
    let mut json = Vec::new();
    write_event(&mut json, &delivery.event, Layout::Verbatim);
    let mut context: Value = serde_json::from_slice(&json).map_err(|error| unrenderable(&error))?;
    context["delivery"] = json!({
        "id": delivery.id.to_string(),
        "rule": delivery.rule,
        "target": delivery.target,
        "attempt": delivery.attempt,
    });
    Ok(context)
}

pub(crate) fn unrenderable(error: &dyn std::fmt::Display) -> DeliverError {
    DeliverError::lasting(ErrorClass::Payload, error.to_string())
}

/// Returns the attributes of the CloudEvent that the structured form would have.
fn attributes_of(delivery: &Delivery) -> Result<Vec<(&'static str, String)>, DeliverError> {
    const NAMES: [&str; 15] = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "schemaversion",
        "recordedtime",
        "aggregatetype",
        "aggregateid",
        "sequence",
        "position",
        "causationid",
        "correlationid",
        "metadata",
    ];
    let mut json = Vec::new();
    write_cloud_event(&mut json, &delivery.event);
    let event: Value = serde_json::from_slice(&json).map_err(|error| unrenderable(&error))?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(NAMES
        .iter()
        .filter_map(|&name| Some((name, text(event.get(name)?))))
        // No server takes headers of any length; who needs long metadata takes another shape.
        .filter(|(name, value)| {
            *name != "metadata" || header_value(value).len() <= METADATA_BYTES_MAX
        })
        .collect())
}

/// Encodes an attribute as the HTTP binding of CloudEvents says: percent-encoded where it is not
/// plain ASCII.
pub(crate) fn header_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing into a text does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
