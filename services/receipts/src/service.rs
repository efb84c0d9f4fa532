use std::sync::Arc;

use async_trait::async_trait;
use backplane::journal::Journal;
use backplane::lease::Leases;
use consumer::{Consumer, Patience, ReachError};
use contract::receipts::Receipts;
use contract::{ErrorKind, RpcError};
use model::{OrgId, Partitioning, TopicName, UserId};
use runtime::health::{Check, Health};
use runtime::lifecycle::Stop;
use store::{Store, StoreError, UnreadQuery};
use thiserror::Error;

use crate::Config;
use crate::apply::Applier;
use crate::metrics::Metrics;

/// What the service is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Who applies which partition.
    pub leases: Arc<dyn Leases>,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// This process, among those that may apply the log.
    pub holder: String,
    /// Where to count.
    pub metrics: runtime::metrics::Metrics,
    /// Where to report.
    pub health: Health,
}

/// Why the receipts service cannot go on.
#[derive(Debug, Error)]
#[error("the store of the receipts service failed")]
pub struct Error(#[from] StoreError);

/// The receipts service.
pub struct Service {
    core: Arc<Core>,
}

struct Core {
    store: Arc<dyn Store>,
    partitioning: Partitioning,
    metrics: Metrics,
    store_check: Check,
    consumer: Consumer,
}

impl Service {
    /// Prepares the service.
    pub fn build(config: Config, deps: Deps) -> Self {
        let (store_check, journal_check) = (deps.health.require("store"), deps.health.require("journal"));
        let settings = consumer::Settings {
            interval: config.apply_interval.get(),
            batch_entries: config.batch_entries,
            lease: config.lease.get(),
            wait: config.wait.get(),
        };
        let consumer_deps = consumer::Deps {
            store: deps.store.clone(),
            journal: deps.journal,
            leases: deps.leases,
            partitioning: deps.partitioning,
            holder: deps.holder,
            store_check: store_check.clone(),
            journal_check,
        };
        let core = Core {
            store: deps.store,
            partitioning: deps.partitioning,
            metrics: Metrics::new(&deps.metrics),
            store_check,
            consumer: Consumer::new(store::Service::Receipts, "receipts", settings, consumer_deps),
        };
        Self { core: Arc::new(core) }
    }

    /// What other services call.
    pub fn handle(&self) -> Arc<dyn Receipts> {
        self.core.clone()
    }

    /// Applies receipts until told to stop.
    ///
    /// # Errors
    /// When the store fails for good.
    pub async fn run(self, stop: Stop) -> Result<(), Error> {
        let stop = stop.child();
        let applier = Applier {
            store: self.core.store.clone(),
            patience: Patience::new(self.core.store_check.clone()),
            metrics: self.core.metrics.clone(),
            stop: stop.clone(),
        };
        let stopping = stop.soft().clone();
        match self.core.consumer.run(applier, stop).await {
            // Persistence stopped first: what it did not apply is applied after the next start.
            Err(StoreError::Closed) if stopping.is_cancelled() => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Core {
    async fn count(&self, query: UnreadQuery, topic: Option<TopicName>) -> Result<u64, RpcError> {
        let Some(topic) = topic else {
            for partition in self.partitioning.all() {
                self.consumer.reach_head(partition).await.map_err(late)?;
            }
            return self.store.unread(query).await.map_err(failed);
        };
        let partition = self.partitioning.of(&query.org, &topic);
        self.consumer.reach_head(partition).await.map_err(late)?;
        let counts = self.store.unread_in(query, vec![topic]).await;
        Ok(counts.map_err(failed)?.iter().sum())
    }
}

#[async_trait]
impl Receipts for Core {
    async fn unread(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        let query = UnreadQuery {
            org: org.clone(),
            identities,
            anew: false,
        };
        self.count(query, topic).await
    }

    async fn recount(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        let query = UnreadQuery {
            org: org.clone(),
            identities,
            anew: true,
        };
        self.count(query, topic).await
    }
}

fn late(error: ReachError) -> RpcError {
    match error {
        ReachError::Store(error) => failed(error),
        other => RpcError::new(ErrorKind::Unavailable, other.to_string()),
    }
}

fn failed(error: StoreError) -> RpcError {
    let temporary = error.is_temporary() || matches!(error, StoreError::Closed);
    let kind = if temporary {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Internal
    };
    if !temporary {
        tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
    }
    RpcError::new(kind, error.to_string())
}
