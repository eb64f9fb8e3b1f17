//! Who is connected: the list that operators see, and the handle by which connections are ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use factum_engine::Principal;
use factum_model::{Position, Timestamp};
use tokio::sync::watch;

use super::close::{CloseCode, Closing};

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    ServerSentEvents,
}

impl Transport {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::ServerSentEvents => "sse",
        }
    }
}

/// Who a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionOwner {
    /// `None` where authentication is switched off.
    pub(crate) key_id: Option<String>,
    pub(crate) key_name: String,
}

impl ConnectionOwner {
    pub(crate) fn of(principal: &Principal) -> Self {
        Self {
            key_id: principal.identity().key_id.clone(),
            key_name: principal.name().to_owned(),
        }
    }
}

/// The open connections.
#[derive(Debug)]
pub(crate) struct Registry {
    connections_max: usize,
    unauthenticated_max: usize,
    state: Mutex<State>,
    n_open: watch::Sender<usize>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<String, Arc<ConnectionEntry>>,
    /// Set once the server shuts down; a connection that comes after it is closed at once.
    ending: Option<Closing>,
}

/// What has been counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) delivered: AtomicU64,
    closed: [AtomicU64; CloseCode::ALL.len()],
}

/// One connection, as operators see it.
#[derive(Debug)]
pub(crate) struct ConnectionEntry {
    pub(crate) id: String,
    pub(crate) transport: Transport,
    pub(crate) client: SocketAddr,
    pub(crate) since: Timestamp,
    owner: Mutex<Option<ConnectionOwner>>,
    subscriptions: Mutex<Vec<Arc<SubscriptionEntry>>>,
    closing: watch::Sender<Option<Closing>>,
}

/// One subscription, as operators see it.
#[derive(Debug)]
pub(crate) struct SubscriptionEntry {
    pub(crate) subscription_id: String,
    /// The filter, as JSON.
    pub(crate) filter: String,
    pub(crate) since: Timestamp,
    pub(crate) delivered: AtomicU64,
    scanned: AtomicU64,
    acknowledged: AtomicU64,
}

/// A place in the list of open connections; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    entry: Arc<ConnectionEntry>,
}

/// There are as many connections as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) what: &'static str,
    pub(crate) limit: usize,
}

/// A connection that is about to be.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) id: String,
    pub(crate) transport: Transport,
    pub(crate) client: SocketAddr,
    pub(crate) since: Timestamp,
    pub(crate) owner: Option<ConnectionOwner>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(crate) fn new(connections_max: usize, unauthenticated_max: usize) -> Self {
        Self {
            connections_max,
            unauthenticated_max,
            state: Mutex::default(),
            n_open: watch::Sender::new(0),
            counters: Counters::default(),
        }
    }

    /// Takes a place in the list.
    pub(crate) fn register(
        self: &Arc<Self>,
        connection: NewConnection,
    ) -> Result<Registration, Full> {
        let mut state = lock(&self.state);
        if state.open.len() >= self.connections_max {
            return Err(Full {
                what: "live connections",
                limit: self.connections_max,
            });
        }
        let unauthenticated = |entry: &&Arc<ConnectionEntry>| lock(&entry.owner).is_none();
        if connection.owner.is_none()
            && state.open.values().filter(unauthenticated).count() >= self.unauthenticated_max
        {
            return Err(Full {
                what: "live connections that have not authenticated",
                limit: self.unauthenticated_max,
            });
        }
        let entry = Arc::new(ConnectionEntry {
            id: connection.id,
            transport: connection.transport,
            client: connection.client,
            since: connection.since,
            owner: Mutex::new(connection.owner),
            subscriptions: Mutex::default(),
            closing: watch::Sender::new(state.ending.clone()),
        });
        state.open.insert(entry.id.clone(), Arc::clone(&entry));
        self.n_open.send_replace(state.open.len());
        Ok(Registration {
            registry: Arc::clone(self),
            entry,
        })
    }

    /// Returns the open connections, by id.
    pub(crate) fn list(&self) -> Vec<Arc<ConnectionEntry>> {
        lock(&self.state).open.values().cloned().collect()
    }

    /// Ends the connection with this id; `false` when there is none.
    pub(crate) fn close(&self, id: &str, closing: Closing) -> bool {
        let found = lock(&self.state).open.get(id).cloned();
        found.is_some_and(|entry| {
            entry.end(closing);
            true
        })
    }

    /// Ends all connections, and those still to come.
    pub(crate) fn shut_down(&self) {
        let closing = Closing::new(CloseCode::GoingAway, "the server is shutting down");
        let mut state = lock(&self.state);
        state.ending = Some(closing.clone());
        for entry in state.open.values() {
            entry.end(closing.clone());
        }
    }

    /// Waits until no connection is open.
    pub(crate) async fn drained(&self) {
        let mut n_open = self.n_open.subscribe();
        // It fails only when the sender is gone, which `self` owns.
        let _drained = n_open.wait_for(|n| *n == 0).await;
    }

    /// Returns how many connections are open, by transport, and how many subscriptions.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let mut sizes = (0, 0, 0);
        for entry in lock(&self.state).open.values() {
            match entry.transport {
                Transport::WebSocket => sizes.0 += 1,
                Transport::ServerSentEvents => sizes.1 += 1,
            }
            sizes.2 += lock(&entry.subscriptions).len();
        }
        sizes
    }
}

impl Counters {
    pub(crate) fn closed(&self, code: CloseCode) -> u64 {
        self.slot(code).load(Ordering::Relaxed)
    }

    pub(crate) fn count_close(&self, code: CloseCode) {
        self.slot(code).fetch_add(1, Ordering::Relaxed);
    }

    fn slot(&self, code: CloseCode) -> &AtomicU64 {
        &self.closed[code.index()]
    }
}

impl Registration {
    pub(crate) const fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = lock(&self.registry.state);
        state.open.remove(&self.entry.id);
        self.registry.n_open.send_replace(state.open.len());
    }
}

impl ConnectionEntry {
    /// Says who the connection belongs to.
    pub(crate) fn authenticated(&self, owner: ConnectionOwner) {
        *lock(&self.owner) = Some(owner);
    }

    pub(crate) fn owner(&self) -> Option<ConnectionOwner> {
        lock(&self.owner).clone()
    }

    pub(crate) fn subscriptions(&self) -> Vec<Arc<SubscriptionEntry>> {
        lock(&self.subscriptions).clone()
    }

    pub(crate) fn add(&self, subscription: Arc<SubscriptionEntry>) {
        lock(&self.subscriptions).push(subscription);
    }

    pub(crate) fn remove(&self, subscription_id: &str) {
        lock(&self.subscriptions).retain(|known| known.subscription_id != subscription_id);
    }

    /// Asks the connection to end. The first reason stays.
    pub(crate) fn end(&self, closing: Closing) {
        self.closing.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(closing);
            }
            first
        });
    }

    /// Returns a view of the wish that the connection end.
    pub(crate) fn ending(&self) -> watch::Receiver<Option<Closing>> {
        self.closing.subscribe()
    }
}

impl SubscriptionEntry {
    pub(crate) fn new(subscription_id: String, filter: String, since: Timestamp) -> Self {
        Self {
            subscription_id,
            filter,
            since,
            delivered: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_scanned(&self, position: Option<Position>) {
        let number = position.map_or(0, Position::get);
        self.scanned.store(number, Ordering::Relaxed);
    }

    pub(crate) fn scanned(&self) -> Option<Position> {
        Position::new(self.scanned.load(Ordering::Relaxed))
    }

    pub(crate) fn acknowledge(&self, position: Option<Position>) {
        let number = position.map_or(0, Position::get);
        self.acknowledged.fetch_max(number, Ordering::Relaxed);
    }

    pub(crate) fn acknowledged(&self) -> Option<Position> {
        Position::new(self.acknowledged.load(Ordering::Relaxed))
    }
}
