//! How far the log is applied.
//!
//! Several processes apply it. What this one last saw is a lower bound, so a caller whose position it covers asks
//! the database nothing. While somebody waits for more, one task asks every few milliseconds for all of them: a
//! notification with every batch would make all commits of the database queue for one lock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{PartitionId, Position};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::conn::Conn;
use super::known::{Key, Waiting, key};
use super::shared::{Shared, int, position};
use crate::{Service, StoreError};

/// How often the database is asked while somebody waits.
const POLL: Duration = Duration::from_millis(5);

/// Reads a row of (partition, position).
pub(super) fn step(row: &PgRow) -> Result<(PartitionId, Position), sqlx::Error> {
    Ok((
        PartitionId(row.try_get::<i64, _>(0)? as u16),
        position(row.try_get(1)?),
    ))
}

pub(super) const PROGRESS: &str =
    "SELECT partition, position FROM progress WHERE service = $1 AND position > 0";

/// Reads a row of [`ALL`].
pub(super) fn of_all(row: &PgRow) -> Result<(Key, Position), sqlx::Error> {
    let (partition, at) = step(row)?;
    Ok(((row.try_get::<i64, _>(2)? as u8, partition), at))
}

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
        self.known.progress.applied(service, steps.iter().copied());
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
        let steps = rows.iter().map(of_all).collect::<Result<Vec<_>, _>>();
        progress.reached(steps.map_err(StoreError::postgres(doing))?.into_iter());
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
        let (key, progress) = (key(service, partition), &self.known.progress);
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
    pub async fn check_claims(&self, conn: &mut Conn<'_>, service: Service) -> Result<(), StoreError> {
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
