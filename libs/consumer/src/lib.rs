//! Reads the log and applies it to the store, exactly once: what persistence and receipts have in common.
//!
//! Partitions are shared between the replicas of the service; who holds one reads it from where the store stands. What the partitions
//! bring is applied in batches: as much as is there when somebody waits for it, else what comes within an interval. The
//! store takes a batch only if its partitions stand where the batch begins; when they do not, everything is read again.

mod batches;
mod log;
mod owner;

pub use log::{LogError, check_log};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use backplane::journal::Journal;
use backplane::lease::Leases;
use backplane::lease::share::Shares;
use bytes::Bytes;
use model::{PartitionId, Partitioning, Position};
use runtime::health::Check;
use runtime::lifecycle::Stop;
use store::{Advance, Service, Store, StoreError};
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};
use wire::Entry;

/// How long to wait before the store is asked again that could not do something.
const RETRY: Duration = Duration::from_secs(1);

/// An entry of the log at its place.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its partition.
    pub partition: PartitionId,
    /// Its position.
    pub position: Position,
    /// Its bytes.
    pub bytes: Bytes,
    /// The same, decoded.
    pub entry: Entry,
}

/// What is done with the log.
#[async_trait]
pub trait Apply: Send + 'static {
    /// Whether an entry concerns the service. What does not is not even decoded.
    fn wants(&self, entry: &[u8]) -> bool {
        let _any = entry;
        true
    }

    /// An entry or frame could not be decoded. It is passed over: it would be so for ever.
    fn undecodable(&mut self) {}

    /// Applies a batch: items in the order of the log within each partition, and the progress to store with them, in
    /// one transaction. [`StoreError::Misplaced`] makes everything be read again; any other error ends the service, so
    /// what may pass is tried again, with [`Patience`].
    async fn apply(&mut self, items: Vec<Item>, advances: Vec<Advance>) -> Result<(), StoreError>;
}

/// How the log is consumed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long entries may wait for others when nobody waits for them.
    pub interval: Duration,
    /// Entries in a batch, about.
    pub batch_entries: usize,
    /// How long a partition stays with a holder that has died.
    pub lease: Duration,
    /// How long [`Consumer::reach`] waits.
    pub wait: Duration,
}

/// What the consumer is given from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where progress is.
    pub store: Arc<dyn Store>,
    /// The log.
    pub journal: Arc<dyn Journal>,
    /// Who owns which partition.
    pub leases: Arc<dyn Leases>,
    /// How many partitions there are.
    pub partitioning: Partitioning,
    /// This process, among those that may own partitions: no other has that name, nor one before it.
    pub holder: String,
    /// Where the health of the store is reported.
    pub store_check: Check,
    /// Where the health of the log is reported.
    pub journal_check: Check,
}

/// The log is not applied as far as was asked.
#[derive(Debug, Error)]
pub enum ReachError {
    /// Not in time.
    #[error("partition {partition} is applied up to {applied}, {upto} is asked for; try again")]
    Late {
        /// The partition.
        partition: PartitionId,
        /// How far it is.
        applied: Position,
        /// How far it was to be.
        upto: Position,
    },
    /// The log cannot be asked how far it goes.
    #[error("the end of the log is not known")]
    Journal(#[from] backplane::journal::JournalError),
    /// The store cannot be asked.
    #[error("how far the log is applied is not known")]
    Store(#[from] StoreError),
}

/// Consumes the log for one service. Clones are the same consumer.
#[derive(Clone)]
pub struct Consumer(Arc<Inner>);

struct Inner {
    service: Service,
    /// The first part of the leases' names.
    name: &'static str,
    settings: Settings,
    deps: Deps,
    /// How many callers wait for the log to be applied.
    waiting: AtomicUsize,
    /// Grows when everything must be read again.
    generation: AtomicU64,
    /// Told when it grows.
    restart: Notify,
}

impl Consumer {
    /// Prepares a consumer; `name` begins the names of its leases.
    pub fn new(service: Service, name: &'static str, settings: Settings, deps: Deps) -> Self {
        let (waiting, generation) = (AtomicUsize::new(0), AtomicU64::new(0));
        let restart = Notify::new();
        Self(Arc::new(Inner {
            service,
            name,
            settings,
            deps,
            waiting,
            generation,
            restart,
        }))
    }

    /// Waits until a partition is applied up to `upto`; says how far it is.
    ///
    /// # Errors
    /// When it takes too long, or the store fails.
    pub async fn reach(&self, partition: PartitionId, upto: Position) -> Result<Position, ReachError> {
        let inner = &*self.0;
        let wait = |limit| {
            inner
                .deps
                .store
                .wait_applied(inner.service, partition, upto, limit)
        };
        let applied = wait(Duration::ZERO).await?;
        if applied >= upto {
            return Ok(applied);
        }
        let _waiting = Waiting::new(inner);
        let applied = wait(inner.settings.wait).await?;
        if applied < upto {
            return Err(ReachError::Late {
                partition,
                applied,
                upto,
            });
        }
        Ok(applied)
    }

    /// Waits until everything is applied that is durable in a partition now.
    ///
    /// # Errors
    /// When it takes too long, or the log or the store fails.
    pub async fn reach_head(&self, partition: PartitionId) -> Result<Position, ReachError> {
        let head = self.0.deps.journal.head(partition).await?;
        self.reach(partition, Position::end_of(head)).await
    }

    /// Owns partitions and applies them until told to stop. On a soft stop what was read is applied, and the leases are
    /// given back.
    ///
    /// # Errors
    /// When the store fails for good, or was filled from another log: see [`check_log`].
    pub async fn run(&self, apply: impl Apply, stop: Stop) -> Result<(), StoreError> {
        tokio::select! {
            biased;
            () = stop.soft().cancelled() => return Ok(()),
            checked = self.0.is_of_log() => checked?,
        }
        // Each message may be large: a reader waits until what it read before is taken.
        let (frames, arrivals) = mpsc::channel(8);
        let inner = &self.0;
        let shares = Shares::new(
            inner.deps.leases.clone(),
            inner.name,
            &inner.deps.holder,
            inner.deps.partitioning.count(),
            inner.settings.lease,
        );
        let mut owners = JoinSet::new();
        let (all, soft) = (shares.clone(), stop.soft().clone());
        owners.spawn(async move { all.run(soft.cancelled()).await });
        for partition in inner.deps.partitioning.all() {
            owners.spawn(owner::own(
                inner.clone(),
                partition,
                shares.clone(),
                frames.clone(),
                stop.clone(),
            ));
        }
        drop(frames);
        let result = batches::Batches::new(self.0.clone(), arrivals, apply)
            .run(&stop)
            .await;
        stop.stop_softly();
        while owners.join_next().await.is_some() {}
        result
    }
}

/// Somebody waits for the log: while this lives, entries are applied as they come.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.waiting.fetch_add(1, Ordering::AcqRel);
        inner.deps.journal.announce();
        inner.deps.store.hurry(inner.service);
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// For a store that cannot do something now: a full disk, a failing one.
#[derive(Clone, Debug)]
pub struct Patience(Check);

impl Patience {
    /// Reports to this check.
    pub fn new(check: Check) -> Self {
        Self(check)
    }

    /// Takes what the store answered: `None` when it is to be asked again, after a pause.
    pub async fn again<T>(&self, answer: Result<T, StoreError>) -> Option<Result<T, StoreError>> {
        match answer {
            Err(error) if error.is_temporary() => {
                self.0.fail(&error);
                sleep(RETRY).await;
                None
            }
            Err(error) => Some(Err(error)),
            Ok(answer) => {
                self.0.ok();
                Some(Ok(answer))
            }
        }
    }
}
