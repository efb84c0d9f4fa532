//! What every connection has at hand.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use auth::Config as AuthConfig;
use edge::Core;
use edge::rate::UserRates;

use crate::Config;
use crate::metrics::Metrics;

/// Topic aliases that a client may use.
pub(crate) const TOPIC_ALIAS_MAXIMUM: u16 = 16;

/// What every connection has at hand.
pub(crate) struct Edge {
    pub core: Arc<Core>,
    pub config: Arc<Config>,
    pub auth: AuthConfig,
    pub metrics: Metrics,
    pub users: UserRates,
    /// How many connections are open.
    pub open: AtomicUsize,
}
