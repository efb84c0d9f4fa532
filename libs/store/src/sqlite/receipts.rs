//! Applies receipts. Forward only: what says less than is stored changes nothing.

use std::sync::Arc;

use ahash::AHashSet;
use async_trait::async_trait;
use model::{OrgId, Position, ReceiptKind, TopicName};
use rusqlite::params;

use super::SqliteStore;
use super::job::{Change, Ctx, Mode};
use super::mem::TopicId;
use super::shared::{int, sql};
use crate::{NewMark, NewReceipt, ReceiptBatch, ReceiptRow, ReceiptStore, Service, StoreError, UnreadQuery};

#[async_trait]
impl ReceiptStore for SqliteStore {
    async fn apply_receipts(&self, batch: Arc<ReceiptBatch>) -> Result<(), StoreError> {
        self.write(Mode::Sync, move |ctx| apply(ctx, &batch)).await
    }

    async fn receipts_of(
        &self,
        org: &OrgId,
        topic: &TopicName,
        message: Position,
    ) -> Result<Vec<ReceiptRow>, StoreError> {
        let Some(id) = self.shared.mem.read().topics.id(org, topic) else {
            return Ok(Vec::new());
        };
        self.read(move |conn, _| super::explain::receipts_of(conn, id, message))
            .await
    }

    async fn unread(&self, query: UnreadQuery) -> Result<u64, StoreError> {
        self.read(move |conn, mem| super::unread::unread(conn, mem, &query))
            .await
    }

    async fn unread_in(&self, query: UnreadQuery, topics: Vec<TopicName>) -> Result<Vec<u64>, StoreError> {
        self.read(move |conn, mem| super::unread::unread_in(conn, mem, &query, &topics))
            .await
    }
}

fn apply(ctx: &mut Ctx<'_>, batch: &ReceiptBatch) -> Result<(), StoreError> {
    for step in &batch.advances {
        ctx.advance(Service::Receipts, *step)?;
    }
    let mut heads: Vec<(TopicId, u64)> = Vec::new();
    let mut readers: AHashSet<(TopicId, &str)> = AHashSet::new();
    for receipt in &batch.receipts {
        let Some(topic) = known(ctx, &receipt.org, &receipt.topic) else {
            continue;
        };
        if move_on(ctx, topic, receipt)? {
            heads.push((topic, receipt.changed.0));
        }
        if receipt.state == ReceiptKind::Read {
            readers.insert((topic, receipt.by.as_str()));
        }
    }
    for mark in &batch.marks {
        let Some(topic) = known(ctx, &mark.org, &mark.topic) else {
            continue;
        };
        if mark_upto(ctx, topic, mark)? {
            heads.push((topic, mark.changed.0));
        }
    }
    let text = "UPDATE topics SET receipt_head = max(receipt_head, ?2) WHERE id = ?1";
    let mut update = ctx.conn.prepare_cached(text).map_err(sql("storing receipts"))?;
    for (topic, at) in last_of_each(heads) {
        update
            .execute(params![topic, int(at)])
            .map_err(sql("storing receipts"))?;
        ctx.changes.push(Change::ReceiptHead(topic, at));
    }
    let mem = ctx.shared.mem.read();
    readers
        .into_iter()
        .try_for_each(|(topic, user)| super::unread::raise_floor(ctx.conn, &mem, topic, user))
}

fn known(ctx: &Ctx<'_>, org: &str, topic: &str) -> Option<TopicId> {
    ctx.shared.mem.read().topics.id(org, topic)
}

fn last_of_each(mut heads: Vec<(TopicId, u64)>) -> Vec<(TopicId, u64)> {
    heads.sort_unstable_by(|a, b| b.cmp(a));
    heads.dedup_by_key(|(topic, _)| *topic);
    heads
}

/// Whether the message has come further.
fn move_on(ctx: &Ctx<'_>, topic: TopicId, receipt: &NewReceipt) -> Result<bool, StoreError> {
    let doing = sql("storing receipts");
    let text = "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (topic, message) DO UPDATE
                SET state = excluded.state, changed = excluded.changed, entry = excluded.entry
                WHERE excluded.state > state";
    let message = int(receipt.message.0);
    let row = params![
        topic,
        message,
        receipt.state as u8,
        int(receipt.changed.0),
        &receipt.bytes[..]
    ];
    let moved = ctx
        .conn
        .prepare_cached(text)
        .and_then(|mut s| s.execute(row))
        .map_err(&doing)?
        == 1;
    if receipt.state == ReceiptKind::Read {
        let mut insert = ctx
            .conn
            .prepare_cached("INSERT OR IGNORE INTO reads VALUES (?1, ?2, ?3)")
            .map_err(&doing)?;
        for read in receipt.read() {
            insert
                .execute(params![topic, receipt.by.as_str(), int(read.0)])
                .map_err(&doing)?;
        }
    }
    Ok(moved)
}

/// Whether the mark has moved.
fn mark_upto(ctx: &Ctx<'_>, topic: TopicId, mark: &NewMark) -> Result<bool, StoreError> {
    let text = "INSERT INTO marks VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (topic, user) DO UPDATE
                SET upto = excluded.upto, changed = excluded.changed, entry = excluded.entry
                WHERE excluded.upto > upto";
    let row = params![
        topic,
        mark.by.as_str(),
        int(mark.upto.0),
        int(mark.changed.0),
        &mark.bytes[..]
    ];
    let changed = ctx.conn.prepare_cached(text).and_then(|mut s| s.execute(row));
    changed.map(|n| n == 1).map_err(sql("storing receipts"))
}
