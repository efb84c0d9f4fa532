//! Owns one partition: holds its lease and reads its log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backplane::journal::{JournalError, Reader, StoredFrame};
use backplane::lease::{Lease, LeaseError};
use model::{FrameSeq, PartitionId, Position};
use runtime::lifecycle::Stop;
use tokio::sync::mpsc;
use tokio::time::{Duration, interval, sleep};

use crate::Error;
use crate::service::Core;

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
    core: Arc<Core>,
    partition: PartitionId,
    frames: mpsc::Sender<Arrival>,
    stop: Stop,
) -> Result<(), Error> {
    let name = format!("persistence/{partition}");
    while !stop.soft().is_cancelled() {
        let lease = match core
            .deps
            .leases
            .acquire(&name, &core.deps.holder, core.config.lease.get())
            .await
        {
            Ok(lease) => lease,
            Err(error) => {
                if !matches!(error, LeaseError::Held { .. }) {
                    tracing::warn!(%partition, %error, "the lease of a partition could not be taken");
                }
                pause(&stop, core.config.lease.get() / 4).await;
                continue;
            }
        };
        let outcome = tokio::select! {
            () = stop.soft().cancelled() => Ok(()),
            lost = keep(&core, &lease) => Err(lost),
            read = read_on(&core, partition, &frames) => read,
        };
        // Lost or not, nothing is disturbed by giving back what is not ours any more.
        let _gone = core.deps.leases.release(&lease).await;
        if let Err(error) = outcome {
            tracing::warn!(%partition, %error, "reading a partition stopped; it begins anew");
            pause(&stop, PAUSE).await;
        }
    }
    Ok(())
}

async fn pause(stop: &Stop, time: Duration) {
    tokio::select! {
        () = stop.soft().cancelled() => {}
        () = sleep(time) => {}
    }
}

/// Renews the lease until it is lost.
async fn keep(core: &Core, lease: &Lease) -> Failure {
    let ttl = core.config.lease.get();
    let mut ticks = interval(ttl / 3);
    loop {
        ticks.tick().await;
        if let Err(error) = core.deps.leases.renew(lease, ttl).await {
            return error.into();
        }
    }
}

/// Reads from where the store stands; begins again when what was read must be read again.
async fn read_on(core: &Core, partition: PartitionId, frames: &mpsc::Sender<Arrival>) -> Result<(), Failure> {
    loop {
        let restart = core.restart.notified();
        let generation = core.generation.load(Ordering::Acquire);
        let applied = core
            .deps
            .store
            .wait_applied(
                store::Service::Persistence,
                partition,
                Position::START,
                Duration::ZERO,
            )
            .await?;
        let reader = open(core, partition, applied.seq()).await?;
        core.journal_check.ok();
        tokio::select! {
            () = restart => {}
            result = pump(core, reader, partition, generation, applied, frames) => return result,
        }
    }
}

async fn open(core: &Core, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, Failure> {
    match core.deps.journal.read(partition, after).await {
        Err(JournalError::Trimmed { partition, first }) => {
            // What is missing was trimmed although it was not applied, or the store is older than the log.
            tracing::error!(%partition, after = after.0, first, "frames of the log are gone that were never applied");
            Ok(core
                .deps
                .journal
                .read(partition, FrameSeq(first.saturating_sub(1)))
                .await?)
        }
        other => Ok(other?),
    }
}

async fn pump(
    core: &Core,
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
                core.journal_check.fail(&error);
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
