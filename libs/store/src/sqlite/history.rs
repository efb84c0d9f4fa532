//! Pages of a topic's history, retained messages, the last message before a position.

use async_trait::async_trait;
use bytes::Bytes;
use model::{OrgId, PartitionId, Position, ReceiptKind, TopicFilter, TopicName, UnixMillis};
use parking_lot::RwLock;
use rpc::persistence::{
    BacklogPage, BacklogRequest, HistoryEntry, HistoryPage, HistoryRange, Retained, UidPage,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::mem::{Mem, TailView, TopicId};
use super::shared::{int, sql};
use crate::rules::receipts::reached_others;
use crate::{Flags, MessageStore, StoreError, Stored, TargetKey};

#[async_trait]
impl MessageStore for SqliteStore {
    async fn backlog(&self, request: BacklogRequest, now: UnixMillis) -> Result<BacklogPage, StoreError> {
        self.read_snapshot(move |conn, mem| super::backlog::backlog(conn, mem, &request, now))
            .await
    }

    async fn history(
        &self,
        org: &OrgId,
        topic: &TopicName,
        range: HistoryRange,
    ) -> Result<HistoryPage, StoreError> {
        let (org, topic) = (org.clone(), topic.clone());
        self.read_snapshot(move |conn, mem| history(conn, mem, &org, &topic, range))
            .await
    }

    async fn retained(
        &self,
        org: &OrgId,
        filter: &TopicFilter,
        now: UnixMillis,
    ) -> Result<Vec<Retained>, StoreError> {
        let (org, filter) = (org.clone(), filter.clone());
        self.read_snapshot(move |conn, mem| retained(conn, mem, &org, &filter, now))
            .await
    }

    async fn find(&self, keys: Vec<TargetKey>) -> Result<Vec<Vec<Stored>>, StoreError> {
        self.read_snapshot(move |conn, mem| super::lookup::find(conn, mem, &keys))
            .await
    }

    async fn uids_since(
        &self,
        partition: PartitionId,
        after: Position,
        since: UnixMillis,
        limit: usize,
    ) -> Result<UidPage, StoreError> {
        super::uids::uids_since(self, partition, after, since, limit).await
    }

    async fn find_uid(&self, org: &OrgId, uid: &str) -> Result<Vec<Stored>, StoreError> {
        let (org, uid) = (org.clone(), uid.to_owned());
        self.read_snapshot(move |conn, mem| super::lookup::of_uid(conn, mem, &org, &uid))
            .await
    }

    async fn last_before(
        &self,
        org: &OrgId,
        topic: &TopicName,
        before: Position,
    ) -> Result<Option<Position>, StoreError> {
        let (id, view) = {
            let mem = self.shared.mem.read();
            let Some(id) = mem.topics.id(org, topic) else {
                return Ok(None);
            };
            (id, mem.last_before(id, before.0))
        };
        if let Some(slot) = view.slots.last() {
            return Ok(Some(Position(slot.position)));
        }
        self.read(move |conn, _| {
            let text = "SELECT max(position) FROM topic_index WHERE topic = ?1 AND position < ?2";
            conn.prepare_cached(text)
                .and_then(|mut s| s.query_row((id, int(before.0)), |r| r.get::<_, Option<i64>>(0)))
                .map(|position| position.map(|p| Position(p as u64)))
                .map_err(sql("reading the last position"))
        })
        .await
    }
}

fn history(
    conn: &Connection,
    mem: &RwLock<Mem>,
    org: &str,
    topic: &str,
    range: HistoryRange,
) -> Result<HistoryPage, StoreError> {
    let (id, total, view) = {
        let mem = mem.read();
        let Some(topic) = mem.topics.find(org, topic) else {
            return Ok(HistoryPage::default());
        };
        let view = match range {
            HistoryRange::After { position, .. } => {
                mem.tail_after(topic.id, position.0, u64::MAX, usize::MAX)
            }
            HistoryRange::Before { position, limit } => {
                mem.tail_before(topic.id, position.0, limit as usize + 1)
            }
            HistoryRange::Page { .. } => mem.tail_before(topic.id, u64::MAX, usize::MAX),
        };
        (topic.id, topic.sums.shown, view)
    };
    let (ids, more) = match range {
        HistoryRange::After { position, limit } => after(conn, id, &view, position.0, limit as usize)?,
        HistoryRange::Before { position, limit } => before(conn, id, &view, position.0, 0, limit as usize)?,
        HistoryRange::Page { number, size } => {
            let skip = number as usize * size as usize;
            before(conn, id, &view, u64::MAX >> 1, skip, size as usize)?
        }
    };
    let mut entries = Vec::with_capacity(ids.len());
    for message in ids {
        entries.extend(read(conn, id, message)?);
    }
    Ok(HistoryPage {
        entries,
        total,
        head: Position::START,
        more,
    })
}

/// The messages after a position, ascending, and whether there are more.
fn after(
    conn: &Connection,
    topic: TopicId,
    view: &TailView,
    position: u64,
    limit: usize,
) -> Result<(Vec<i64>, bool), StoreError> {
    let text =
        "SELECT message FROM topic_index WHERE topic = ?1 AND position > ?2 AND position < ?3 AND flags & 1
                ORDER BY position LIMIT ?4";
    let end = view.first.map_or(i64::MAX, int);
    let mut ids = select(conn, text, params![topic, int(position), end, (limit + 1) as i64])?;
    ids.extend(
        view.slots
            .iter()
            .filter(|s| s.flags.has(Flags::SHOWN))
            .map(|s| s.id),
    );
    let more = ids.len() > limit;
    ids.truncate(limit);
    Ok((ids, more))
}

/// The messages before a position but for the newest `skip`, ascending, and whether there are older ones.
fn before(
    conn: &Connection,
    topic: TopicId,
    view: &TailView,
    position: u64,
    skip: usize,
    limit: usize,
) -> Result<(Vec<i64>, bool), StoreError> {
    let mut ids: Vec<i64> = view
        .slots
        .iter()
        .rev()
        .skip(skip)
        .take(limit + 1)
        .map(|s| s.id)
        .collect();
    if ids.len() <= limit {
        let text = "SELECT message FROM topic_index WHERE topic = ?1 AND position < ?2 AND flags & 1
                    ORDER BY position DESC LIMIT ?3 OFFSET ?4";
        let end = view.first.map_or(int(position), |first| int(first.min(position)));
        let skip = skip.saturating_sub(view.slots.len()) as i64;
        let room = (limit + 1 - ids.len()) as i64;
        ids.extend(select(conn, text, params![topic, end, room, skip])?);
    }
    let more = ids.len() > limit;
    ids.truncate(limit);
    ids.reverse();
    Ok((ids, more))
}

fn select(conn: &Connection, text: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Vec<i64>, StoreError> {
    conn.prepare_cached(text)
        .and_then(|mut select| select.query_map(params, |r| r.get(0))?.collect())
        .map_err(sql("reading a page of history"))
}

/// One message as history shows it.
fn read(conn: &Connection, topic: TopicId, id: i64) -> Result<Option<HistoryEntry>, StoreError> {
    let text = "SELECT m.position, m.prev, m.flags, coalesce(s.entry, m.entry), coalesce(r.state, 0)
                FROM messages m LEFT JOIN streams s ON s.message = m.id
                LEFT JOIN receipts r ON r.topic = m.topic AND r.message = m.position WHERE m.id = ?1";
    let row = conn
        .prepare_cached(text)
        .and_then(|mut select| {
            let row = |r: &rusqlite::Row<'_>| {
                Ok((
                    r.get::<_, i64>(0)?,
                    r.get::<_, i64>(1)?,
                    r.get(2)?,
                    r.get::<_, Vec<u8>>(3)?,
                    r.get(4)?,
                ))
            };
            select.query_row([id], row).optional()
        })
        .map_err(sql("reading a message"))?;
    let Some((position, prev, flags, entry, state)) = row else {
        return Ok(None);
    };
    let entry = Bytes::from(entry);
    let mut state = ReceiptKind::from_number(state);
    if state.is_none() && reached(conn, topic, position, &entry)? {
        state = Some(ReceiptKind::Delivered);
    }
    Ok(Some(HistoryEntry {
        position: Position(position as u64),
        prev: (prev != 0).then_some(Position(prev as u64)),
        entry,
        state,
        recalled: Flags(flags).has(Flags::RECALLED),
    }))
}

/// Whether a user other than its sender has everything up to a message.
fn reached(conn: &Connection, topic: TopicId, position: i64, entry: &Bytes) -> Result<bool, StoreError> {
    let mut select = conn
        .prepare_cached("SELECT user FROM marks WHERE topic = ?1 AND upto >= ?2")
        .map_err(sql("reading deliveries"))?;
    let users = select
        .query_map((topic, position), |r| r.get::<_, String>(0))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(sql("reading deliveries"))?;
    if users.is_empty() {
        return Ok(false);
    }
    let entry = super::load::decode(entry)?;
    Ok(reached_others(&entry, users.iter().map(String::as_str)))
}

fn retained(
    conn: &Connection,
    mem: &RwLock<Mem>,
    org: &str,
    filter: &TopicFilter,
    now: UnixMillis,
) -> Result<Vec<Retained>, StoreError> {
    let topics: Vec<(TopicId, TopicName)> = {
        let mem = mem.read();
        mem.topics
            .matching(org, filter)
            .filter(|t| t.retained)
            .map(|t| (t.id, t.name.clone()))
            .collect()
    };
    let text =
        "SELECT position, entry FROM retained WHERE topic = ?1 AND (expires_at IS NULL OR expires_at > ?2)";
    let mut found = Vec::with_capacity(topics.len());
    for (id, topic) in topics {
        let row = conn
            .prepare_cached(text)
            .and_then(|mut select| {
                let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?));
                select.query_row((id, int(now.0)), row).optional()
            })
            .map_err(sql("reading a retained message"))?;
        if let Some((position, entry)) = row {
            found.push(Retained {
                topic,
                position: Position(position as u64),
                entry: entry.into(),
            });
        }
    }
    Ok(found)
}
