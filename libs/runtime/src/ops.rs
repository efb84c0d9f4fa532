//! The operations listener: `/livez`, `/readyz`, `/metrics`.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::config::Listen;
use crate::health::Health;
use crate::lifecycle::Stop;
use crate::metrics::{self, Metrics};

/// Answers operators on a port of its own, which is never routed to clients.
///
/// - `/livez`: 200 as long as the event loop runs, whatever happens to dependencies;
/// - `/readyz`: 200 or 503 and what fails, `?verbose` for everything, as JSON with `Accept: application/json`;
/// - `/metrics`: OpenMetrics text.
pub struct OpsServer {
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
}

impl OpsServer {
    /// Binds; nothing is answered before [`OpsServer::run`].
    ///
    /// # Errors
    /// When the address cannot be bound; the text names it.
    pub async fn bind(listen: &Listen, health: Health, metrics: Metrics) -> io::Result<Self> {
        Ok(Self {
            listener: listen.bind().await?,
            health,
            metrics,
        })
    }

    /// The address bound, with the port that was chosen for 0.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the *hard* stop, so that a process can be watched while it drains; not ready from the soft one on.
    ///
    /// Spawn it with [`crate::lifecycle::Tasks::spawn_last`]: the hard stop also comes when everything else has ended.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, stop: Stop) -> io::Result<()> {
        let health = self.health.clone();
        let app = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .with_state((self.health, self.metrics));
        let hard = stop.hard().clone();
        let serve = axum::serve(self.listener, app).with_graceful_shutdown(hard.cancelled_owned());
        let mark_draining = async {
            stop.soft().cancelled().await;
            health.set_draining();
        };
        tokio::join!(async { serve.await }, mark_draining).0
    }
}

async fn readyz(
    State((health, _)): State<(Health, Metrics)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part == "verbose=true")
    });
    let json = headers
        .get(ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    let report = health.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let no_cache = [(CACHE_CONTROL, "no-store")];
    if json {
        let report = if verbose { report } else { report.only_failing() };
        return (status, no_cache, axum::Json(report)).into_response();
    }
    (status, no_cache, report.to_text(verbose)).into_response()
}

async fn metrics_text(State((_, registry)): State<(Health, Metrics)>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], registry.encode()).into_response()
}
