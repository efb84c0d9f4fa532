use std::sync::Arc;
use std::time::Duration;

use backplane::bus::Bus;
use backplane::journal::{Journal, Reader};
use backplane::lease::share::{Ended, Held, Shares};
use backplane::lease::{LeaseError, Leases};
use model::{PartitionId, Partitioning};
use rpc::persistence::Persistence;
use runtime::clock::Clock;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::ServiceMetrics;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::warn;

use crate::metrics::Metrics;
use crate::owner::{ANNOUNCE_SUBJECT, Ears, Owner};
use crate::{Config, Error};

/// How long to wait, at first and at most, after a partition could not be routed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How often edges that have fallen silent are looked for.
const TIDY: Duration = Duration::from_secs(5);

/// What routing is built with.
#[derive(Clone)]
pub struct Deps {
    /// The log it reads.
    pub journal: Arc<dyn Journal>,
    /// The way to the edges.
    pub bus: Arc<dyn Bus>,
    /// Who owns which partition.
    pub leases: Arc<dyn Leases>,
    /// What it has forgotten.
    pub persistence: Arc<dyn Persistence>,
    /// How topics are spread.
    pub partitioning: Partitioning,
    /// The recall window in milliseconds, the same as persistence has.
    pub recall_window: u64,
    /// The name under which this process holds leases; that of no other process, nor of one before it.
    pub holder: String,
    /// Time.
    pub clock: Clock,
    /// Where its series go.
    pub metrics: ServiceMetrics,
}

/// The routing service.
pub struct Service {
    config: Config,
    deps: Arc<Deps>,
    metrics: Metrics,
}

impl Service {
    /// Builds it; nothing is owned yet.
    pub fn new(config: Config, deps: Deps) -> Self {
        let metrics = Metrics::new(&deps.metrics);
        Self {
            config,
            deps: Arc::new(deps),
            metrics,
        }
    }

    /// Spawns one task per partition, which owns it whenever it is this replica's to own. With another replica there they
    /// end at the soft stop, since that one takes over at once; alone they end last, so that what others have in flight is
    /// still settled.
    pub fn start(self, tasks: &Tasks) {
        let (config, deps) = (Arc::new(self.config), self.deps);
        let partitions = deps.partitioning;
        let shares = Shares::new(
            deps.leases.clone(),
            "routing",
            &deps.holder,
            partitions.count(),
            config.lease.get(),
        );
        // As long as nobody asks the process to stop, it has something to do.
        let soft = tasks.stop().soft().clone();
        tasks.spawn(
            "routing",
            OnError::StopProcess,
            async move { soft.cancelled().await },
        );
        let (all, stop) = (shares.clone(), tasks.stop().clone());
        tasks.spawn_last("routing/shares", OnError::StopProcess, async move {
            all.run(time_to_leave(&all, &stop)).await;
        });
        for partition in partitions.all() {
            let (stop, config, shares) = (tasks.stop().clone(), config.clone(), shares.clone());
            let with = With {
                deps: deps.clone(),
                metrics: self.metrics.clone(),
            };
            tasks.spawn_last(format!("routing/{partition}"), OnError::StopProcess, async move {
                keep_owning(partition, &config, &with, &shares, &stop).await;
            });
        }
    }
}

/// What every owner has at hand.
#[derive(Clone)]
pub(crate) struct With {
    pub deps: Arc<Deps>,
    pub metrics: Metrics,
}

impl std::ops::Deref for With {
    type Target = Deps;
    fn deref(&self) -> &Deps {
        &self.deps
    }
}

async fn time_to_leave(shares: &Shares, stop: &Stop) {
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
async fn keep_owning(partition: PartitionId, config: &Config, deps: &With, shares: &Shares, stop: &Stop) {
    let mut leave = std::pin::pin!(time_to_leave(shares, stop));
    let mut pause = PAUSES.0;
    loop {
        let held = tokio::select! {
            biased;
            () = &mut leave => return,
            held = shares.take(partition.0) => held,
        };
        let outcome = tokio::select! {
            biased;
            () = &mut leave => None,
            ended = held.ended() => Some(end(ended)),
            result = own(partition, &held, config, deps) => Some(result),
        };
        held.release().await;
        match outcome {
            None => return,
            Some(Ok(())) => pause = PAUSES.0,
            Some(Err(error)) => {
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

fn end(ended: Ended) -> Result<(), Error> {
    match ended {
        Ended::Lost(error) => Err(error.into()),
        Ended::Surplus => Ok(()),
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

async fn own(partition: PartitionId, held: &Held, config: &Config, deps: &With) -> Result<(), Error> {
    let (owner, reader) = Owner::take_over(partition, held, config, deps.clone()).await?;
    // Edges find us only now, so that every boundary we name lies after what was read again.
    let ears = Ears::open(&deps.bus, partition).await?;
    let announcement = bytes::Bytes::copy_from_slice(&partition.0.to_be_bytes());
    deps.bus.publish(ANNOUNCE_SUBJECT, announcement).await?;
    let _counted = Counted::new(deps);
    serve(owner, reader, ears, config, deps).await
}

/// Counts a partition as owned as long as it lives.
struct Counted<'a>(&'a With);

impl<'a> Counted<'a> {
    fn new(deps: &'a With) -> Self {
        deps.metrics.partitions.inc();
        Self(deps)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.partitions.dec();
    }
}

async fn serve(
    mut owner: Owner,
    mut reader: Box<dyn Reader>,
    mut ears: Ears,
    config: &Config,
    deps: &With,
) -> Result<(), Error> {
    let mut tidy = interval(TIDY.min(config.edge_timeout.get()));
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // In this order: an edge asks one thing at a time, so its questions hold nothing up for long, and what may be
        // lost comes last.
        tokio::select! {
            biased;
            _ = tidy.tick() => {
                let horizon = deps.clock.monotonic().saturating_sub(config.edge_timeout.get());
                owner.routes.expire(horizon);
            }
            request = ears.requests.next() => {
                owner.answer(request.ok_or(Error::BusClosed)?, deps.clock.monotonic())?;
            }
            frames = reader.next() => owner.route(frames?).await?,
            messages = ears.transients.next() => {
                for message in messages.ok_or(Error::BusClosed)? {
                    owner.pass_on(message.payload).await?;
                }
            }
        }
    }
}

/// What an owner says when it must not act any more.
pub(crate) fn fenced(partition: PartitionId) -> Error {
    LeaseError::Lost(format!("routing/{partition}")).into()
}
