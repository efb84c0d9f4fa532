use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::Config as AuthConfig;
use axum::Router;
use axum::routing::get;
use edge::Core;
use edge::rate::UserRates;
use rand::Rng;
use runtime::lifecycle::{OnError, Tasks};
use runtime::metrics::ServiceMetrics;

use crate::cursors::Cursors;
use crate::metrics::Metrics;
use crate::{Config, upgrade};

/// What the STOMP edge is built with.
pub struct Deps {
    /// What edges share. Started by whoever built it.
    pub core: Arc<Core>,
    /// Who may connect without a token, and the default org.
    pub auth: AuthConfig,
    /// Where its series go.
    pub metrics: ServiceMetrics,
}

/// What every connection has at hand.
pub(crate) struct Edge {
    pub core: Arc<Core>,
    pub config: Config,
    pub auth: AuthConfig,
    pub metrics: Metrics,
    pub cursors: Arc<Cursors>,
    pub users: UserRates,
    open: AtomicUsize,
}

/// Counts a connection as open while it lives.
pub(crate) struct Opened(Arc<Edge>);

impl Edge {
    /// Counts a connection in; `None` when there are as many as may be.
    pub fn enter(self: &Arc<Self>) -> Option<Opened> {
        let limit = self.config.limits.max_connections;
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections.inc();
        let opened = Opened(self.clone());
        (limit == 0 || before < limit).then_some(opened)
    }

    /// How long a client is to wait before it comes back: not all of them at once.
    pub fn jitter(&self) -> Duration {
        Duration::from_millis(rand::rng().random_range(0..=self.config.drain_spread.as_millis()))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}

/// The STOMP edge.
pub struct Service {
    edge: Arc<Edge>,
}

impl Service {
    /// Builds it; it does nothing before [`Self::start`] and is reached by nobody before [`Self::router`] is served.
    pub fn new(config: Config, deps: Deps) -> Self {
        let metrics = Metrics::new(&deps.metrics);
        let expiry = config.session_expiry.get();
        let cursors = Cursors::new(deps.core.clone(), expiry, metrics.stored_states.clone());
        Self {
            edge: Arc::new(Edge {
                core: deps.core,
                config,
                auth: deps.auth,
                metrics,
                cursors: Arc::new(cursors),
                users: UserRates::default(),
                open: AtomicUsize::new(0),
            }),
        }
    }

    /// Spawns what the service runs besides its connections.
    pub fn start(&self, tasks: &Tasks) {
        let (cursors, stop) = (self.edge.cursors.clone(), tasks.stop().clone());
        // Until the connections have ended: what the last page of a visitor leaves behind, it stores itself.
        tasks.spawn_last("stomp-edge/save", OnError::StopProcess, async move {
            tokio::select! {
                () = stop.hard().cancelled() => {}
                () = cursors.run() => {}
            }
        });
    }

    /// The WebSocket addresses, to be merged into the router of whoever listens. Connections are tasks of `tasks`; told
    /// to stop, each settles what its client sent, says goodbye and closes. Serve it on sockets with TCP_NODELAY.
    pub fn router(&self, tasks: &Tasks) -> Router {
        let state = (self.edge.clone(), tasks.clone());
        let routes = self.edge.config.paths.iter().fold(Router::new(), |router, path| {
            router.route(path, get(upgrade::upgrade))
        });
        routes.with_state(state)
    }
}
