//! Applies what the readers bring, in batches: as much as is there when somebody waits, else what comes within the
//! apply interval.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::AHashMap;
use backplane::journal::StoredFrame;
use model::{PartitionId, Position};
use runtime::lifecycle::Stop;
use store::{Advance, LogBatch, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use wire::Frame;

use crate::fold::{SeenThreads, fold, questions};
use crate::metrics::Outcome;
use crate::owner::Arrival;
use crate::service::Core;
use crate::{Error, Item};

/// How long to wait before a batch is tried again that the store did not take.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Applier {
    core: Arc<Core>,
    arrivals: mpsc::Receiver<Arrival>,
    pending: Pending,
    threads: SeenThreads,
}

/// What was read and not applied yet.
#[derive(Default)]
struct Pending {
    items: Vec<Item>,
    /// From where to where each partition moves.
    steps: AHashMap<PartitionId, (Position, Position)>,
}

impl Applier {
    pub fn new(core: Arc<Core>, arrivals: mpsc::Receiver<Arrival>) -> Self {
        Self {
            core,
            arrivals,
            pending: Pending::default(),
            threads: SeenThreads::default(),
        }
    }

    pub async fn run(mut self, stop: Stop) -> Result<(), Error> {
        loop {
            // The readers end with the soft stop; what they brought is applied.
            let arrival = tokio::select! {
                arrival = self.arrivals.recv() => arrival,
                () = stop.hard().cancelled() => None,
            };
            let Some(arrival) = arrival else { return Ok(()) };
            self.take(arrival);
            self.collect().await;
            tokio::select! {
                result = self.flush() => result?,
                () = stop.hard().cancelled() => return Ok(()),
            }
        }
    }

    /// Takes what comes until the batch is full, its time is over, or somebody waits and nothing more is at hand.
    async fn collect(&mut self) {
        let deadline = Instant::now() + self.core.config.apply_interval.get();
        while self.pending.items.len() < self.core.config.batch_entries {
            match self.arrivals.try_recv() {
                Ok(arrival) => {
                    self.take(arrival);
                    continue;
                }
                Err(_) if self.core.waiting.load(Ordering::Acquire) > 0 => return,
                Err(_) => {}
            }
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Some(arrival) => self.take(arrival),
                    None => return,
                },
                () = self.core.hurry.notified() => {}
                () = sleep_until(deadline) => return,
            }
        }
    }

    fn take(&mut self, arrival: Arrival) {
        if arrival.generation != self.core.generation.load(Ordering::Acquire) {
            return;
        }
        let Some(last) = arrival.frames.last() else { return };
        let to = Position::end_of(last.seq);
        let step = self
            .pending
            .steps
            .entry(arrival.partition)
            .or_insert((arrival.from, to));
        // A partition that was lost and taken again is read again from the store's position.
        if step.1 != to && step.1 != arrival.from {
            return self.restart();
        }
        step.1 = to;
        for frame in arrival.frames {
            self.decode(arrival.partition, frame);
        }
    }

    /// Undecodable frames and entries are counted and passed over: they would be so for ever.
    fn decode(&mut self, partition: PartitionId, stored: StoredFrame) {
        let frame: Frame = match wire::frame::decode(stored.bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%partition, seq = stored.seq.0, %error, "a frame of the log cannot be read");
                return self.core.metrics.count(Outcome::Undecodable, 1);
            }
        };
        for (position, bytes, entry) in frame.positioned(stored.seq) {
            match entry {
                Ok(entry) => self.pending.items.push(Item {
                    partition,
                    position,
                    bytes: bytes.clone(),
                    entry,
                }),
                Err(error) => {
                    tracing::error!(%partition, %position, %error, "an entry of the log cannot be read");
                    self.core.metrics.count(Outcome::Undecodable, 1);
                }
            }
        }
    }

    /// Applies what is pending; tries again while the store has no room or its disk fails.
    async fn flush(&mut self) -> Result<(), Error> {
        let Pending { items, steps } = std::mem::take(&mut self.pending);
        if steps.is_empty() {
            return Ok(());
        }
        let (started, count) = (Instant::now(), items.len());
        let advances = steps
            .into_iter()
            .map(|(partition, (from, to))| Advance { partition, from, to })
            .collect();
        let result = self.apply(items, advances).await;
        match result {
            Ok(()) => {
                self.core.metrics.batch.observe(count as f64);
                self.core.metrics.apply.observe(started.elapsed().as_secs_f64());
                Ok(())
            }
            Err(StoreError::Misplaced {
                partition,
                stored,
                assumed,
            }) => {
                tracing::warn!(%partition, %stored, %assumed, "another replica applied a partition; reading it again");
                self.restart();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn apply(&mut self, items: Vec<Item>, advances: Vec<Advance>) -> Result<(), StoreError> {
        let store = &self.core.deps.store;
        let (sent, targets) = questions(&items);
        let found = loop {
            match store.lookup(sent.clone(), targets.clone()).await {
                Err(error) if error.is_temporary() => self.core.wait_for_store(&error).await,
                other => break other?,
            }
        };
        let mut batch = fold(
            items,
            found,
            self.core.policy(),
            &mut self.threads,
            &self.core.metrics,
        );
        batch.advances = advances;
        let batch: Arc<LogBatch> = Arc::new(batch);
        loop {
            match store.apply(batch.clone()).await {
                Err(error) if error.is_temporary() => self.core.wait_for_store(&error).await,
                Err(error) => {
                    self.threads.clear();
                    return Err(error);
                }
                Ok(()) => {
                    self.core.store_check.ok();
                    return Ok(());
                }
            }
        }
    }

    /// Everything that was read is read again from where the store stands.
    fn restart(&mut self) {
        self.pending = Pending::default();
        self.core.generation.fetch_add(1, Ordering::AcqRel);
        self.core.restart.notify_waiters();
    }
}

impl Core {
    /// The store does not take anything now: says so, and waits a moment.
    async fn wait_for_store(&self, error: &StoreError) {
        self.store_check.fail(error);
        sleep(RETRY).await;
    }
}
