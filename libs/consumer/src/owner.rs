//! Owns one partition: holds its lease and reads its log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backplane::journal::{JournalError, Reader, StoredFrame};
use backplane::lease::{Lease, LeaseError};
use model::{FrameSeq, PartitionId, Position};
use runtime::lifecycle::Stop;
use tokio::sync::mpsc;
use tokio::time::{Duration, interval, sleep};

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

/// How long to wait after the journal, the store or the lease failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes the lease of a partition, again and again, and reads its log while it holds it.
pub(crate) async fn own(
    inner: Arc<Inner>,
    partition: PartitionId,
    frames: mpsc::Sender<Arrival>,
    stop: Stop,
) {
    let name = format!("{}/{partition}", inner.name);
    while !stop.soft().is_cancelled() {
        let lease = match inner
            .deps
            .leases
            .acquire(&name, &inner.deps.holder, inner.settings.lease)
            .await
        {
            Ok(lease) => lease,
            Err(error) => {
                if !matches!(error, LeaseError::Held { .. }) {
                    tracing::warn!(%partition, %error, "the lease of a partition could not be taken");
                }
                pause(&stop, inner.settings.lease / 4).await;
                continue;
            }
        };
        let outcome = tokio::select! {
            () = stop.soft().cancelled() => Ok(()),
            lost = keep(&inner, &lease) => Err(lost),
            read = read_on(&inner, partition, &frames) => read,
        };
        // Lost or not, nothing is disturbed by giving back what is not ours any more.
        let _gone = inner.deps.leases.release(&lease).await;
        if let Err(error) = outcome {
            tracing::warn!(%partition, %error, "reading a partition stopped; it begins anew");
            pause(&stop, PAUSE).await;
        }
    }
}

async fn pause(stop: &Stop, time: Duration) {
    tokio::select! {
        () = stop.soft().cancelled() => {}
        () = sleep(time) => {}
    }
}

/// Renews the lease until it is lost.
async fn keep(inner: &Inner, lease: &Lease) -> Failure {
    let ttl = inner.settings.lease;
    let mut ticks = interval(ttl / 3);
    loop {
        ticks.tick().await;
        if let Err(error) = inner.deps.leases.renew(lease, ttl).await {
            return error.into();
        }
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
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}
