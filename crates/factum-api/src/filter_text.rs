//! A filter as the JSON object that stands for it, for confirmations and for operators.

use factum_query::{
    Bound, Filter, JsonCondition, JsonQuery, JsonScalar, JsonTest, SequenceRange, Side, TimeRange,
};

use crate::render::write_string;

/// Returns the filter as JSON, as [`crate::parse_filter`] reads it; what it does not ask for is
/// left out. Numbers are written with all their digits.
#[must_use]
pub fn filter_json(filter: &Filter) -> String {
    let mut json = String::new();
    write_filter(&mut json, filter);
    json
}

/// Returns a query of payload or metadata as JSON.
#[must_use]
pub fn query_json(query: &JsonQuery) -> String {
    let mut json = String::new();
    write_query(&mut json, query);
    json
}

/// An object that is being written.
struct Object<'j> {
    json: &'j mut String,
    is_empty: bool,
}

impl<'j> Object<'j> {
    fn open(json: &'j mut String) -> Self {
        json.push('{');
        Self {
            json,
            is_empty: true,
        }
    }

    fn key(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(',');
        }
        write_text(self.json, name);
        self.json.push(':');
        self.json
    }

    fn text<T: ToString>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            write_text(self.key(name), &value.to_string());
        }
    }

    fn texts<T: ToString>(&mut self, name: &str, values: &[T]) {
        self.list(name, values, |json, value| {
            write_text(json, &value.to_string());
        });
    }

    fn list<T>(&mut self, name: &str, values: &[T], write: impl FnMut(&mut String, &T)) {
        if !values.is_empty() {
            write_list(self.key(name), values, write);
        }
    }

    fn range<T: ToString>(&mut self, name: &str, from: Option<T>, to: Option<T>, quoted: bool) {
        if from.is_none() && to.is_none() {
            return;
        }
        let mut range = Object::open(self.key(name));
        for (name, bound) in [("from", from), ("to", to)] {
            match bound {
                Some(bound) if quoted => range.text(name, Some(&bound)),
                Some(bound) => range.key(name).push_str(&bound.to_string()),
                None => {}
            }
        }
        range.close();
    }

    fn close(self) {
        self.json.push('}');
    }
}

fn write_text(json: &mut String, text: &str) {
    let mut bytes = Vec::new();
    write_string(&mut bytes, text);
    json.push_str(&String::from_utf8_lossy(&bytes));
}

fn write_list<T>(json: &mut String, values: &[T], mut write: impl FnMut(&mut String, &T)) {
    json.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(json, value);
    }
    json.push(']');
}

fn write_filter(json: &mut String, filter: &Filter) {
    let mut object = Object::open(json);
    object.texts("eventTypes", &filter.event_types);
    object.texts("aggregateTypes", &filter.aggregate_types);
    object.texts("aggregateIds", &filter.aggregate_ids);
    object.list("streams", &filter.streams, |json, stream| {
        let mut object = Object::open(json);
        object.text("aggregateType", Some(&stream.aggregate_type));
        object.text("aggregateId", Some(&stream.aggregate_id));
        object.close();
    });
    object.texts("ids", &filter.ids);
    object.texts("tags", &filter.tags);
    object.text("correlationId", filter.correlation_id.as_ref());
    object.text("causationId", filter.causation_id.as_ref());
    object.text("userId", filter.user_id.as_ref());
    let TimeRange { from, to } = filter.timestamp;
    object.range("timestampRange", from, to, true);
    let TimeRange { from, to } = filter.recorded_at;
    object.range("recordedRange", from, to, true);
    let SequenceRange { from, to } = filter.sequence;
    object.range("sequenceRange", from, to, false);
    for (name, query) in [
        ("payloadQuery", &filter.payload),
        ("metadataQuery", &filter.metadata),
    ] {
        if let Some(query) = query {
            write_query(object.key(name), query);
        }
    }
    object.text("text", filter.text.as_ref());
    object.list("anyOf", &filter.any_of, write_filter);
    object.list("allOf", &filter.all_of, write_filter);
    object.list("not", &filter.not, write_filter);
    object.close();
}

fn write_query(json: &mut String, query: &JsonQuery) {
    match query {
        JsonQuery::Leaf(condition) => write_condition(json, condition),
        JsonQuery::And(inner) | JsonQuery::Or(inner) => {
            let is_and = matches!(query, JsonQuery::And(_));
            let mut object = Object::open(json);
            write_list(
                object.key(if is_and { "and" } else { "or" }),
                inner,
                write_query,
            );
            object.close();
        }
        JsonQuery::Not(inner) => {
            let mut object = Object::open(json);
            write_query(object.key("not"), inner);
            object.close();
        }
    }
}

fn write_condition(json: &mut String, condition: &JsonCondition) {
    let operator = match &condition.test {
        JsonTest::Exists => "exists",
        JsonTest::Equals(_) => "equals",
        JsonTest::NotEquals(_) => "notEquals",
        JsonTest::In(_) => "in",
        JsonTest::Contains(_) => "contains",
        JsonTest::Regex(_) => "regex",
        JsonTest::Range(Side::Greater, _) => "gt",
        JsonTest::Range(Side::GreaterOrEqual, _) => "gte",
        JsonTest::Range(Side::Less, _) => "lt",
        JsonTest::Range(Side::LessOrEqual, _) => "lte",
    };
    let mut object = Object::open(json);
    object.text("path", Some(&condition.path));
    object.text("operator", Some(&operator));
    match &condition.test {
        JsonTest::Exists => {}
        JsonTest::Equals(value) | JsonTest::NotEquals(value) | JsonTest::Contains(value) => {
            write_scalar(object.key("value"), value);
        }
        JsonTest::In(values) => write_list(object.key("value"), values, write_scalar),
        JsonTest::Regex(regex) => object.text("value", Some(regex)),
        JsonTest::Range(_, Bound::Number(number)) => {
            object.key("value").push_str(&number.to_string());
        }
        JsonTest::Range(_, Bound::String(text)) => object.text("value", Some(text)),
    }
    object.close();
}

fn write_scalar(json: &mut String, value: &JsonScalar) {
    json.push_str(&value.to_string());
}

#[cfg(test)]
mod tests {
    use factum_query::FilterLimits;

    use super::*;
    use crate::filter::parse_filter;

    fn check(text: &str) {
        let read = |text: String| parse_filter(&text.into(), &FilterLimits::default()).unwrap();
        let filter = read(text.to_owned());
        assert_eq!(filter_json(&filter), text);
        assert_eq!(read(filter_json(&filter)), filter);
    }

    #[test]
    fn a_filter_is_shown_as_it_is_written() {
        check("{}");
        check(
            r#"{"eventTypes":["a.*"],"aggregateTypes":["form"],"aggregateIds":["1"],"streams":[{"aggregateType":"form","aggregateId":"2"}],"ids":["01010101-0101-0101-0101-010101010101"],"tags":["x"],"correlationId":"c","causationId":"01010101-0101-0101-0101-010101010102","userId":"u","timestampRange":{"from":"2026-01-01T00:00:00.000000Z"},"recordedRange":{"to":"2026-01-01T00:00:00.000000Z"},"sequenceRange":{"from":1,"to":7},"text":"ann \"credit check\"","anyOf":[{"tags":["y"]}],"allOf":[{"tags":["z"]},{}],"not":[{"userId":"bob"}]}"#,
        );
        check(
            r#"{"payloadQuery":{"and":[{"path":"$.a","operator":"equals","value":9007199254740993},{"or":[{"path":"$['b\"']","operator":"in","value":[null,true,"x\n",-0.5]},{"not":{"path":"$.c","operator":"exists"}}]},{"path":"$.d","operator":"gte","value":1e999999999},{"path":"$.d","operator":"lt","value":"m"},{"path":"$..e","operator":"regex","value":"^\\d+$"},{"path":"$.f","operator":"contains","value":""},{"path":"$.g","operator":"notEquals","value":0},{"path":"$.h","operator":"gt","value":1},{"path":"$.h","operator":"lte","value":2}]},"metadataQuery":{"path":"$.x","operator":"equals","value":false}}"#,
        );
    }
}
