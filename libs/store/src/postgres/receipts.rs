//! Applies receipts. Forward only: what says less than is stored changes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{OrgId, Position, TopicName};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::apply::{Commit, advance};
use super::conn::Conn;
use super::known::Topic;
use super::shared::{Shared, int, position};
use crate::rules::receipts::{Furthest, Recipients};
use crate::{ReceiptBatch, ReceiptRow, ReceiptStore, Service, StoreError, UnreadQuery};

const DOING: &str = "storing receipts";

#[async_trait]
impl ReceiptStore for PostgresStore {
    async fn apply_receipts(&self, batch: Arc<ReceiptBatch>) -> Result<(), StoreError> {
        self.shared.apply_receipts(&batch).await
    }

    async fn receipts_of(
        &self,
        org: &OrgId,
        topic: &TopicName,
        message: Position,
    ) -> Result<Vec<ReceiptRow>, StoreError> {
        match self.shared.topic(org, topic).await? {
            Some(topic) => receipts_of(&self.shared, topic.id, message).await,
            None => Ok(Vec::new()),
        }
    }

    async fn unread(&self, query: UnreadQuery) -> Result<u64, StoreError> {
        super::unread::unread(&self.shared, &query).await
    }

    async fn unread_in(&self, query: UnreadQuery, topics: Vec<TopicName>) -> Result<Vec<u64>, StoreError> {
        super::unread::unread_in(&self.shared, &query, &topics).await
    }
}

impl Shared {
    async fn apply_receipts(&self, batch: &ReceiptBatch) -> Result<(), StoreError> {
        let named = (batch.receipts.iter().map(|r| (r.org.as_str(), r.topic.as_str())))
            .chain(batch.marks.iter().map(|m| (m.org.as_str(), m.topic.as_str())));
        let topics = self.find_topics(named).await?;
        let last = Furthest::of(batch, |org, topic| topics.get(org, topic));
        // History shows a status as soon as it can be seen, and a status never goes back.
        let commit = match last.receipts.is_empty() && last.marks.is_empty() {
            true => Commit::Lazy,
            false => Commit::Synced,
        };
        let mut tx = self.begin(DOING).await?;
        if let Some(error) = advance(&mut tx, Service::Receipts, &batch.advances, commit).await? {
            tx.roll_back().await;
            return Err(error);
        }
        furthest(&mut tx, &last).await?;
        reads(&mut tx, &last).await?;
        tx.commit(DOING).await?;
        let steps = batch.advances.iter().map(|step| (step.partition, step.to));
        self.known.progress.applied(Service::Receipts, steps);
        Ok(())
    }
}

/// Moves messages and marks on, and the heads of their topics with them.
async fn furthest(tx: &mut Conn<'_>, last: &Furthest<'_, Topic>) -> Result<(), StoreError> {
    if last.receipts.is_empty() && last.marks.is_empty() {
        return Ok(());
    }
    let text = "WITH moved AS (
                  INSERT INTO receipts AS r (topic, message, state, changed, entry)
                  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
                  ON CONFLICT (topic, message) DO UPDATE SET state = excluded.state, changed = excluded.changed,
                    entry = excluded.entry WHERE excluded.state > r.state RETURNING topic, changed),
                marked AS (
                  INSERT INTO marks AS m (topic, usr, upto, changed, entry)
                  SELECT * FROM unnest($6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bytea[])
                  ON CONFLICT (topic, usr) DO UPDATE SET upto = excluded.upto, changed = excluded.changed,
                    entry = excluded.entry WHERE excluded.upto > m.upto RETURNING topic, changed),
                changed AS (SELECT topic, max(changed) AS head FROM (SELECT * FROM moved UNION ALL SELECT * FROM marked) c
                  GROUP BY topic)
                INSERT INTO receipt_heads AS h (topic, branch, partition, head)
                SELECT t.topic, t.branch, t.partition, c.head FROM changed c
                  JOIN unnest($11::bigint[], $12::bigint[], $13::bigint[]) t (topic, branch, partition) ON t.topic = c.topic
                ON CONFLICT (topic) DO UPDATE SET head = greatest(h.head, excluded.head)";
    let (receipts, marks) = (&last.receipts, &last.marks);
    let mut topics: Vec<Topic> = receipts.keys().map(|(topic, _)| *topic).collect();
    topics.extend(marks.keys().map(|(topic, _)| *topic));
    topics.sort_unstable();
    topics.dedup();
    let put = sqlx::query(text)
        .bind(receipts.keys().map(|(t, _)| t.id).collect::<Vec<_>>())
        .bind(receipts.keys().map(|(_, at)| int(at.0)).collect::<Vec<_>>())
        .bind(receipts.values().map(|r| r.state as i64).collect::<Vec<_>>())
        .bind(receipts.values().map(|r| int(r.changed.0)).collect::<Vec<_>>())
        .bind(receipts.values().map(|r| &r.bytes[..]).collect::<Vec<&[u8]>>())
        .bind(marks.keys().map(|(t, _)| t.id).collect::<Vec<_>>())
        .bind(marks.keys().map(|(_, by)| *by).collect::<Vec<_>>())
        .bind(marks.values().map(|m| int(m.upto.0)).collect::<Vec<_>>())
        .bind(marks.values().map(|m| int(m.changed.0)).collect::<Vec<_>>())
        .bind(marks.values().map(|m| &m.bytes[..]).collect::<Vec<&[u8]>>())
        .bind(topics.iter().map(|t| t.id).collect::<Vec<_>>())
        .bind(topics.iter().map(|t| t.branch).collect::<Vec<_>>())
        .bind(
            topics
                .iter()
                .map(|t| i64::from(t.partition.0))
                .collect::<Vec<_>>(),
        );
    tx.run(DOING, put).await.map(|_| ())
}

/// Stores what was read, and raises the floors of those who read it.
async fn reads(tx: &mut Conn<'_>, last: &Furthest<'_, Topic>) -> Result<(), StoreError> {
    let reads = &last.reads;
    if reads.is_empty() {
        return Ok(());
    }
    let text = "INSERT INTO reads SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING";
    let put = sqlx::query(text)
        .bind(reads.iter().map(|(topic, ..)| topic.id).collect::<Vec<_>>())
        .bind(reads.iter().map(|(_, user, _)| *user).collect::<Vec<_>>())
        .bind(reads.iter().map(|(.., at)| int(at.0)).collect::<Vec<_>>());
    tx.run(DOING, put).await?;
    let readers = last.readers().into_iter().map(|(topic, user)| (topic.id, user));
    super::unread::raise_floors(tx, &readers.collect::<Vec<_>>()).await
}

async fn receipts_of(shared: &Shared, topic: i64, message: Position) -> Result<Vec<ReceiptRow>, StoreError> {
    let doing = "reading the receipts of a message";
    let text =
        "SELECT 1::bigint, usr, 0::bigint, changed, NULL::bytea FROM marks WHERE topic = $1 AND upto >= $2
                UNION ALL SELECT 2, usr, 0, 0, NULL FROM reads WHERE topic = $1 AND message = $2
                UNION ALL SELECT 3, '', state, changed, entry FROM receipts WHERE topic = $1 AND message = $2
                ORDER BY 1";
    let mut conn = shared.conn(doing).await?;
    let rows = conn
        .rows(doing, sqlx::query(text).bind(topic).bind(int(message.0)))
        .await?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let (source, by) = (row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?);
        let (state, changed) = (row.try_get::<i64, _>(2)?, position(row.try_get(3)?));
        Ok((source, by, state, changed, row.try_get::<Option<Vec<u8>>, _>(4)?))
    };
    let mut found = Recipients::default();
    for row in &rows {
        let (source, by, state, changed, entry) = read(row).map_err(StoreError::postgres(doing))?;
        match (source, entry) {
            (1, _) => found.reached(by, changed),
            (2, _) => found.read(by),
            (_, Some(entry)) => found.furthest(state, changed, Bytes::from(entry))?,
            _ => {}
        }
    }
    Ok(found.rows())
}
