//! What a session missed.
//!
//! The topics with news come from memory, or from the table; of each, the index gives the positions of one page; the earliest of
//! them all are the page. So a page costs by the topics with news and by its own length.

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use contract::persistence::{BacklogLane, BacklogPage, BacklogRequest};
use model::{PartitionId, Position, UnixMillis};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, params};

use super::cold;
use super::mem::{Mem, TailView};
use super::shared::{int, sql};
use super::topics::{Topic, TopicId};
use crate::rules::pages::Filling;
use crate::rules::starts::Starts;
use crate::{Flags, StoreError};

/// A topic with news.
struct News {
    topic: TopicId,
    after: u64,
    receipts: bool,
    tail: TailView,
}

impl News {
    fn of(topic: &Topic, after: u64, tail: TailView) -> Self {
        Self {
            topic: topic.id,
            after,
            receipts: topic.receipt_head > after,
            tail,
        }
    }
}

/// Something at a position of a lane.
#[derive(Debug, Clone, Copy)]
enum Source {
    Message(i64),
    Receipt(TopicId),
    Mark(TopicId),
}

pub(super) fn backlog(
    conn: &Connection,
    mem: &RwLock<Mem>,
    request: &BacklogRequest,
    now: UnixMillis,
) -> Result<BacklogPage, StoreError> {
    let mut filling = Filling::of(request);
    let mut news = news(conn, mem, request, filling.room())?;
    for (i, lane) in request.lanes.iter().enumerate() {
        let topics = news.remove(&lane.partition).unwrap_or_default();
        read_lane(conn, (i, lane), topics, now, &mut filling)?;
    }
    Ok(filling.page())
}

/// The topics that have something for the request, by partition.
fn news(
    conn: &Connection,
    mem: &RwLock<Mem>,
    request: &BacklogRequest,
    limit: usize,
) -> Result<AHashMap<PartitionId, Vec<News>>, StoreError> {
    let starts = Starts::of(request);
    let mut news: AHashMap<PartitionId, Vec<News>> = AHashMap::new();
    let mut known = AHashSet::new();
    {
        let mem = mem.read();
        // The union of the filters: a topic begins where the first filter that has it begins.
        let mut begins: AHashMap<TopicId, u64> = AHashMap::new();
        for (i, part) in request.filters.iter().enumerate() {
            for topic in mem.topics.matching(&request.org, &part.filter) {
                known.insert(topic.id);
                let Some(after) = begin(&starts, topic.partition, std::iter::once(i)) else {
                    continue;
                };
                if topic.has_news(after) {
                    let begins = begins.entry(topic.id).or_insert(after);
                    *begins = after.min(*begins);
                }
            }
        }
        for (id, after) in begins {
            let Some(topic) = mem.topics.get(id) else { continue };
            let Some((_, lane)) = starts.lane(topic.partition) else {
                continue;
            };
            let tail = mem.tail_after(id, after, lane.upto.0, limit + 1);
            news.entry(topic.partition)
                .or_default()
                .push(News::of(topic, after, tail));
        }
    }
    let filters = request.filters.iter().map(|part| &part.filter);
    let wanted = cold::Wanted {
        org: &request.org,
        filters: filters.clone().collect(),
        after: request.lanes.iter().map(|l| (l.partition, l.after.0)).collect(),
    };
    for topic in cold::with_news(conn, &wanted, &known)? {
        let matching = filters
            .clone()
            .enumerate()
            .filter(|(_, f)| f.matches(&topic.name));
        let after = begin(&starts, topic.partition, matching.map(|(i, _)| i));
        if let Some(after) = after.filter(|after| topic.has_news(*after)) {
            news.entry(topic.partition)
                .or_default()
                .push(News::of(&topic, after, TailView::default()));
        }
    }
    Ok(news)
}

/// After which position a topic that these filters have begins, if it is asked for.
fn begin(starts: &Starts<'_>, partition: PartitionId, filters: impl Iterator<Item = usize>) -> Option<u64> {
    let (_, lane) = starts.lane(partition)?;
    starts.after(lane, filters).map(|after| after.0)
}

/// Reads one lane into the page, as far as that takes it.
fn read_lane(
    conn: &Connection,
    (number, lane): (usize, &BacklogLane),
    mut topics: Vec<News>,
    now: UnixMillis,
    filling: &mut Filling<'_>,
) -> Result<(), StoreError> {
    let mut at = lane.after;
    while at < lane.upto && !filling.is_full() {
        let limit = filling.room();
        let (found, all) = positions(conn, &topics, lane.upto.0, limit)?;
        for (position, source) in found {
            if filling.is_full() {
                return Ok(());
            }
            at = Position(position);
            if let Some((prev, entry)) = entry(conn, position, source, now)?
                && !filling.put(number, at, prev, entry)
            {
                return Ok(());
            }
            filling.reach(number, at);
        }
        if all {
            filling.reach(number, lane.upto);
            return Ok(());
        }
        // Everything found was taken or left out, and there is more.
        topics
            .iter_mut()
            .for_each(|news| news.after = news.after.max(at.0));
        if topics.iter().any(|news| news.tail.slots.len() > limit) {
            return Ok(());
        }
    }
    Ok(())
}

/// The first `limit` positions of the topics up to `upto`, ascending, and whether that is all of them.
fn positions(
    conn: &Connection,
    topics: &[News],
    upto: u64,
    limit: usize,
) -> Result<(Vec<(u64, Source)>, bool), StoreError> {
    let (mut found, mut bound, mut all) = (Vec::new(), upto, true);
    for news in topics {
        all &= topic_positions(conn, news, bound, limit, &mut found)?;
        if found.len() > limit.saturating_mul(2).max(256) {
            found.select_nth_unstable_by_key(limit, |(position, _)| *position);
            found.truncate(limit);
            bound = found.iter().map(|(position, _)| *position).max().unwrap_or(upto);
            all = false;
        }
    }
    found.sort_unstable_by_key(|(position, _)| *position);
    all &= found.len() <= limit;
    found.truncate(limit);
    Ok((found, all))
}

/// Adds at most `limit + 1` positions of one topic; whether that is all of them.
fn topic_positions(
    conn: &Connection,
    news: &News,
    upto: u64,
    limit: usize,
    found: &mut Vec<(u64, Source)>,
) -> Result<bool, StoreError> {
    let doing = sql("reading positions");
    let begin = found.len();
    let most = (limit + 1) as i64;
    // The database has everything before the tail; of the tail it may have a part already.
    let disk_upto = news
        .tail
        .first
        .map_or(upto, |first| upto.min(first.saturating_sub(1)));
    if disk_upto > news.after {
        let text =
            "SELECT position, message FROM topic_index WHERE topic = ?1 AND position > ?2 AND position <= ?3
                    ORDER BY position LIMIT ?4";
        let mut select = conn.prepare_cached(text).map_err(&doing)?;
        let mut rows = select
            .query(params![news.topic, int(news.after), int(disk_upto), most])
            .map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            let position = row.get::<_, i64>(0).map_err(&doing)? as u64;
            found.push((position, Source::Message(row.get(1).map_err(&doing)?)));
        }
    }
    let tail = news
        .tail
        .slots
        .iter()
        .filter(|s| s.position > news.after && s.position <= upto);
    found.extend(tail.take(limit + 1).map(|s| (s.position, Source::Message(s.id))));
    let mut all = found.len() - begin <= limit;
    if news.receipts {
        let changes = [
            ("receipts", Source::Receipt(news.topic)),
            ("marks", Source::Mark(news.topic)),
        ];
        for (table, source) in changes {
            let text = format!(
                "SELECT changed FROM {table} WHERE topic = ?1 AND changed > ?2 AND changed <= ?3 ORDER BY changed LIMIT ?4"
            );
            let mut select = conn.prepare_cached(&text).map_err(&doing)?;
            let positions = select
                .query_map(params![news.topic, int(news.after), int(upto), most], |r| {
                    r.get::<_, i64>(0)
                })
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(&doing)?;
            all &= positions.len() <= limit;
            found.extend(positions.into_iter().map(|position| (position as u64, source)));
        }
    }
    Ok(all)
}

/// Reads what stands at a position: the position before it in its topic, and the entry. `None` when it is not to be
/// delivered.
fn entry(
    conn: &Connection,
    position: u64,
    source: Source,
    now: UnixMillis,
) -> Result<Option<(Option<Position>, Bytes)>, StoreError> {
    let doing = sql("reading a message");
    let (prev, entry) = match source {
        Source::Message(id) => {
            let text = "SELECT prev, flags, expires_at, entry FROM messages WHERE id = ?1";
            let row = conn.prepare_cached(text).and_then(|mut select| {
                select
                    .query_row([id], |r| {
                        Ok((
                            r.get(0)?,
                            r.get(1)?,
                            r.get::<_, Option<i64>>(2)?,
                            r.get::<_, Vec<u8>>(3)?,
                        ))
                    })
                    .optional()
            });
            match row.map_err(doing)? {
                Some((prev, flags, expires, entry))
                    if !Flags(flags).has(Flags::RECALLED) && expires.is_none_or(|at| at > int(now.0)) =>
                {
                    (prev, entry)
                }
                _ => return Ok(None),
            }
        }
        Source::Receipt(topic) => match changed(conn, "receipts", topic, position)? {
            Some(entry) => (0, entry),
            None => return Ok(None),
        },
        Source::Mark(topic) => match changed(conn, "marks", topic, position)? {
            Some(entry) => (0, entry),
            None => return Ok(None),
        },
    };
    let prev = (prev != 0i64).then_some(Position(prev as u64));
    Ok(Some((prev, entry.into())))
}

/// The entry of a receipt. It may have moved on since its position was read: then it comes at its new place.
fn changed(
    conn: &Connection,
    table: &str,
    topic: TopicId,
    position: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let text = format!("SELECT entry FROM {table} WHERE topic = ?1 AND changed = ?2 LIMIT 1");
    conn.prepare_cached(&text)
        .and_then(|mut select| {
            select
                .query_row(params![topic, int(position)], |r| r.get(0))
                .optional()
        })
        .map_err(sql("reading a receipt"))
}
