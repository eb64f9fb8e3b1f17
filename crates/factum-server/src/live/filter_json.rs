//! A filter as clients wrote it, for confirmations and for operators.

use factum_query::{Filter, TimeRange};
use serde_json::{Map, Value, json};

/// Returns the filter as the JSON object that stands for it; what it does not ask for is left
/// out.
pub(crate) fn filter_json(filter: &Filter) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    put("eventTypes", texts(&filter.event_types));
    put("aggregateTypes", texts(&filter.aggregate_types));
    put("aggregateIds", texts(&filter.aggregate_ids));
    let stream = |stream: &factum_model::StreamId| {
        json!({
            "aggregateType": stream.aggregate_type.as_str(),
            "aggregateId": stream.aggregate_id.as_str(),
        })
    };
    put("streams", list(&filter.streams, stream));
    put("ids", texts(&filter.ids));
    put("tags", texts(&filter.tags));
    put("correlationId", text(filter.correlation_id.as_ref()));
    put("causationId", text(filter.causation_id.as_ref()));
    put("userId", text(filter.user_id.as_ref()));
    put("timestampRange", range(filter.timestamp));
    put("recordedRange", range(filter.recorded_at));
    put("anyOf", list(&filter.any_of, filter_json));
    Value::Object(object)
}

fn list<T>(values: &[T], show: impl Fn(&T) -> Value) -> Option<Value> {
    (!values.is_empty()).then(|| values.iter().map(show).collect())
}

fn texts<T: ToString>(values: &[T]) -> Option<Value> {
    list(values, |value| Value::from(value.to_string()))
}

fn text<T: ToString>(value: Option<&T>) -> Option<Value> {
    value.map(|value| Value::from(value.to_string()))
}

fn range(range: TimeRange) -> Option<Value> {
    let mut object = Map::new();
    for (name, at) in [("from", range.from), ("to", range.to)] {
        if let Some(at) = at {
            object.insert(name.to_owned(), Value::from(at.to_string()));
        }
    }
    (!object.is_empty()).then_some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use factum_api::parse_filter;
    use factum_query::FilterLimits;

    use super::*;

    #[test]
    fn a_filter_is_shown_as_it_is_written() {
        let text = r#"{"eventTypes":["a.*"],"aggregateTypes":["form"],"aggregateIds":["1"],"streams":[{"aggregateType":"form","aggregateId":"2"}],"ids":["01010101-0101-0101-0101-010101010101"],"tags":["x"],"correlationId":"c","causationId":"01010101-0101-0101-0101-010101010102","userId":"u","timestampRange":{"from":"2026-01-01T00:00:00.000000Z"},"recordedRange":{"to":"2026-01-01T00:00:00.000000Z"},"anyOf":[{"tags":["y"]}]}"#;
        let read = |text: String| parse_filter(&text.into(), &FilterLimits::default()).unwrap();
        let filter = read(text.to_owned());
        let shown = filter_json(&filter);
        assert_eq!(shown, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read(shown.to_string()), filter);
        assert_eq!(filter_json(&Filter::default()), json!({}));
    }
}
