//! Applies a stretch of the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{PartitionId, Position, UnixMillis};
use sqlx::Row;

use super::PostgresStore;
use super::conn::Conn;
use super::progress::{PROGRESS, step};
use super::shared::{Shared, at_most, int};
use super::write;
use crate::rules::identity;
use crate::{Advance, LogBatch, LogIdentity, LogStore, Service, StoreError, Stored, TargetKey};

const DOING: &str = "applying the log";

#[async_trait]
impl LogStore for PostgresStore {
    async fn bind_log(&self, log: LogIdentity) -> Result<(), StoreError> {
        let doing = "binding the store to its log";
        // Of those who bind an empty store at once one is the first, and the others are told of it.
        let text = "INSERT INTO log_identity (epoch, partitions) VALUES ($1, $2)
                    ON CONFLICT (one) DO UPDATE SET one = true RETURNING epoch, partitions";
        let ask = sqlx::query(text)
            .bind(int(log.epoch))
            .bind(i64::from(log.partitions));
        let row = self.shared.conn(doing).await?.row(doing, ask).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound);
        let stored = row.and_then(|row| {
            Ok(LogIdentity {
                epoch: row.try_get::<i64, _>(0)? as u64,
                partitions: row.try_get::<i64, _>(1)? as u16,
            })
        });
        identity::bind(stored.map_err(StoreError::postgres(doing))?, log)
    }

    async fn progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        self.shared.progress_of(service).await
    }

    async fn durable_progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        self.shared.synced_progress(service).await
    }

    async fn wait_applied(
        &self,
        service: Service,
        partition: PartitionId,
        upto: Position,
        limit: Duration,
    ) -> Result<Position, StoreError> {
        self.shared.wait(service, partition, upto, limit).await
    }

    fn hurry(&self, service: Service) {
        self.shared.hurry[service as usize - 1].notify_one();
    }

    async fn hurried(&self, service: Service) {
        self.shared.hurry[service as usize - 1].notified().await;
    }

    async fn lookup(&self, by: Service, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut conn = self.shared.conn("looking up uids").await?;
        if by == Service::Receipts {
            // They look for messages that they were told are there; what is not found is passed over for ever. Persistence
            // must not wait here: whatever the database lost, only persistence brings again.
            self.shared.check_claims(&mut conn, Service::Persistence).await?;
        }
        super::lookup::lookup(&self.shared, &mut conn, &keys, false).await
    }

    async fn apply(&self, batch: Arc<LogBatch>) -> Result<(), StoreError> {
        self.shared.apply(&batch).await
    }

    async fn prune_generic(&self, before: UnixMillis, limit: usize) -> Result<usize, StoreError> {
        let doing = "removing old publishes";
        let text = "DELETE FROM messages m USING (
                      SELECT topic, position, accepted_at FROM messages WHERE flags & 16 <> 0 AND accepted_at < $1
                      ORDER BY accepted_at LIMIT $2) old
                    WHERE m.topic = old.topic AND m.position = old.position AND m.accepted_at = old.accepted_at";
        let mut conn = self.shared.conn(doing).await?;
        let delete = sqlx::query(text).bind(int(before.0)).bind(at_most(limit));
        Ok(conn.run(doing, delete).await? as usize)
    }
}

impl Shared {
    async fn apply(&self, batch: &LogBatch) -> Result<(), StoreError> {
        let named = (batch.messages.iter())
            .map(|m| (m.entry.org.as_str(), m.entry.topic.as_str(), m.partition))
            .chain(
                batch
                    .retained
                    .iter()
                    .map(|r| (r.org.as_str(), r.topic.as_str(), r.partition)),
            )
            .chain(
                batch
                    .threads
                    .iter()
                    .map(|e| &e.thread)
                    .map(|t| (t.org.as_str(), t.topic.as_str(), t.partition)),
            );
        let topics = self.enter_topics(named).await?;
        let mut tx = self.begin(DOING).await?;
        if let Some(error) = advance(&mut tx, Service::Persistence, &batch.advances, Commit::Lazy).await? {
            tx.roll_back().await;
            return Err(error);
        }
        let new = write::messages(&mut tx, &topics, &batch.messages).await?;
        write::rewrites(&mut tx, &batch.rewrites).await?;
        write::streams(&mut tx, &batch.streams, &new).await?;
        write::retained(&mut tx, &topics, &batch.retained).await?;
        super::threads::apply(&mut tx, &topics, &batch.threads).await?;
        tx.commit(DOING).await?;
        let steps = batch.advances.iter().map(|step| (step.partition, step.to));
        self.known.progress.applied(Service::Persistence, steps);
        Ok(())
    }
}

/// When a transaction that applies the log is on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// Soon after it can be seen: a crash of the database takes its rows and its progress back together.
    Lazy,
    /// Before it can be seen.
    Synced,
}

/// Moves a service's progress, if every partition stands where the caller believes; says so when one does not. Holds the
/// rows until the end of the transaction.
pub(super) async fn advance(
    tx: &mut Conn<'_>,
    service: Service,
    steps: &[Advance],
    commit: Commit,
) -> Result<Option<StoreError>, StoreError> {
    let doing = "storing progress";
    let column = |of: fn(&Advance) -> u64| steps.iter().map(|s| int(of(s))).collect::<Vec<i64>>();
    let partitions = column(|s| u64::from(s.partition.0));
    let text = "WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', $5, true))
                INSERT INTO progress AS p (service, partition, position, came_from)
                SELECT $1, s.partition, s.upto, s.came_from
                FROM durable, unnest($2::bigint[], $3::bigint[], $4::bigint[]) s (partition, came_from, upto)
                WHERE s.came_from = 0 OR EXISTS (SELECT FROM progress q WHERE q.service = $1 AND q.partition = s.partition)
                ORDER BY s.partition
                ON CONFLICT (service, partition) DO UPDATE SET position = excluded.position, came_from = excluded.came_from
                WHERE p.position = excluded.came_from RETURNING p.partition, p.position";
    let moved = sqlx::query(text)
        .bind(service as i64)
        .bind(&partitions)
        .bind(column(|s| s.from.0))
        .bind(column(|s| s.to.0))
        .bind(if commit == Commit::Lazy { "off" } else { "on" });
    let moved = tx.rows(doing, moved).await?;
    if moved.len() == steps.len() {
        return Ok(None);
    }
    let stored = tx.rows(doing, sqlx::query(PROGRESS).bind(service as i64)).await?;
    let decode = |rows: &[sqlx::postgres::PgRow]| {
        let steps = rows.iter().map(step).collect::<Result<Vec<_>, _>>();
        steps.map_err(StoreError::postgres(doing))
    };
    let (moved, stored) = (decode(&moved)?, decode(&stored)?);
    let refused = steps
        .iter()
        .find(|s| !moved.iter().any(|(p, _)| *p == s.partition));
    Ok(refused.map(|step| StoreError::Misplaced {
        partition: step.partition,
        stored: (stored.iter().find(|(p, _)| *p == step.partition)).map_or(Position::START, |(_, at)| *at),
        assumed: step.from,
    }))
}
