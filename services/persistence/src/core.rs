//! What the parts of the service share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backplane::bus::Bus;
use backplane::checkpoint::Checkpoints;
use backplane::journal::Journal;
use backplane::lease::Leases;
use backplane::presence::PresenceBook;
use consumer::Consumer;
use contract::RpcError;
use contract::routing::{Outcome, Routing, submit_once};
use model::{EdgeId, PartitionId, Partitioning, UnixMillis};
use runtime::clock::Clock;
use runtime::health::{Check, Health};
use store::Store;
use tokio::sync::Notify;
use wire::Entry;

use crate::directory::live::Live;
use crate::metrics::Metrics;
use crate::threads::{Quotas, ThreadRules};
use crate::{Config, Policy};

/// How often wills and sessions are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// What the service is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The owners of the log's partitions: wills are submitted to them.
    pub routing: Arc<dyn Routing>,
    /// What owners know of uids: the log is not trimmed beyond it.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Who applies which partition.
    pub leases: Arc<dyn Leases>,
    /// Tells of changed memberships, and of changes of the directory.
    pub bus: Arc<dyn Bus>,
    /// Who is online: who may be given a thread.
    pub presence: Arc<dyn PresenceBook>,
    /// The rules of conversations.
    pub rules: ThreadRules,
    /// The time.
    pub clock: Clock,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// This process, among those that may apply the log.
    pub holder: String,
    /// Whether all edges live in this process: then every session that is marked connected at the start belongs to a
    /// process that has died.
    pub embedded: bool,
    /// Where to count.
    pub metrics: runtime::metrics::Metrics,
    /// Where to report.
    pub health: Health,
}

/// The service without the tasks that it runs.
pub(crate) struct Core {
    pub config: Config,
    pub deps: Deps,
    pub metrics: Metrics,
    pub store_check: Check,
    pub journal_check: Check,
    pub consumer: Consumer,
    /// Who answers at which desk.
    pub directory: Live,
    /// Numbers what is submitted.
    pub submitted: AtomicU64,
    /// How many threads begin.
    pub quotas: Quotas,
    /// Something may be left to do for threads.
    pub wake: Notify,
}

impl Core {
    pub fn now(&self) -> UnixMillis {
        UnixMillis(self.deps.clock.unix_millis())
    }

    /// Submits entries of one partition, as [`submit_once`] does.
    pub async fn submit(
        &self,
        partition: PartitionId,
        entries: Vec<Entry>,
        limit: Duration,
    ) -> Result<Vec<Outcome>, RpcError> {
        let first = self.number(entries.len());
        submit_once(
            &*self.deps.routing,
            self.line(first),
            partition,
            first,
            entries,
            limit,
        )
        .await
    }

    /// The first number of so many things that are said on a line.
    pub fn number(&self, count: usize) -> u64 {
        self.submitted.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// The name of the line that says them. Several are on their way at once, and an edge has one line of a partition: each is its
    /// own.
    pub fn line(&self, first: u64) -> EdgeId {
        EdgeId::new(format!("persistence/{}/{first}", self.deps.holder))
    }

    pub fn policy(&self) -> Policy {
        Policy {
            generic_history: self.config.history.generic,
        }
    }
}
