//! Applies receipts. Forward only: what says less than is stored changes nothing.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::AHashMap;
use async_trait::async_trait;
use model::{OrgId, Position, TopicName};
use rusqlite::params;

use super::SqliteStore;
use super::cold;
use super::job::{Change, Ctx, Mode};
use super::shared::{int, sql};
use super::topics::TopicId;
use crate::rules::receipts::Furthest;
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
        let (org, topic) = (org.clone(), topic.clone());
        self.read(move |conn, mem| match cold::id(conn, mem, &org, &topic)? {
            Some(id) => super::explain::receipts_of(conn, id, message),
            None => Ok(Vec::new()),
        })
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
    let topics = topics(ctx, batch)?;
    let last = Furthest::of(batch, |org, topic| topics.get(&(org, topic)).copied());
    let mut heads: BTreeMap<TopicId, u64> = BTreeMap::new();
    let mut moved = |topic: TopicId, changed: Position| {
        let head = heads.entry(topic).or_default();
        *head = changed.0.max(*head);
    };
    for ((topic, _), receipt) in &last.receipts {
        if move_on(ctx, *topic, receipt)? {
            moved(*topic, receipt.changed);
        }
    }
    for ((topic, _), mark) in &last.marks {
        if mark_upto(ctx, *topic, mark)? {
            moved(*topic, mark.changed);
        }
    }
    let doing = sql("storing receipts");
    let text = "UPDATE topics SET receipt_head = max(receipt_head, ?2), news = max(news, ?2) WHERE id = ?1";
    let mut update = ctx.conn.prepare_cached(text).map_err(&doing)?;
    for (topic, at) in heads {
        update.execute(params![topic, int(at)]).map_err(&doing)?;
        ctx.changes.push(Change::ReceiptHead(topic, at));
    }
    let text = "INSERT OR IGNORE INTO reads VALUES (?1, ?2, ?3)";
    let mut insert = ctx.conn.prepare_cached(text).map_err(&doing)?;
    for (topic, by, at) in &last.reads {
        insert.execute(params![topic, by, int(at.0)]).map_err(&doing)?;
    }
    let mem = ctx.shared.mem.read();
    (last.readers().into_iter())
        .try_for_each(|(topic, user)| super::unread::raise_floor(ctx.conn, &mem, topic, user))
}

/// The numbers of the topics that a batch is about; what is of no topic is passed over.
fn topics<'a>(
    ctx: &Ctx<'_>,
    batch: &'a ReceiptBatch,
) -> Result<AHashMap<(&'a OrgId, &'a TopicName), TopicId>, StoreError> {
    let of_receipts = batch.receipts.iter().map(|r| (&r.org, &r.topic));
    let mut topics = AHashMap::new();
    for (org, topic) in of_receipts.chain(batch.marks.iter().map(|m| (&m.org, &m.topic))) {
        if let Entry::Vacant(entry) = topics.entry((org, topic))
            && let Some(id) = cold::id(ctx.conn, &ctx.shared.mem, org, topic)?
        {
            entry.insert(id);
        }
    }
    Ok(topics)
}

/// Whether the message has come further.
fn move_on(ctx: &Ctx<'_>, topic: TopicId, receipt: &NewReceipt) -> Result<bool, StoreError> {
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
    let changed = ctx.conn.prepare_cached(text).and_then(|mut s| s.execute(row));
    changed.map(|n| n == 1).map_err(sql("storing receipts"))
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
