//! A store whose promises go through HTTP, for the conformance suite.
//!
//! Appends and reads are requests to a server. What the trait asks for without waiting (the head,
//! the health) comes from the store behind the server, and so do events of the engine, which no
//! request can append.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use factum_engine::{
    AuthenticationError, CreatedKey, Engine, EngineOptions, Identity, KeyError, KeyInfo, KeyRing,
    NewKey, Principal, Revocation, Scope, Scopes,
};
use factum_model::{
    AggregateId, AggregateType, EventId, EventOrigin, ExpectedVersion, NewEvent, Position,
    RecordedEvent, RecordedFields, SYSTEM_AGGREGATE_TYPE, SequenceNumber, StreamId,
};
use factum_query::{Filter, TimeRange};
use factum_server::{Server, ServerOptions};
use factum_store::conformance::Setting;
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Capability, Cursor, Direction,
    EventReceipt, EventStore, HeadWatch, Lineage, LogPage, LogRead, MemoryStore, PartialRepeat,
    ReadError, StoreHealth, StoreMetrics, StreamInfo, StreamPage, StreamRead, Visibility,
};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The largest page that may be asked for.
const LIMIT_MAX: usize = 1000;

/// The store behind a server, as its clients see it.
pub(crate) struct HttpStore {
    behind: Arc<MemoryStore>,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _server: JoinSet<()>,
}

impl fmt::Debug for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStore").finish_non_exhaustive()
    }
}

/// Keys that are not in the log, so that the log begins with what a promise appends: the name of a
/// scope is a key that has it.
#[derive(Debug)]
struct Names {
    lasts: watch::Sender<bool>,
}

impl KeyRing for Names {
    fn authenticate(&self, presented: &str) -> Result<Principal, AuthenticationError> {
        let scope = Scope::from_name(presented).ok_or(AuthenticationError::Unknown)?;
        let identity = Identity {
            key_id: None,
            name: presented.to_owned(),
            scopes: Scopes::of(&[scope]),
            expires_at: None,
        };
        Ok(Principal::new(Arc::new(identity), self.lasts.subscribe()))
    }

    fn create<'a>(
        &'a self,
        _key: NewKey,
        _by: &'a Principal,
    ) -> BoxFuture<'a, Result<CreatedKey, KeyError>> {
        Box::pin(std::future::ready(Err(KeyError::Random)))
    }

    fn list(&self) -> Vec<KeyInfo> {
        Vec::new()
    }

    fn revoke<'a>(
        &'a self,
        id: &'a str,
        _revocation: Revocation,
        _by: &'a Principal,
    ) -> BoxFuture<'a, Result<KeyInfo, KeyError>> {
        let id = id.to_owned();
        Box::pin(std::future::ready(Err(KeyError::NotFound { id })))
    }
}

/// An event of an answer, its texts as they came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireEvent<'a> {
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
struct WirePage<'a> {
    #[serde(borrow)]
    events: Vec<WireEvent<'a>>,
    has_more: bool,
    cursor: Option<String>,
    version: Option<u64>,
}

impl WireEvent<'_> {
    fn recorded(&self) -> RecordedEvent {
        RecordedEvent::new(RecordedFields {
            id: self.id.parse().unwrap(),
            position: Position::new(self.position).unwrap(),
            sequence_number: SequenceNumber::new(self.sequence_number).unwrap(),
            recorded_at: self.recorded_at.parse().unwrap(),
            timestamp: self.timestamp.parse().unwrap(),
            schema_version: factum_model::SchemaVersion::new(self.version).unwrap(),
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

impl HttpStore {
    /// Starts a server over an empty store in memory.
    pub(crate) async fn open(setting: &Setting) -> Self {
        let behind = Arc::new(MemoryStore::with(
            setting.clock.clone(),
            setting.ids.clone(),
        ));
        let engine = Engine::new(
            Arc::clone(&behind) as Arc<dyn EventStore>,
            EngineOptions {
                clock: setting.clock.clone(),
                ..EngineOptions::default()
            },
        );
        let options = ServerOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            ..ServerOptions::default()
        };
        let keys = Arc::new(Names {
            lasts: watch::Sender::new(false),
        });
        let server = Server::bind(options, engine, keys).await.unwrap();
        let url = server.url();
        let mut running = JoinSet::new();
        running.spawn(server.run(std::future::pending()));
        Self {
            behind,
            url,
            client: Client::builder(TokioExecutor::new()).build_http(),
            _server: running,
        }
    }

    async fn send(&self, method: &str, path: &str, key: &str, body: String) -> (u16, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = self.client.request(request).await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    async fn get(&self, path: &str) -> (u16, Bytes) {
        self.send("GET", path, "admin", String::new()).await
    }

    async fn append_by_request(
        &self,
        request: AppendRequest,
    ) -> Result<AppendReceipt, AppendError> {
        assert_eq!(
            request.partial_repeat,
            PartialRepeat::Refuse,
            "not over HTTP"
        );
        let body = append_body(&request);
        let (status, answer) = self.send("POST", "/v1/events", "append", body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        if !matches!(status, 200 | 201) {
            return Err(refusal(&request, &answer));
        }
        let events: Vec<_> = answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(receipt)
            .collect();
        assert_eq!(status == 200, events.iter().all(|event| event.deduplicated));
        Ok(AppendReceipt { events })
    }

    async fn read(&self, read: LogRead) -> Result<LogPage, ReadError> {
        let mut body = json!({
            "filter": filter_json(&read.filter),
            "limit": read.limit.min(LIMIT_MAX),
            "direction": word(read.direction),
        });
        if let Some(after) = read.after {
            body["after"] = sayable(after.get()).into();
        }
        let key = match read.visibility {
            Visibility::Application => "read",
            Visibility::Everything => "admin",
        };
        let body = body.to_string();
        let (status, answer) = self.send("POST", "/v1/events/query", key, body).await;
        assert_eq!(status, 200, "{answer:?}");
        let page: WirePage<'_> = serde_json::from_slice(&answer).unwrap();
        let cursor: Cursor = page.cursor.unwrap().parse().unwrap();
        let page = LogPage {
            events: page.events.iter().map(WireEvent::recorded).collect(),
            scanned_to: self.lineage().resolve(cursor).unwrap(),
            has_more: page.has_more,
        };
        Ok(cut(page, &read))
    }

    async fn read_of_stream(&self, read: StreamRead) -> Result<StreamPage, ReadError> {
        let mut path = format!(
            "{}/events?limit={}&direction={}",
            path_of(&read.stream),
            read.limit.min(LIMIT_MAX),
            word(read.direction)
        );
        for (name, bound) in [("from", read.from), ("to", read.to)] {
            if let Some(bound) = bound {
                path.extend(["&", name, "=", &bound.to_string()]);
            }
        }
        let (status, answer) = self.get(&path).await;
        if status == 404 {
            return Ok(StreamPage {
                events: Vec::new(),
                has_more: false,
                version: None,
            });
        }
        assert_eq!(status, 200, "{answer:?}");
        let page: WirePage<'_> = serde_json::from_slice(&answer).unwrap();
        Ok(StreamPage {
            events: page.events.iter().map(WireEvent::recorded).collect(),
            has_more: page.has_more,
            version: page.version.and_then(SequenceNumber::new),
        })
    }

    async fn info(&self, stream: StreamId) -> Result<Option<StreamInfo>, ReadError> {
        let (status, answer) = self.get(&path_of(&stream)).await;
        if status == 404 {
            return Ok(None);
        }
        assert_eq!(status, 200, "{answer:?}");
        let info: factum_api::AggregateDto = serde_json::from_slice(&answer).unwrap();
        assert_eq!(info.aggregate_type, stream.aggregate_type.as_str());
        assert_eq!(info.aggregate_id, stream.aggregate_id.as_str());
        Ok(Some(StreamInfo {
            stream,
            version: SequenceNumber::new(info.version).unwrap(),
            n_events: info.event_count,
            first_timestamp: info.first_timestamp.parse().unwrap(),
            last_timestamp: info.last_timestamp.parse().unwrap(),
            first_position: Position::new(info.first_position).unwrap(),
            last_position: Position::new(info.last_position).unwrap(),
        }))
    }

    async fn types_of(&self, id: AggregateId) -> Result<Vec<AggregateType>, ReadError> {
        let (status, answer) = self
            .get(&format!("/v1/aggregates/{}", encoded(id.as_str())))
            .await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let parse = |name: &Value| name.as_str().unwrap().parse().unwrap();
        Ok(match status {
            404 => Vec::new(),
            200 => vec![parse(&answer["aggregateType"])],
            _ => {
                assert_eq!(answer["code"], "ambiguous_aggregate");
                answer["aggregateTypes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(parse)
                    .collect()
            }
        })
    }
}

/// Ends a page where the reader wants to stop, which is for clients to do.
fn cut(mut page: LogPage, read: &LogRead) -> LogPage {
    let Some(until) = read.until else {
        return page;
    };
    let beyond = |position: Position| match read.direction {
        Direction::Forwards => position >= until,
        Direction::Backwards => position <= until,
    };
    page.events
        .retain(|event| event.position == until || !beyond(event.position));
    // A reader that starts at its end has looked at nothing.
    let at_end = read.after.filter(|after| beyond(*after));
    if page.scanned_to.is_some_and(beyond) {
        page.scanned_to = at_end.or(Some(until));
        page.has_more = false;
    }
    page
}

/// Returns the largest number up to this that the wire carries: it is bounded by what is signed in
/// other languages, and no place in a log is beyond that.
fn sayable(number: u64) -> u64 {
    number.min(i64::MAX.unsigned_abs())
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Forwards => "forwards",
        Direction::Backwards => "backwards",
    }
}

fn path_of(stream: &StreamId) -> String {
    let aggregate_type = encoded(stream.aggregate_type.as_str());
    let aggregate_id = encoded(stream.aggregate_id.as_str());
    format!("/v1/aggregates/{aggregate_type}/{aggregate_id}")
}

/// Encodes a segment of a path: every byte that is no letter or digit.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Writes a request as its body; payload and metadata byte for byte.
fn append_body(request: &AppendRequest) -> String {
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

fn filter_json(filter: &Filter) -> Value {
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

fn receipt(event: &Value) -> EventReceipt {
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
fn refusal(request: &AppendRequest, problem: &Value) -> AppendError {
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

impl EventStore for HttpStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        let of_engine =
            |event: &NewEvent| event.stream.aggregate_type.as_str() == SYSTEM_AGGREGATE_TYPE;
        if request.events.iter().any(of_engine) {
            return self.behind.append(request);
        }
        Box::pin(self.append_by_request(request))
    }

    fn read_log(&self, request: LogRead) -> BoxFuture<'_, Result<LogPage, ReadError>> {
        Box::pin(self.read(request))
    }

    fn read_stream(&self, request: StreamRead) -> BoxFuture<'_, Result<StreamPage, ReadError>> {
        Box::pin(self.read_of_stream(request))
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<RecordedEvent>, ReadError>> {
        Box::pin(async move {
            let (status, answer) = self.get(&format!("/v1/events/{id}")).await;
            if status == 404 {
                return Ok(None);
            }
            assert_eq!(status, 200, "{answer:?}");
            let event: WireEvent<'_> = serde_json::from_slice(&answer).unwrap();
            Ok(Some(event.recorded()))
        })
    }

    fn stream_info(
        &self,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StreamInfo>, ReadError>> {
        Box::pin(self.info(stream))
    }

    fn aggregate_types_of(
        &self,
        aggregate_id: AggregateId,
    ) -> BoxFuture<'_, Result<Vec<AggregateType>, ReadError>> {
        Box::pin(self.types_of(aggregate_id))
    }

    fn capability(&self) -> Capability {
        self.behind.capability()
    }

    fn lineage(&self) -> Lineage {
        self.behind.lineage()
    }

    fn head(&self) -> Option<Position> {
        self.behind.head()
    }

    fn watch_head(&self) -> HeadWatch {
        self.behind.watch_head()
    }

    fn health(&self) -> StoreHealth {
        self.behind.health()
    }

    fn metrics(&self) -> StoreMetrics {
        self.behind.metrics()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.behind.close()
    }
}
