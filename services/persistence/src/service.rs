use std::sync::Arc;
use std::time::Duration;

use ::rpc::persistence::Persistence;
use backplane::bus::Bus;
use backplane::journal::Journal;
use backplane::lease::Leases;
use consumer::Consumer;
use model::{Partitioning, UnixMillis};
use runtime::clock::Clock;
use runtime::health::{Check, Health};
use runtime::lifecycle::Stop;
use store::Store;

use crate::apply::Applier;
use crate::keeper;
use crate::metrics::Metrics;
use crate::{Config, Error, Policy};

/// What the service is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Who applies which partition.
    pub leases: Arc<dyn Leases>,
    /// Tells of changed memberships.
    pub bus: Arc<dyn Bus>,
    /// The time.
    pub clock: Clock,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// This process, among those that may apply the log.
    pub holder: String,
    /// Within which a message may be taken back; 0 = at any time. The same for routing.
    pub recall_window: Duration,
    /// Whether all edges live in this process: then every session that is marked connected at the start belongs to a
    /// process that has died.
    pub embedded: bool,
    /// Where to count.
    pub metrics: runtime::metrics::Metrics,
    /// Where to report.
    pub health: Health,
}

/// The persistence service.
pub struct Service {
    core: Arc<Core>,
}

/// What the parts of the service share.
pub(crate) struct Core {
    pub config: Config,
    pub deps: Deps,
    pub metrics: Metrics,
    pub store_check: Check,
    pub journal_check: Check,
    pub consumer: Consumer,
}

impl Service {
    /// Prepares the service. In one process with the edges, ends the sessions of the process before this one.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn build(config: Config, deps: Deps) -> Result<Self, Error> {
        let metrics = Metrics::new(&deps.metrics);
        let (store_check, journal_check) = (deps.health.require("store"), deps.health.require("journal"));
        if deps.embedded {
            let ended = deps
                .store
                .abandon_sessions(UnixMillis(deps.clock.unix_millis()))
                .await?;
            if ended > 0 {
                tracing::info!(
                    sessions = ended,
                    "ended the sessions that the last process left connected"
                );
            }
        }
        store_check.ok();
        let consumer = Consumer::new(
            store::Service::Persistence,
            "persistence",
            consumer::Settings {
                interval: config.apply_interval.get(),
                batch_entries: config.batch_entries,
                lease: config.lease.get(),
                wait: config.wait.get(),
            },
            consumer::Deps {
                store: deps.store.clone(),
                journal: deps.journal.clone(),
                leases: deps.leases.clone(),
                partitioning: deps.partitioning,
                holder: deps.holder.clone(),
                store_check: store_check.clone(),
                journal_check: journal_check.clone(),
            },
        );
        let core = Core {
            config,
            metrics,
            store_check,
            journal_check,
            consumer,
            deps,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// What other services call. Answers that depend on the log wait for [`Service::run`].
    pub fn handle(&self) -> Arc<dyn Persistence> {
        self.core.clone()
    }

    /// Applies the log and keeps the store until told to stop. On a soft stop what was read is applied and the leases
    /// are given back.
    ///
    /// # Errors
    /// When the journal or the store fails for good.
    pub async fn run(self, stop: Stop) -> Result<(), Error> {
        let (core, stop) = (self.core, stop.child());
        let applier = Applier::new(&core);
        let (applied, ()) = tokio::join!(
            core.consumer.run(applier, stop.clone()),
            keeper::keep(&core, &stop)
        );
        Ok(applied?)
    }
}

impl Core {
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.deps.clock.unix_millis())
    }

    pub fn policy(&self) -> Policy {
        let recall_window = u64::try_from(self.deps.recall_window.as_millis()).unwrap_or(u64::MAX);
        Policy {
            recall_window,
            generic_history: self.config.history.generic,
        }
    }
}
