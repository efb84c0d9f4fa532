//! Puts what the readers bring into batches.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::AHashMap;
use backplane::journal::StoredFrame;
use bytes::Bytes;
use model::{PartitionId, Position};
use runtime::lifecycle::Stop;
use store::{Advance, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use wire::Frame;

use crate::owner::Arrival;
use crate::{Apply, Inner, Item};

pub(crate) struct Batches<A> {
    inner: Arc<Inner>,
    arrivals: mpsc::Receiver<Arrival>,
    apply: A,
    pending: Pending,
}

/// What was read and not applied yet.
#[derive(Default)]
struct Pending {
    items: Vec<Item>,
    /// From where to where each partition moves.
    steps: AHashMap<PartitionId, (Position, Position)>,
}

impl<A: Apply> Batches<A> {
    pub fn new(inner: Arc<Inner>, arrivals: mpsc::Receiver<Arrival>, apply: A) -> Self {
        Self {
            inner,
            arrivals,
            apply,
            pending: Pending::default(),
        }
    }

    pub async fn run(mut self, stop: &Stop) -> Result<(), StoreError> {
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
        let deadline = Instant::now() + self.inner.settings.interval;
        let (store, mut hurried) = (self.inner.deps.store.clone(), false);
        while self.pending.items.len() < self.inner.settings.batch_entries {
            match self.arrivals.try_recv() {
                Ok(arrival) => {
                    self.take(arrival);
                    continue;
                }
                Err(_) if hurried || self.inner.waiting.load(Ordering::Acquire) > 0 => return,
                Err(_) => {}
            }
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Some(arrival) => self.take(arrival),
                    None => return,
                },
                () = store.hurried(self.inner.service) => hurried = true,
                () = sleep_until(deadline) => return,
            }
        }
    }

    fn take(&mut self, arrival: Arrival) {
        if arrival.generation != self.inner.generation.load(Ordering::Acquire) {
            return;
        }
        let Some(last) = arrival.frames.last() else { return };
        let to = Position::end_of(last.seq);
        let step = self
            .pending
            .steps
            .entry(arrival.partition)
            .or_insert((arrival.from, arrival.from));
        // A partition that was lost and taken again meanwhile is read from another place.
        if step.1 != arrival.from {
            return self.restart();
        }
        step.1 = to;
        for frame in arrival.frames {
            self.decode(arrival.partition, frame);
        }
    }

    fn decode(&mut self, partition: PartitionId, stored: StoredFrame) {
        let seq = stored.seq;
        let frame: Frame = match wire::frame::decode(stored.bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%partition, seq = seq.0, %error, "a frame of the log cannot be read");
                return self.apply.undecodable();
            }
        };
        for (index, bytes) in (0..=u16::MAX).zip(frame.entries) {
            if self.apply.wants(&bytes) {
                self.item(partition, Position::new(seq, index), bytes);
            }
        }
    }

    fn item(&mut self, partition: PartitionId, position: Position, bytes: Bytes) {
        match wire::frame::decode_entry(bytes.clone()) {
            Ok(entry) => self.pending.items.push(Item {
                partition,
                position,
                bytes,
                entry,
            }),
            Err(error) => {
                tracing::error!(%partition, %position, %error, "an entry of the log cannot be read");
                self.apply.undecodable();
            }
        }
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let Pending { items, steps } = std::mem::take(&mut self.pending);
        if steps.is_empty() {
            return Ok(());
        }
        let advance = |(partition, (from, to))| Advance { partition, from, to };
        match self
            .apply
            .apply(items, steps.into_iter().map(advance).collect())
            .await
        {
            Err(StoreError::Misplaced {
                partition,
                stored,
                assumed,
            }) => {
                tracing::warn!(%partition, %stored, %assumed, "another replica applied a partition; reading it again");
                self.restart();
                Ok(())
            }
            other => other,
        }
    }

    /// Everything that was read is read again from where the store stands.
    fn restart(&mut self) {
        self.pending = Pending::default();
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        self.inner.restart.notify_waiters();
    }
}
