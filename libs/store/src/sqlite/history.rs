//! Pages of a topic's history, retained messages, the last message before a position.

use async_trait::async_trait;
use bytes::Bytes;
use contract::persistence::{
    BacklogPage, BacklogRequest, HistoryEntry, HistoryPage, HistoryRange, Retained, UidPage,
};
use model::{OrgId, PartitionId, Position, ReceiptKind, TopicFilter, TopicName, UnixMillis};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteStore;
use super::cold;
use super::mem::{Mem, TailView};
use super::shared::{int, sql};
use super::topics::TopicId;
use crate::rules::history::Reading;
use crate::rules::receipts::delivered;
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
        self.read(move |conn, _| retained(conn, &org, &filter, now)).await
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
        let known = {
            let mem = self.shared.mem.read();
            let id = mem.topics.id(org, topic);
            id.map(|id| (id, mem.last_before(id, before.0)))
        };
        if let Some(slot) = known.as_ref().and_then(|(_, view)| view.slots.last()) {
            return Ok(Some(Position(slot.position)));
        }
        let (org, topic) = (org.clone(), topic.clone());
        self.read(move |conn, _| {
            let id = match known {
                Some((id, _)) => id,
                None => match cold::stored(conn, &org, &topic)? {
                    Some(topic) => topic.id,
                    None => return Ok(None),
                },
            };
            let text = "SELECT max(position) FROM topic_index WHERE topic = ?1 AND position < ?2";
            conn.prepare_cached(text)
                .and_then(|mut s| {
                    s.query_row((id, int(before.min(Position::END).0)), |r| {
                        r.get::<_, Option<i64>>(0)
                    })
                })
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
    let reading = Reading::of(range);
    let known = {
        let mem = mem.read();
        mem.topics.find(org, topic).map(|topic| {
            let (id, from) = (topic.id, reading.from.0);
            let view = match reading.backwards {
                true => {
                    let skip = usize::try_from(reading.skip).unwrap_or(usize::MAX);
                    mem.tail_before(id, from, skip.saturating_add(reading.most()))
                }
                false => mem.tail_after(id, from, u64::MAX, usize::MAX),
            };
            (id, topic.sums.shown, view)
        })
    };
    let (id, total, view) = match known {
        Some(known) => known,
        None => match cold::stored(conn, org, topic)? {
            Some(topic) => (topic.id, topic.sums.shown, TailView::default()),
            None => return Ok(HistoryPage::default()),
        },
    };
    let ids = match reading.backwards {
        true => before(conn, id, &view, &reading)?,
        false => after(conn, id, &view, &reading)?,
    };
    let (ids, more) = reading.page(ids);
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

/// The messages after a position, ascending.
fn after(
    conn: &Connection,
    topic: TopicId,
    view: &TailView,
    reading: &Reading,
) -> Result<Vec<i64>, StoreError> {
    let text =
        "SELECT message FROM topic_index WHERE topic = ?1 AND position > ?2 AND position < ?3 AND flags & 1
                ORDER BY position LIMIT ?4";
    let end = view.first.map_or(i64::MAX, int);
    let (from, most) = (int(reading.from.0), reading.most());
    let mut ids = select(conn, text, params![topic, from, end, most as i64])?;
    let tail = view.slots.iter().filter(|s| s.flags.has(Flags::SHOWN));
    let room = most - ids.len();
    ids.extend(tail.map(|s| s.id).take(room));
    Ok(ids)
}

/// The messages before a position but for the newest that are passed over, descending.
fn before(
    conn: &Connection,
    topic: TopicId,
    view: &TailView,
    reading: &Reading,
) -> Result<Vec<i64>, StoreError> {
    let (skip, most) = (reading.skip, reading.most());
    let tail = view.slots.iter().rev();
    let tail = tail.skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(most);
    let mut ids: Vec<i64> = tail.map(|s| s.id).collect();
    if ids.len() < most {
        let text = "SELECT message FROM topic_index WHERE topic = ?1 AND position < ?2 AND flags & 1
                    ORDER BY position DESC LIMIT ?3 OFFSET ?4";
        let end = view
            .first
            .map_or(reading.from.0, |first| first.min(reading.from.0));
        let skip = int(skip.saturating_sub(view.slots.len() as u64));
        let room = (most - ids.len()) as i64;
        ids.extend(select(conn, text, params![topic, int(end), room, skip])?);
    }
    Ok(ids)
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
    if state.is_none() {
        state = delivered(&entry, &reached(conn, topic, position)?)?;
    }
    Ok(Some(HistoryEntry {
        position: Position(position as u64),
        prev: (prev != 0).then_some(Position(prev as u64)),
        entry,
        state,
        recalled: Flags(flags).has(Flags::RECALLED),
    }))
}

/// The users who have everything up to a message.
fn reached(conn: &Connection, topic: TopicId, position: i64) -> Result<Vec<String>, StoreError> {
    conn.prepare_cached("SELECT user FROM marks WHERE topic = ?1 AND upto >= ?2")
        .and_then(|mut select| select.query_map((topic, position), |r| r.get(0))?.collect())
        .map_err(sql("reading deliveries"))
}

fn retained(
    conn: &Connection,
    org: &str,
    filter: &TopicFilter,
    now: UnixMillis,
) -> Result<Vec<Retained>, StoreError> {
    let doing = sql("reading retained messages");
    let text = "SELECT t.topic, r.position, r.entry FROM topics t JOIN retained r ON r.topic = t.id
                WHERE t.retained = 1 AND t.org = ?1 AND t.topic >= ?2
                  AND (r.expires_at IS NULL OR r.expires_at > ?3) ORDER BY t.topic";
    let prefix = match filter.has_wildcard() {
        true => filter.literal_prefix(),
        false => filter.as_str(),
    };
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let mut rows = select.query((org, prefix, int(now.0))).map_err(&doing)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&doing)? {
        let name = row
            .get_ref(0)
            .and_then(|name| Ok(name.as_str()?))
            .map_err(&doing)?;
        if !name.starts_with(prefix) {
            break;
        }
        let topic = TopicName::trusted(name);
        if filter.matches(&topic) {
            found.push(Retained {
                topic,
                position: Position(row.get::<_, i64>(1).map_err(&doing)? as u64),
                entry: row.get::<_, Vec<u8>>(2).map_err(&doing)?.into(),
            });
        }
    }
    Ok(found)
}
