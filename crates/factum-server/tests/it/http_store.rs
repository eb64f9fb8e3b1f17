//! A store whose promises go through HTTP, for the conformance suite.
//!
//! Appends and reads are requests to a server. What the trait asks for without waiting (the head,
//! the health) comes from the store behind the server, and so do events of the engine, which no
//! request can append.

mod wire;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use factum_engine::{
    AuthenticationError, CreatedKey, Engine, EngineOptions, Identity, KeyError, KeyInfo, KeyRing,
    NewKey, Principal, Revocation, Scope, Scopes,
};
use factum_model::{
    AggregateId, AggregateType, EventId, NewEvent, Position, RecordedEvent, SYSTEM_AGGREGATE_TYPE,
    SequenceNumber, StreamId,
};
use factum_server::{Server, ServerOptions};
use factum_store::conformance::Setting;
use factum_store::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Capability, Cursor, Direction,
    EventStore, HeadWatch, Lineage, LogPage, LogRead, PartialRepeat, ReadError, StoreHealth,
    StoreMetrics, StreamInfo, StreamPage, StreamRead, Visibility,
};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::wire::{
    WireEvent, WirePage, append_body, encoded, filter_json, path_of, receipt, refusal, sayable,
    word,
};

/// The largest page that may be asked for.
const LIMIT_MAX: usize = 1000;

/// The store behind a server, as its clients see it.
pub(crate) struct HttpStore {
    behind: Arc<dyn EventStore>,
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

impl HttpStore {
    /// Starts a server over an empty store.
    pub(crate) async fn open(setting: &Setting, behind: Arc<dyn EventStore>) -> Self {
        let engine = Engine::new(
            Arc::clone(&behind),
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
            examined: 0,
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
