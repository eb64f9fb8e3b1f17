//! What every handler works with.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use factum_engine::{Engine, KeyRing, Principal};
use factum_mcp::Mcp;
use factum_sessions::Sessions;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::LiveService;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::services::Services;

/// What every handler works with. Cloning is cheap.
pub(crate) type AppState = Arc<Shared>;

/// The parts that all requests of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) keys: Arc<dyn KeyRing>,
    pub(crate) options: ServerOptions,
    /// Cancelled when the server stops: long answers end then.
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
    pub(crate) live: LiveService,
    pub(crate) sessions: Sessions,
    pub(crate) mcp: Mcp,
    /// What is offered beside the log.
    pub(crate) services: Services,
    /// Bytes of request bodies in memory.
    pub(crate) bodies_bytes: AtomicUsize,
    pub(crate) started: Instant,
    /// Who everybody is where authentication is off.
    pub(crate) everybody: Principal,
    _everybody_lasts: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(
        options: ServerOptions,
        engine: Engine,
        keys: Arc<dyn KeyRing>,
        (metrics, services): (Metrics, Services),
    ) -> Self {
        let (lasts, ended) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let live = LiveService::new(engine.clone(), Arc::clone(&keys), options.live.clone());
        let live = match services.subscriptions.clone() {
            Some(subscriptions) => live.with_subscriptions(subscriptions),
            None => live,
        };
        let live = match &services.deliveries {
            Some(deliveries) => live.with_rules(deliveries.rules().clone()),
            None => live,
        };
        let sessions = Sessions::new(engine.clone(), options.sessions.clone());
        let mcp = Mcp::new(
            engine.clone(),
            Some(sessions.clone()),
            options.mcp,
            env!("CARGO_PKG_VERSION"),
        );
        Self {
            engine,
            keys,
            options,
            shutdown,
            metrics,
            live,
            sessions,
            mcp,
            services,
            bodies_bytes: AtomicUsize::new(0),
            started: Instant::now(),
            everybody: Principal::unauthenticated(ended),
            _everybody_lasts: lasts,
        }
    }
}
