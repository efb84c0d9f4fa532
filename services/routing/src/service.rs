use std::sync::Arc;
use std::time::Duration;

use backplane::bus::Bus;
use backplane::journal::{Journal, Reader};
use backplane::lease::{Lease, Leases};
use model::{PartitionId, Partitioning};
use rpc::persistence::Persistence;
use runtime::clock::Clock;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::ServiceMetrics;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::owner::{ANNOUNCE_SUBJECT, Ears, Owner};
use crate::{Config, Error};

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
    /// The name under which this process holds leases.
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

    /// Spawns one task per partition, which owns it whenever its lease can be had.
    pub fn start(self, tasks: &Tasks) {
        let config = Arc::new(self.config);
        for partition in self.deps.partitioning.all() {
            let (stop, config) = (tasks.stop().clone(), config.clone());
            let with = With {
                deps: self.deps.clone(),
                metrics: self.metrics.clone(),
            };
            tasks.spawn_last(format!("routing/{partition}"), OnError::StopProcess, async move {
                keep_owning(partition, &config, &with, &stop).await;
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

/// Owns the partition again and again until told to stop.
async fn keep_owning(partition: PartitionId, config: &Config, deps: &With, stop: &Stop) {
    let name = format!("routing/{partition}");
    let mut pause = Duration::from_millis(100);
    let mut last_epoch = None;
    while !stop.hard().is_cancelled() {
        let owning = async {
            let lease = deps
                .leases
                .acquire(&name, &deps.holder, config.lease.get())
                .await?;
            // The same epoch again, because the lease could not be handed back: edges would take the new owner for the
            // old one, which knew their filters. It is handed back now.
            let owned = if last_epoch.replace(lease.epoch) == Some(lease.epoch) {
                Ok(())
            } else {
                own(partition, &lease, config, deps).await
            };
            if let Err(error) = deps.leases.release(&lease).await {
                info!(%partition, %error, "a lease was not handed back");
            }
            owned
        };
        tokio::select! {
            () = stop.hard().cancelled() => break,
            result = owning => {
                match result {
                    Err(Error::Lease(_)) => {}
                    Err(error) => warn!(%partition, error = %chain(&error), "letting go of a partition"),
                    Ok(()) => pause = Duration::from_millis(100),
                }
            }
        }
        tokio::select! {
            () = stop.hard().cancelled() => break,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
        }
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

async fn own(partition: PartitionId, lease: &Lease, config: &Config, deps: &With) -> Result<(), Error> {
    let (owner, reader) = Owner::take_over(partition, lease.epoch, config, deps.clone()).await?;
    // Edges find us only now, so that every boundary we name lies after what was read again.
    let ears = Ears::open(&deps.bus, partition).await?;
    let announcement = bytes::Bytes::copy_from_slice(&partition.0.to_be_bytes());
    deps.bus.publish(ANNOUNCE_SUBJECT, announcement).await?;
    deps.metrics.partitions.inc();
    let result = serve(owner, reader, ears, lease, config, deps).await;
    deps.metrics.partitions.dec();
    result
}

async fn serve(
    mut owner: Owner,
    mut reader: Box<dyn Reader>,
    mut ears: Ears,
    lease: &Lease,
    config: &Config,
    deps: &With,
) -> Result<(), Error> {
    let mut renew = tokio::time::interval(config.lease.get() / 3);
    renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            request = ears.requests.next() => {
                owner.answer(request.ok_or(Error::BusClosed)?, deps.clock.monotonic()).await;
            }
            frames = reader.next() => owner.route(frames?).await?,
            messages = ears.transients.next() => {
                for message in messages.ok_or(Error::BusClosed)? {
                    owner.pass_on(message.payload).await?;
                }
            }
            _ = renew.tick() => {
                deps.leases.renew(lease, config.lease.get()).await?;
                owner.routes.expire(deps.clock.monotonic().saturating_sub(config.edge_timeout.get()));
            }
        }
    }
}
