//! How far the log is applied, as this process knows it.
//!
//! Several processes apply the log. What this one last saw is a lower bound, so a caller whose position it covers asks
//! the database nothing. While somebody waits for more, one task asks every few milliseconds for all of them: a
//! notification with every batch would make all commits of the database queue for one lock.
//!
//! A database that crashed has lost what was committed lazily, and with it progress that was told here. Its connections are
//! gone then: each new one compares, and what the database lost is forgotten. Somebody may have been told just before; so
//! what was told is remembered for a moment as a claim, and whoever acts on it checks that the database still keeps it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use model::{PartitionId, Position};
use parking_lot::Mutex;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Shared, int, position};
use crate::{Service, StoreError};

/// How often the database is asked while somebody waits.
const POLL: Duration = Duration::from_millis(5);
/// How long after it was told somebody may act on it.
const CLAIM: Duration = Duration::from_secs(10);

type Key = (u8, PartitionId);

#[derive(Default)]
pub(super) struct Progress {
    known: Mutex<AHashMap<Key, Position>>,
    claims: Mutex<AHashMap<Key, (Position, Instant)>>,
    changed: watch::Sender<u64>,
    waiting: AtomicUsize,
    wake: Notify,
    /// Askers so far, and which of them the last answer serves.
    asked: AtomicU64,
    answered: tokio::sync::Mutex<u64>,
}

impl Progress {
    fn get(&self, key: Key) -> Position {
        self.known.lock().get(&key).copied().unwrap_or_default()
    }

    /// Takes what was committed or read.
    pub fn reached(&self, service: Service, steps: impl Iterator<Item = (PartitionId, Position)>) {
        let mut known = self.known.lock();
        for (partition, to) in steps {
            let at = known.entry((service as u8, partition)).or_default();
            *at = to.max(*at);
        }
        drop(known);
        self.changed.send_modify(|n| *n += 1);
    }

    /// There is a new connection: the database may not be what it was. When it is behind what is known, that is forgotten.
    pub fn connected(&self, rows: &[PgRow]) -> Result<(), sqlx::Error> {
        let mut stored = AHashMap::new();
        for row in rows {
            let (partition, at) = step(row)?;
            stored.insert((row.try_get::<i64, _>(2)? as u8, partition), at);
        }
        let mut known = self.known.lock();
        let kept = |(key, at): (&Key, &Position)| stored.get(key).is_some_and(|stored| stored >= at);
        if !known.iter().all(kept) {
            known.clear();
        }
        known.extend(stored);
        Ok(())
    }

    fn claim(&self, key: Key, upto: Position) {
        let mut claims = self.claims.lock();
        let (at, since) = claims.entry(key).or_insert((upto, Instant::now()));
        // Extending the older claim by the newer one errs on the side of checking.
        (*at, *since) = (upto.max(*at), Instant::now());
    }

    /// Whether something that was told is not so: the first such partition with what is stored and what was told.
    pub fn broken(
        &self,
        service: Service,
        stored: &[(PartitionId, Position)],
        upto: impl Fn(PartitionId) -> Position,
    ) -> Option<StoreError> {
        let mut claims = self.claims.lock();
        claims.retain(|_, (_, since)| since.elapsed() < CLAIM);
        let mine = claims.iter().filter(|((s, _), _)| *s == service as u8);
        for ((_, partition), (told, _)) in mine {
            let of = stored.iter().find(|(p, _)| p == partition);
            let (stored, told) = (
                of.map_or(Position::START, |(_, at)| *at),
                upto(*partition).min(*told),
            );
            if stored < told {
                let partition = *partition;
                return Some(StoreError::WentBack {
                    partition,
                    stored,
                    told,
                });
            }
        }
        None
    }

    pub fn has_claims(&self) -> bool {
        !self.claims.lock().is_empty()
    }
}

/// Reads a row of (partition, position).
pub(super) fn step(row: &PgRow) -> Result<(PartitionId, Position), sqlx::Error> {
    Ok((
        PartitionId(row.try_get::<i64, _>(0)? as u16),
        position(row.try_get(1)?),
    ))
}

pub(super) const PROGRESS: &str =
    "SELECT partition, position FROM progress WHERE service = $1 AND position > 0";

/// Of every service.
pub(super) const ALL: &str = "SELECT partition, position, service FROM progress WHERE position > 0";

impl Shared {
    pub async fn progress_of(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        let doing = "reading progress";
        let mut conn = self.conn(doing).await?;
        let rows = conn
            .rows(doing, sqlx::query(PROGRESS).bind(service as i64))
            .await?;
        let steps = rows.iter().map(step).collect::<Result<Vec<_>, _>>();
        let steps = steps.map_err(StoreError::postgres(doing))?;
        self.known.progress.reached(service, steps.iter().copied());
        Ok(steps)
    }

    /// Brings what is known up to date. Those who ask at the same time are answered by one statement.
    async fn refresh(&self) -> Result<(), StoreError> {
        let progress = &self.known.progress;
        let mine = progress.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answered = progress.answered.lock().await;
        if *answered >= mine {
            return Ok(());
        }
        let all = progress.asked.load(Ordering::Acquire);
        let doing = "reading progress";
        let mut conn = self.conn(doing).await?;
        let rows = conn.rows(doing, sqlx::query(ALL)).await?;
        for service in [Service::Persistence, Service::Receipts] {
            let mut steps = Vec::new();
            for row in &rows {
                let of = row.try_get::<i64, _>(2).map_err(StoreError::postgres(doing))?;
                if of == service as i64 {
                    steps.push(step(row).map_err(StoreError::postgres(doing))?);
                }
            }
            progress.reached(service, steps.into_iter());
        }
        *answered = all;
        Ok(())
    }

    pub async fn wait(
        &self,
        service: Service,
        partition: PartitionId,
        upto: Position,
        limit: Duration,
    ) -> Result<Position, StoreError> {
        let (key, progress) = ((service as u8, partition), &self.known.progress);
        if progress.get(key) < upto {
            self.refresh().await?;
        }
        if progress.get(key) < upto && !limit.is_zero() {
            let mut changes = progress.changed.subscribe();
            let _waiting = Waiting::new(progress);
            let reached = async { while progress.get(key) < upto && changes.changed().await.is_ok() {} };
            // Whether it was reached or the time is over shows in the answer.
            let _timed_out = tokio::time::timeout(limit, reached).await;
        }
        let at = progress.get(key);
        progress.claim(key, upto.min(at));
        Ok(at)
    }

    /// Refuses to go on when the database lost what somebody in this process was just told.
    pub async fn check_claims(
        &self,
        conn: &mut super::conn::Conn<'_>,
        service: Service,
    ) -> Result<(), StoreError> {
        if !self.known.progress.has_claims() {
            return Ok(());
        }
        let doing = "reading progress";
        let rows = conn
            .rows(doing, sqlx::query(PROGRESS).bind(service as i64))
            .await?;
        let steps = rows.iter().map(step).collect::<Result<Vec<_>, _>>();
        let steps = steps.map_err(StoreError::postgres(doing))?;
        match self.known.progress.broken(service, &steps, |_| Position::END) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Asks the database while somebody waits, for as long as the store is there.
    pub async fn poll(&self) {
        let progress = &self.known.progress;
        loop {
            if progress.waiting.load(Ordering::Acquire) == 0 {
                progress.wake.notified().await;
            }
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "progress cannot be read");
                tokio::time::sleep(POLL * 20).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The same, once everything up to there is durable: a commit that is synced takes every commit that could be seen
    /// before it along, as there is one log of them.
    pub async fn synced_progress(
        &self,
        service: Service,
    ) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        let doing = "syncing";
        let mut conn = self.conn(doing).await?;
        let text = "WITH mark AS (UPDATE synced SET times = times + 1)
                    SELECT partition, position FROM progress WHERE service = $1 AND position > 0";
        let rows = conn
            .rows(doing, sqlx::query(text).bind(int(service as u64)))
            .await?;
        rows.iter()
            .map(step)
            .collect::<Result<_, _>>()
            .map_err(StoreError::postgres(doing))
    }
}

/// Somebody waits: the database is asked while this lives.
struct Waiting<'a>(&'a Progress);

impl<'a> Waiting<'a> {
    fn new(progress: &'a Progress) -> Self {
        progress.waiting.fetch_add(1, Ordering::AcqRel);
        progress.wake.notify_one();
        Self(progress)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
