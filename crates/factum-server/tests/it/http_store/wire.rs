//! Requests as bodies, answers as what they stand for.

use factum_model::{
    EventOrigin, ExpectedVersion, NewEvent, Position, RecordedEvent, RecordedFields, SchemaVersion,
    SequenceNumber, StreamId,
};
use factum_query::{Filter, TimeRange};
use factum_store::{AppendError, AppendRequest, Direction, EventReceipt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// An event of an answer, its texts as they came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireEvent<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    version: u32,
    timestamp: String,
    recorded_at: String,
    aggregate_type: String,
    aggregate_id: String,
    sequence_number: u64,
    position: u64,
    causation_id: Option<String>,
    correlation_id: Option<String>,
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WirePage<'a> {
    #[serde(borrow)]
    pub(super) events: Vec<WireEvent<'a>>,
    pub(super) has_more: bool,
    pub(super) cursor: Option<String>,
    pub(super) version: Option<u64>,
}

impl WireEvent<'_> {
    pub(super) fn recorded(&self) -> RecordedEvent {
        RecordedEvent::new(RecordedFields {
            id: self.id.parse().unwrap(),
            position: Position::new(self.position).unwrap(),
            sequence_number: SequenceNumber::new(self.sequence_number).unwrap(),
            recorded_at: self.recorded_at.parse().unwrap(),
            timestamp: self.timestamp.parse().unwrap(),
            schema_version: SchemaVersion::new(self.version).unwrap(),
            // What the store added to the writer's words does not go over the wire; a timestamp
            // that is the time of recording was most likely added.
            origin: EventOrigin {
                timestamp_assigned: self.timestamp == self.recorded_at,
                ..EventOrigin::default()
            },
            causation_id: self.causation_id.as_ref().map(|id| id.parse().unwrap()),
            event_type: &self.event_type,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            correlation_id: self.correlation_id.as_deref(),
            metadata: self.metadata.get(),
            payload: self.payload.get(),
        })
    }
}

/// Returns the largest number up to this that the wire carries: it is bounded by what is signed in
/// other languages, and no place in a log is beyond that.
pub(super) fn sayable(number: u64) -> u64 {
    number.min(i64::MAX.unsigned_abs())
}

pub(super) fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Forwards => "forwards",
        Direction::Backwards => "backwards",
    }
}

pub(super) fn path_of(stream: &StreamId) -> String {
    let aggregate_type = encoded(stream.aggregate_type.as_str());
    let aggregate_id = encoded(stream.aggregate_id.as_str());
    format!("/v1/aggregates/{aggregate_type}/{aggregate_id}")
}

/// Encodes a segment of a path: every byte that is no letter or digit.
pub(super) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Writes a request as its body; payload and metadata byte for byte.
pub(super) fn append_body(request: &AppendRequest) -> String {
    let mut open = request.expected.clone();
    let mut events = Vec::new();
    for event in &request.events {
        let expected = open
            .iter()
            .position(|expected| expected.stream == event.stream);
        let expected = expected.map(|at| open.swap_remove(at).version);
        events.push(event_json(event, expected));
    }
    assert!(
        open.is_empty(),
        "an expectation without events is not over HTTP"
    );
    let condition = request
        .condition
        .as_ref()
        .map_or_else(String::new, |condition| {
            let mut json = json!({ "filter": filter_json(&condition.filter) });
            if let Some(after) = condition.after {
                json["after"] = sayable(after.get()).into();
            }
            format!(",\"condition\":{json}")
        });
    format!("{{\"events\":[{}]{condition}}}", events.join(","))
}

fn event_json(event: &NewEvent, expected: Option<ExpectedVersion>) -> String {
    let mut fields = json!({
        "type": event.event_type.as_str(),
        "version": event.schema_version.get(),
        "aggregateType": event.stream.aggregate_type.as_str(),
        "aggregateId": event.stream.aggregate_id.as_str(),
    });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields[name] = value;
        }
    };
    set("id", event.id.map(|id| id.to_string().into()));
    set("timestamp", event.timestamp.map(|at| at.to_string().into()));
    set(
        "causationId",
        event.causation_id.map(|id| id.to_string().into()),
    );
    let correlation = event.correlation_id.as_ref();
    set("correlationId", correlation.map(|id| id.as_str().into()));
    set(
        "expectedVersion",
        expected.map(|version| match version {
            ExpectedVersion::Any => "any".into(),
            ExpectedVersion::NoStream => "noStream".into(),
            ExpectedVersion::Exists => "exists".into(),
            ExpectedVersion::Exact(number) => sayable(number.get()).into(),
        }),
    );
    let fields = fields.to_string();
    format!(
        "{},\"metadata\":{},\"payload\":{}}}",
        fields.strip_suffix('}').unwrap(),
        event.metadata.as_str(),
        event.payload.as_str()
    )
}

pub(super) fn filter_json(filter: &Filter) -> Value {
    assert_known(filter);
    let mut json = Map::new();
    let mut set = |name: &str, value: Value| json.insert(name.to_owned(), value);
    for (name, values) in lists(filter)
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
    {
        set(name, values.into());
    }
    for (name, range) in [
        ("timestampRange", filter.timestamp),
        ("recordedRange", filter.recorded_at),
    ] {
        let bounds = [("from", range.from), ("to", range.to)];
        let given = bounds
            .iter()
            .filter_map(|(name, at)| Some((name, at.as_ref()?)));
        let range: Map<_, _> = given
            .map(|(name, at)| ((*name).to_owned(), at.to_string().into()))
            .collect();
        if !range.is_empty() {
            set(name, range.into());
        }
    }
    if let Some(id) = &filter.correlation_id {
        set("correlationId", id.as_str().into());
    }
    if let Some(id) = filter.causation_id {
        set("causationId", id.to_string().into());
    }
    if let Some(user) = &filter.user_id {
        set("userId", user.as_str().into());
    }
    json.into()
}

/// Returns the conditions that name several values.
fn lists(filter: &Filter) -> [(&'static str, Vec<Value>); 7] {
    fn texts<T: ToString>(values: &[T]) -> Vec<Value> {
        values
            .iter()
            .map(|value| value.to_string().into())
            .collect()
    }
    let stream = |stream: &StreamId| {
        let (aggregate_type, aggregate_id) = (&stream.aggregate_type, &stream.aggregate_id);
        json!({
            "aggregateType": aggregate_type.as_str(),
            "aggregateId": aggregate_id.as_str(),
        })
    };
    [
        ("eventTypes", texts(&filter.event_types)),
        ("aggregateTypes", texts(&filter.aggregate_types)),
        ("aggregateIds", texts(&filter.aggregate_ids)),
        ("ids", texts(&filter.ids)),
        ("tags", texts(&filter.tags)),
        ("streams", filter.streams.iter().map(stream).collect()),
        ("anyOf", filter.any_of.iter().map(filter_json).collect()),
    ]
}

/// Checks that a filter has no condition that is not written here.
fn assert_known(filter: &Filter) {
    let mut rest = filter.clone();
    rest.event_types.clear();
    rest.aggregate_types.clear();
    rest.aggregate_ids.clear();
    rest.streams.clear();
    rest.ids.clear();
    rest.tags.clear();
    rest.correlation_id = None;
    rest.causation_id = None;
    rest.user_id = None;
    rest.timestamp = TimeRange::default();
    rest.recorded_at = TimeRange::default();
    rest.any_of.clear();
    assert_eq!(
        rest,
        Filter::default(),
        "a condition that is not known here"
    );
}

pub(super) fn receipt(event: &Value) -> EventReceipt {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    EventReceipt {
        id: text("id").parse().unwrap(),
        position: Position::new(event["position"].as_u64().unwrap()).unwrap(),
        sequence_number: SequenceNumber::new(event["sequenceNumber"].as_u64().unwrap()).unwrap(),
        recorded_at: text("recordedAt").parse().unwrap(),
        deduplicated: event["deduplicated"].as_bool().unwrap_or_default(),
    }
}

/// Reads a problem document as the failure that it stands for.
pub(super) fn refusal(request: &AppendRequest, problem: &Value) -> AppendError {
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let position = problem["position"].as_u64().and_then(Position::new);
    match problem["code"].as_str().unwrap() {
        "version_conflict" => {
            let stream = StreamId::new(
                text("aggregateType").parse().unwrap(),
                text("aggregateId").parse().unwrap(),
            );
            let expected = request
                .expected
                .iter()
                .find(|one| one.stream == stream)
                .unwrap()
                .version;
            let said = match expected {
                ExpectedVersion::Exact(number) => sayable(number.get()).to_string(),
                other => other.to_string(),
            };
            assert_eq!(text("expectedVersion"), said);
            AppendError::VersionConflict {
                stream,
                expected,
                actual: problem["actualVersion"]
                    .as_u64()
                    .and_then(SequenceNumber::new),
            }
        }
        "condition_failed" => AppendError::ConditionFailed {
            position: position.unwrap(),
            id: text("id").parse().unwrap(),
        },
        "duplicate_event" => {
            let pointer = text("pointer");
            let index = pointer
                .strip_prefix("/events/")
                .unwrap()
                .strip_suffix("/id")
                .unwrap();
            AppendError::DuplicateEvent {
                index: index.parse().unwrap(),
                id: text("id").parse().unwrap(),
                position,
                rule: "as the problem document says",
            }
        }
        "invalid_request" if request.events.is_empty() => AppendError::Empty,
        "shutting_down" => AppendError::ShuttingDown,
        other => panic!("{other}: {problem}"),
    }
}
