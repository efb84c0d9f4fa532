//! What happens by time: wills, session expiry, old publishes, trimming the journal.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ::rpc::persistence::edge_lease;
use ::rpc::routing::{Outcome, submit};
use ahash::AHashMap;
use dedupe::Manifest;
use model::{EdgeId, FrameSeq, PartitionId, Position, UnixMillis};
use runtime::lifecycle::Stop;
use store::{DueWill, Service, StoreError};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};
use wire::{Entry, envelope};

use crate::Error;
use crate::core::Core;

/// How often wills and sessions are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often old publishes are removed.
const PRUNE: Duration = Duration::from_secs(600);
/// How often edges are looked for that hold connections and no lease.
const LOOK: Duration = Duration::from_secs(1);
/// For how long an edge is without its lease before its connections are ended: one that was only paused takes it again
/// at once.
const ABSENCE: Duration = Duration::from_secs(2);
/// At most this many of anything at once.
const LIMIT: usize = 1000;
/// How long it may take to submit wills.
const SUBMIT: Duration = Duration::from_secs(10);
const LEASE: &str = "persistence/keeper";

/// Since when an edge has been without its lease.
type Absent = AHashMap<EdgeId, Instant>;

/// Keeps the store until told to stop. One replica does so at a time.
pub(crate) async fn keep(core: &Core, stop: &Stop) {
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
            let taken = core.deps.leases.acquire(LEASE, &core.deps.holder, lease).await;
            held = taken.is_ok().then(Instant::now);
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
        core.report("publishing wills", core.publish_wills().await);
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

/// The entry of a will, to be stored once however often it is submitted. `Err`: it cannot be read.
fn entry_of(will: DueWill, now: UnixMillis) -> Result<(u64, Entry), u64> {
    let mut entry = wire::frame::decode_entry(will.entry).map_err(|_| will.id)?;
    if entry.uid.is_empty() {
        let made = [will.id.to_string(), entry.accepted_at.to_string()];
        entry.uid = envelope::server_uid("will", &[&made[0], &made[1]]);
    }
    // Its message expiry counts from its publication.
    if entry.expires_at != 0 {
        let life = entry.expires_at.saturating_sub(entry.accepted_at);
        entry.expires_at = now.0.saturating_add(life);
    }
    entry.accepted_at = now.0;
    Ok((will.id, entry))
}

/// The id of a will that needs no more attention: it is stored, or refused for good.
fn is_over(id: u64, outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Stored { .. } => Some(id),
        Outcome::Unavailable(_) | Outcome::Unknown => None,
        refused => {
            tracing::warn!(will = id, ?refused, "a will is refused; it is dropped");
            Some(id)
        }
    }
}

impl Core {
    fn report(&self, what: &'static str, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "{what} failed; it will be tried again"
            );
        }
    }

    /// Puts wills whose time has come into the log; they are forgotten only when they are durable there.
    pub async fn publish_wills(&self) -> Result<(), Error> {
        let now = self.now();
        loop {
            let due = self.deps.store.due_wills(now, LIMIT).await?;
            if due.is_empty() {
                return Ok(());
            }
            let (done, result) = self.submit_wills(due, now).await;
            self.metrics.wills.inc_by(done.len() as u64);
            self.deps.store.forget_wills(done).await?;
            result?;
        }
    }

    /// Which of the wills are in the log, or never will be; and why others are not.
    async fn submit_wills(&self, due: Vec<DueWill>, now: UnixMillis) -> (Vec<u64>, Result<(), Error>) {
        let mut done = Vec::with_capacity(due.len());
        let mut by_partition: BTreeMap<PartitionId, (Vec<u64>, Vec<Entry>)> = BTreeMap::new();
        for will in due {
            match entry_of(will, now) {
                Ok((id, entry)) => {
                    let partition = entry.partition(self.deps.partitioning);
                    let (ids, entries) = by_partition.entry(partition).or_default();
                    ids.push(id);
                    entries.push(entry);
                }
                Err(id) => {
                    tracing::error!(will = id, "a will cannot be read; it is dropped");
                    done.push(id);
                }
            }
        }
        let mut result = Ok(());
        for (partition, (ids, entries)) in by_partition {
            let first = self.submitted.fetch_add(ids.len() as u64, Ordering::Relaxed);
            let edge = EdgeId::new(format!("persistence/{}", self.deps.holder));
            let routing = &*self.deps.routing;
            match submit(routing, edge, partition, first, entries, SUBMIT).await {
                Ok(outcomes) => done.extend(
                    ids.into_iter()
                        .zip(outcomes)
                        .filter_map(|(id, o)| is_over(id, &o)),
                ),
                Err(error) => result = Err(error.into()),
            }
        }
        (done, result)
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
