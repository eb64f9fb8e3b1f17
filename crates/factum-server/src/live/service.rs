//! The live service: opens connections, lists them, ends them.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use factum_api::{filter_json, parse_log_query};
use factum_engine::{Engine, KeyRing, LiveRead, LiveStart, Principal, Rules, Scope, Subscriptions};
use hyper::upgrade::OnUpgrade;

use super::close::{CloseCode, Closing};
use super::connection::{Session, serve, stop_of};
use super::error::LiveError;
use super::operate::{ConnectionDto, ConnectionListDto, TicketDto, connection_dto};
use super::options::LiveOptions;
use super::origin;
use super::registry::{
    ConnectionOwner, NewConnection, Registration, Registry, SubscriptionEntry, Transport,
};
use super::sse::{EventSource, respond};
use super::tickets::Tickets;
use super::upgrade::{accept, handshake};

/// Live delivery over one engine. Cloning is cheap and gives another handle to the same service.
#[derive(Debug, Clone)]
pub struct LiveService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    keys: Arc<dyn KeyRing>,
    options: Arc<LiveOptions>,
    registry: Arc<Registry>,
    tickets: Tickets<Principal>,
    subscriptions: OnceLock<Subscriptions>,
    rules: OnceLock<Rules>,
}

/// Counts for the metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMetrics {
    /// How many WebSocket connections are open.
    pub n_web_sockets: usize,
    /// How many Server-Sent Events responses are open.
    pub n_event_sources: usize,
    /// How many subscriptions they have.
    pub n_subscriptions: usize,
    /// How many events were delivered since the start.
    pub delivered: u64,
    /// How many connections ended since the start, by code; those that the client ended count as
    /// normal.
    pub closed: [(CloseCode, u64); CloseCode::ALL.len()],
}

impl LiveService {
    /// Makes the service.
    #[must_use]
    pub fn new(engine: Engine, keys: Arc<dyn KeyRing>, options: LiveOptions) -> Self {
        let registry = Registry::new(options.connections_max, options.unauthenticated_max);
        let tickets = Tickets::new(options.tickets_max, options.ticket_lifetime);
        Self {
            inner: Arc::new(Inner {
                engine,
                keys,
                options: Arc::new(options),
                registry: Arc::new(registry),
                tickets,
                subscriptions: OnceLock::new(),
                rules: OnceLock::new(),
            }),
        }
    }

    /// Lets connections consume durable subscriptions as well.
    #[must_use]
    pub fn with_subscriptions(self, subscriptions: Subscriptions) -> Self {
        // Whoever has set them before has set the same ones: there is one service of them.
        self.inner.subscriptions.get_or_init(|| subscriptions);
        self
    }

    /// Lets connections listen to the channels of rules as well.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        self.inner.rules.get_or_init(|| rules);
        self
    }

    /// Asks every connection to end, with the code 1001; those that come later end at once.
    pub fn shut_down(&self) {
        self.inner.registry.shut_down();
    }

    /// Waits until no connection is open. Each ends within the close timeout of the options.
    pub async fn drained(&self) {
        self.inner.registry.drained().await;
    }

    /// Returns counts for the metrics page.
    #[must_use]
    pub fn metrics(&self) -> LiveMetrics {
        let registry = &self.inner.registry;
        let (n_web_sockets, n_event_sources, n_subscriptions) = registry.sizes();
        LiveMetrics {
            n_web_sockets,
            n_event_sources,
            n_subscriptions,
            delivered: registry.counters.delivered.load(Ordering::Relaxed),
            closed: CloseCode::ALL.map(|code| (code, registry.counters.closed(code))),
        }
    }

    /// Answers a request to open a WebSocket. `principal` is whoever the header names; without a
    /// header the query may hold a ticket, and without one the first message must say it.
    ///
    /// # Errors
    /// [`LiveError`]; nothing has been opened then.
    pub fn open_web_socket(
        &self,
        mut parts: Parts,
        client: SocketAddr,
        principal: Option<Principal>,
    ) -> Result<Response, LiveError> {
        let answer = handshake(&parts.method, parts.version, &parts.headers)
            .map_err(|rule| LiveError::Handshake { rule })?;
        self.check_origin(&parts)?;
        let principal = match principal {
            Some(principal) => Some(principal),
            None => self.redeem(parts.uri.query())?,
        };
        if principal
            .as_ref()
            .is_some_and(|principal| !principal.allows(Scope::Read))
        {
            return Err(LiveError::Scope);
        }
        let upgrade: OnUpgrade = parts.extensions.remove().ok_or(LiveError::Handshake {
            rule: "the connection cannot be handed over",
        })?;
        let registration = self.register(Transport::WebSocket, client, principal.as_ref())?;
        let session = Session {
            engine: self.inner.engine.clone(),
            keys: Arc::clone(&self.inner.keys),
            options: Arc::clone(&self.inner.options),
            registration,
            principal,
            subscriptions: self.inner.subscriptions.get().cloned(),
            rules: self.inner.rules.get().cloned(),
        };
        spawn(session, upgrade);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("Upgrade"),
        );
        headers.insert(
            header::UPGRADE,
            header::HeaderValue::from_static("websocket"),
        );
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, answer.accept);
        Ok(response)
    }

    /// Answers a request for Server-Sent Events.
    ///
    /// # Errors
    /// [`LiveError`]; nothing has been opened then.
    pub fn open_event_source(
        &self,
        parts: &Parts,
        client: SocketAddr,
        principal: &Principal,
    ) -> Result<Response, LiveError> {
        self.check_origin(parts)?;
        let engine = &self.inner.engine;
        let options = &self.inner.options;
        let (start, rest) = split_start(parts.uri.query().unwrap_or_default())?;
        let query = parse_log_query(&rest, &engine.options().filter_limits)?;
        let last_event_id = parts.headers.get("last-event-id");
        let last_event_id = last_event_id.and_then(|value| value.to_str().ok());
        let start = self.start(start, query.after.as_deref(), last_event_id)?;
        let entry = Arc::new(SubscriptionEntry::new(
            "sse".to_owned(),
            filter_json(&query.filter),
            engine.clock().now(),
        ));
        let reader = engine.live(LiveRead {
            filter: query.filter,
            visibility: principal.visibility(),
            start,
            batch_events_max: options.batch_events_max,
            batch_bytes_max: options.batch_bytes_max,
            coalesce: options.coalesce,
            ..LiveRead::default()
        })?;
        entry.set_scanned(reader.position());
        let registration = self.register(Transport::ServerSentEvents, client, Some(principal))?;
        registration.entry().add(Arc::clone(&entry));
        let stop = stop_of(registration.entry(), engine, Some(principal));
        Ok(respond(EventSource {
            engine: engine.clone(),
            reader,
            registration,
            entry,
            stop,
            heartbeat_interval: options.heartbeat_interval,
        }))
    }

    /// Gives out a ticket for whoever has this key.
    ///
    /// # Errors
    /// [`LiveError::Tickets`] when too many are waiting to be used.
    pub fn issue_ticket(&self, principal: Principal) -> Result<TicketDto, LiveError> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| LiveError::Random)?;
        let tickets = &self.inner.tickets;
        let ticket = tickets
            .issue(principal, random)
            .map_err(|full| LiveError::Tickets {
                retry_after: full.retry_after,
            })?;
        Ok(TicketDto {
            ticket,
            expires_in: tickets.lifetime().as_secs(),
        })
    }

    /// Lists the open connections.
    #[must_use]
    pub fn list(&self) -> ConnectionListDto {
        let head = self.inner.engine.head();
        let open = self.inner.registry.list();
        let items: Vec<ConnectionDto> = open
            .iter()
            .map(|entry| connection_dto(entry, head))
            .collect();
        ConnectionListDto {
            items,
            has_more: false,
        }
    }

    /// Ends a connection.
    ///
    /// # Errors
    /// [`LiveError::NotFound`].
    pub fn close(&self, id: &str) -> Result<(), LiveError> {
        let closing = Closing::new(CloseCode::Normal, "closed by an operator");
        if self.inner.registry.close(id, closing) {
            return Ok(());
        }
        Err(LiveError::NotFound {
            id: id.chars().take(64).collect(),
        })
    }

    fn check_origin(&self, parts: &Parts) -> Result<(), LiveError> {
        let host = parts.headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).or_else(|| {
            parts
                .uri
                .authority()
                .map(axum::http::uri::Authority::as_str)
        });
        if origin::is_allowed(&parts.headers, host, &self.inner.options.allowed_origins) {
            Ok(())
        } else {
            Err(LiveError::Origin)
        }
    }

    fn redeem(&self, query: Option<&str>) -> Result<Option<Principal>, LiveError> {
        let parameters = query.unwrap_or_default().split('&');
        let Some(ticket) = parameters
            .filter_map(|parameter| parameter.strip_prefix("ticket="))
            .next()
        else {
            return Ok(None);
        };
        let principal = self.inner.tickets.redeem(ticket);
        principal.map(Some).ok_or(LiveError::Ticket)
    }

    fn start(
        &self,
        start: Option<LiveStart>,
        after: Option<&str>,
        last_event_id: Option<&str>,
    ) -> Result<LiveStart, LiveError> {
        let after_of = |text: &str| -> Result<LiveStart, LiveError> {
            let after = self.inner.engine.resolve_after(text)?;
            Ok(after.map_or(LiveStart::Beginning, LiveStart::After))
        };
        match (last_event_id, after, start) {
            // A browser that comes back repeats the address that it was given first.
            (Some(id), _, _) if !id.is_empty() => after_of(id),
            (_, Some(_), Some(_)) => Err(LiveError::Contradiction {
                rule: "start and after exclude each other",
            }),
            (_, Some(after), None) => after_of(after),
            (_, None, Some(start)) => Ok(start),
            (_, None, None) => Ok(LiveStart::End),
        }
    }

    fn register(
        &self,
        transport: Transport,
        client: SocketAddr,
        principal: Option<&Principal>,
    ) -> Result<Registration, LiveError> {
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| LiveError::Random)?;
        let id = format!("{:016x}", u64::from_be_bytes(random));
        Ok(self.inner.registry.register(NewConnection {
            id,
            transport,
            client,
            since: self.inner.engine.clock().now(),
            owner: principal.map(ConnectionOwner::of),
        })?)
    }
}

/// Takes the parameter `start` out of a query string; the rest is a read of the log.
fn split_start(query: &str) -> Result<(Option<LiveStart>, String), LiveError> {
    let mut start = None;
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("start", _)) if start.is_some() => {
                return Err(LiveError::Contradiction {
                    rule: "start stands twice",
                });
            }
            Some(("start", "beginning")) => start = Some(LiveStart::Beginning),
            Some(("start", "end")) => start = Some(LiveStart::End),
            Some(("start", _)) => {
                return Err(LiveError::Contradiction {
                    rule: "start must be beginning or end",
                });
            }
            Some(("limit" | "direction", _)) => {
                return Err(LiveError::Contradiction {
                    rule: "a stream has no limit and no direction",
                });
            }
            Some(_) | None => rest.push(parameter),
        }
    }
    Ok((start, rest.join("&")))
}

/// Serves the connection when it has been handed over. The task is owned by the registry: its
/// registration ends with it, the shutdown asks it to end and waits until it has.
fn spawn(session: Session, upgrade: OnUpgrade) {
    let task = async move {
        let limit = session.options.authentication_timeout;
        match tokio::time::timeout(limit, accept(upgrade, &session.options)).await {
            Ok(Ok((socket, taken))) => serve(session, socket, taken).await,
            Ok(Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a WebSocket handshake was not finished"
                );
            }
            Err(_) => tracing::debug!("a WebSocket handshake was not finished in time"),
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the task outlives the request; the registry owns it and waits for its end"
    )]
    drop(tokio::spawn(task));
}
