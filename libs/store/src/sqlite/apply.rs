//! Applies a stretch of the log.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use model::{PartitionId, Position, UnixMillis};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::job::{Change, Ctx, Mode};
use super::mem::{Appended, Mem, Slot};
use super::shared::{int, sql};
use super::topics::{Sums, TopicId};
use crate::rules::identity;
use crate::rules::uids::UidKey;
use crate::{
    Flags, LogBatch, LogIdentity, LogStore, NewMessage, NewRetained, Service, StoreError, Stored,
    StreamTarget, TargetKey,
};

#[async_trait]
impl LogStore for SqliteStore {
    async fn bind_log(&self, log: LogIdentity) -> Result<(), StoreError> {
        let doing = "binding the store to its log";
        let bound = move |ctx: &mut Ctx<'_>| bound(ctx.conn, log).map_err(sql(doing));
        identity::bind(self.write(Mode::Sync, bound).await?, log)
    }

    async fn progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        Ok(progress(&self.shared.mem.read(), service))
    }

    async fn durable_progress(&self, service: Service) -> Result<Vec<(PartitionId, Position)>, StoreError> {
        self.write(Mode::Sync, move |ctx| {
            // A synced commit takes everything committed before it along: there is one log of pages.
            let mark =
                "INSERT INTO meta VALUES ('synced', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1";
            ctx.conn
                .prepare_cached(mark)
                .and_then(|mut s| s.execute([]))
                .map_err(sql("syncing"))?;
            Ok(progress(&ctx.shared.mem.read(), service))
        })
        .await
    }

    async fn wait_applied(
        &self,
        service: Service,
        partition: PartitionId,
        upto: Position,
        limit: Duration,
    ) -> Result<Position, StoreError> {
        Ok(self.wait(service, partition, upto, limit).await)
    }

    fn hurry(&self, service: Service) {
        self.shared.hurry[service as usize - 1].notify_one();
    }

    async fn hurried(&self, service: Service) {
        self.shared.hurry[service as usize - 1].notified().await;
    }

    async fn lookup(&self, _: Service, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // The writer's page cache is never dropped, that of a reader is with every commit.
        let work = move |ctx: &mut Ctx<'_>| super::lookup::lookup(ctx.conn, &ctx.shared.mem, &keys);
        self.write(Mode::Lazy, work).await
    }

    async fn apply(&self, batch: Arc<LogBatch>) -> Result<(), StoreError> {
        self.write(Mode::Log, move |ctx| apply(ctx, &batch)).await
    }

    async fn prune_generic(&self, before: UnixMillis, limit: usize) -> Result<usize, StoreError> {
        self.write(Mode::Indexed, move |ctx| prune(ctx, before, limit))
            .await
    }
}

/// The log that the store is bound to: this one, when it was bound to none.
fn bound(conn: &Connection, log: LogIdentity) -> rusqlite::Result<LogIdentity> {
    let text = "INSERT INTO log_identity VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET one = 1
                RETURNING epoch, partitions";
    let row = |r: &Row<'_>| {
        let (epoch, partitions) = (r.get::<_, i64>(0)? as u64, r.get(1)?);
        Ok(LogIdentity { epoch, partitions })
    };
    conn.query_row(text, params![int(log.epoch), log.partitions], row)
}

fn progress(mem: &Mem, service: Service) -> Vec<(PartitionId, Position)> {
    let of = |(key, at): (&(u8, PartitionId), &Position)| (key.0 == service as u8).then_some((key.1, *at));
    mem.progress.iter().filter_map(of).collect()
}

fn apply(ctx: &mut Ctx<'_>, batch: &LogBatch) -> Result<(), StoreError> {
    for step in &batch.advances {
        ctx.advance(Service::Persistence, *step)?;
    }
    let first = ctx.next;
    append(ctx, &batch.messages)?;
    let doing = sql("changing messages");
    for rewrite in &batch.rewrites {
        ctx.conn
            .prepare_cached("UPDATE messages SET entry = ?2, flags = ?3 WHERE id = ?1")
            .and_then(|mut s| s.execute(params![rewrite.id.at, &rewrite.bytes[..], rewrite.flags.0]))
            .map_err(&doing)?;
    }
    for stream in &batch.streams {
        let id = match stream.target {
            StreamTarget::Stored(id) => id.at,
            StreamTarget::New(index) => first + index as i64,
        };
        match &stream.bytes {
            Some(bytes) => ctx
                .conn
                .prepare_cached(
                    "INSERT INTO streams VALUES (?1, ?2) ON CONFLICT DO UPDATE SET entry = excluded.entry",
                )
                .and_then(|mut s| s.execute(params![id, &bytes[..]])),
            None => ctx
                .conn
                .prepare_cached("DELETE FROM streams WHERE message = ?1")
                .and_then(|mut s| s.execute([id])),
        }
        .map_err(&doing)?;
    }
    batch
        .retained
        .iter()
        .try_for_each(|retained| retain(ctx, retained))?;
    batch
        .threads
        .iter()
        .try_for_each(|event| super::threads::apply(ctx, event))
}

fn append(ctx: &mut Ctx<'_>, messages: &[NewMessage]) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let doing = sql("appending messages");
    let conn = ctx.conn;
    let mut insert = conn
        .prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
        .map_err(&doing)?;
    let mut slots = Vec::with_capacity(messages.len());
    let mut sums: AHashMap<TopicId, Sums> = AHashMap::new();
    // The topics of this batch: memory may learn of them by it.
    let mut topics: AHashMap<(&str, &str), TopicId> = AHashMap::new();
    for (id, m) in (ctx.next..).zip(messages) {
        let key = (m.entry.org.as_str(), m.entry.topic.as_str());
        let topic = match topics.get(&key) {
            Some(topic) => *topic,
            None => {
                let (topic, before) = ctx.topic(key.0, key.1, m.partition)?;
                topics.insert(key, topic);
                sums.insert(topic, before);
                topic
            }
        };
        let sum = sums.entry(topic).or_default();
        let uid = UidKey::of(&m.entry, m.flags).map(UidKey::hash);
        let generic = m.flags.has(Flags::GENERIC);
        insert
            .execute(params![
                id,
                topic,
                int(m.position.0),
                int(sum.prev),
                m.flags.0,
                uid.map(int),
                (m.entry.expires_at != 0).then(|| int(m.entry.expires_at)),
                generic.then(|| int(m.entry.accepted_at)),
                &m.bytes[..],
            ])
            .map_err(&doing)?;
        sum.add(id, m.position.0, m.flags, &m.entry);
        slots.push((
            topic,
            Slot {
                position: m.position.0,
                id,
                flags: m.flags,
            },
            uid,
        ));
    }
    ctx.changes.push(Change::Appended(Appended { slots, sums }));
    Ok(())
}

fn retain(ctx: &mut Ctx<'_>, retained: &NewRetained) -> Result<(), StoreError> {
    let doing = sql("storing a retained message");
    let (id, _) = ctx.topic(&retained.org, &retained.topic, retained.partition)?;
    match &retained.bytes {
        Some(bytes) => {
            let text = "INSERT INTO retained VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
                        SET position = excluded.position, expires_at = excluded.expires_at, entry = excluded.entry";
            let expires = (retained.expires_at.0 != 0).then(|| int(retained.expires_at.0));
            let row = params![id, int(retained.position.0), expires, &bytes[..]];
            ctx.conn
                .prepare_cached(text)
                .and_then(|mut s| s.execute(row))
                .map_err(&doing)?;
        }
        None => {
            let text = "DELETE FROM retained WHERE topic = ?1";
            ctx.conn
                .prepare_cached(text)
                .and_then(|mut s| s.execute([id]))
                .map_err(&doing)?;
        }
    }
    ctx.conn
        .prepare_cached("UPDATE topics SET retained = ?2 WHERE id = ?1 AND retained <> ?2")
        .and_then(|mut s| s.execute(params![id, retained.bytes.is_some()]))
        .map(|_| ())
        .map_err(doing)
}

fn prune(ctx: &mut Ctx<'_>, before: UnixMillis, limit: usize) -> Result<usize, StoreError> {
    let doing = sql("removing old publishes");
    let text = "SELECT id, topic, position FROM messages WHERE generic_at < ?1 ORDER BY generic_at LIMIT ?2";
    let mut select = ctx.conn.prepare_cached(text).map_err(&doing)?;
    let rows = select
        .query_map(params![int(before.0), limit as i64], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .and_then(Iterator::collect::<Result<Vec<(i64, i64, i64)>, _>>)
        .map_err(&doing)?;
    for (id, topic, position) in &rows {
        ctx.conn
            .prepare_cached("DELETE FROM messages WHERE id = ?1")
            .and_then(|mut s| s.execute([id]))
            .and_then(|_| {
                ctx.conn
                    .prepare_cached("DELETE FROM topic_index WHERE topic = ?1 AND position = ?2")
            })
            .and_then(|mut s| s.execute([topic, position]))
            .map_err(&doing)?;
    }
    Ok(rows.len())
}
