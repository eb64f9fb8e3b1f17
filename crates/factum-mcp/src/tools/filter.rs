//! The filter of the tools: the one of every door, described in few words.

use bytes::Bytes;
use factum_api::parse_filter;
use factum_engine::Engine;
use factum_query::{Filter, parse_text_form};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fault::Fault;

/// Which events. Every condition that is there must hold. `anyOf`, `allOf` and `not` take filters
/// too.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes an input")]
pub(crate) struct FilterInput {
    /// Types: exact, or with `*` for one segment and a final `>` for the rest.
    #[schema(required = false)]
    event_types: Vec<String>,
    /// Aggregate types.
    #[schema(required = false)]
    aggregate_types: Vec<String>,
    /// Aggregate ids.
    #[schema(required = false)]
    aggregate_ids: Vec<String>,
    /// Tags, all of them.
    #[schema(required = false)]
    tags: Vec<String>,
    /// The conversation.
    correlation_id: Option<String>,
    /// The event that caused them.
    causation_id: Option<String>,
    /// Who caused them.
    user_id: Option<String>,
    /// When it happened: `{"from":…,"to":…}`, RFC 3339, `to` exclusive.
    #[schema(value_type = Option<Object>)]
    timestamp_range: Option<()>,
    /// When it was recorded, likewise.
    #[schema(value_type = Option<Object>)]
    recorded_range: Option<()>,
    /// Conditions on the payload, of which all hold.
    #[schema(required = false)]
    payload_query: Vec<ConditionInput>,
    /// Conditions on the metadata.
    #[schema(required = false)]
    metadata_query: Vec<ConditionInput>,
    /// Words, and phrases in double quotes, in the texts of the payload.
    text: Option<String>,
}

/// A condition on the values at a path.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes an input")]
pub(crate) struct ConditionInput {
    /// A JSONPath, as `$.country`.
    path: String,
    /// equals, notEquals, in, contains, exists, regex, gt, gte, lt or lte.
    operator: String,
    /// What to compare with; a list for `in`, absent for `exists`.
    #[schema(value_type = Option<Value>)]
    value: Option<()>,
}

/// Reads both forms of a filter; if both are there, both hold.
pub(super) fn read(
    engine: &Engine,
    text_form: Option<&str>,
    filter: Option<&RawValue>,
) -> Result<Filter, Fault> {
    let limits = engine.options().filter_limits;
    let mut both = match filter {
        None => Filter::default(),
        Some(filter) => {
            let text = Bytes::copy_from_slice(filter.get().as_bytes());
            parse_filter(&text, &limits).map_err(|error| Fault::from(error).within("filter"))?
        }
    };
    if let Some(text) = text_form {
        let parsed = parse_text_form(text, &limits)
            .map_err(|error| Fault::invalid("q", format!("is not understood: {error}")))?;
        if both.is_empty() {
            both = parsed;
        } else if !parsed.is_empty() {
            both.all_of.push(parsed);
        }
    }
    engine.check_filter(&both)?;
    Ok(both)
}
