//! What happens by time: wills, session expiry, old publishes, trimming the journal.

use ahash::AHashMap;
use backplane::lease::Fence;
use contract::persistence::edge_lease;
use dedupe::Manifest;
use model::{EdgeId, FrameSeq, PartitionId, Position, UnixMillis};
use runtime::lifecycle::Stop;
use store::{Service, StoreError};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use crate::core::{Core, TICK};
use crate::{Error, threads, wills};

/// How often old publishes are removed.
const PRUNE: Duration = Duration::from_secs(600);
/// How often edges are looked for that hold connections and no lease.
const LOOK: Duration = Duration::from_secs(1);
/// For how long an edge is without its lease before its connections are ended: one that was only paused takes it again
/// at once.
const ABSENCE: Duration = Duration::from_secs(2);
/// At most this many of anything at once.
const LIMIT: usize = 1000;
const LEASE: &str = "persistence/keeper";

/// Since when an edge has been without its lease.
type Absent = AHashMap<EdgeId, Instant>;

/// Keeps the store until told to stop. One replica does so at a time.
pub(crate) async fn keep(core: &Core, stop: &Stop) {
    let turn = Fence::new();
    // Wills and threads wait for owners of the log, and those for room in it: nothing that makes room may wait for one.
    tokio::join!(
        tend(core, &turn, stop),
        wills::keep(core, &turn, stop),
        threads::keep(core, &turn, stop)
    );
}

/// Everything but wills and threads. `turn`: whether it is this replica's.
async fn tend(core: &Core, turn: &Fence, stop: &Stop) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut trimmed, mut pruned) = (Instant::now(), Instant::now());
    let (lease, mut held) = (core.config.lease.get(), None::<Instant>);
    let (mut looked, mut absent) = (Instant::now(), Absent::default());
    loop {
        tokio::select! {
            () = stop.soft().cancelled() => return,
            _ = ticks.tick() => {}
        }
        core.journal_check.set_result(&core.deps.journal.health());
        if held.is_none_or(|since| since.elapsed() >= lease / 3) {
            let asked = Instant::now();
            let taken = core.deps.leases.acquire(LEASE, &core.deps.holder, lease).await;
            held = taken.is_ok().then_some(asked);
            match held {
                Some(asked) => turn.extend(asked + lease),
                None => turn.lose(),
            }
        }
        if held.is_none() {
            absent.clear();
            continue;
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            let ended = core.abandon_dead_edges(&mut absent).await;
            core.report("ending the connections of dead edges", ended);
        }
        core.report("expiring sessions", core.expire_sessions().await);
        if pruned.elapsed() >= PRUNE {
            pruned = Instant::now();
            core.report("removing old publishes", core.prune().await);
        }
        if trimmed.elapsed() >= core.config.trim_interval.get() {
            trimmed = Instant::now();
            core.report("trimming the journal", core.trim().await);
        }
    }
}

impl Core {
    pub fn report(&self, what: &'static str, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "{what} failed; it will be tried again"
            );
        }
    }

    /// An edge that died left its sessions connected: their wills and their expiry begin now. They get a new epoch, so that
    /// an edge that was only cut off can change nothing any more.
    async fn abandon_dead_edges(&self, absent: &mut Absent) -> Result<(), Error> {
        let edges = self.deps.store.connected_edges().await?;
        absent.retain(|edge, _| edges.contains(edge));
        for edge in edges {
            let holder = self.deps.leases.holder(&edge_lease(&edge)).await;
            let holder = holder.inspect_err(|_| absent.clear())?;
            if holder.is_some() {
                absent.remove(&edge);
                continue;
            }
            let since = absent.entry(edge.clone()).or_insert_with(Instant::now);
            if since.elapsed() < ABSENCE {
                continue;
            }
            let sessions = self.deps.store.abandon_edge(&edge, self.now()).await?;
            tracing::info!(%edge, sessions, "ended the connections of an edge that is gone");
        }
        Ok(())
    }

    /// Forgets sessions whose time is over.
    pub async fn expire_sessions(&self) -> Result<(), Error> {
        let expired = self.deps.store.expire_sessions(self.now(), LIMIT).await?;
        self.metrics.expired.inc_by(expired as u64);
        Ok(())
    }

    async fn prune(&self) -> Result<(), Error> {
        let before = self
            .now()
            .0
            .saturating_sub(self.config.generic_retention.as_millis());
        while self.deps.store.prune_generic(UnixMillis(before), LIMIT).await? == LIMIT {}
        Ok(())
    }

    /// Tells the journal what every service has durably applied.
    pub async fn trim(&self) -> Result<(), Error> {
        let messages = self.durable(Service::Persistence).await?;
        let receipts = self.durable(Service::Receipts).await?;
        let mut lag = 0;
        for partition in self.deps.partitioning.all() {
            let of = |applied: &AHashMap<PartitionId, Position>| {
                applied.get(&partition).copied().unwrap_or_default().seq()
            };
            let applied = of(&messages).min(of(&receipts));
            let upto = applied.min(self.checkpointed(partition).await?);
            if upto > FrameSeq(0) {
                self.deps.journal.trim(partition, upto).await?;
            }
            let head = self.deps.journal.head(partition).await?;
            lag += head.0.saturating_sub(of(&messages).0);
        }
        self.metrics.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        Ok(())
    }

    /// The log up to here is in the checkpoint of its owner, which would have to read it otherwise.
    async fn checkpointed(&self, partition: PartitionId) -> Result<FrameSeq, Error> {
        let stored = self.deps.checkpoints.manifest(partition).await?;
        let manifest = stored.and_then(|bytes| Manifest::decode(&bytes).ok());
        let own = manifest.filter(|m| m.log_epoch == self.deps.journal.epoch());
        Ok(own.map_or(FrameSeq(0), |m| m.position.seq()))
    }

    async fn durable(&self, service: Service) -> Result<AHashMap<PartitionId, Position>, StoreError> {
        Ok(self
            .deps
            .store
            .durable_progress(service)
            .await?
            .into_iter()
            .collect())
    }
}
