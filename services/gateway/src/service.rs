use std::sync::Arc;

use auth::Signer;
use axum::Router;
use contract::receipts::Receipts;
use edge::Core;
use jiff::tz::TimeZone;
use model::OrgId;
use runtime::lifecycle::Stop;
use runtime::metrics::ServiceMetrics;

use crate::app::App;
use crate::metrics::Metrics;
use crate::rates::Rates;
use crate::{Config, routes};

/// What the gateway is built with.
pub struct Deps {
    /// The way into the log, the rules, history, presence, tokens. It must be started.
    pub core: Arc<Core>,
    /// Unread counts.
    pub receipts: Arc<dyn Receipts>,
    /// Makes tokens; `None` where somebody else does (there are public keys only).
    pub signer: Option<Arc<Signer>>,
    /// The organisation of visitors that name none: `auth.default_org`.
    pub default_org: OrgId,
    /// Whether visitors need no token: `auth.anonymous_visitors`.
    pub anonymous_visitors: bool,
    /// The zone of times: `compat.time_zone`.
    pub zone: TimeZone,
    /// From its soft degree on, requests are answered with 503.
    pub stop: Stop,
    /// Where its series go.
    pub metrics: ServiceMetrics,
}

/// The gateway. It runs nothing by itself: it answers.
#[derive(Clone)]
pub struct Service(Arc<App>);

impl Service {
    /// Builds it.
    pub fn new(config: Config, deps: Deps) -> Self {
        let Deps {
            core,
            receipts,
            signer,
            default_org,
            anonymous_visitors,
            zone,
            stop,
            metrics,
        } = deps;
        Self(Arc::new(App {
            users: Rates::new(config.user_rate),
            addresses: Rates::new(config.address_rate),
            metrics: Metrics::new(&metrics),
            config,
            core,
            receipts,
            signer,
            default_org,
            anonymous_visitors,
            zone,
            stop,
        }))
    }

    /// Its calls, to be merged with what else answers on the listener; it has the fallback for unknown paths, so nothing
    /// else may have one. `address_rate` needs `ConnectInfo<SocketAddr>` on the connection.
    pub fn router(&self) -> Router {
        routes::router(self.0.clone())
    }
}
