//! A server on a free port over the store in memory, and a client of few words.

use std::sync::Arc;

use bytes::Bytes;
use factum_api::{filter_json, parse_filter};
use factum_engine::{
    Deliveries, DeliveryOptions, Engine, EngineOptions, FilterForm, KeyRing, NewKey, Principal,
    RuleLimits, Rules, Scope, Scopes, SubscriptionOptions, Subscriptions, Targets,
};
use factum_query::FilterLimits;
use factum_security::ApiKeys;
use factum_server::{Server, ServerOptions, Services};
use factum_store::{EventStore, MemoryStateStore, MemoryStore};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const FORM: FilterForm = FilterForm {
    read: |text| {
        let text = Bytes::copy_from_slice(text.as_bytes());
        parse_filter(&text, &FilterLimits::default()).map_err(|error| error.to_string())
    },
    write: filter_json,
};

async fn deliveries(engine: &Engine, targets: Arc<dyn Targets>) -> Deliveries {
    let rules = Rules::open(engine.clone(), targets, RuleLimits::default());
    let node = SubscriptionOptions::of("local".parse().unwrap());
    let options = DeliveryOptions::default();
    Deliveries::new(engine, rules.await.unwrap(), options, node).unwrap()
}

/// A server that runs until the test ends.
pub(crate) struct Harness {
    pub(crate) url: String,
    pub(crate) engine: Engine,
    pub(crate) keys: ApiKeys,
    pub(crate) admin: String,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Reads the body as what the document says it is: every field known, none missing.
    pub(crate) fn shaped<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.json()).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that the answer is a problem document of this status and code, and returns it.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(
            (self.status.as_u16(), problem["code"].as_str().unwrap()),
            (status, code),
            "{problem}"
        );
        assert_eq!(problem["status"], status);
        problem
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::start_over(Arc::new(MemoryStore::new()), change).await
    }

    /// Starts a server over a store.
    pub(crate) async fn start_over(
        store: Arc<dyn EventStore>,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        Self::start_node(store, None, change).await
    }

    /// Starts one of several servers over a store; with targets it has rules.
    pub(crate) async fn start_node(
        store: Arc<dyn EventStore>,
        targets: Option<Arc<dyn Targets>>,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let mut options = ServerOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            ..ServerOptions::default()
        };
        change(&mut options);
        let engine = Engine::new(store, EngineOptions::default())
            .with_state(Arc::new(MemoryStateStore::new()));
        let keys = ApiKeys::open(engine.clone()).await.unwrap();
        // The first node over a store makes the key; the others know it from the log.
        let admin = keys.ensure_admin("first").await.unwrap();
        let admin = admin.map(|key| key.secret).unwrap_or_default();
        let ring: Arc<dyn KeyRing> = Arc::new(keys.clone());
        let node = SubscriptionOptions::of("local".parse().unwrap());
        let subscriptions = Subscriptions::open(engine.clone(), node, FORM)
            .await
            .unwrap();
        let deliveries = match targets {
            Some(targets) => Some(deliveries(&engine, targets).await),
            None => None,
        };
        let services = Services {
            subscriptions: Some(subscriptions.clone()),
            deliveries: deliveries.clone(),
            ..Services::default()
        };
        let bound = Server::bind_with(options, engine.clone(), ring, services);
        let server = bound.await.unwrap();
        let url = server.url();
        let (stop, stopped) = oneshot::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "the harness awaits it when it stops"
        )]
        let served = tokio::spawn(async move {
            let end = CancellationToken::new();
            let serves = async {
                server.run(async { drop(stopped.await) }).await;
                end.cancel();
            };
            let delivers = async {
                if let Some(deliveries) = deliveries {
                    deliveries.run(&end).await;
                }
            };
            let (ran, (), ()) = tokio::join!(subscriptions.run(&end), delivers, serves);
            ran.unwrap();
        });
        Self {
            url,
            engine,
            keys,
            admin,
            client: Client::builder(TokioExecutor::new()).build_http(),
            stop: Some(stop),
            served,
        }
    }

    /// Makes a key with these scopes.
    pub(crate) async fn key(&self, scopes: &[Scope]) -> String {
        let (_lasts, ended) = watch::channel(false);
        let key = NewKey {
            name: "test".to_owned(),
            scopes: Scopes::of(scopes),
            expires_at: None,
        };
        let by = Principal::unauthenticated(ended);
        self.keys.create(key, &by).await.unwrap().secret
    }

    /// Sends a request with these headers, and nothing else.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Sends a request as the administrator.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.send(method, path, &all, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.admin("POST", path, &[("content-type", "application/json")], body)
            .await
    }

    /// Appends so many events of the type `a.b` to the stream `a/1`.
    pub(crate) async fn fill(&self, n_events: usize) {
        for first in (0..n_events).step_by(500) {
            let events: Vec<_> = (first..n_events.min(first + 500))
                .map(|n| event("a.b", "a", "1", &format!("{{\"n\":{n}}}")))
                .collect();
            let body = format!("{{\"events\":[{}]}}", events.join(","));
            assert_eq!(self.post("/v1/events", body).await.status, 201);
        }
    }

    /// Stops the server and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        drop(self.client);
        self.served.await.unwrap();
    }
}

/// Writes an event as a body.
pub(crate) fn event(
    event_type: &str,
    aggregate_type: &str,
    aggregate_id: &str,
    payload: &str,
) -> String {
    format!(
        r#"{{"type":"{event_type}","aggregateType":"{aggregate_type}","aggregateId":"{aggregate_id}","payload":{payload}}}"#
    )
}
