use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ::rpc::persistence::Persistence;
use ::rpc::{ErrorKind, RpcError};
use backplane::bus::Bus;
use backplane::journal::Journal;
use backplane::lease::Leases;
use model::{PartitionId, Partitioning, Position, UnixMillis};
use runtime::clock::Clock;
use runtime::health::{Check, Health};
use runtime::lifecycle::Stop;
use store::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::apply::Applier;
use crate::error::answer;
use crate::metrics::Metrics;
use crate::{Config, Error, Policy};
use crate::{keeper, owner};

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
    /// How many callers wait for the log to be applied.
    pub waiting: AtomicUsize,
    /// Told when one begins to wait.
    pub hurry: Notify,
    /// Grows when what was read of the log must be read again.
    pub generation: AtomicU64,
    /// Told when it grows.
    pub restart: Notify,
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
        let core = Core {
            config,
            metrics,
            store_check,
            journal_check,
            waiting: AtomicUsize::new(0),
            hurry: Notify::new(),
            generation: AtomicU64::new(0),
            restart: Notify::new(),
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
        // Each message may be large: a reader waits until what it read before is taken.
        let (frames, arrivals) = mpsc::channel(8);
        let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
        for partition in self.core.deps.partitioning.all() {
            parts.spawn(owner::own(
                self.core.clone(),
                partition,
                frames.clone(),
                stop.clone(),
            ));
        }
        drop(frames);
        parts.spawn(keeper::keep(self.core.clone(), stop.clone()));
        parts.spawn(Applier::new(self.core.clone(), arrivals).run(stop.clone()));
        let mut result = Ok(());
        while let Some(ended) = parts.join_next().await {
            let ended = match ended {
                Ok(ended) => ended,
                Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
                Err(_) => Ok(()),
            };
            if let Err(error) = ended {
                stop.stop_softly();
                result = result.and(Err(error));
            }
        }
        result
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

    /// Waits until a partition is applied up to `upto`.
    pub async fn reach(&self, partition: PartitionId, upto: Position) -> Result<Position, RpcError> {
        let service = store::Service::Persistence;
        let wait = |limit| self.deps.store.wait_applied(service, partition, upto, limit);
        let applied = wait(Duration::ZERO).await.map_err(answer)?;
        if applied >= upto {
            return Ok(applied);
        }
        let _waiting = Waiting::new(self);
        let applied = wait(self.config.wait.get()).await.map_err(answer)?;
        if applied < upto {
            let detail =
                format!("partition {partition} is applied up to {applied}, {upto} is asked for; try again");
            return Err(RpcError::new(ErrorKind::Unavailable, detail));
        }
        Ok(applied)
    }
}

/// Somebody waits for the log: while this lives, entries are applied as they come.
struct Waiting<'a>(&'a Core);

impl<'a> Waiting<'a> {
    fn new(core: &'a Core) -> Self {
        core.waiting.fetch_add(1, Ordering::AcqRel);
        core.hurry.notify_one();
        Self(core)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
