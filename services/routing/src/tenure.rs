//! How long a partition is owned: from its lease to the moment at which the log says that it is somebody else's.
//!
//! The lease elects, the log fences. An owner that cannot keep its lease goes on: nobody else may be there, and if somebody
//! is, the log refuses what the old one appends. If the log does not answer either, it ends: it can serve nobody, and
//! edges that can reach it are to look for whoever is there by now.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backplane::lease::Fence;
use backplane::lease::share::{Ended, Held, Shares};
use contract::routing::Announcement;
use model::PartitionId;
use runtime::lifecycle::Stop;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::deps::With;
use crate::inbox::Inbox;
use crate::owner::{Owner, Tenancy};
use crate::pulse::Pulse;
use crate::{Config, Error};

/// How long to wait, at first and at most, after a partition could not be owned.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long an owner that leaves may take to answer what is in flight.
const DRAIN: Duration = Duration::from_secs(2);

/// How one tenure came to its end.
enum End {
    /// The process stops.
    Stopped,
    /// The lease was lost, and is held again.
    Again(Held),
    /// The partition is somebody else's, or cannot be owned now.
    Over(Result<(), Error>),
}

/// Resolves when this process is to let go of its partitions: at the soft stop if others are there to take them, else at the
/// hard one.
pub(crate) async fn time_to_leave(shares: &Shares, stop: &Stop) {
    let soft = async {
        stop.soft().cancelled().await;
        if shares.replicas() < 2 {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        () = stop.hard().cancelled() => {}
        () = soft => {}
    }
}

/// Owns the partition again and again until told to stop.
pub(crate) async fn keep_owning(
    partition: PartitionId,
    config: &Config,
    deps: &With,
    shares: &Shares,
    stop: &Stop,
) {
    let mut leave = std::pin::pin!(time_to_leave(shares, stop));
    let (mut pause, mut next) = (PAUSES.0, None);
    loop {
        let held = match next.take() {
            Some(held) => held,
            None => tokio::select! {
                biased;
                () = &mut leave => return,
                held = shares.take(partition.0) => held,
            },
        };
        match hold(partition, held, config, deps, shares, leave.as_mut()).await {
            End::Stopped => return,
            End::Again(held) => next = Some(held),
            End::Over(Ok(())) => pause = PAUSES.0,
            End::Over(Err(error)) => {
                warn!(%partition, error = %chain(&error), "letting go of a partition");
                tokio::select! {
                    biased;
                    () = &mut leave => return,
                    () = sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                }
            }
        }
    }
}

async fn hold(
    partition: PartitionId,
    held: Held,
    config: &Config,
    deps: &With,
    shares: &Shares,
    mut leave: Pin<&mut impl Future<Output = ()>>,
) -> End {
    let go = CancellationToken::new();
    let (fence, log) = (held.fence(), Arc::<Pulse>::default());
    let tenancy = Tenancy {
        partition,
        epoch: held.epoch(),
        fence: fence.clone(),
        log: log.clone(),
    };
    let mut owning = Box::pin(own(tenancy, config, deps, go.cancelled()));
    let end = tokio::select! {
        biased;
        () = &mut leave => End::Stopped,
        ended = held.ended() => match ended {
            Ended::Surplus => End::Over(Ok(())),
            Ended::Lost(error) => {
                info!(%partition, %error, "the lease cannot be kept; its owner goes on until the log has a newer one");
                fence.lose();
                drop(held);
                return tokio::select! {
                    biased;
                    () = &mut leave => {
                        go.cancel();
                        let _drained = timeout(DRAIN, &mut owning).await;
                        End::Stopped
                    }
                    result = &mut owning => End::Over(result),
                    // Under the new epoch everything begins anew, behind a new fence.
                    held = shares.take(partition.0) => End::Again(held),
                    () = log.missed(config.lease.get()) => End::Over(Err(Error::CutOff { partition })),
                };
            }
        },
        result = &mut owning => {
            give_back(held, partition, deps).await;
            return End::Over(result);
        }
    };
    go.cancel();
    // What was in flight and is not answered is sent again, to the next owner.
    let _drained = timeout(DRAIN, &mut owning).await;
    // One that is not done by then does not keep its edges while the lease is given back.
    drop(owning);
    give_back(held, partition, deps).await;
    end
}

/// Gives the lease back. Others look for what is free now and then; told so, they look at once. May be lost.
async fn give_back(held: Held, partition: PartitionId, deps: &With) {
    held.release().await;
    tell(partition, 0, deps).await;
}

async fn tell(partition: PartitionId, epoch: u64, deps: &With) {
    let told = Announcement { partition, epoch }.to_bytes();
    if let Err(error) = deps.bus.publish(Announcement::SUBJECT, told).await {
        info!(%partition, %error, "a change of owner is not told; others find it by themselves");
    }
}

async fn own(
    tenancy: Tenancy,
    config: &Config,
    deps: &With,
    leave: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (partition, epoch, fence) = (tenancy.partition, tenancy.epoch, tenancy.fence.clone());
    let leased = Instant::now();
    let owner = Owner::take_over(tenancy, config, deps.clone()).await?;
    let open = Open::new(partition, epoch, deps);
    let took = leased.elapsed();
    deps.metrics.take_over.observe(took.as_secs_f64());
    tell(partition, epoch, deps).await;
    info!(%partition, epoch, held = Fence::holds(&fence), ?took, "owning a partition");
    owner.serve(&open.inbox, leave).await
}

/// Edges find the owner as long as this lives.
struct Open<'a> {
    partition: PartitionId,
    deps: &'a With,
    inbox: Arc<Inbox>,
}

impl<'a> Open<'a> {
    fn new(partition: PartitionId, epoch: u64, deps: &'a With) -> Self {
        let inbox = Arc::<Inbox>::default();
        deps.owners.enter(partition, epoch, &inbox);
        deps.metrics.partitions.inc();
        Self {
            partition,
            deps,
            inbox,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.deps.owners.leave(self.partition, &self.inbox);
        self.deps.metrics.partitions.dec();
        self.inbox.close();
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
