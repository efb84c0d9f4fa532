use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use consumer::Consumer;
use contract::persistence::Persistence;
use model::UnixMillis;
use runtime::lifecycle::Stop;
use tokio::sync::Notify;

use crate::apply::Applier;
use crate::core::{Core, Deps};
use crate::directory::live::Live;
use crate::metrics::Metrics;
use crate::threads::Quotas;
use crate::{Config, Error};
use crate::{desks, keeper};

/// The persistence service.
pub struct Service {
    core: Arc<Core>,
}

impl Service {
    /// Prepares the service: enters what the configuration names into the directory, and reads that. In one process with
    /// the edges, ends the sessions of the process before this one.
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
        let directory = Live::default();
        let entered = deps.store.seed_directory(config.directory.entries()).await?;
        if entered > 0 {
            tracing::info!(entered, "entered what the configuration has of the directory");
        }
        directory.refresh(&*deps.store).await?;
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
            directory,
            submitted: AtomicU64::new(1),
            quotas: Quotas::default(),
            wake: Notify::new(),
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
        let applier = Applier::new(core.clone());
        let (applied, (), ()) = tokio::join!(
            core.consumer.run(applier, stop.clone()),
            keeper::keep(&core, &stop),
            desks::follow(&core, &stop)
        );
        Ok(applied?)
    }
}
