//! Counts what a user has not read.

use ahash::{AHashMap, AHashSet};
use model::{TopicName, UserId};
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, params};

use super::cold;
use super::lookup::message;
use super::mem::Mem;
use super::shared::{int, sql};
use super::threads;
use super::topics::TopicId;
use crate::{Flags, StoreError, UnreadQuery};

/// How many messages of the index are looked at together.
const PAGE: usize = 256;
const DOING: &str = "counting unread messages";

pub(super) fn unread(conn: &Connection, mem: &RwLock<Mem>, query: &UnreadQuery) -> Result<u64, StoreError> {
    (taking_part(conn, query)?.into_iter())
        .map(|(topic, since)| in_topic(conn, mem, topic, since, query))
        .sum()
}

pub(super) fn unread_in(
    conn: &Connection,
    mem: &RwLock<Mem>,
    query: &UnreadQuery,
    names: &[TopicName],
) -> Result<Vec<u64>, StoreError> {
    let part: AHashMap<TopicId, u64> = taking_part(conn, query)?.into_iter().collect();
    let count = |name: &TopicName| {
        let Some(topic) = cold::id(conn, mem, &query.org, name)? else {
            return Ok(0);
        };
        let since = match part.get(&topic) {
            Some(since) => *since,
            None if threads::has_left(conn, topic, &query.identities).map_err(sql(DOING))? => return Ok(0),
            None => 0,
        };
        in_topic(conn, mem, topic, since, query)
    };
    names.iter().map(count).collect()
}

fn taking_part(conn: &Connection, query: &UnreadQuery) -> Result<Vec<(TopicId, u64)>, StoreError> {
    threads::taking_part(conn, &query.org, &query.identities).map_err(sql(DOING))
}

fn in_topic(
    conn: &Connection,
    mem: &RwLock<Mem>,
    topic: TopicId,
    since: u64,
    query: &UnreadQuery,
) -> Result<u64, StoreError> {
    let (mut after, mut read) = (since, AHashSet::new());
    for who in &query.identities {
        if !query.anew {
            after = after.max(floor(conn, topic, who)?);
        }
    }
    if cold::get(conn, mem, topic)?.is_none_or(|t| t.sums.head <= after) {
        return Ok(0);
    }
    for who in &query.identities {
        reads(conn, topic, who, after, &mut read)?;
    }
    let mut count = 0;
    loop {
        let page = countable(conn, &mem.read(), topic, after)?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        after = *last;
        for (position, id) in page {
            if !read.contains(&position) && is_others(conn, id, &query.identities)? {
                count += 1;
            }
        }
    }
}

/// Whether a message stands and none of the identities wrote it.
fn is_others(conn: &Connection, id: i64, identities: &[UserId]) -> Result<bool, StoreError> {
    let Some((_, row)) = message(conn, id)? else {
        return Ok(false);
    };
    let own = |who: &UserId| who.as_str() == row.entry.author || who.as_str() == row.entry.sender;
    Ok(!row.flags.has(Flags::RECALLED) && !identities.iter().any(own))
}

/// Raises a user's floor over what it has read and what it wrote itself.
pub(super) fn raise_floor(
    conn: &Connection,
    mem: &Mem,
    topic: TopicId,
    user: &str,
) -> Result<(), StoreError> {
    let before = floor(conn, topic, user)?;
    let mut read = AHashSet::new();
    reads(conn, topic, user, before, &mut read)?;
    let mut reached = before;
    'pages: loop {
        let page = countable(conn, mem, topic, reached)?;
        if page.is_empty() {
            break;
        }
        for (position, id) in page {
            let passed = read.contains(&position)
                || message(conn, id)?.is_none_or(|(_, row)| row.entry.sender == user);
            if !passed {
                break 'pages;
            }
            reached = position;
        }
    }
    if reached == before {
        return Ok(());
    }
    let text = "INSERT INTO floors VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET floor = excluded.floor";
    let stored = conn
        .prepare_cached(text)
        .and_then(|mut s| s.execute(params![topic, user, int(reached)]));
    stored.map(|_| ()).map_err(sql("storing what was read"))
}

fn floor(conn: &Connection, topic: TopicId, user: &str) -> Result<u64, StoreError> {
    let text = "SELECT floor FROM floors WHERE topic = ?1 AND user = ?2";
    let floor = conn
        .prepare_cached(text)
        .and_then(|mut s| {
            s.query_row(params![topic, user], |r| r.get::<_, i64>(0))
                .optional()
        })
        .map_err(sql("reading what was read"))?;
    Ok(floor.unwrap_or(0) as u64)
}

fn reads(
    conn: &Connection,
    topic: TopicId,
    user: &str,
    after: u64,
    into: &mut AHashSet<u64>,
) -> Result<(), StoreError> {
    let doing = sql("reading what was read");
    let text = "SELECT message FROM reads WHERE topic = ?1 AND user = ?2 AND message > ?3";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let rows = select
        .query_map(params![topic, user, int(after)], |r| r.get::<_, i64>(0))
        .map_err(&doing)?;
    for position in rows {
        into.insert(position.map_err(&doing)? as u64);
    }
    Ok(())
}

/// The next countable messages of a topic: position and id, ascending.
fn countable(
    conn: &Connection,
    mem: &Mem,
    topic: TopicId,
    after: u64,
) -> Result<Vec<(u64, i64)>, StoreError> {
    let doing = sql("reading countable messages");
    let view = mem.tail_after(topic, after, u64::MAX, usize::MAX);
    let end = view.first.map_or(i64::MAX, int);
    let text =
        "SELECT position, message FROM topic_index WHERE topic = ?1 AND position > ?2 AND position < ?3
                AND flags & 2 ORDER BY position LIMIT ?4";
    let mut select = conn.prepare_cached(text).map_err(&doing)?;
    let mut page = select
        .query_map(params![topic, int(after), end, PAGE as i64], |r| {
            Ok((r.get::<_, i64>(0)? as u64, r.get(1)?))
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(&doing)?;
    let tail = view
        .slots
        .iter()
        .filter(|s| s.flags.has(Flags::COUNTABLE))
        .map(|s| (s.position, s.id));
    let room = PAGE - page.len();
    page.extend(tail.take(room));
    Ok(page)
}
