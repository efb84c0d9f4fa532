//! Owns one partition: holds it, when it is this replica's to hold, and reads its log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backplane::journal::{JournalError, Reader, StoredFrame};
use backplane::lease::share::{Ended, Shares};
use model::{FrameSeq, PartitionId, Position};
use runtime::lifecycle::Stop;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use crate::Inner;

/// Frames of one partition, in order.
pub(crate) struct Arrival {
    pub partition: PartitionId,
    /// Which reading they belong to.
    pub generation: u64,
    /// Where the partition stood before them.
    pub from: Position,
    pub frames: Vec<StoredFrame>,
}

/// How long to wait after the journal or the store failed, or the partition was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes a partition, again and again, and reads its log while it holds it.
pub(crate) async fn own(
    inner: Arc<Inner>,
    partition: PartitionId,
    shares: Shares,
    frames: mpsc::Sender<Arrival>,
    stop: Stop,
) {
    loop {
        let held = tokio::select! {
            biased;
            () = stop.soft().cancelled() => return,
            held = shares.take(partition.0) => held,
        };
        let outcome = tokio::select! {
            biased;
            () = stop.soft().cancelled() => Ok(()),
            ended = held.ended() => end(ended),
            read = read_on(&inner, partition, &frames) => read,
        };
        held.release().await;
        if let Err(error) = outcome {
            tracing::warn!(%partition, %error, "reading a partition stopped; it begins anew");
            pause(&stop, PAUSE).await;
        }
    }
}

/// That another replica is to have it is no failure.
fn end(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Lost(error) => Err(error.into()),
        Ended::Surplus => Ok(()),
    }
}

async fn pause(stop: &Stop, time: Duration) {
    tokio::select! {
        () = stop.soft().cancelled() => {}
        () = sleep(time) => {}
    }
}

/// Reads from where the store stands; begins again when what was read must be read again.
async fn read_on(
    inner: &Inner,
    partition: PartitionId,
    frames: &mpsc::Sender<Arrival>,
) -> Result<(), Failure> {
    loop {
        let mut restart = std::pin::pin!(inner.restart.notified());
        // From here on a restart is noticed.
        restart.as_mut().enable();
        let generation = inner.generation.load(Ordering::Acquire);
        let applied = inner
            .deps
            .store
            .wait_applied(inner.service, partition, Position::START, Duration::ZERO)
            .await?;
        let reader = open(inner, partition, applied.seq()).await?;
        inner.deps.journal_check.ok();
        tokio::select! {
            () = &mut restart => {}
            result = pump(inner, reader, partition, generation, applied, frames) => return result,
        }
    }
}

async fn open(inner: &Inner, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, Failure> {
    match inner.deps.journal.read(partition, after).await {
        Err(JournalError::Trimmed { partition, first }) => {
            // What is missing was trimmed although it was not applied, or the store is older than the log.
            tracing::error!(%partition, after = after.0, first, "frames of the log are gone that were never applied");
            Ok(inner
                .deps
                .journal
                .read(partition, FrameSeq(first.saturating_sub(1)))
                .await?)
        }
        other => Ok(other?),
    }
}

async fn pump(
    inner: &Inner,
    mut reader: Box<dyn Reader>,
    partition: PartitionId,
    generation: u64,
    mut from: Position,
    frames: &mpsc::Sender<Arrival>,
) -> Result<(), Failure> {
    loop {
        let read = match reader.next().await {
            Ok(read) => read,
            Err(error) => {
                inner.deps.journal_check.fail(&error);
                return Err(error.into());
            }
        };
        let Some(last) = read.last() else { continue };
        let to = Position::end_of(last.seq);
        let arrival = Arrival {
            partition,
            generation,
            from,
            frames: read,
        };
        if frames.send(arrival).await.is_err() {
            // The applier has ended: the service is stopping.
            return Ok(());
        }
        from = to;
    }
}

/// Why a partition was given up.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Lease(#[from] backplane::lease::LeaseError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}
