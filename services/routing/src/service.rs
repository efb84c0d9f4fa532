use std::sync::Arc;

use backplane::lease::share::Shares;
use contract::routing::Announcement;
use runtime::lifecycle::{OnError, Tasks};
use tokio::time::sleep;
use tracing::warn;

use crate::Config;
use crate::deps::{Deps, With};
use crate::metrics::Metrics;
use crate::tenure::{PAUSES, keep_owning, time_to_leave};

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
    /// still answered.
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
        let (hearing, with, stop) = (shares.clone(), deps.clone(), tasks.stop().clone());
        tasks.spawn_last("routing/owners", OnError::StopProcess, async move {
            tokio::select! {
                () = stop.hard().cancelled() => {}
                () = hear_of_owners(&hearing, &with) => {}
            }
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

/// A partition that its owner gives up need not wait until it is asked for again.
async fn hear_of_owners(shares: &Shares, deps: &Deps) {
    loop {
        let mut owners = match deps.bus.subscribe(Announcement::SUBJECT).await {
            Ok(owners) => owners,
            Err(error) => {
                warn!(%error, "what other owners say cannot be heard; trying again");
                sleep(PAUSES.1).await;
                continue;
            }
        };
        while let Some(messages) = owners.next().await {
            let said = messages
                .iter()
                .filter_map(|m| Announcement::from_bytes(&m.payload));
            if said.into_iter().any(|a| a.epoch == 0) {
                shares.look_again();
            }
        }
    }
}
