//! What routing stands on, from outside and at hand.

use std::sync::Arc;

use backplane::bus::Bus;
use backplane::checkpoint::Checkpoints;
use backplane::journal::Journal;
use backplane::lease::Leases;
use contract::persistence::Persistence;
use model::Partitioning;
use runtime::clock::Clock;
use runtime::metrics::ServiceMetrics;

use crate::inbox::Owners;
use crate::metrics::Metrics;

/// What routing is built with.
#[derive(Clone)]
pub struct Deps {
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Where its owners are entered, for edges in this process; others reach them over gRPC.
    pub owners: Arc<Owners>,
    /// Where owners say that they are there.
    pub bus: Arc<dyn Bus>,
    /// Who owns which partition.
    pub leases: Arc<dyn Leases>,
    /// What it has forgotten.
    pub persistence: Arc<dyn Persistence>,
    /// Where what is known of uids outlives its owner.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// A number that clients cannot guess, who choose uids: where those fall in tables depends on it.
    pub salt: u64,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// The recall window in milliseconds, the same as persistence has.
    pub recall_window: u64,
    /// The name under which this process holds leases; that of no other process, nor of one before it.
    pub holder: String,
    /// Time.
    pub clock: Clock,
    /// Where its series go.
    pub metrics: ServiceMetrics,
}

/// What every owner has at hand.
#[derive(Clone)]
pub(crate) struct With {
    pub deps: Arc<Deps>,
    pub metrics: Metrics,
}

impl std::ops::Deref for With {
    type Target = Deps;
    fn deref(&self) -> &Deps {
        &self.deps
    }
}
